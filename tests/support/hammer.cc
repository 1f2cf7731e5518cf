#include "support/hammer.h"

#include <millrace/connection.h>
#include <millrace/error.h>
#include <millrace/server.h>

#include "support/random.h"
#include "support/raw_socket.h"

#include <array>
#include <exception>
#include <set>
#include <stdexcept>
#include <string_view>

namespace millrace::test {
namespace {

using namespace std::chrono_literals;
using SteadyClock = std::chrono::steady_clock;

constexpr std::size_t kHammerProblemsKept = 10;
// So many acts of peers for each connection are more than enough to end it.
constexpr std::size_t kActsPerConnection = 400;

// What the handlers of a round share.
struct Round {
  Random random;
  HammerReport report = {};
  std::set<Connection*> live = {};
  std::array<ConnectionHandler*, 2> handlers = {};

  void must(bool holds, const char* otherwise) {
    if (!holds && report.problems.size() < kHammerProblemsKept)
      report.problems.push_back(otherwise);
  }
};

class Hammer final : public ConnectionHandler {
 public:
  explicit Hammer(Round& round) : round_(round) {}

  void on_open(Connection& c) override {
    round_.must(round_.live.insert(&c).second, "opened twice");
    ++round_.report.opened;
    act(c);
  }
  void on_data(Connection& c, ReceiveBuffer& in) override {
    round_.must(round_.live.count(&c) == 1, "data of a connection that is not open");
    in.consume(round_.random.below(in.size() + 1));
    act(c);
  }
  void on_drained(Connection& c) override {
    round_.must(round_.live.count(&c) == 1, "drained, but not open");
    act(c);
  }
  void on_peer_end(Connection& c) override {
    round_.must(round_.live.count(&c) == 1, "peer end, but not open");
    act(c);
    if (round_.random.one_in(2)) c.close();
  }
  void on_close(Connection& c, std::error_code) override {
    round_.must(round_.live.erase(&c) == 1, "closed without being open");
    ++round_.report.closed;
    act(c);
  }

 private:
  // To this one or, as often, to any other that lives.
  void act(Connection& self) {
    Connection* c = &self;
    if (!round_.live.empty() && round_.random.one_in(2)) {
      c = *std::next(round_.live.begin(),
                     static_cast<std::ptrdiff_t>(round_.random.below(round_.live.size())));
    }
    switch (round_.random.below(24)) {
      case 0:
        return c->close();
      case 1:
        return c->close(error::idle_timeout, "at random");
      case 2:
        return c->abort();
      case 3:
        return c->end();
      case 4:
        return c->pause_reading();
      case 5:
        return c->flush();
      case 6:
        return c->set_handler(*round_.handlers[round_.random.below(2)]);
      case 7:
        throw std::runtime_error("at random");
      case 8:
        return static_cast<void>(c->send(round_.random.bytes(200'000)));
      case 9:
        return static_cast<void>(c->send(SharedBytes(round_.random.bytes(5'000))));
      case 10:
        return static_cast<void>(c->loop().defer([ref = c->ref()] {
          if (Connection* later = ref.get()) later->send("deferred");
        }));
      case 11:
      case 12:
      case 13:
        return c->resume_reading();
      default:
        return static_cast<void>(c->send(round_.random.bytes(round_.random.below(300))));
    }
  }

  Round& round_;
};

// The other ends.
class Peers {
 public:
  Peers(Round& round, SocketAddress server) : round_(round), server_(server) {}

  bool empty() const { return peers_.empty(); }
  void clear() { peers_.clear(); }

  void connect() {
    peers_.push_back(RawSocket::connect_to(server_, round_.random.one_in(3) ? 4096 : 0));
    ++round_.report.connected;
  }

  void act(bool may_connect, std::size_t at_once) {
    Random& random = round_.random;
    if (may_connect && peers_.size() < at_once) connect();
    if (peers_.empty()) return;
    const std::size_t at = random.below(peers_.size());
    RawSocket& one = peers_[at];
    switch (random.below(12)) {
      case 0:
        one.end();
        break;
      case 1:
        one.reset();
        [[fallthrough]];
      case 2:
        peers_.erase(peers_.begin() + static_cast<std::ptrdiff_t>(at));
        break;
      case 3:
      case 4:
      case 5:
        one.receive_some();
        break;
      default:
        one.send_some(random.bytes(random.size_up_to(20'000)));
        break;
    }
  }

 private:
  Round& round_;
  const SocketAddress server_;
  std::vector<RawSocket> peers_;
};

// With the kernel's buffers so small that a peer which does not read blocks us after a few KiB.
ServerOptions server_options() {
  ServerOptions options;
  options.listen.socket.send_buffer_bytes = 4096;
  options.listen.socket.receive_buffer_bytes = 4096;
  options.connection.limits = {.high_watermark_bytes = 100'000, .send_queue_bytes = 2'000'000};
  options.connection.timeouts.linger = 50ms;
  return options;
}

void run_until_empty(EventLoop& loop, Server& server) {
  loop.run_for(10ms);
  // What was paused does not hear of its peer's end.
  server.for_each([](Connection& c) { c.abort(); });
  const auto end = SteadyClock::now() + 10s;
  while (server.connection_count() > 0 && SteadyClock::now() < end) loop.run_once(1ms);
}

}  // namespace

HammerReport hammer(EventLoop& loop, const HammerOptions& options) {
  Round round{Random(options.seed)};
  Hammer first(round), second(round);
  round.handlers = {&first, &second};
  loop.set_exception_hook([](std::exception_ptr, std::string_view) {});
  Server server(loop, first, server_options());
  server.listen(SocketAddress::loopback(0));
  Peers peers(round, server.address());
  bool may_connect = true;
  for (std::size_t step = 0; step < kActsPerConnection * options.connections; ++step) {
    may_connect = round.report.connected < options.connections && SteadyClock::now() < options.end;
    if (!may_connect && peers.empty()) break;
    peers.act(may_connect, options.peers_at_once);
    if (step % 4 == 0) loop.run_once(0ms);
  }
  round.must(!may_connect, "the peers did not come to an end");
  peers.clear();
  run_until_empty(loop, server);
  round.must(server.connection_count() == 0, "connections did not come to an end");
  round.must(round.live.empty(), "connections without on_close");
  return round.report;
}

}  // namespace millrace::test
