// The reference of VarintLength: see decoder.h.
#pragma once

#include <millrace/varint_length.h>

#include "reference/decoder.h"

#include <optional>
#include <string>

namespace millrace::reference {

class VarintLength : public Decoder {
 public:
  explicit VarintLength(const VarintLengthOptions& options) : o_(options) {}

  static bool makes_sense(const VarintLengthOptions& o) {
    return (o.length_bits == 32 || o.length_bits == 64) && o.max_payload_bytes > 0;
  }

  bool inside_frame() const override { return length_bytes_ > 0 || left_to_skip_ > 0; }
  bool skipping() const override { return left_to_skip_ > 0; }
  std::uint64_t announced() const override {
    return length_complete_ ? static_cast<std::uint64_t>(length_) : 0;
  }

  std::optional<std::string> wire(const std::string& payload) const {
    if (payload.size() > o_.max_payload_bytes) return std::nullopt;
    std::size_t rest = payload.size();
    std::string frame;
    while (rest >= 128) {
      frame += static_cast<char>(128 + rest % 128);
      rest /= 128;
    }
    frame += static_cast<char>(rest);
    return frame + payload;
  }
  std::string arrival(const std::string& payload) const { return payload; }

 private:
  void take(char c) override {
    if (left_to_skip_ > 0) {
      --left_to_skip_;
      if (left_to_skip_ == 0) next_frame();
      return;
    }
    if (length_complete_) {
      payload_ += c;
    } else {
      take_length(static_cast<unsigned char>(c));
    }
    if (failed() || !length_complete_ || static_cast<Wide>(payload_.size()) < length_) return;
    deliver(payload_);
    begin();
  }

  void take_length(unsigned char byte) {
    length_ += Wide{byte & 0x7f} << (7 * length_bytes_);
    ++length_bytes_;
    const unsigned most_bytes = o_.length_bits == 32 ? 5 : 10;
    if (length_ >= Wide{1} << o_.length_bits) return fail_corrupt();
    if (byte >= 0x80) {
      // Another byte could only be a 0, which is not how the number is written, or be too much.
      if (length_bytes_ == most_bytes) fail_corrupt();
      return;
    }
    if (byte == 0 && length_bytes_ > 1) return fail_corrupt();
    if (length_ > std::numeric_limits<std::int64_t>::max()) return fail_corrupt(length_);
    if (length_ <= static_cast<Wide>(o_.max_payload_bytes)) {
      length_complete_ = true;
      return;
    }
    if (o_.oversize == Oversize::fail) return fail_too_large(length_, o_.max_payload_bytes);
    tell_oversized(length_, o_.max_payload_bytes);
    left_to_skip_ = length_;
    begin();
  }

  void begin() {
    payload_.clear();
    length_ = 0;
    length_bytes_ = 0;
    length_complete_ = false;
  }

  VarintLengthOptions o_;
  Wide length_ = 0;
  unsigned length_bytes_ = 0;  // of the length, so many have come
  bool length_complete_ = false;
  std::string payload_;
  Wide left_to_skip_ = 0;
};

}  // namespace millrace::reference
