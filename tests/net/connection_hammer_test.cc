// Hundreds of connections at once, of which every callback does something at random, to itself or
// to another, while their peers do the same: each is opened once and closed once, and nothing is
// left.
#include <millrace/error.h>

#include "support/one_peer_test.h"
#include "support/random.h"

#include <array>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

namespace millrace::test {
namespace {

constexpr int kConnections = 500;
constexpr std::size_t kPeersAtOnce = 40;

// What the handlers of a round share.
struct Round {
  Random random;
  std::set<Connection*> live = {};
  int opened = 0;
  int closed = 0;
  std::array<ConnectionHandler*, 2> handlers = {};
};

class Hammer final : public ConnectionHandler {
 public:
  explicit Hammer(Round& round) : round_(round) {}

  void on_open(Connection& c) override {
    EXPECT_TRUE(round_.live.insert(&c).second) << "opened twice";
    ++round_.opened;
    act(c);
  }
  void on_data(Connection& c, ReceiveBuffer& in) override {
    EXPECT_TRUE(round_.live.count(&c)) << "data of a connection that is not open";
    in.consume(round_.random.below(in.size() + 1));
    act(c);
  }
  void on_drained(Connection& c) override {
    EXPECT_TRUE(round_.live.count(&c)) << "drained, but not open";
    act(c);
  }
  void on_peer_end(Connection& c) override {
    EXPECT_TRUE(round_.live.count(&c)) << "peer end, but not open";
    act(c);
    if (round_.random.one_in(2)) c.close();
  }
  void on_close(Connection& c, std::error_code) override {
    EXPECT_EQ(round_.live.erase(&c), 1u) << "closed without being open";
    ++round_.closed;
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

class HammerTest : public OnePeerTest, public ::testing::WithParamInterface<std::uint64_t> {
 protected:
  void SetUp() override {
    OnePeerTest::SetUp();
    loop().set_exception_hook([](std::exception_ptr, std::string_view) {});
  }
  void TearDown() override {
    peers_.clear();
    OnePeerTest::TearDown();
  }

  void let_peers_act(Round& round) {
    Random& random = round.random;
    if (peers_.size() < kPeersAtOnce && made_ < kConnections) {
      peers_.push_back(RawSocket::connect_to(server->address(), random.one_in(3) ? 4096 : 0));
      ++made_;
    }
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

  std::vector<RawSocket> peers_;
  int made_ = 0;
};

TEST_P(HammerTest, OpensAndClosesEachConnectionOnce) {
  Round round{Random(GetParam())};
  Hammer first(round), second(round);
  round.handlers = {&first, &second};
  ServerOptions options = small_buffers();
  options.connection.limits = {.high_watermark_bytes = 100'000, .send_queue_bytes = 2'000'000};
  options.connection.timeouts.linger = 50ms;
  server = std::make_unique<Server>(loop(), first, options);
  server->listen(SocketAddress::loopback(0));

  for (int step = 0; step < 200'000 && (made_ < kConnections || !peers_.empty()); ++step) {
    let_peers_act(round);
    if (step % 4 == 0) loop().run_once(0ms);
  }
  EXPECT_EQ(made_, kConnections);
  peers_.clear();
  run_for(10ms);
  // What was paused does not hear of its peer's end.
  server->for_each([](Connection& c) { c.abort(); });
  EXPECT_TRUE(run_until([&] { return server->connection_count() == 0; }));
  EXPECT_EQ(round.opened, kConnections);
  EXPECT_EQ(round.closed, kConnections);
  EXPECT_TRUE(round.live.empty());
}

INSTANTIATE_TEST_SUITE_P(Seeds, HammerTest, ::testing::Range<std::uint64_t>(1, 6));

}  // namespace
}  // namespace millrace::test
