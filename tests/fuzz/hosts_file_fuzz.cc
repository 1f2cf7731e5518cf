// Whatever a hosts file has in it: each of its addresses is one, each of its names can be looked
// up, and what follows on a line of its own is found.
#include "host_name.h"
#include "hosts_file.h"

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

using namespace millrace;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  HostsFile hosts("/dev/null");
  hosts.parse(std::string(text) + "\n192.0.2.77 last.example\n");
  bool found = false;
  for (const SocketAddress& address : hosts.find("LAST.example.")) {
    found = found || address == SocketAddress::parse("192.0.2.77:0");
  }
  if (!found) std::abort();
  for (std::size_t at = 0; at < text.size();) {
    const std::string_view word = text.substr(at, text.find_first_of(" \t\n", at) - at);
    for (const SocketAddress& address : hosts.find(word)) {
      if (!is_host_name(word) || address.family() == SocketAddress::Family::none) std::abort();
    }
    at += word.size() + 1;
  }
  return 0;
}
