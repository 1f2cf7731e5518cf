// Whatever a DNS server answers, a lookup has one result, addresses if and only if there is no
// error, and leaves no descriptor. The first byte says how the rest is used; then come the answers:
// of the questions for both families, and of what is asked by TCP.
#include <millrace/error.h>
#include <millrace/event_loop.h>
#include <millrace/resolver.h>

#include "support/dns_server.h"
#include "support/faults.h"
#include "support/process.h"

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

using namespace millrace;
using millrace::test::DnsQuestion;
using millrace::test::DnsServer;

namespace {

constexpr std::chrono::milliseconds kTimeout{100};
// More than any exchange takes: two questions, by UDP and TCP, with retries.
constexpr int kTurns = 50;

enum Mode : unsigned {
  kRaw = 1,        // the bytes are all of the answer
  kTruncated = 2,  // answers by UDP say so, and TCP is next
  kOneFamily = 4,  // one question
  kSearching = 8,  // a name that is tried in search domains
};

struct Input {
  std::uint8_t mode;
  std::string_view rest;

  std::string take() {
    const std::size_t n = rest.size() / 2 + rest.size() % 2;
    const std::string taken(rest.substr(0, n));
    rest.remove_prefix(n);
    return taken;
  }
};

// The answer that the bytes are for this question.
std::string reply_to(const DnsQuestion& question, Input& input) {
  const std::string bytes = input.take();
  if ((input.mode & kRaw) != 0) return bytes;
  // Codes and counts are the input's; the rest is such that c-ares looks at the records.
  std::string reply = question.head(0, 1, (input.mode & kTruncated) != 0 && !question.tcp);
  if (bytes.size() < 2) return reply;
  reply[3] = static_cast<char>(static_cast<unsigned char>(bytes[0]) & 0x8f);
  reply[7] = static_cast<char>(static_cast<unsigned char>(bytes[1]) % 16);
  return reply + bytes.substr(2);
}

void must(bool holds) {
  if (!holds) std::abort();
}

void look_up(Input input) {
  EventLoop loop;
  DnsServer server(loop, [&](const DnsQuestion& question) { return reply_to(question, input); });
  ResolverOptions options;
  options.servers = {server.address()};
  options.hosts_file = "/dev/null";
  options.timeout = kTimeout;
  options.tries = 1;
  if ((input.mode & kSearching) != 0) options.search_domains = {"b.example", "example"};
  Resolver resolver(loop, options);
  int results = 0;
  const auto families =
      (input.mode & kOneFamily) != 0 ? Resolver::Families::ipv4 : Resolver::Families::any;
  const Lookup lookup = resolver.resolve(
      "a", 80, families, [&](std::error_code why, std::span<const SocketAddress> addresses) {
        ++results;
        must(addresses.empty() == static_cast<bool>(why));
        for (const SocketAddress& address : addresses) {
          must(address.port() == 80 && address.family() != SocketAddress::Family::none);
        }
      });
  must(results == 0);
  test::Faults faults;
  for (int turn = 0; turn < kTurns && results == 0; ++turn) loop.run_once(Duration(0));
  // Nothing that made sense has come: the time is over.
  faults.advance_clock(kTimeout * 2);
  for (int turn = 0; turn < kTurns && results == 0; ++turn) loop.run_once(Duration(0));
  must(results == 1 && !lookup.active());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  static const bool warm = (look_up({0, {}}), true);  // what is opened once and for all
  static_cast<void>(warm);
  const std::size_t descriptors = test::open_descriptors().size();
  look_up({data[0], std::string_view(reinterpret_cast<const char*>(data + 1), size - 1)});
  must(test::open_descriptors().size() == descriptors);
  return 0;
}
