// What a callback throws ends its connection and nothing else.
#include <millrace/log.h>

#include "support/one_peer_test.h"

#include <stdexcept>
#include <string>
#include <vector>

namespace millrace::test {
namespace {

using Events = std::vector<std::string>;

struct ConnectionExceptionsTest : OnePeerTest {
  void SetUp() override {
    OnePeerTest::SetUp();
    loop().set_exception_hook([this](std::exception_ptr thrown, std::string_view kind) {
      kinds.emplace_back(kind);
      try {
        std::rethrow_exception(thrown);
      } catch (const std::exception& e) {
        texts.emplace_back(e.what());
      } catch (...) {
        texts.emplace_back("not a std::exception");
      }
    });
  }
  [[noreturn]] static void fail() { throw std::runtime_error("on purpose"); }

  std::vector<std::string> kinds;
  std::vector<std::string> texts;
};

TEST_F(ConnectionExceptionsTest, FromOnOpenEndsTheConnection) {
  recorder.when_open = [](Connection&) { fail(); };
  listen();
  peer = RawSocket::connect_to(server->address());
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.events, (Events{"open", "close"}));
  EXPECT_EQ(recorder.reasons[0], error::handler_exception);
  EXPECT_EQ(kinds, Events{"on_open"});
  EXPECT_EQ(texts, Events{"on purpose"});
}

TEST_F(ConnectionExceptionsTest, FromOnDataEndsTheConnectionWithAReset) {
  recorder.when_data = [](Connection& c, ReceiveBuffer&) {
    c.send("half of a reply");
    fail();
  };
  start();
  peer.send_all("hello");
  EXPECT_EQ(receive(peer, 1), "") << "the peer must not take it for the whole";
  EXPECT_EQ(peer.last_error(), ECONNRESET);
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.events, (Events{"open", "data", "close"}));
  EXPECT_EQ(recorder.reasons[0], error::handler_exception);
  EXPECT_EQ(kinds, Events{"on_data"});
}

TEST_F(ConnectionExceptionsTest, FromOnDrainedEndsTheConnection) {
  ServerOptions options;
  options.connection.limits.high_watermark_bytes = 10;
  recorder.when_drained = [](Connection&) { fail(); };
  start(options);
  connection().send("more than ten bytes");
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.events, (Events{"open", "drained", "close"}));
  EXPECT_EQ(recorder.reasons[0], error::handler_exception);
  EXPECT_EQ(kinds, Events{"on_drained"});
}

TEST_F(ConnectionExceptionsTest, FromOnPeerEndEndsTheConnection) {
  recorder.when_peer_end = [](Connection&) { fail(); };
  start();
  peer.end();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.events, (Events{"open", "end", "close"}));
  EXPECT_EQ(recorder.reasons[0], error::handler_exception);
  EXPECT_EQ(kinds, Events{"on_peer_end"});
}

TEST_F(ConnectionExceptionsTest, FromOnCloseIsReportedAndTheConnectionIsGoneAllTheSame) {
  recorder.when_close = [](Connection&, std::error_code) { fail(); };
  start();
  peer.end();
  ASSERT_TRUE(until_closed());
  run_for(5ms);
  EXPECT_EQ(recorder.closed, 1);
  EXPECT_EQ(recorder.reasons[0], std::error_code());
  EXPECT_EQ(kinds, Events{"on_close"});
  EXPECT_EQ(server->connection_count(), 0u);
}

TEST_F(ConnectionExceptionsTest, TheServerAndItsOtherConnectionsLiveOn) {
  recorder.when_data = [](Connection& c, ReceiveBuffer& in) {
    if (in.view() == "throw") fail();
    c.send(in.view());
    in.consume_all();
  };
  start();
  RawSocket other = connect();
  peer.send_all("throw");
  other.send_all("hello");
  EXPECT_EQ(receive(other, 5), "hello");
  ASSERT_TRUE(until_closed());
  RawSocket third = connect();
  third.send_all("hello");
  EXPECT_EQ(receive(third, 5), "hello");
  EXPECT_EQ(loop().stats().exceptions, 1u);
  other.close();
  third.close();
  EXPECT_TRUE(until_closed(3));
}

TEST_F(ConnectionExceptionsTest, WhatIsThrownNeedNotBeAStdException) {
  recorder.when_data = [](Connection&, ReceiveBuffer&) { throw 7; };
  start();
  peer.send_all("hello");
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], error::handler_exception);
  EXPECT_EQ(texts, Events{"not a std::exception"});
}

TEST_F(ConnectionExceptionsTest, AReasonGivenBeforeTheThrowIsKept) {
  recorder.when_data = [](Connection& c, ReceiveBuffer&) {
    c.close(std::make_error_code(std::errc::protocol_error), "a bad header");
    fail();
  };
  start();
  peer.send_all("hello");
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], std::errc::protocol_error);
  EXPECT_EQ(recorder.detail, "a bad header");
}

TEST_F(ConnectionExceptionsTest, AThrowAfterCloseWithoutAReasonIsTheReason) {
  recorder.when_data = [](Connection& c, ReceiveBuffer&) {
    c.close();
    fail();
  };
  start();
  peer.send_all("hello");
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], error::handler_exception);
}

TEST_F(ConnectionExceptionsTest, AHookThatThrowsItselfHurtsNobody) {
  loop().set_exception_hook([](std::exception_ptr, std::string_view) { fail(); });
  recorder.when_data = [](Connection&, ReceiveBuffer&) { fail(); };
  std::vector<std::string> lines;
  log::set_sink([&](log::Level, std::string_view line) { lines.emplace_back(line); });
  start();
  peer.send_all("hello");
  EXPECT_TRUE(until_closed());
  log::set_sink({});
  EXPECT_EQ(recorder.reasons[0], error::handler_exception);
  EXPECT_FALSE(lines.empty()) << "neither exception was reported";
}

TEST_F(ConnectionExceptionsTest, WithoutAHookTheLogSaysWhichCallbackThrewWhat) {
  loop().set_exception_hook({});
  recorder.when_data = [](Connection&, ReceiveBuffer&) { fail(); };
  std::vector<std::string> lines;
  log::set_sink([&](log::Level, std::string_view line) { lines.emplace_back(line); });
  start();
  peer.send_all("hello");
  EXPECT_TRUE(until_closed());
  log::set_sink({});
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_NE(lines[0].find("on_data"), std::string::npos) << lines[0];
  EXPECT_NE(lines[0].find("on purpose"), std::string::npos) << lines[0];
}

TEST_F(ConnectionExceptionsTest, AHookMayDestroyTheServer) {
  loop().set_exception_hook([this](std::exception_ptr, std::string_view) { server.reset(); });
  recorder.when_data = [](Connection&, ReceiveBuffer&) { fail(); };
  start();
  RawSocket other = connect();
  peer.send_all("hello");
  ASSERT_TRUE(until_closed(2));
}

TEST_F(ConnectionExceptionsTest, OutOfAReferencesTaskTheConnectionLivesOn) {
  start();
  connection().ref().post([](Connection&) { fail(); });
  loop().run_once(0ms);
  EXPECT_EQ(kinds, Events{"task"});
  EXPECT_TRUE(connection().is_open());
}

}  // namespace
}  // namespace millrace::test
