// The reference of Lines: see decoder.h.
#pragma once

#include <millrace/lines.h>

#include "reference/decoder.h"

#include <optional>
#include <string>

namespace millrace::reference {

class Lines : public Decoder {
 public:
  explicit Lines(const LinesOptions& options) : o_(options) {}

  static bool makes_sense(const LinesOptions& o) { return o.max_line_bytes > 0; }

  bool inside_frame() const override { return !line_.empty(); }
  bool skipping() const override { return skipping_; }

  std::optional<std::string> wire(const std::string& payload) const {
    const std::string sent = payload + (o_.end == LineEnd::strict_crlf ? "\r\n" : "\n");
    return if_one_frame(Lines(o_), sent, payload);
  }
  std::string arrival(const std::string& payload) const { return payload; }

 private:
  void take(char c) override {
    const bool after_cr = line_.ends_with('\r');
    if (o_.end == LineEnd::strict_crlf && after_cr && c != '\n') return fail_alone(1);
    if (o_.end == LineEnd::strict_crlf && !after_cr && c == '\n') return fail_alone(0);
    line_ += c;
    if (c != '\n') {
      const std::size_t longest_end = o_.end == LineEnd::lf ? 1 : 2;
      if (!skipping_ && line_.size() == o_.max_line_bytes + longest_end) too_large();
      return;
    }
    std::string line = line_;
    line.pop_back();
    if (o_.end != LineEnd::lf && after_cr) line.pop_back();
    if (!skipping_ && line.size() > o_.max_line_bytes) too_large();
    if (failed()) return;
    if (skipping_) {
      next_frame();
    } else {
      deliver(line);
    }
    line_.clear();
    skipping_ = false;
  }

  // A CR or LF without the other, so many bytes back.
  void fail_alone(std::uint64_t back) {
    if (skipping_) return fail_in_skipped(back);
    fail_corrupt();
  }

  void too_large() {
    if (o_.oversize == Oversize::fail) return fail_too_large(0, o_.max_line_bytes);
    tell_oversized(0, o_.max_line_bytes);
    skipping_ = true;
  }

  LinesOptions o_;
  std::string line_;  // as much as has come, also of one that is skipped
  bool skipping_ = false;
};

}  // namespace millrace::reference
