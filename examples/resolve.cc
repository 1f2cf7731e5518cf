// Prints the addresses of the hosts that are named, all looked up at the same time, and says of
// each that has none why. What it shows: a Resolver, lookups kept while they are under way, and a
// loop that ends with its work.
#include <millrace/millrace.h>

#include <cstddef>
#include <exception>
#include <iostream>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

using namespace millrace;

int main(int argc, char** argv) {
  CLI::App app("Prints the addresses of hosts.", "resolve");
  std::vector<std::string> hosts;
  std::vector<std::string> servers;
  app.add_option("HOST", hosts, "names of hosts")->required();
  app.add_option("--server", servers, "ADDRESS:PORT of a DNS server (default: the system's)")
      ->allow_extra_args(false);
  CLI11_PARSE(app, argc, argv);
  try {
    ResolverOptions options;
    for (const std::string& server : servers) {
      options.servers.push_back(SocketAddress::parse(server));
    }
    EventLoop loop;
    Resolver resolver(loop, options);
    std::vector<Lookup> lookups;
    std::size_t left = hosts.size();
    int failures = 0;
    for (const std::string& host : hosts) {
      lookups.push_back(
          resolver.resolve(host, 0, Resolver::Families::any,
                           [&](std::error_code why, std::span<const SocketAddress> addresses) {
                             if (why) {
                               std::cerr << "resolve: " << host << ": " << why.message() << '\n';
                               ++failures;
                             }
                             for (const SocketAddress& a : addresses)
                               std::cout << host << ' ' << a.host() << '\n';
                             if (--left == 0) loop.stop();
                           }));
    }
    loop.run();
    return failures == 0 ? 0 : 1;
  } catch (const std::exception& e) {
    std::cerr << "resolve: " << e.what() << '\n';
    return 1;
  }
}
