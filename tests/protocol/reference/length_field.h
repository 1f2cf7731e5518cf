// The reference of LengthField and of LengthPrefix: see decoder.h.
#pragma once

#include <millrace/length_field.h>
#include <millrace/length_prefix.h>

#include "reference/decoder.h"

#include <algorithm>
#include <optional>
#include <string>

namespace millrace::reference {

class LengthField : public Decoder {
 public:
  explicit LengthField(const LengthFieldOptions& options) : o_(options) {}
  explicit LengthField(const LengthPrefixOptions& options) : tells_payloads_(true) {
    o_.width_bytes = options.width_bytes;
    o_.order = options.order;
    o_.strip_bytes = options.width_bytes;
    o_.oversize = options.oversize;
    const Wide payload = std::min<Wide>(options.max_payload_bytes, largest_length());
    o_.max_frame_bytes = static_cast<std::size_t>(payload + options.width_bytes);
  }

  static bool makes_sense(const LengthPrefixOptions& o) {
    return is_width(o.width_bytes) && o.max_payload_bytes > 0;
  }
  // There must be a length with which a frame is neither too small nor too large.
  static bool makes_sense(const LengthFieldOptions& o) {
    if (!is_width(o.width_bytes)) return false;
    const LengthField some(o);
    const Wide least = std::max(some.least_frame(), some.more_than_length());
    const Wide most = std::min(static_cast<Wide>(o.max_frame_bytes),
                               some.largest_length() + some.more_than_length());
    return least <= most;
  }

  std::size_t header_in_payload() const override {
    return header_bytes() > o_.strip_bytes ? header_bytes() - o_.strip_bytes : 0;
  }
  bool inside_frame() const override { return !frame_.empty() || left_to_skip_ > 0; }
  bool skipping() const override { return left_to_skip_ > 0; }
  std::uint64_t announced() const override {
    return frame_.size() < header_bytes() ? 0 : static_cast<std::uint64_t>(told(whole_));
  }

  // The bytes to be sent for a payload; none, if it cannot be sent.
  std::optional<std::string> wire(const std::string& payload) const {
    std::string frame = std::string(o_.strip_bytes, '\0') + payload;
    const Wide length = static_cast<Wide>(frame.size()) - more_than_length();
    if (frame.size() < header_bytes() || frame.size() > o_.max_frame_bytes) return std::nullopt;
    if (length < 0 || length > largest_length()) return std::nullopt;
    for (unsigned i = 0; i < o_.width_bytes; ++i) {
      frame[o_.offset_bytes + place(i)] = static_cast<char>(length >> (8 * i) & 0xff);
    }
    return frame;
  }
  // What on_frame gets of it: the length is in its field, if that is not stripped.
  std::string arrival(const std::string& payload) const {
    return wire(payload).value().substr(o_.strip_bytes);
  }

 private:
  std::size_t header_bytes() const { return o_.offset_bytes + o_.width_bytes; }
  Wide least_frame() const { return static_cast<Wide>(std::max(header_bytes(), o_.strip_bytes)); }
  static bool is_width(unsigned bytes) {
    return bytes == 1 || bytes == 2 || bytes == 3 || bytes == 4 || bytes == 8;
  }
  // The lengths of 8 bytes that are no std::int64_t are an error.
  Wide largest_length() const {
    if (o_.width_bytes == 8) return std::numeric_limits<std::int64_t>::max();
    return (Wide{1} << (8 * o_.width_bytes)) - 1;
  }
  // Of the whole frame's bytes, how many its length does not count.
  Wide more_than_length() const {
    const Wide header = o_.counts_header ? Wide{0} : static_cast<Wide>(header_bytes());
    return header + o_.adjustment_bytes;
  }
  // Where in the field the byte is that counts 256^i.
  std::size_t place(unsigned i) const {
    return o_.order == ByteOrder::little ? i : o_.width_bytes - 1 - i;
  }
  Wide told(Wide whole) const {
    return tells_payloads_ ? whole - static_cast<Wide>(header_bytes()) : whole;
  }
  std::uint64_t limit() const {
    return static_cast<std::uint64_t>(told(static_cast<Wide>(o_.max_frame_bytes)));
  }

  void take(char c) override {
    if (left_to_skip_ > 0) {
      --left_to_skip_;
      if (left_to_skip_ == 0) next_frame();
      return;
    }
    frame_ += c;
    if (frame_.size() == header_bytes()) judge_length();
    if (failed() || frame_.size() < header_bytes()) return;
    if (static_cast<Wide>(frame_.size()) == whole_) {
      deliver(frame_.substr(o_.strip_bytes));
      frame_.clear();
    }
  }

  void judge_length() {
    Wide length = 0;
    for (unsigned i = 0; i < o_.width_bytes; ++i) {
      const auto byte = static_cast<unsigned char>(frame_[o_.offset_bytes + place(i)]);
      length += Wide{byte} << (8 * i);
    }
    if (length > largest_length()) return fail_corrupt(length);
    whole_ = length + more_than_length();
    if (whole_ < least_frame()) return fail_corrupt(length);
    if (whole_ <= static_cast<Wide>(o_.max_frame_bytes)) return;
    if (o_.oversize == Oversize::fail) return fail_too_large(told(whole_), limit());
    tell_oversized(told(whole_), limit());
    left_to_skip_ = whole_ - static_cast<Wide>(frame_.size());
    frame_.clear();
  }

  LengthFieldOptions o_;
  bool tells_payloads_ = false;
  std::string frame_;  // as much of it as has come
  Wide whole_ = 0;     // its size, once its header is complete
  Wide left_to_skip_ = 0;
};

}  // namespace millrace::reference
