// What a message costs once everything is warm: one receive and one send for what came together,
// and neither memory nor a word to epoll.
#include <millrace/client.h>

#include "support/allocations.h"
#include "support/one_peer_test.h"

#include <cstdint>
#include <memory>
#include <string>

namespace millrace::test {
namespace {

struct SteadyStateTest : OnePeerTest {
  // A client of millrace that keeps `depth` messages of 64 bytes under way.
  struct Pinger : ConnectionHandler {
    void on_open(Connection& c) override { send_batch(c); }
    void on_data(Connection& c, ReceiveBuffer& in) override {
      while (in.size() >= kMessageBytes) {
        in.consume(kMessageBytes);
        if (++answered % depth != 0) continue;
        ++batches;
        send_batch(c);
      }
    }
    void send_batch(Connection& c) const {
      for (std::uint64_t i = 0; i < depth; ++i) c.send(ByteView(message));
    }
    static constexpr std::size_t kMessageBytes = 64;
    const std::string message = std::string(kMessageBytes, 'm');
    std::uint64_t depth = 1;
    std::uint64_t answered = 0;
    std::uint64_t batches = 0;
  };

  SteadyStateTest() { loop_options.stall_threshold = Duration::zero(); }
  void SetUp() override {
    OnePeerTest::SetUp();
    // Message by message, as protocols do.
    recorder.when_data = [](Connection& c, ReceiveBuffer& in) {
      while (in.size() >= Pinger::kMessageBytes) {
        c.send(in.view().first(Pinger::kMessageBytes));
        in.consume(Pinger::kMessageBytes);
      }
    };
    recorder.events.reserve(1'000'000);  // the recorder's own memory is not the subject
  }
  void TearDown() override {
    client.reset();
    OnePeerTest::TearDown();
  }
  // Both ends on this loop: what is counted counts twice.
  void play(std::uint64_t depth, std::uint64_t batches) {
    listen();
    pinger.depth = depth;
    client = std::make_unique<Client>(loop(), pinger);
    client->connect(server->address());
    ASSERT_TRUE(run_until([&] { return pinger.batches >= 100; }));  // warm
    const std::uint64_t end = pinger.batches + batches;
    const std::function<bool()> done = [&] { return pinger.batches >= end; };
    const std::uint64_t first = pinger.batches;
    const Faults faults;
    const Allocations allocations;
    while (!done()) loop().run_once(1s);
    EXPECT_EQ(allocations.count(), 0u);
    EXPECT_EQ(faults.count(Call::epoll_ctl), 0u);
    const std::uint64_t made = pinger.batches - first;
    EXPECT_LE(faults.count(Call::recv), 2 * made + 2);
    EXPECT_LE(faults.count(Call::send) + faults.count(Call::sendmsg), 2 * made + 2);
    EXPECT_GE(faults.count(Call::recv), 2 * made - 2);
    EXPECT_EQ(faults.count(Call::setsockopt) + faults.count(Call::getsockopt), 0u);
  }

  Pinger pinger;
  std::unique_ptr<Client> client;
};

TEST_F(SteadyStateTest, AMessageCostsOneReceiveAndOneSendAndNoMemory) {
  play(1, 10'000);
}

TEST_F(SteadyStateTest, ABatchOf32MessagesCostsOneReceiveAndOneSendAndNoMemory) {
  play(32, 1'000);
}

TEST_F(SteadyStateTest, WithAnIdleTimeoutToo) {
  // Moving a timer to a later time is nothing but a store.
  ServerOptions options;
  options.connection.timeouts.idle = 1h;
  listen(options);
  pinger.depth = 4;
  client = std::make_unique<Client>(loop(), pinger);
  client->connect(server->address());
  ASSERT_TRUE(run_until([&] { return pinger.batches >= 100; }));
  const std::uint64_t end = pinger.batches + 1000;
  const Faults faults;
  const Allocations allocations;
  while (pinger.batches < end) loop().run_once(1s);
  EXPECT_EQ(allocations.count(), 0u);
  EXPECT_EQ(faults.count(Call::epoll_ctl), 0u);
  EXPECT_LE(faults.count(Call::recv), 2 * 1000 + 2u);
}

}  // namespace
}  // namespace millrace::test
