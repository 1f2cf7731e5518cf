// Whatever the text: as the name of a host it is refused, or the question that is sent has exactly
// that name, or it is a number or this host and nobody is asked.
#include <millrace/error.h>
#include <millrace/event_loop.h>
#include <millrace/resolver.h>

#include "host_name.h"
#include "support/dns_server.h"

#include <cctype>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

using namespace millrace;

namespace {

void must(bool holds) {
  if (!holds) std::abort();
}

std::string as_asked(std::string_view text) {
  std::string name(text.substr(0, text.size() - (text.ends_with('.') ? 1 : 0)));
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return name;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static EventLoop loop;
  static test::SilentPort server;
  static Resolver resolver(loop, [] {
    ResolverOptions options;
    options.servers = {server.address()};
    options.hosts_file = "/dev/null";
    return options;
  }());
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  std::error_code why;
  std::string found;
  bool told = false;
  {
    const Lookup lookup =
        resolver.resolve(text, 80, Resolver::Families::ipv4,
                         [&](std::error_code failed, std::span<const SocketAddress> addresses) {
                           told = true;
                           why = failed;
                           if (!addresses.empty()) found = addresses.front().host();
                         });
    const std::string sent = server.receive();
    loop.run_once(Duration(0));
    const std::string name = as_asked(text);
    const bool is_onion = name.ends_with(".onion");  // never asked for: RFC 7686
    const bool asks = is_host_name(text) && !is_localhost(text) && !is_onion;
    must(sent.empty() != asks);
    must(told != asks);
    if (asks) {
      must(test::DnsQuestion(sent, false).name == name);
    } else if (is_onion && is_host_name(text)) {
      must(why == error::name_not_found);
    } else if (is_localhost(text) && is_host_name(text)) {
      must(!why && found == "127.0.0.1");
    } else if (const auto number = numeric_host(text, 80)) {
      must(number->family() == SocketAddress::Family::ipv4 ? found == number->host()
                                                           : why == error::name_has_no_address);
    } else {
      must(why == error::name_invalid);
    }
  }
  loop.run_once(Duration(0));
  return 0;
}
