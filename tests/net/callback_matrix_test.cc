// Everything that can be done, done inside every callback. Whatever it is: on_close comes exactly
// once, nothing dead is touched (AddressSanitizer), no descriptor and no buffer is left, and the
// loop serves on.
#include <millrace/send_writer.h>
#include <millrace/timer.h>

#include "support/one_peer_test.h"

#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace millrace::test {
namespace {

enum class Place { open, data, drained, peer_end, drain, close, timer, posted, deferred, kCount };
enum class Act {
  close,
  close_with_reason,
  abort,
  end,
  end_then_close,
  send_little,
  send_much,
  send_and_flush,
  send_and_abort,
  writer,
  pause,
  resume,
  pause_and_resume,
  switch_handler,
  replace_context,
  destroy_server,
  drain,
  stop_accepting,
  close_all,
  abort_all,
  stop_loop,
  post,
  timers,
  do_throw,
  kCount
};

constexpr const char* kPlaceNames[] = {"OnOpen",  "OnData", "OnDrained",  "OnPeerEnd",   "OnDrain",
                                       "OnClose", "Timer",  "PostedTask", "DeferredTask"};
constexpr const char* kActNames[] = {
    "Close",       "CloseWithReason", "Abort",        "End",       "EndThenClose", "SendLittle",
    "SendMuch",    "SendAndFlush",    "SendAndAbort", "Writer",    "Pause",        "Resume",
    "PauseResume", "SwitchHandler",   "Context",      "Destroy",   "Drain",        "StopAccepting",
    "CloseAll",    "AbortAll",        "StopLoop",     "PostTasks", "Timers",       "Throw"};
static_assert(std::size(kPlaceNames) == static_cast<std::size_t>(Place::kCount));
static_assert(std::size(kActNames) == static_cast<std::size_t>(Act::kCount));

class CallbackMatrixTest : public OnePeerTest,
                           public ::testing::WithParamInterface<std::tuple<int, int>> {
 protected:
  Place place() const { return static_cast<Place>(std::get<0>(GetParam())); }
  Act act() const { return static_cast<Act>(std::get<1>(GetParam())); }

  void SetUp() override {
    OnePeerTest::SetUp();
    loop().set_exception_hook([this](std::exception_ptr, std::string_view) { ++thrown; });
    other_handler.when_data = echo;
    recorder.when_open = [this](Connection& c) {
      c.send("welcome");
      if (!first) first = c.ref();
      arrive(Place::open, c);
    };
    recorder.when_data = [this](Connection& c, ReceiveBuffer& in) {
      c.send(in.view());
      arrive(Place::data, c);
      in.consume_all();
    };
    recorder.when_drained = [this](Connection& c) { arrive(Place::drained, c); };
    recorder.when_peer_end = [this](Connection& c) {
      c.send("farewell");
      arrive(Place::peer_end, c);
      c.close();
    };
    recorder.when_drain = [this](Connection& c) { arrive(Place::drain, c); };  // it goes on
    recorder.when_close = [this](Connection& c, std::error_code) { arrive(Place::close, c); };
  }
  void TearDown() override {
    first.reset();
    timer.reset();
    own_timers.clear();
    second.close();
    OnePeerTest::TearDown();
  }

  static void echo(Connection& c, ReceiveBuffer& in) {
    c.send(in.view());
    in.consume_all();
  }

  // Once, at the chosen place, with the first connection.
  void arrive(Place here, Connection& c) {
    if (here != place() || acted || !first || c.id() != first->id()) return;
    acted = true;
    perform(c);
  }

  void perform(Connection& c) {
    switch (act()) {
      case Act::close:
        return c.close();
      case Act::close_with_reason:
        return c.close(error::idle_timeout, "because");
      case Act::abort:
        return c.abort();
      case Act::end:
        return c.end();
      case Act::end_then_close:
        return c.end(), c.close();
      case Act::send_little:
        return static_cast<void>(c.send("x"));
      case Act::send_much:
        return static_cast<void>(c.send(std::string(10'000'000, 'm')));
      case Act::send_and_flush:
        return static_cast<void>(c.send("x")), c.flush();
      case Act::send_and_abort:
        return static_cast<void>(c.send(much)), c.abort();
      case Act::writer:
        return write_in_place(c);
      case Act::pause:
        return c.pause_reading();
      case Act::resume:
        return c.resume_reading();
      case Act::pause_and_resume:
        return c.pause_reading(), c.resume_reading();
      case Act::switch_handler:
        return c.set_handler(switched());
      case Act::replace_context:
        return c.emplace_context<std::string>("a"), replace(c);
      case Act::destroy_server:
        return server.reset();
      case Act::drain:
        return server->drain(20ms);
      case Act::stop_accepting:
        return server->stop_accepting();
      case Act::close_all:
        return server->for_each([](Connection& each) { each.close(); });
      case Act::abort_all:
        return server->for_each([](Connection& each) { each.abort(); });
      case Act::stop_loop:
        return loop().stop();
      case Act::post:
        return post_tasks(c);
      case Act::timers:
        return start_timers(c);
      case Act::do_throw:
        throw std::runtime_error("on purpose");
      case Act::kCount:
        break;
    }
  }
  // A handler for the same connection: its end must be counted where its beginning was.
  ConnectionHandler& switched() {
    forwarding.when_close = [this](Connection& c, std::error_code why) {
      recorder.on_close(c, why);
    };
    return forwarding;
  }
  static void replace(Connection& c) { c.emplace_context<int>(1); }
  static void write_in_place(Connection& c) {
    SendWriter room = c.writer(100);
    room.room()[0] = std::byte{'w'};
    room.commit(1);
  }
  void post_tasks(Connection& c) {
    c.ref().post([](Connection& later) { later.send("posted"); });
    loop().post([this] { loop().defer([] {}); });
  }
  void start_timers(Connection& c) {
    for (int i = 0; i < 3; ++i) {
      own_timers.push_back(loop().after(std::chrono::milliseconds(i), [ref = c.ref()] {
        if (Connection* later = ref.get()) later->send("timer");
      }));
    }
    own_timers[1].cancel();
  }

  // Leads to each kind of callback, in turn.
  void live_a_life() {
    second = RawSocket::connect_to(server->address(), 4096);
    turns();
    peer.send_some("hello");
    turns();
    // Above the watermark and down again.
    if (Connection* c = connection_if_alive()) c->send(much);
    turns();
    drain_peer();
    timer.emplace(loop().after(0ms, [this] { arrive_outside(Place::timer); }));
    turns();
    loop().post([this] { arrive_outside(Place::posted); });
    turns();
    loop().defer([this] { arrive_outside(Place::deferred); });
    turns();
    if (server) server->drain(1h);
    turns();
    peer.send_some("again");
    turns();
    drain_peer();
    peer.end();
    turns();
    drain_peer();
    peer.close();
    turns();
    // What has nothing more to send or to hear ends by itself; what was paused does not.
    if (Connection* c = connection_if_alive()) c->close();
    EXPECT_TRUE(run_until([&] { return recorder.closed >= 1; }));
  }
  Connection* connection_if_alive() { return first ? first->get() : nullptr; }
  void arrive_outside(Place here) {
    if (Connection* c = connection_if_alive()) arrive(here, *c);
  }
  void turns() {
    for (int i = 0; i < 6; ++i) loop().run_once(0ms);
  }
  void drain_peer() {
    for (int quiet = 0; quiet < 5; ++quiet) {
      loop().run_once(1ms);
      while (!peer.receive_some().empty()) quiet = 0;
    }
  }

  struct Forwarding : ConnectionHandler {
    std::function<void(Connection&, std::error_code)> when_close;
    void on_data(Connection& c, ReceiveBuffer& in) override { echo(c, in); }
    void on_close(Connection& c, std::error_code why) override { when_close(c, why); }
  };

  const std::string much = std::string(300'000, 'm');
  Recorder other_handler;
  Forwarding forwarding;
  RawSocket second;
  std::optional<ConnectionRef> first;
  std::optional<Timer> timer;
  std::vector<Timer> own_timers;
  bool acted = false;
  int thrown = 0;
};

TEST_P(CallbackMatrixTest, EndsOnceAndLeavesNothing) {
  ServerOptions options = small_buffers();
  options.connection.limits.high_watermark_bytes = 100'000;
  options.connection.timeouts.linger = 50ms;
  listen(options);
  peer = RawSocket::connect_to(server->address(), 4096);
  ASSERT_TRUE(run_until([&] { return recorder.opened >= 1; }));
  const bool may_go =
      act() == Act::destroy_server || act() == Act::stop_accepting || act() == Act::drain;
  if (!server || (may_go && acted)) {
    turns();
  } else {
    live_a_life();
  }
  EXPECT_TRUE(acted) << "the callback did not come";
  EXPECT_EQ(thrown, act() == Act::do_throw ? 1 : 0);
  // The loop serves on.
  bool ran = false;
  loop().post([&] { ran = true; });
  EXPECT_TRUE(run_until([&] { return ran; }));
}

INSTANTIATE_TEST_SUITE_P(All, CallbackMatrixTest,
                         ::testing::Combine(::testing::Range(0, static_cast<int>(Place::kCount)),
                                            ::testing::Range(0, static_cast<int>(Act::kCount))),
                         [](const auto& test) {
                           return std::string(
                                      kActNames[static_cast<int>(std::get<1>(test.param))]) +
                                  "Inside" + kPlaceNames[static_cast<int>(std::get<0>(test.param))];
                         });

}  // namespace
}  // namespace millrace::test
