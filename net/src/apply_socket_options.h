// Puts SocketOptions on a socket, and reads them back.
#pragma once

#include <millrace/socket_address.h>
#include <millrace/socket_options.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace millrace {

struct ListenOptions;

// An option that could not be set; none if all are. Without memory of its own: its words are
// constants, or lie in the options.
struct OptionFailure {
  const char* option = nullptr;  // the field, or the kernel's name for it
  const char* rule = nullptr;    // what the value must be; null: the kernel has refused it
  int error = 0;                 // errno value
  std::int64_t value = 0;
  std::string_view text_value;  // instead of `value`

  explicit operator bool() const noexcept { return option != nullptr; }
  // "tos 300: must be ...", "TCP_CONGESTION nosuch"; `of`: the address, or nothing.
  std::string text(std::string_view of = {}) const;
  [[noreturn]] void throw_for(const SocketAddress& address) const;
};

// `domain` is that of the socket: AF_INET, AF_INET6 or AF_UNIX.
OptionFailure check_socket_options(const SocketOptions& options, int domain) noexcept;
OptionFailure check_listen_options(const ListenOptions& options, int domain) noexcept;

// Of options that were checked. A new socket also gets what is our default and not the kernel's.
enum class OptionsFor : std::uint8_t { new_socket, live_socket };
OptionFailure apply_socket_options(int fd, int domain, const SocketOptions& options,
                                   OptionsFor what) noexcept;

// Of a listener's options those that what it accepts must be given besides; none: it has them all.
std::optional<SocketOptions> options_not_inherited(const SocketOptions& options, int domain);

// AF_INET ... of a socket.
int domain_of(int fd) noexcept;
SocketOptions read_socket_options(int fd);

}  // namespace millrace
