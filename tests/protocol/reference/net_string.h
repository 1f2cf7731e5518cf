// The reference of NetString: see decoder.h.
#pragma once

#include <millrace/net_string.h>

#include "reference/decoder.h"

#include <optional>
#include <string>

namespace millrace::reference {

class NetString : public Decoder {
 public:
  explicit NetString(const NetStringOptions& options) : o_(options) {}

  static bool makes_sense(const NetStringOptions& o) { return o.max_payload_bytes > 0; }

  bool inside_frame() const override { return !digits_.empty(); }
  bool skipping() const override { return skipping_; }
  std::uint64_t announced() const override {
    return colon_ ? static_cast<std::uint64_t>(length_) : 0;
  }

  std::optional<std::string> wire(const std::string& payload) const {
    if (payload.size() > o_.max_payload_bytes) return std::nullopt;
    return std::to_string(payload.size()) + ':' + payload + ',';
  }
  std::string arrival(const std::string& payload) const { return payload; }

 private:
  void take(char c) override {
    if (!colon_) return take_length(c);
    if (payload_bytes_ < length_) {
      ++payload_bytes_;
      if (!skipping_) payload_ += c;
      return;
    }
    if (c != ',') return skipping_ ? fail_in_skipped(0) : fail_corrupt(length_);
    if (skipping_) {
      next_frame();
    } else {
      deliver(payload_);
    }
    begin();
  }

  void take_length(char c) {
    if (c == ':') {
      if (digits_.empty()) return fail_corrupt();
      colon_ = true;
      if (length_ > static_cast<Wide>(o_.max_payload_bytes)) too_large();
      return;
    }
    if (c < '0' || c > '9' || digits_ == "0") return fail_corrupt();
    digits_ += c;
    length_ = length_ * 10 + (c - '0');
    if (digits_.size() > 18) fail_corrupt();
  }

  void too_large() {
    if (o_.oversize == Oversize::fail) return fail_too_large(length_, o_.max_payload_bytes);
    tell_oversized(length_, o_.max_payload_bytes);
    skipping_ = true;
  }

  void begin() {
    digits_.clear();
    payload_.clear();
    length_ = 0;
    payload_bytes_ = 0;
    colon_ = false;
    skipping_ = false;
  }

  NetStringOptions o_;
  std::string digits_;
  Wide length_ = 0;
  bool colon_ = false;
  Wide payload_bytes_ = 0;  // so many have come
  std::string payload_;
  bool skipping_ = false;
};

}  // namespace millrace::reference
