#include <millrace/error.h>

#include <cstddef>
#include <new>

namespace millrace {
namespace {

class Category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "millrace"; }
  std::string message(int value) const override {
    switch (static_cast<error>(value)) {
      case error::aborted:
        return "connection aborted by this side";
      case error::owner_destroyed:
        return "the server or client of this connection was destroyed";
      case error::handler_exception:
        return "a callback of this connection threw an exception";
      case error::send_queue_overflow:
        return "send queue over its hard limit";
      case error::receive_buffer_overflow:
        return "unconsumed input over its limit";
      case error::idle_timeout:
        return "idle for too long";
      case error::first_byte_timeout:
        return "nothing received in time";
      case error::message_timeout:
        return "message not complete in time";
      case error::write_stalled:
        return "peer stopped taking data";
      case error::linger_timeout:
        return "data still undelivered when the linger time was over";
      case error::lifetime_exceeded:
        return "open for longer than allowed";
      case error::drain_deadline:
        return "still open at the drain deadline";
      case error::frame_too_large:
        return "frame larger than allowed";
      case error::frame_corrupt:
        return "corrupt frame";
      case error::frame_checksum:
        return "frame does not match its checksum";
      case error::frame_truncated:
        return "stream ended inside a frame";
      case error::child_ignored:
        return "child ended, but SIGCHLD is ignored: how it ended is not known";
      case error::child_reaped:
        return "child ended, but was waited for elsewhere: how it ended is not known";
      case error::name_invalid:
        return "not a valid host name";
      case error::name_not_found:
        return "host name not found";
      case error::name_has_no_address:
        return "host name has no address of the wanted family";
      case error::name_server_failed:
        return "DNS server failed to look up the host name";
      case error::name_refused:
        return "DNS server refused to look up the host name";
      case error::name_servers_unreachable:
        return "no DNS server could be reached";
      case error::name_malformed_answer:
        return "malformed answer from the DNS server";
      case error::name_timeout:
        return "host name not looked up in time";
      case error::too_many_lookups:
        return "too many host names being looked up at the same time";
      case error::too_many_descriptors:
        return "more descriptors passed than allowed";
      case error::descriptors_lost:
        return "no room for a descriptor that was passed";
      case error::pool_timeout:
        return "no pooled connection in time";
      case error::pool_full:
        return "too many requests wait for a pooled connection";
      case error::pool_check_failed:
        return "pooled connection did not pass its check";
    }
    return "unknown millrace error " + std::to_string(value);
  }
};

}  // namespace

const std::error_category& error_category() noexcept {
  // Never destroyed: connections may report errors while static objects are being torn down. Nor
  // does it take memory: it may be asked for because there is none.
  alignas(Category) static std::byte place[sizeof(Category)];
  static const Category* const category = ::new (place) Category;
  return *category;
}

void throw_system_error(int errno_value, const std::string& what) {
  throw std::system_error(system_error_code(errno_value), what);
}

}  // namespace millrace
