// The reference of FixedLength: see decoder.h.
#pragma once

#include <millrace/fixed_length.h>

#include "reference/decoder.h"

#include <optional>
#include <string>

namespace millrace::reference {

class FixedLength : public Decoder {
 public:
  explicit FixedLength(std::size_t frame_bytes) : frame_bytes_(frame_bytes) {}

  static bool makes_sense(std::size_t frame_bytes) { return frame_bytes > 0; }

  bool inside_frame() const override { return !frame_.empty(); }
  std::uint64_t announced() const override { return frame_bytes_; }

  std::optional<std::string> wire(const std::string& payload) const {
    if (payload.size() != frame_bytes_) return std::nullopt;
    return payload;
  }
  std::string arrival(const std::string& payload) const { return payload; }

 private:
  void take(char c) override {
    frame_ += c;
    if (frame_.size() < frame_bytes_) return;
    deliver(frame_);
    frame_.clear();
  }

  std::size_t frame_bytes_;
  std::string frame_;
};

}  // namespace millrace::reference
