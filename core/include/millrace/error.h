// The errors that millrace itself finds; those that the system finds keep the system's codes. Each
// is an std::error_code with a message that a person can read. Values; any thread.
//
//   void on_close(Connection& c, std::error_code why) {
//     if (why == error::idle_timeout) ...            // ours
//     if (why == std::errc::connection_reset) ...    // the system's
//   }
#pragma once

#include <string>
#include <system_error>

namespace millrace {

enum class error {
  aborted = 1,               // our side called abort()
  owner_destroyed,           // the Server or Client was destroyed
  handler_exception,         // a callback of this connection threw
  send_queue_overflow,       // more queued than ConnectionLimits::send_queue_bytes
  receive_buffer_overflow,   // more unconsumed, or expected, than ConnectionLimits::receive_bytes
  idle_timeout,              // no byte either way for ConnectionTimeouts::idle
  first_byte_timeout,        // no byte at all for ConnectionTimeouts::first_byte
  message_timeout,           // a message still incomplete after ConnectionTimeouts::message
  write_stalled,             // bytes waited and none left for ConnectionTimeouts::write_stall
  linger_timeout,            // close() could not deliver everything in time
  lifetime_exceeded,         // open for longer than ConnectionTimeouts::lifetime
  drain_deadline,            // still open when Server::drain() ran out of time
  frame_too_large,           // a frame announced more than the decoder's maximum
  frame_corrupt,             // a frame makes no sense
  frame_checksum,            // a frame is not what its checksum says
  frame_truncated,           // the stream ended inside a frame
  name_invalid,              // no host name: nobody was asked
  name_not_found,            // there is no such name
  name_has_no_address,       // there is, but it has no address of the families asked for
  name_server_failed,        // the DNS server says that it cannot tell
  name_refused,              // the DNS server does not want to tell
  name_servers_unreachable,  // no DNS server could be asked
  name_malformed_answer,     // what the DNS server says makes no sense
  name_timeout,              // no answer in time
  too_many_lookups,          // more under way than ResolverOptions::max_lookups
  child_ignored,             // SIGCHLD is ignored: how a child ended is not kept
  child_reaped,              // somebody else has waited for the child
  too_many_descriptors,      // more passed, and not taken, than ConnectionLimits allow
  descriptors_lost,          // this process had no room for a descriptor that the peer passed
  pool_timeout,              // no connection of a ConnectionPool within its acquire_timeout
  pool_full,                 // more requests wait than ConnectionPoolOptions::max_waiting
  pool_check_failed,         // a connection did not pass what tries connections of the pool
};

const std::error_category& error_category() noexcept;

inline std::error_code make_error_code(error e) noexcept {
  return {static_cast<int>(e), error_category()};
}

// The system's code for `errno_value`.
inline std::error_code system_error_code(int errno_value) noexcept {
  return {errno_value, std::system_category()};
}

// Throws std::system_error for errno_value; the text names the call and what it was about:
// "bind 127.0.0.1:80: Permission denied".
[[noreturn]] void throw_system_error(int errno_value, const std::string& what);

}  // namespace millrace

template <>
struct std::is_error_code_enum<millrace::error> : std::true_type {};
