// A loop inside GLib's main loop (examples/glib_source.h): what it does there it does in time, and
// GLib sleeps in between.
#include <millrace/io_watcher.h>
#include <millrace/server.h>

#include "examples/glib_source.h"
#include "support/loop_test.h"
#include "support/socket_pair.h"

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>

#include <poll.h>

namespace millrace::test {
namespace {

// GLib's side: a context of the test's own, whose waits are counted.
struct GlibTest : LoopTest {
  void SetUp() override {
    LoopTest::SetUp();
    context = g_main_context_new();
    g_main_context_set_poll_func(context, &count_and_poll);
    source.emplace(loop(), context, [this] { ++stops; });
    polls = 0;
  }
  void TearDown() override {
    source.reset();
    g_main_context_unref(context);
    LoopTest::TearDown();
  }

  static gint count_and_poll(GPollFD* fds, guint n, gint timeout) {
    ++polls;
    const gint most = 10'000;  // a test ends
    const bool shortened = timeout < 0 || timeout > most;
    const gint ready = g_poll(fds, n, shortened ? most : timeout);
    if (shortened && ready == 0) ADD_FAILURE() << "it would have slept for ever";
    return ready;
  }
  // Lets GLib run, sleeping as it likes, until done(); how often it woke up, or -1.
  int iterate_until(const std::function<bool()>& done) {
    const int before = polls;
    const auto end = Clock::now() + 20s;
    while (!done()) {
      if (Clock::now() > end) return -1;
      g_main_context_iteration(context, TRUE);
    }
    return polls - before;
  }
  // A timer of GLib.
  void after(guint ms, std::function<void()> act) {
    auto* held = new std::function<void()>(std::move(act));
    GSource* timer = g_timeout_source_new(ms);
    g_source_set_callback(
        timer,
        [](gpointer data) -> gboolean {
          (*static_cast<std::function<void()>*>(data))();
          return G_SOURCE_REMOVE;
        },
        held, [](gpointer data) { delete static_cast<std::function<void()>*>(data); });
    g_source_attach(timer, context);
    g_source_unref(timer);
  }

  static inline std::atomic<int> polls;
  GMainContext* context = nullptr;
  std::optional<GlibSource> source;
  int stops = 0;
};

void expect_few(int wakeups, int most) {
  EXPECT_GE(wakeups, 0) << "it did not happen";
  EXPECT_LE(wakeups, most) << "it spins";
}

TEST_F(GlibTest, TimersOfBothFireInTheirOrder) {
  std::string order;
  const Timer first = loop().after(10ms, [&] { order += "1"; });
  after(30, [&] { order += "2"; });
  const Timer third = loop().after(50ms, [&] { order += "3"; });
  after(70, [&] { order += "4"; });
  expect_few(iterate_until([&] { return order.size() == 4; }), 20);
  EXPECT_EQ(order, "1234");
}

TEST_F(GlibTest, ARepeatedTimerFiresEachTime) {
  int fired = 0;
  const TimePoint start = Clock::now();
  const Timer timer = loop().every(2ms, [&] { ++fired; });
  expect_few(iterate_until([&] { return fired >= 20; }), 80);
  EXPECT_GE(Clock::now() - start, 40ms);
}

TEST_F(GlibTest, PostsOfAnotherThreadWakeGlib) {
  constexpr int kTimes = 100;
  std::atomic<int> ran{0};
  std::thread other([&] {
    for (int i = 0; i < kTimes; ++i) {
      loop().post([&] {
        ++ran;
        ran.notify_one();
      });
      ran.wait(i);  // each finds GLib asleep, or falling asleep
    }
  });
  expect_few(iterate_until([&] { return ran == kTimes; }), 4 * kTimes);
  other.join();
}

TEST_F(GlibTest, WhatGlibsCallbacksAskForIsDoneWithoutDelay) {
  std::string done;
  Timer timer(loop(), [&] { done += "timer "; });
  after(1, [&] {
    timer.start(0ms);
    loop().post([&] { done += "task "; });
    loop().defer([&] { done += "deferred"; });
  });
  expect_few(iterate_until([&] { return done.ends_with("deferred"); }), 10);
  EXPECT_EQ(done, "timer task deferred");
}

TEST_F(GlibTest, WhatAsksForItselfAgainLeavesTurnsToGlib) {
  bool stopped = false;
  std::uint64_t rounds = 0;
  std::function<void()> again = [&] {
    ++rounds;
    if (!stopped) loop().post([&] { again(); });
  };
  again();
  after(5, [&] { stopped = true; });
  EXPECT_GE(iterate_until([&] { return stopped; }), 0);
  EXPECT_GT(rounds, 1u);
  EXPECT_GE(iterate_until([&] { return loop().next_timeout() == std::nullopt; }), 0);
}

TEST_F(GlibTest, AServerAnswersInsideIt) {
  Recorder echo;
  echo.when_data = [](Connection& c, ReceiveBuffer& in) { send_back(c, in); };
  Server server(loop(), echo);
  server.listen(SocketAddress::loopback(0));
  constexpr int kTimes = 50;
  int ticks = 0;
  std::function<void()> tick = [&] {
    ++ticks;
    after(1, tick);
  };
  after(1, tick);
  std::atomic<bool> done{false};
  std::thread client([&] {
    RawSocket peer = RawSocket::connect_to(server.address());
    for (int i = 0; i < kTimes; ++i) {
      const std::string text = "message " + std::to_string(i);
      peer.send_all(text);
      std::string got;
      while (got.size() < text.size() && !peer.at_end()) {
        pollfd ready{peer.fd(), POLLIN, 0};
        if (::poll(&ready, 1, 10'000) != 1) break;
        got += peer.receive_some();
      }
      EXPECT_EQ(got, text);
    }
    peer.close();
    done = true;
  });
  EXPECT_GE(iterate_until([&] { return done && echo.closed == 1 && ticks > 0; }), 0);
  client.join();
  EXPECT_EQ(echo.opened, 1);
}

TEST_F(GlibTest, WithNothingToDoItSleeps) {
  SocketPair pair;
  const IoWatcher watcher(loop(), pair.ours(), Interest::read, [&](IoEvents) { pair.receive(); });
  const Timer far = loop().after(1h, [] {});
  bool over = false;
  iterate_until([&] { return loop().next_timeout() != Duration::zero(); });
  after(50, [&] { over = true; });
  expect_few(iterate_until([&] { return over; }), 5);
}

TEST_F(GlibTest, AStopReachesGlibOnceFromACallbackOrAnotherThread) {
  loop().post([&] { loop().stop(); });
  EXPECT_GE(iterate_until([&] { return stops == 1; }), 0);
  std::thread other([&] { loop().stop(); });
  EXPECT_GE(iterate_until([&] { return stops == 2; }), 0);
  other.join();
  bool over = false;
  after(20, [&] { over = true; });
  iterate_until([&] { return over; });
  EXPECT_EQ(stops, 2);
}

TEST_F(GlibTest, AnExceptionDoesNotPassThroughGlib) {
  int caught = 0;
  loop().set_exception_hook([&](std::exception_ptr, std::string_view) { ++caught; });
  loop().post([] { throw std::runtime_error("asked for"); });
  EXPECT_GE(iterate_until([&] { return caught == 1; }), 0);
}

TEST_F(GlibTest, MayBeDestroyedInACallbackOfTheLoop) {
  EventLoop own;
  bool stopped = false;
  auto nested = std::make_unique<GlibSource>(own, context, [&] { stopped = true; });
  own.post([&] {
    nested.reset();
    own.stop();
  });
  EXPECT_GE(iterate_until([&] { return !nested; }), 0);
  EXPECT_FALSE(stopped);
}

TEST_F(GlibTest, GlibGoesOnWhenTheLoopIsGone) {
  auto own = std::make_unique<EventLoop>();
  std::optional<GlibSource> nested(std::in_place, *own, context, [] {});
  bool ran = false;
  own->post([&] { ran = true; });
  EXPECT_GE(iterate_until([&] { return ran; }), 0);
  nested.reset();
  own.reset();
  bool over = false;
  after(5, [&] { over = true; });
  expect_few(iterate_until([&] { return over; }), 5);
}

}  // namespace
}  // namespace millrace::test
