// HeaderBlock is the framing of messages with a header of lines, an empty line, and a body whose
// length the header says, if it has one: LSP, FreeSWITCH's event socket, SIP, RTSP. It does no I/O,
// is not changed by use, and may be shared by all connections and by threads.
//
//   Content-Type: text/plain LF         one frame: all of it. HeaderMessage(frame) finds its parts
//   Content-Length: 5 LF
//   LF
//   hello
//
//   Content-Length: 16 CR LF CR LF {"id":1,"ok":[]}     {.bodies_only = true}: {"id":1,"ok":[]}
//   RTSP/1.0 200 OK CR LF CSeq: 1 CR LF CR LF           {.start_line = true}
//
// Lines end with LF or CR LF. Empty lines before a message are skipped (SIP and RTSP keep
// connections alive with them). A line that begins with a blank continues the field before it.
// Errors are, where two programs disagree about a length and a message can be smuggled past one of
// them: two lengths in one header; a length that is no plain number (at most 18 digits, blanks
// around them), or that is continued; a line without a colon, or with blanks in the name before
// it; a CR without LF; NUL.
#pragma once

#include <millrace/frame_codec.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace millrace {

struct HeaderBlockOptions {
  std::string length_field = "Content-Length";  // its name, in whatever case
  std::string length_alias = "";                // another name for it: "l" in SIP
  bool length_required = false;                 // otherwise a header without it has no body
  bool start_line = false;                      // the first line is no field
  // on_frame gets the body alone, and what is sent is a body: its header is written for it.
  bool bodies_only = false;
  std::size_t max_header_bytes = 16 * 1024;  // with the empty line behind it
  std::size_t max_body_bytes = 16 * 1024 * 1024;
  Oversize oversize = Oversize::fail;  // of a body
};

class HeaderBlock {
 public:
  // Throws std::invalid_argument naming the field that makes no sense.
  explicit HeaderBlock(HeaderBlockOptions options = {});

  Decoded decode(ByteView input, FrameState& state) const noexcept;

  std::size_t largest_frame_bytes() const noexcept;
  std::size_t overhead_bytes(std::size_t payload_bytes) const noexcept;

  // With bodies_only a body. Otherwise a whole message, as head() begins it; throws
  // std::invalid_argument for what would not arrive as one message.
  void wrap(ByteView payload, FrameEdges& edges) const;

  // The header of a message, with its length and the empty line. Throws std::invalid_argument for a
  // field that would end the line or the header.
  using Field = std::pair<std::string_view, std::string_view>;
  std::string head(std::size_t body_bytes, std::initializer_list<Field> fields = {},
                   std::string_view start_line = {}) const;

 private:
  struct Length;
  bool is_length(std::string_view name) const noexcept;
  const char* read_lines(std::string_view head, Length& length) const noexcept;

  HeaderBlockOptions options_;
};

// The parts of a message that on_frame got, as views into it.
class HeaderMessage {
 public:
  explicit HeaderMessage(ByteView frame, bool has_start_line = false) noexcept;

  std::string_view start_line() const noexcept { return start_line_; }
  // The value of the first field of that name, in whatever case.
  std::optional<std::string_view> field(std::string_view name) const noexcept;
  // All of them: `bool next(fields, name, value)` in a loop that starts with fields().
  std::string_view fields() const noexcept { return fields_; }
  static bool next(std::string_view& fields, std::string_view& name,
                   std::string_view& value) noexcept;
  ByteView body() const noexcept { return body_; }

 private:
  std::string_view start_line_;
  std::string_view fields_;
  ByteView body_;
};

}  // namespace millrace
