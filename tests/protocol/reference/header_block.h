// The reference of HeaderBlock: see decoder.h.
#pragma once

#include <millrace/header_block.h>

#include "reference/decoder.h"

#include <optional>
#include <string>
#include <vector>

namespace millrace::reference {

class HeaderBlock : public Decoder {
 public:
  explicit HeaderBlock(const HeaderBlockOptions& options) : o_(options) {}

  static bool makes_sense(const HeaderBlockOptions& o) {
    if (!is_name(o.length_field) || (!o.length_alias.empty() && !is_name(o.length_alias))) {
      return false;
    }
    if (o.max_header_bytes < 2) return false;
    if (!o.bodies_only) return true;
    // No start line is known that a body could be sent with.
    return !o.start_line && head(o, o.max_body_bytes).size() <= o.max_header_bytes;
  }

  bool inside_frame() const override { return !header_.empty(); }
  bool skipping() const override { return skipping_; }
  std::uint64_t announced() const override {
    return header_complete_ ? static_cast<std::uint64_t>(length_) : 0;
  }

  std::optional<std::string> wire(const std::string& payload) const {
    const std::string sent = o_.bodies_only ? head(o_, payload.size()) + payload : payload;
    return if_one_frame(HeaderBlock(o_), sent, payload);
  }
  std::string arrival(const std::string& payload) const { return payload; }

 private:
  static std::string head(const HeaderBlockOptions& o, std::size_t body_bytes) {
    return o.length_field + ": " + std::to_string(body_bytes) + "\r\n\r\n";
  }

  void take(char c) override {
    if (!header_complete_) {
      take_header(c);
    } else {
      ++body_bytes_;
      if (!skipping_) body_ += c;
    }
    if (failed() || !header_complete_ || body_bytes_ < length_) return;
    if (skipping_) {
      next_frame();
    } else {
      deliver(o_.bodies_only ? body_ : header_ + body_);
    }
    begin();
  }

  void take_header(char c) {
    header_ += c;
    line_ += c;
    bool ended = false;
    if (c == '\n') {
      line_.pop_back();
      if (line_.ends_with('\r')) line_.pop_back();
      ended = line_.empty();
      lines_.push_back(line_);
      line_.clear();
    }
    if (ended && lines_.size() == 1) {  // an empty line before the message
      next_frame();
      return begin();
    }
    const bool will_be_larger = header_.size() == o_.max_header_bytes && !ended;
    if (will_be_larger || header_.size() > o_.max_header_bytes) {
      return fail_too_large(0, o_.max_header_bytes);
    }
    if (ended) judge_header();
  }

  void judge_header() {
    lines_.pop_back();  // the empty one
    std::optional<Wide> length;
    for (const std::string& line : lines_) {
      if (line.find('\r') != line.npos || line.find('\0') != line.npos) return fail_corrupt();
    }
    const std::size_t first = o_.start_line ? 1 : 0;
    bool continues_length = false;
    for (std::size_t i = first; i < lines_.size(); ++i) {
      if (lines_[i][0] == ' ' || lines_[i][0] == '\t') {
        if (i == first || continues_length) return fail_corrupt();
        continue;
      }
      const std::size_t colon = lines_[i].find(':');
      if (colon == std::string::npos) return fail_corrupt();
      const std::string name = lines_[i].substr(0, colon);
      if (!is_name(name)) return fail_corrupt();
      continues_length = is_length(name);
      if (!continues_length) continue;
      if (length) return fail_corrupt();
      length = number(lines_[i].substr(colon + 1));
      if (!length) return fail_corrupt();
    }
    if (!length && o_.length_required) return fail_corrupt();
    header_complete_ = true;
    length_ = length.value_or(0);
    if (length_ <= static_cast<Wide>(o_.max_body_bytes)) return;
    if (o_.oversize == Oversize::fail) return fail_too_large(length_, o_.max_body_bytes);
    tell_oversized(length_, o_.max_body_bytes);
    skipping_ = true;
  }

  static bool is_name(const std::string& name) {
    if (name.empty()) return false;
    for (const char c : name) {
      if (c <= ' ' || c == 127 || c == ':') return false;
    }
    return true;
  }
  static std::string lower(std::string text) {
    for (char& c : text) {
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return text;
  }
  bool is_length(const std::string& name) const {
    return lower(name) == lower(o_.length_field) ||
           (!o_.length_alias.empty() && lower(name) == lower(o_.length_alias));
  }
  static std::optional<Wide> number(std::string text) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.erase(0, 1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.pop_back();
    if (text.empty()) return std::nullopt;
    if (text.size() > 18) return std::nullopt;
    Wide value = 0;
    for (const char c : text) {
      if (c < '0' || c > '9') return std::nullopt;
      value = value * 10 + (c - '0');
    }
    return value;
  }

  void begin() {
    header_.clear();
    line_.clear();
    lines_.clear();
    body_.clear();
    header_complete_ = false;
    length_ = 0;
    body_bytes_ = 0;
    skipping_ = false;
  }

  HeaderBlockOptions o_;
  std::string header_;  // as much as has come
  std::string line_;    // the last of it, not yet ended
  std::vector<std::string> lines_;
  bool header_complete_ = false;
  Wide length_ = 0;
  Wide body_bytes_ = 0;  // so many have come
  std::string body_;
  bool skipping_ = false;
};

}  // namespace millrace::reference
