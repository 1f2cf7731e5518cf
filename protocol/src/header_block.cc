// Everything is decided by the first bytes that suffice, however they are cut: a header is looked
// at once its empty line is there, and is too large when max_header_bytes have not brought that.
#include <millrace/error.h>
#include <millrace/header_block.h>

#include "options_check.h"
#include "oversize.h"
#include "payload_check.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <stdexcept>

namespace millrace {
namespace {

constexpr std::size_t kLargestName = 64;
// Eighteen digits: no sum of such a length and its header can overflow.
constexpr std::size_t kMostOfLength = 18;
// FrameState::note is how many bytes of a header were searched.

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool same_name(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

bool is_blank(char c) {
  return c == ' ' || c == '\t';
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

// Takes the first line off `text`, without its end.
std::string_view take_line(std::string_view& text) {
  const std::size_t lf = std::min(text.find('\n'), text.size());
  std::string_view line = text.substr(0, lf);
  text.remove_prefix(std::min(lf + 1, text.size()));
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

bool is_name(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(),
                                      [](char c) { return c > ' ' && c != 0x7f && c != ':'; });
}

// How many bytes of empty lines `text` begins with.
std::size_t empty_lines(std::string_view text) {
  std::size_t at = 0;
  for (;;) {
    if (text.substr(at, 1) == "\n") {
      at += 1;
    } else if (text.substr(at, 2) == "\r\n") {
      at += 2;
    } else {
      return at;
    }
  }
}

// Where the header ends, behind its empty line; 0: not within `text`. `*searched` is moved on to
// where to look next time.
std::size_t end_of_header(std::string_view text, std::size_t* searched) {
  std::size_t lf = text.find('\n', *searched);
  for (; lf != text.npos; lf = text.find('\n', lf + 1)) {
    const std::string_view behind = text.substr(lf + 1, 2);
    if (behind.starts_with('\n')) return lf + 2;
    if (behind == "\r\n") return lf + 3;
    if (behind.empty() || behind == "\r") break;
  }
  *searched = std::min(lf, text.size());
  return 0;
}

}  // namespace

struct HeaderBlock::Length {
  bool found = false;
  std::uint64_t bytes = 0;

  // What is wrong with it, or null.
  const char* read(std::string_view digits) noexcept {
    if (found) return "more than one length in a header";
    found = true;
    if (digits.empty() || digits.size() > kMostOfLength) return "a length that is no plain number";
    std::uint64_t number = 0;
    const auto [end, problem] =
        std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (problem != std::errc() || end != digits.data() + digits.size()) {
      return "a length that is no plain number";
    }
    bytes = number;
    return nullptr;
  }
};

HeaderBlock::HeaderBlock(HeaderBlockOptions options) : options_(std::move(options)) {
  const OptionsCheck check("HeaderBlockOptions");
  check.that(is_name(options_.length_field) && options_.length_field.size() <= kLargestName,
             "length_field", "'" + options_.length_field + "'", "no name of a field");
  check.that(options_.length_alias.empty() || is_name(options_.length_alias), "length_alias",
             "'" + options_.length_alias + "'", "no name of a field");
  check.that(options_.max_header_bytes >= 2, "max_header_bytes", options_.max_header_bytes,
             "no header fits");
  check.that(!options_.bodies_only || !options_.start_line, "bodies_only", true,
             "what start line a body is to be sent with, nobody knows");
  options_.max_header_bytes = std::min(options_.max_header_bytes, SIZE_MAX / 4);
  options_.max_body_bytes = std::min(options_.max_body_bytes, SIZE_MAX / 4);
  const std::size_t sent = options_.bodies_only ? head(options_.max_body_bytes).size() : 0;
  check.that(options_.max_header_bytes >= sent, "max_header_bytes", options_.max_header_bytes,
             "less than the " + std::to_string(sent) + " bytes of a header to be sent");
}

std::size_t HeaderBlock::largest_frame_bytes() const noexcept {
  return options_.max_header_bytes + options_.max_body_bytes;
}

bool HeaderBlock::is_length(std::string_view name) const noexcept {
  return same_name(name, options_.length_field) ||
         (!options_.length_alias.empty() && same_name(name, options_.length_alias));
}

// What is wrong with a header, or null.
const char* HeaderBlock::read_lines(std::string_view head, Length& length) const noexcept {
  if (head.find('\0') != head.npos) return "NUL in a header";
  if (options_.start_line) {
    const std::string_view line = take_line(head);
    if (line.find('\r') != line.npos) return "CR without LF in a header";
  }
  bool after_length = false;
  bool first = true;
  for (std::string_view line = take_line(head); !line.empty(); line = take_line(head)) {
    if (line.find('\r') != line.npos) return "CR without LF in a header";
    if (is_blank(line.front())) {
      if (first) return "a header that begins with white space";
      if (after_length) return "a length that goes on in the next line";
      continue;
    }
    const std::size_t colon = line.find(':');
    if (colon == line.npos) return "a line of a header without a colon";
    const std::string_view name = line.substr(0, colon);
    if (!is_name(name)) return "a field of a header without a proper name";
    first = false;
    after_length = is_length(name);
    if (!after_length) continue;
    if (const char* wrong = length.read(trim(line.substr(colon + 1)))) return wrong;
  }
  if (options_.length_required && !length.found) return "a header without a length";
  return nullptr;
}

Decoded HeaderBlock::decode(ByteView input, FrameState& state) const noexcept {
  if (state.skipping()) return skip_rest(input, state);
  const std::string_view head =
      input.first(std::min(input.size(), options_.max_header_bytes)).text();
  std::size_t searched = std::min<std::uint64_t>(state.note, head.size());
  if (searched == 0) {
    if (const std::size_t empty = empty_lines(input.text())) return Decoded::skip(empty);
    if (input.text() == "\r") return Decoded::need(2);
  }
  const std::size_t end = end_of_header(head, &searched);
  if (end == 0) {
    if (head.size() == options_.max_header_bytes) {
      return Decoded::too_large(0, head.size(), "no end of the header within the limit");
    }
    state.note = searched;
    return Decoded::need(input.size() + 1);
  }
  state.note = 0;
  Length length;
  if (const char* wrong = read_lines(head.substr(0, end), length)) {
    return Decoded::corrupt(wrong);
  }
  const std::uint64_t whole = end + length.bytes;
  if (length.bytes > options_.max_body_bytes) {
    return too_large(options_.oversize, whole, length.bytes, options_.max_body_bytes, input, state);
  }
  if (input.size() < whole) {
    state.note = searched;
    return Decoded::need(static_cast<std::size_t>(whole), length.bytes);
  }
  const ByteView frame = input.first(static_cast<std::size_t>(whole));
  return Decoded::ready(options_.bodies_only ? frame.from(end) : frame, frame.size());
}

std::size_t HeaderBlock::overhead_bytes(std::size_t payload_bytes) const noexcept {
  if (!options_.bodies_only) return 0;
  return options_.length_field.size() + std::strlen(": \r\n\r\n") +
         std::to_string(payload_bytes).size();
}

void HeaderBlock::wrap(ByteView payload, FrameEdges& edges) const {
  if (options_.bodies_only) {
    check_payload(payload.size(), options_.max_body_bytes);
    const std::string head = this->head(payload.size());
    std::memcpy(edges.add_before(head.size()), head.data(), head.size());
  } else {
    FrameState state;
    const Decoded found = decode(payload, state);
    if (found.error == error::frame_too_large || found.status == Decoded::oversized) {
      check_payload(static_cast<std::size_t>(found.announced),
                    static_cast<std::size_t>(found.limit));
    }
    if (found.status != Decoded::frame_ready || found.consumed != payload.size()) {
      throw std::invalid_argument("message of " + std::to_string(payload.size()) +
                                  " bytes to send that would not arrive as one: " +
                                  (*found.detail ? found.detail : "its length is another"));
    }
  }
  edges.set_payload(payload);
}

std::string HeaderBlock::head(std::size_t body_bytes, std::initializer_list<Field> fields,
                              std::string_view start_line) const {
  const auto is_line = [](std::string_view text) {
    return text.find_first_of(std::string_view("\r\n\0", 3)) == text.npos;
  };
  if (!is_line(start_line) || start_line.empty() == options_.start_line) {
    throw std::invalid_argument("start line '" + std::string(start_line) + "' to send");
  }
  std::string head;
  if (!start_line.empty()) head.append(start_line).append("\r\n");
  for (const auto& [name, value] : fields) {
    if (!is_name(name) || !is_line(value) || is_length(name)) {
      throw std::invalid_argument("field '" + std::string(name) + "' to send");
    }
    head.append(name).append(": ").append(value).append("\r\n");
  }
  head.append(options_.length_field).append(": ").append(std::to_string(body_bytes));
  return head.append("\r\n\r\n");
}

HeaderMessage::HeaderMessage(ByteView frame, bool has_start_line) noexcept {
  std::size_t searched = 0;
  const std::size_t end = end_of_header(frame.text(), &searched);
  fields_ = frame.text().substr(0, end);
  body_ = frame.from(end);
  if (has_start_line) start_line_ = take_line(fields_);
}

bool HeaderMessage::next(std::string_view& fields, std::string_view& name,
                         std::string_view& value) noexcept {
  const std::string_view line = take_line(fields);
  if (line.empty()) return false;
  const std::size_t colon = std::min(line.find(':'), line.size());
  name = line.substr(0, colon);
  const char* end = line.data() + line.size();
  // Lines that begin with white space belong to it.
  while (!fields.empty() && is_blank(fields.front())) {
    const std::string_view more = take_line(fields);
    end = more.data() + more.size();
  }
  const char* begin = line.data() + std::min(colon + 1, line.size());
  value = trim({begin, static_cast<std::size_t>(end - begin)});
  return true;
}

std::optional<std::string_view> HeaderMessage::field(std::string_view wanted) const noexcept {
  std::string_view rest = fields_;
  std::string_view name;
  std::string_view value;
  while (next(rest, name, value)) {
    if (same_name(name, wanted)) return value;
  }
  return {};
}

}  // namespace millrace
