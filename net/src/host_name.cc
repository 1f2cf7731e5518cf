#include "host_name.h"

#include <algorithm>
#include <cstddef>
#include <string>

namespace millrace {
namespace {

constexpr std::size_t kMostNameBytes = 253;  // RFC 1035: 255 in a message, with length bytes
constexpr std::size_t kMostLabelBytes = 63;

// Not those of <cctype>: they depend on the locale.
bool is_digit(char c) noexcept {
  return c >= '0' && c <= '9';
}
char lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
bool may_be_in_label(char c) noexcept {
  return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'z') || c == '-' || c == '_';
}

bool is_label(std::string_view text) noexcept {
  return !text.empty() && text.size() <= kMostLabelBytes &&
         std::all_of(text.begin(), text.end(), may_be_in_label);
}

std::string_view without_last_dot(std::string_view name) noexcept {
  if (name.ends_with('.')) name.remove_suffix(1);
  return name;
}

}  // namespace

bool is_host_name(std::string_view text) noexcept {
  text = without_last_dot(text);
  if (text.size() > kMostNameBytes) return false;
  for (;;) {
    const std::size_t dot = text.find('.');
    const std::string_view label = text.substr(0, dot);
    if (!is_label(label)) return false;
    if (dot == std::string_view::npos) return !std::all_of(label.begin(), label.end(), is_digit);
    text.remove_prefix(dot + 1);
  }
}

bool is_localhost(std::string_view name) noexcept {
  constexpr std::string_view kName = "localhost";
  name = without_last_dot(name);
  if (name.size() < kName.size()) return false;
  const std::size_t begin = name.size() - kName.size();
  return (begin == 0 || name[begin - 1] == '.') &&
         std::equal(kName.begin(), kName.end(), name.begin() + static_cast<std::ptrdiff_t>(begin),
                    [](char a, char b) { return a == lower(b); });
}

std::optional<SocketAddress> numeric_host(std::string_view text, std::uint16_t port) {
  // Without what try_parse() takes besides: brackets of the caller's, and names.
  if (text.find_first_of("[]") != std::string_view::npos || is_localhost(text)) return {};
  std::string address(text);
  if (text.find(':') != std::string_view::npos) address = '[' + address + ']';
  const auto parsed = SocketAddress::try_parse(address + ':' + std::to_string(port));
  // A host of the name "unix" looks like the path of a Unix socket there.
  if (parsed && parsed->family() == SocketAddress::Family::unix_domain) return {};
  return parsed;
}

}  // namespace millrace
