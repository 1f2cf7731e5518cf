// A reference reaches its connection as long as it lives, and nothing else ever.
#include <millrace/connection_ref.h>

#include "support/one_peer_test.h"
#include "support/sockets.h"

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace millrace::test {
namespace {

struct ConnectionRefTest : OnePeerTest {};

TEST_F(ConnectionRefTest, RefersToNothingByDefault) {
  const ConnectionRef none;
  EXPECT_EQ(none.get(), nullptr);
  EXPECT_EQ(none.id(), 0u);
  EXPECT_FALSE(none.post([](Connection&) {}));
  EXPECT_EQ(none, ConnectionRef());
}

TEST_F(ConnectionRefTest, GivesTheConnectionWhileItLives) {
  start();
  const ConnectionRef ref = connection().ref();
  EXPECT_EQ(ref.get(), &connection());
  EXPECT_EQ(ref.id(), connection().id());
  EXPECT_EQ(ref, connection().ref());
}

TEST_F(ConnectionRefTest, RefersToNothingAfterItWasMovedFrom) {
  start();
  ConnectionRef ref = connection().ref();
  ConnectionRef made = std::move(ref);
  EXPECT_EQ(ref, ConnectionRef());
  EXPECT_EQ(ref.id(), 0u);
  EXPECT_EQ(ref.get(), nullptr);
  EXPECT_EQ(made, connection().ref());
  ref = std::move(made);
  EXPECT_EQ(made, ConnectionRef());
  EXPECT_EQ(made.get(), nullptr);
  EXPECT_EQ(ref, connection().ref());
  EXPECT_EQ(ref.get(), &connection());
}

TEST_F(ConnectionRefTest, IsNullOnceItsEndIsReported) {
  ConnectionRef ref;
  Connection* inside = nullptr;
  recorder.when_close = [&](Connection&, std::error_code) { inside = ref.get(); };
  start();
  ref = connection().ref();
  inside = ref.get();
  ASSERT_NE(inside, nullptr);
  connection().close();
  EXPECT_NE(ref.get(), nullptr) << "it still delivers what is queued";
  peer.close();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(inside, nullptr);
  EXPECT_EQ(ref.get(), nullptr);
  loop().run_once(0ms);
  EXPECT_EQ(ref.get(), nullptr);
}

TEST_F(ConnectionRefTest, NeverReachesTheOneThatTookItsPlace) {
  start();
  std::vector<ConnectionRef> old;
  std::optional<std::uint64_t> reused;
  const Connection* first = &connection();
  for (int i = 0; i < 100; ++i) {
    old.push_back(connection().ref());
    peer.close();
    ASSERT_TRUE(until_closed(i + 1));
    loop().run_once(0ms);
    peer = connect();
    if (&connection() == first) reused = connection().id();
  }
  EXPECT_TRUE(reused) << "no memory was used again: this test shows nothing";
  for (const ConnectionRef& ref : old) {
    EXPECT_EQ(ref.get(), nullptr);
    EXPECT_NE(ref, connection().ref());
    EXPECT_NE(ref.id(), connection().id());
  }
}

TEST_F(ConnectionRefTest, PostRunsInTheLoopWithTheConnection) {
  start();
  const ConnectionRef ref = connection().ref();
  bool in_loop = false;
  std::thread other([&] {
    EXPECT_TRUE(ref.post([&](Connection& c) {
      in_loop = loop().in_loop_thread();
      c.send("from afar");
    }));
  });
  EXPECT_EQ(receive(peer, 9), "from afar");
  other.join();
  EXPECT_TRUE(in_loop);
}

TEST_F(ConnectionRefTest, PostToADeadConnectionDropsTheFunctionInTheLoop) {
  start();
  const ConnectionRef ref = connection().ref();
  connection().abort();
  ASSERT_TRUE(until_closed());
  auto owned = std::make_shared<int>(0);
  const std::weak_ptr<int> watch = owned;
  EXPECT_TRUE(ref.post([owned = std::move(owned)](Connection&) { FAIL() << "it is dead"; }));
  EXPECT_FALSE(watch.expired());
  loop().run_once(0ms);
  EXPECT_TRUE(watch.expired());
}

TEST_F(ConnectionRefTest, OutlivesServerAndLoop) {
  ConnectionRef ref;
  {
    EventLoop own;
    std::unique_ptr<Server> its;
    Callbacks callbacks;
    callbacks.on_open = [&](Connection& c) { ref = c.ref(); };
    its = std::make_unique<Server>(own, std::move(callbacks));
    its->listen(SocketAddress::loopback(0));
    RawSocket one = RawSocket::connect_to(its->address());
    for (int i = 0; i < 100 && ref.id() == 0; ++i) own.run_once(10ms);
    ASSERT_NE(ref.get(), nullptr);
    its.reset();
    EXPECT_EQ(ref.get(), nullptr);
    EXPECT_TRUE(ref.post([](Connection&) { FAIL() << "it is dead"; }));
    own.run_once(0ms);
  }
  EXPECT_FALSE(ref.post([](Connection&) { FAIL() << "the loop is gone"; }));
  const ConnectionRef copy = ref;
  EXPECT_EQ(copy, ref);
}

// Connections come and go while four threads write to whichever they know of. What arrives at a
// peer must have been meant for it.
TEST_F(ConnectionRefTest, FromFourThreadsWhileConnectionsComeAndGoNothingGoesAstray) {
  constexpr int kThreads = 4, kRounds = 60, kPeers = 8;
  std::mutex mutex;
  std::vector<ConnectionRef> known;  // of the past as well
  recorder.when_open = [&](Connection& c) {
    c.send(std::to_string(c.id()) + ":");
    const std::lock_guard lock(mutex);
    known.push_back(c.ref());
    if (known.size() > 32) known.erase(known.begin());
  };
  listen();
  std::atomic<bool> done{false};
  std::atomic<int> posted{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = t; !done; ++i) {
        ConnectionRef ref;
        {
          const std::lock_guard lock(mutex);
          if (!known.empty()) ref = known[i % known.size()];
        }
        // Not faster than the loop runs them: the queue has no end.
        if (posted > 1000) std::this_thread::yield();
        if (posted > 1000 || ref.id() == 0) continue;
        ++posted;
        ref.post([&posted, id = ref.id()](Connection& c) {
          --posted;
          EXPECT_EQ(c.id(), id);
          c.send(std::to_string(id) + ":");
        });
        if (!ref.post([&posted](Connection&) {})) --posted;
      }
    });
  }
  for (int round = 0; round < kRounds; ++round) {
    posted = 0;
    std::vector<RawSocket> peers = connect_peers(server->address(), kPeers);
    ASSERT_TRUE(run_until([&] { return recorder.opened == (round + 1) * kPeers; }));
    run_for(2ms);
    for (RawSocket& one : peers) {
      const std::string all = one.receive_some();
      const std::string id = all.substr(0, all.find(':') + 1);
      ASSERT_FALSE(id.empty());
      for (std::size_t at = 0; at + id.size() <= all.size(); at += id.size()) {
        ASSERT_EQ(all.substr(at, id.size()), id) << "meant for another";
      }
    }
    peers.clear();
  }
  done = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(until_closed(kRounds * kPeers));
}

}  // namespace
}  // namespace millrace::test
