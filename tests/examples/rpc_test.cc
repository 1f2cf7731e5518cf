#include "rpc.h"

#include "examples/programs.h"
#include "support/loop_test.h"

#include <csignal>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace millrace::test {
namespace {

using Strings = std::vector<std::string>;

template <class T>
std::string bytes_of(T value) {
  std::string bytes(sizeof value, '\0');
  store(reinterpret_cast<std::byte*>(bytes.data()), value, ByteOrder::big);
  return bytes;
}

std::string message(std::uint64_t id, rpc::Kind kind, const std::string& payload = "",
                    const std::string& method = "") {
  return frame(bytes_of(id) + static_cast<char>(kind) + static_cast<char>(method.size()) + method +
               payload);
}
std::string request(std::uint64_t id, const std::string& method, const std::string& payload = "") {
  return message(id, rpc::Kind::request, payload, method);
}

// Answers "echo" and "fail" at once, and keeps the Reply of whatever else.
struct Keeper : rpc::Service {
  std::function<void(rpc::Reply)> when_kept = {};
  std::vector<rpc::Reply> kept;
  int requests = 0;
  std::vector<std::error_code> reasons;  // of on_close
  std::string detail;

  void on_request(std::string_view method, ByteView payload, rpc::Reply reply) override {
    ++requests;
    if (method == "echo") return reply.answer(payload);
    if (method == "fail") return reply.fail(payload);
    if (when_kept) return when_kept(std::move(reply));
    kept.push_back(std::move(reply));
  }
  void on_close(Connection& c, std::error_code why) override {
    reasons.push_back(why);
    detail = c.close_detail();
  }
};

std::string shown(const rpc::Result& r) {
  if (r.why) return r.why.message();
  return (r.failed ? "error: " : "") + std::string(r.payload.text());
}

using Done = Function<void(const rpc::Result&)>;

// A Caller with its client, which owns it.
struct Calling {
  explicit Calling(EventLoop& loop, const ClientOptions& options = {})
      : Calling(loop, std::make_unique<rpc::Caller>(), options) {}

  void connect(EventLoop& loop, const SocketAddress& address) const {
    client->connect(address);
    while (client->state() == Client::State::connecting) loop.run_once(1ms);
  }

  rpc::Caller& caller;
  std::unique_ptr<FramedClient> client;

 private:
  Calling(EventLoop& loop, std::unique_ptr<rpc::Caller> owned, const ClientOptions& options)
      : caller(*owned), client(std::make_unique<FramedClient>(loop, std::move(owned), options)) {}
};

struct RpcTest : LoopTest {
  // What callbacks were called with, in order.
  Strings seen;
  Done note(const std::string& name) {
    return [this, name](const rpc::Result& r) { seen.push_back(name + " " + shown(r)); };
  }
  bool saw(std::size_t n) {
    return run_until([&] { return seen.size() >= n; });
  }
};

struct Ends : Calling {
  explicit Ends(EventLoop& loop, const ClientOptions& options = {},
                const ServerOptions& serving = {})
      : Calling(loop, options), server(loop, service, serving) {
    server.listen(SocketAddress::loopback(0));
    connect(loop, server.address());
  }
  std::uint64_t call(const std::string& method, const std::string& payload, Done done,
                     Delay deadline = 60s) const {
    return caller.call(method, payload, deadline, std::move(done));
  }

  Keeper service;
  FramedServer server;
};

TEST_F(RpcTest, AnswersComeInAnyOrderToTheCallsTheyAreFor) {
  Ends ends(loop());
  ends.call("keep", "", note("a"));
  ends.call("keep", "", note("b"));
  ends.call("echo", "at once", note("c"));
  ASSERT_TRUE(saw(1));
  ends.service.kept[1].answer("second");
  ends.service.kept[0].answer("first");
  ASSERT_TRUE(saw(3));
  EXPECT_EQ(seen, (Strings{"c at once", "b second", "a first"}));
}

TEST_F(RpcTest, AnErrorOfTheServerIsToldWithItsText) {
  Ends ends(loop());
  ends.call("fail", "no such table", note("a"));
  ASSERT_TRUE(saw(1));
  EXPECT_EQ(seen, Strings{"a error: no such table"});
}

TEST_F(RpcTest, TenThousandCallsAtATimeAreEachAnsweredOnce) {
  Ends ends(loop());
  std::vector<int> answers(10'000);
  int wrong = 0;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    ends.call("echo", std::to_string(i), [&, i](const rpc::Result& r) {
      ++answers[i];
      if (r.payload.text() != std::to_string(i)) ++wrong;
    });
  }
  ASSERT_TRUE(run_until([&] { return answers == std::vector<int>(answers.size(), 1); }));
  run_for(20ms);
  EXPECT_EQ(answers, std::vector<int>(answers.size(), 1));
  EXPECT_EQ(wrong, 0);
}

TEST_F(RpcTest, ADeadlineEndsTheCallAndTheServerIsTold) {
  Ends ends(loop());
  ends.call("keep", "", note("a"), 30ms);
  ASSERT_TRUE(saw(1));
  EXPECT_EQ(seen, Strings{"a Connection timed out"});
  ASSERT_EQ(ends.service.kept.size(), 1u);
  EXPECT_TRUE(run_until([&] { return ends.service.kept[0].cancelled(); }));
  ends.service.kept[0].answer("too late");
  ends.call("echo", "next", note("b"));
  ASSERT_TRUE(saw(2));
  EXPECT_EQ(seen.back(), "b next");
}

TEST_F(RpcTest, ACancelledCallIsNotCalledBackAndTheServerLearnsOfIt) {
  Ends ends(loop());
  const auto id = ends.call("keep", "", note("a"));
  ASSERT_TRUE(run_until([&] { return ends.service.kept.size() == 1; }));
  EXPECT_FALSE(ends.service.kept[0].cancelled());
  ends.caller.cancel(id);
  ends.caller.cancel(id);
  EXPECT_TRUE(run_until([&] { return ends.service.kept[0].cancelled(); }));
  ends.service.kept[0].answer("nobody waits");
  ends.call("echo", "next", note("b"));
  ASSERT_TRUE(saw(1));
  EXPECT_EQ(seen, Strings{"b next"});
}

TEST_F(RpcTest, TheFramesOfACallItsCancelAndItsDeadlineAreAsDocumented) {
  RawSocket listener = RawSocket::listen();
  Calling client(loop());
  client.connect(loop(), listener.address());
  RawSocket server = listener.accept();
  const auto id = client.caller.call("greet", "ann", 60s, note("a"));
  const std::string call = request(1, "greet", "ann");
  EXPECT_EQ(receive(server, call.size()), call);
  client.caller.cancel(id);
  const std::string cancel = message(1, rpc::Kind::cancel);
  EXPECT_EQ(receive(server, cancel.size()), cancel);
  client.caller.call("x", "", 1ms, note("b"));
  ASSERT_TRUE(saw(1));
  const std::string both = request(2, "x") + message(2, rpc::Kind::cancel);
  EXPECT_EQ(receive(server, both.size()), both);
}

TEST_F(RpcTest, AnAnswerThatCrossesACancelIsIgnored) {
  RawSocket listener = RawSocket::listen();
  Calling client(loop());
  client.connect(loop(), listener.address());
  RawSocket server = listener.accept();
  const auto id = client.caller.call("x", "", 60s, note("a"));
  client.caller.call("y", "", 60s, note("b"));
  receive(server, request(1, "x").size() + request(2, "y").size());
  client.caller.cancel(id);
  server.send_all(message(1, rpc::Kind::answer, "late") + message(2, rpc::Kind::answer, "good"));
  ASSERT_TRUE(saw(1));
  EXPECT_EQ(seen, Strings{"b good"});
  EXPECT_EQ(client.client->state(), Client::State::connected);
}

TEST_F(RpcTest, ALostConnectionFailsEveryCallOnceWithTheReason) {
  RawSocket listener = RawSocket::listen();
  Calling client(loop());
  std::uint64_t id = 0;  // it goes on over connections
  for (const char* end : {"reset", "close"}) {
    client.connect(loop(), listener.address());
    RawSocket server = listener.accept();
    seen.clear();
    client.caller.call("x", "", 60s, note("a"));
    EXPECT_EQ(client.caller.call("y", "", 60s, note("b")), id += 2);
    receive(server, request(1, "x").size() + request(2, "y").size());
    end == std::string("reset") ? server.reset() : server.close();
    ASSERT_TRUE(saw(2));
    run_for(20ms);
    const auto why =
        end == std::string("reset") ? std::errc::connection_reset : std::errc::connection_aborted;
    const std::string text = std::make_error_code(why).message();
    EXPECT_EQ(seen, (Strings{"a " + text, "b " + text}));
  }
}

TEST_F(RpcTest, WithoutAConnectionNoCallIsMade) {
  RawSocket listener = RawSocket::listen();
  Calling client(loop());
  EXPECT_EQ(client.caller.call("x", "", 1ms, note("idle")), 0u);
  client.client->connect(listener.address());
  EXPECT_EQ(client.caller.call("x", "", 1ms, note("connecting")), 0u);
  ASSERT_TRUE(run_until([&] { return client.client->connection() != nullptr; }));
  RawSocket server = listener.accept();
  EXPECT_NE(client.caller.call("x", "", 60s,
                               [&](const rpc::Result& r) {
                                 note("a")(r);
                                 EXPECT_EQ(client.caller.call("x", "", 1ms, note("lost")), 0u);
                               }),
            0u);
  server.reset();
  ASSERT_TRUE(saw(1));
  run_for(20ms);
  EXPECT_EQ(seen, Strings{"a Connection reset by peer"});
}

TEST_F(RpcTest, WithoutRoomNoCallIsMadeAndThoseBeforeItAreAnswered) {
  ClientOptions calling;
  calling.connection.limits = {
      .high_watermark_bytes = 50'000, .send_queue_bytes = 100'000, .overflow = Overflow::refuse};
  Ends ends(loop(), calling);
  std::size_t made = 0, answered = 0;
  const auto count = [&](const rpc::Result& r) { answered += !r.why && !r.failed ? 1 : 0; };
  const std::string payload(10'000, 'x');
  ends.server.for_each([](Connection& c) { c.pause_reading(); });
  while (made < 100'000 && ends.call("echo", payload, count) != 0) ++made;
  EXPECT_GE(made, 9u);
  EXPECT_LT(made, 100'000u);
  ends.server.for_each([](Connection& c) { c.resume_reading(); });
  EXPECT_TRUE(run_until([&] { return answered == made; }));
  EXPECT_NE(ends.call("echo", payload, count), 0u);
  EXPECT_TRUE(run_until([&] { return answered == made + 1; }));
}

TEST_F(RpcTest, WhatIsTooLargeIsRefusedByAnExceptionAndNothingIsSent) {
  Ends ends(loop());
  const std::string large(17'000'000, 'x');
  EXPECT_THROW(ends.call("echo", large, note("a")), std::length_error);
  EXPECT_THROW(ends.call(std::string(256, 'm'), "", note("b")), std::length_error);
  ends.call("keep", "", note("c"));
  ASSERT_TRUE(run_until([&] { return ends.service.kept.size() == 1; }));
  EXPECT_THROW(ends.service.kept[0].answer(large), std::length_error);
  ends.service.kept.clear();
  ASSERT_TRUE(saw(1));
  EXPECT_EQ(seen, Strings{"c error: dropped without an answer"});
}

TEST_F(RpcTest, ACallbackMayCallAndCancel) {
  Ends ends(loop());
  std::uint64_t other = 0;
  ends.call("echo", "1", [&](const rpc::Result& r) {
    note("a")(r);
    ends.caller.cancel(other);
    ends.call("echo", "2", note("c"));
  });
  other = ends.call("echo", "never told", note("b"));
  ASSERT_TRUE(saw(2));
  EXPECT_EQ(seen, (Strings{"a 1", "c 2"}));
}

TEST_F(RpcTest, ACallThatIsCancelledWhileAllFailIsNotCalledBack) {
  Ends ends(loop());
  std::uint64_t second = 0;
  ends.call("keep", "", [&](const rpc::Result& r) {
    note("a")(r);
    ends.caller.cancel(second);
  });
  second = ends.call("keep", "", note("b"));
  ends.call("keep", "", note("c"));
  ASSERT_TRUE(run_until([&] { return ends.service.kept.size() == 3; }));
  ends.server.for_each([](Connection& c) { c.abort(); });
  ASSERT_TRUE(saw(2));
  run_for(20ms);
  EXPECT_EQ(seen, (Strings{"a Connection reset by peer", "c Connection reset by peer"}));
}

// The ways in which a call ends while another is outstanding.
struct RpcDestroyed : RpcTest, ::testing::WithParamInterface<std::string> {};
INSTANTIATE_TEST_SUITE_P(Inside, RpcDestroyed, ::testing::Values("answer", "deadline", "loss"),
                         [](const auto& one) { return one.param; });

TEST_P(RpcDestroyed, AClientTellsItsOtherCallOnceAndItsCallerLivesOnMeanwhile) {
  Ends ends(loop());
  const std::string way = GetParam();
  const auto destroy = [&](const rpc::Result& r) {
    note("a")(r);
    ends.client.reset();
    EXPECT_EQ(ends.call("echo", "too late", note("c")), 0u);
  };
  ends.call(way == "answer" ? "echo" : "keep", "1", destroy,
            way == "deadline" ? Delay(30ms) : Delay(60s));
  ends.call("keep", "", note("b"));
  if (way == "loss") {
    ASSERT_TRUE(run_until([&] { return ends.service.kept.size() == 2; }));
    ends.server.for_each([](Connection& c) { c.abort(); });
  }
  ASSERT_TRUE(saw(2));
  run_for(20ms);
  const std::string reset = "Connection reset by peer";
  const std::string gone = make_error_code(error::owner_destroyed).message();
  const std::string why = way == "answer"     ? "1"
                          : way == "deadline" ? "Connection timed out"
                                              : reset;
  EXPECT_EQ(seen, (Strings{"a " + why, "b " + (way == "loss" ? reset : gone)}));
}

TEST_F(RpcTest, AClientThatIsDestroyedTellsAllItsCalls) {
  Ends ends(loop());
  ends.call("keep", "", note("a"));
  ends.call("keep", "", note("b"));
  ASSERT_TRUE(run_until([&] { return ends.service.kept.size() == 2; }));
  ends.client.reset();
  const std::string why = make_error_code(error::owner_destroyed).message();
  EXPECT_EQ(seen, (Strings{"a " + why, "b " + why}));
  EXPECT_TRUE(run_until([&] { return ends.service.kept[0].cancelled(); }));
}

TEST_F(RpcTest, AReplyIsAnsweredFromATimerOnceAndWhatItWasMovedFromAnswersNothing) {
  Ends ends(loop());
  std::optional<Timer> timer;
  ends.service.when_kept = [&](rpc::Reply reply) {
    timer.emplace(loop().after(5ms, [reply = std::move(reply)]() mutable {
      rpc::Reply mine = std::move(reply);
      reply.answer("from what it was moved from");
      mine.answer("once");
      mine.answer("twice");
      mine.fail("and an error");
    }));
  };
  ends.call("keep", "", note("a"));
  ASSERT_TRUE(saw(1));
  ends.call("echo", "next", note("b"));
  ASSERT_TRUE(saw(2));
  EXPECT_EQ(seen, (Strings{"a once", "b next"}));
}

TEST_F(RpcTest, AReplyThatIsDroppedAnswersWithAnError) {
  Ends ends(loop());
  ends.service.when_kept = [](const rpc::Reply&) {};
  ends.call("keep", "", note("a"));
  ASSERT_TRUE(saw(1));
  EXPECT_EQ(seen, Strings{"a error: dropped without an answer"});
}

TEST_F(RpcTest, AReplyMayOutliveItsConnectionItsServerAndTheLoop) {
  std::optional<rpc::Reply> left;
  {
    EventLoop own;
    Ends ends(own);
    ends.service.when_kept = [&](rpc::Reply reply) { left.emplace(std::move(reply)); };
    ends.call("keep", "", [](const rpc::Result&) {});
    while (!left) own.run_once(10ms);
    EXPECT_FALSE(left->cancelled());
    ends.client.reset();
    while (ends.service.reasons.empty()) own.run_once(10ms);
    EXPECT_TRUE(left->cancelled());
    left->answer("into the void");
  }
  left->fail("into the void");
  left.reset();
}

TEST_F(RpcTest, TheServerReadsNoMoreRequestsOfAPeerThatDoesNotTakeItsAnswers) {
  ServerOptions serving;
  serving.listen.socket.send_buffer_bytes = 16 * 1024;
  serving.connection.limits.high_watermark_bytes = 64 * 1024;
  serving.connection.limits.send_queue_bytes = 256 * 1024;
  Ends ends(loop(), {}, serving);
  RawSocket peer = RawSocket::connect_to(ends.server.address(), 16 * 1024);
  std::string all, expected;
  for (std::uint64_t id = 1; id <= 400; ++id) {
    const std::string payload(10'000, static_cast<char>('a' + id % 26));
    all += request(id, "echo", payload);
    expected += message(id, rpc::Kind::answer, payload);
  }
  std::size_t sent = 0;
  int before = -1;
  while (ends.service.requests != before) {  // until it reads no more
    before = ends.service.requests;
    for (std::size_t n = 1; n > 0 && sent < all.size(); sent += n) {
      n = peer.send_some(std::string_view(all).substr(sent));
      loop().run_once(1ms);
    }
    run_for(50ms);
  }
  EXPECT_LT(before, 60) << "requests for many times the watermark were read";
  std::string received;
  ASSERT_TRUE(run_until([&] {
    if (sent < all.size()) sent += peer.send_some(std::string_view(all).substr(sent));
    received += peer.receive_some();
    return received.size() >= expected.size();
  }));
  EXPECT_TRUE(received == expected);
}

struct Bad {
  const char* name;
  std::string bytes;
  const char* detail;
  friend void PrintTo(const Bad& bad, std::ostream* out) { *out << bad.name; }
};

struct RpcBadRequest : RpcTest, ::testing::WithParamInterface<Bad> {};
INSTANTIATE_TEST_SUITE_P(
    All, RpcBadRequest,
    ::testing::Values(
        Bad{"Empty", frame(""), "message cut short"},
        Bad{"Short", frame(std::string(9, '\0')), "message cut short"},
        Bad{"ShortMethod", frame(std::string(9, '\0') + "\x05" + "1234"), "message cut short"},
        Bad{"UnknownKind", message(1, rpc::Kind(4)), "not a request"},
        Bad{"Answer", message(1, rpc::Kind::answer), "not a request"},
        Bad{"SameId", request(7, "keep") + request(7, "keep"), "id of an open request"}),
    [](const auto& one) { return one.param.name; });

TEST_P(RpcBadRequest, ClosesTheConnectionWithAReasonAndDisturbsNobodyElse) {
  Ends ends(loop());
  ends.call("keep", "", note("a"));
  ASSERT_TRUE(run_until([&] { return ends.service.kept.size() == 1; }));
  RawSocket peer = RawSocket::connect_to(ends.server.address());
  peer.send_all(GetParam().bytes);
  EXPECT_TRUE(sees_end(peer));
  peer.close();
  ASSERT_TRUE(run_until([&] { return ends.service.reasons.size() == 1; }));
  EXPECT_EQ(ends.service.reasons[0], error::frame_corrupt);
  EXPECT_EQ(ends.service.detail, GetParam().detail);
  ends.service.kept[0].answer("undisturbed");
  ASSERT_TRUE(saw(1));
  EXPECT_EQ(seen, Strings{"a undisturbed"});
}

TEST_F(RpcTest, ACancelOfARequestThatIsNotOpenIsIgnored) {
  Ends ends(loop());
  RawSocket peer = RawSocket::connect_to(ends.server.address());
  peer.send_all(message(9, rpc::Kind::cancel) + request(10, "echo", "x"));
  const std::string expected = message(10, rpc::Kind::answer, "x");
  EXPECT_EQ(receive(peer, expected.size()), expected);
}

struct RpcBadAnswer : RpcTest, ::testing::WithParamInterface<Bad> {};
INSTANTIATE_TEST_SUITE_P(
    All, RpcBadAnswer,
    ::testing::Values(
        Bad{"Short", frame("x"), "message cut short"},
        Bad{"UnknownKind", message(1, rpc::Kind(200)), "not an answer to a call that was made"},
        Bad{"Request", request(1, "x"), "not an answer to a call that was made"},
        Bad{"Cancel", message(1, rpc::Kind::cancel), "not an answer to a call that was made"},
        Bad{"NeverCalled", message(2, rpc::Kind::answer), "not an answer to a call that was made"}),
    [](const auto& one) { return one.param.name; });

TEST_P(RpcBadAnswer, EndsTheConnectionAndTheCallsAreToldWhy) {
  RawSocket listener = RawSocket::listen();
  Calling client(loop());
  client.connect(loop(), listener.address());
  client.caller.call("x", "", 60s, [&](const rpc::Result& r) {
    EXPECT_EQ(r.why, error::frame_corrupt);
    seen.push_back(std::string(r.payload.text()));
  });
  RawSocket server = listener.accept();
  server.send_all(GetParam().bytes);
  ASSERT_TRUE(saw(1));
  EXPECT_EQ(seen, Strings{GetParam().detail});
}

struct RpcPrograms : ::testing::Test {
  // What a client prints, or else its error, and its status.
  std::string run_client(const std::vector<std::string>& more) const {
    std::vector<std::string> command = {bin("rpc"), server.address_text()};
    command.insert(command.end(), more.begin(), more.end());
    Program client(command);
    std::string all;
    for (std::string line; !(line = client.read_line()).empty();) all += line + "; ";
    if (all.empty()) all = client.read_error_line() + "; ";
    return all + std::to_string(client.wait());
  }
  ServerProgram server{"rpc"};
};

TEST_F(RpcPrograms, CallsAreAnsweredAtOnceOrWhenAnotherOneComes) {
  EXPECT_EQ(run_client({"echo", "hello"}), "hello; 0");
  EXPECT_EQ(run_client({"echo", "a", "b", "c"}), "a; b; c; 0");
  EXPECT_EQ(run_client({"meet", "ann", "bob", "cid", "dan"}), "bob; ann; dan; cid; 0");
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0);
}

TEST_F(RpcPrograms, WhatGoesWrongIsSaidWithAStatusThatIsNotZero) {
  EXPECT_EQ(run_client({"dance", "x"}), "no such method; 1");
  EXPECT_EQ(run_client({"meet", "ann"}), "Connection timed out; 1");
  EXPECT_EQ(run_client({"meet", "bob", "cid"}), "cid; bob; 0") << "nobody met who was gone";
  Program waiting({bin("rpc"), server.address_text(), "meet", "dan"});
  server.signal(SIGINT);
  EXPECT_EQ(server.wait(), 0);
  EXPECT_NE(waiting.wait(), 0);
  EXPECT_EQ(run_client({"echo", "x"}), "rpc: no connection to " + server.address_text() + "; 1");
}

}  // namespace
}  // namespace millrace::test
