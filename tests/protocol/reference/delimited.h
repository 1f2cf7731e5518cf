// The reference of Delimited: see decoder.h.
#pragma once

#include <millrace/delimited.h>

#include "reference/decoder.h"

#include <algorithm>
#include <optional>
#include <string>

namespace millrace::reference {

class Delimited : public Decoder {
 public:
  explicit Delimited(const DelimitedOptions& options) : o_(options) {}

  static bool makes_sense(const DelimitedOptions& o) {
    for (std::size_t i = 0; i < o.delimiters.size(); ++i) {
      if (o.delimiters[i].empty()) return false;
      for (std::size_t j = 0; j < o.delimiters.size(); ++j) {
        if (i != j && o.delimiters[i].starts_with(o.delimiters[j])) return false;
      }
    }
    return !o.delimiters.empty() && o.max_frame_bytes > 0;
  }

  bool inside_frame() const override { return !frame_.empty(); }
  bool skipping() const override { return skipping_; }

  // What can be sent is what arrives as one frame.
  std::optional<std::string> wire(const std::string& payload) const {
    const std::string sent = o_.keep_delimiter ? payload : payload + o_.delimiters[0];
    return if_one_frame(Delimited(o_), sent, payload);
  }
  std::string arrival(const std::string& payload) const { return payload; }

 private:
  void take(char c) override {
    frame_ += c;
    const std::size_t delimiter = delimiter_at_end();
    if (delimiter == 0) {
      if (!skipping_ && frame_.size() == o_.max_frame_bytes + longest_delimiter()) too_large();
      return;
    }
    if (!skipping_ && frame_.size() - delimiter > o_.max_frame_bytes) too_large();
    if (failed()) return;
    if (skipping_) {
      next_frame();
    } else {
      deliver(frame_.substr(0, frame_.size() - (o_.keep_delimiter ? 0 : delimiter)));
    }
    frame_.clear();
    skipping_ = false;
  }

  // The length of the delimiter that the last byte completes: of several, the longest.
  std::size_t delimiter_at_end() const {
    std::size_t longest = 0;
    for (const std::string& d : o_.delimiters) {
      if (frame_.ends_with(d)) longest = std::max(longest, d.size());
    }
    return longest;
  }

  std::size_t longest_delimiter() const {
    std::size_t longest = 0;
    for (const std::string& d : o_.delimiters) longest = std::max(longest, d.size());
    return longest;
  }

  void too_large() {
    if (o_.oversize == Oversize::fail) return fail_too_large(0, o_.max_frame_bytes);
    tell_oversized(0, o_.max_frame_bytes);
    skipping_ = true;
  }

  DelimitedOptions o_;
  std::string frame_;  // as much as has come, also of one that is skipped
  bool skipping_ = false;
};

}  // namespace millrace::reference
