// Checks options and says which one makes no sense: "LinesOptions::max_line_bytes is 0: no line
// fits".
#pragma once

#include <stdexcept>
#include <string>

namespace millrace {

class OptionsCheck {
 public:
  explicit OptionsCheck(const char* options) noexcept : options_(options) {}

  template <class T>
  void that(bool holds, const char* field, const T& value, const std::string& why) const {
    if (holds) return;
    std::string text = std::string(options_) + "::" + field + " is ";
    if constexpr (std::is_arithmetic_v<T>) {
      text += std::to_string(value);
    } else {
      text += value;
    }
    throw std::invalid_argument(text + ": " + why);
  }

 private:
  const char* options_;
};

}  // namespace millrace
