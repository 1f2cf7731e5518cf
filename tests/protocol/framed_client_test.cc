#include <millrace/framed_client.h>
#include <millrace/framed_server.h>
#include <millrace/framings.h>

#include "support/loop_test.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace millrace::test {
namespace {

struct FramedClientTest : LoopTest {};
using FramedClientDeathTest = FramedClientTest;

TEST_F(FramedClientTest, TalksToAServerInFramesOfEveryLayout) {
  for (const unsigned width : {1u, 2u, 4u, 8u}) {
    for (const ByteOrder order : {ByteOrder::big, ByteOrder::little}) {
      const LengthPrefix framing({.width_bytes = width, .order = order});
      FramedServer server(
          loop(), {.on_frame = [](FramedConnection& c, ByteView f) { c.send_frame(f); }}, framing);
      server.listen(SocketAddress::loopback(0));
      std::vector<std::string> answers;
      bool closed = false;
      FramedClient client(loop(),
                          {.on_open =
                               [](FramedConnection& c) {
                                 c.send_frame("one");
                                 c.send_frame(std::string(200, '2'));
                               },
                           .on_frame =
                               [&](FramedConnection& c, ByteView f) {
                                 answers.emplace_back(f.text());
                                 if (answers.size() == 2) c->close();
                               },
                           .on_close = [&](FramedConnection&, std::error_code) { closed = true; }},
                          framing);
      client.connect(server.address());
      EXPECT_TRUE(run_until([&] { return closed; })) << width;
      EXPECT_EQ(answers, (std::vector<std::string>{"one", std::string(200, '2')})) << width;
      EXPECT_TRUE(run_until([&] { return server.connection_count() == 0; }));
    }
  }
}

TEST_F(FramedClientTest, FramesSentBeforeThereIsAConnectionArriveWholeAndInOrder) {
  const LengthPrefix framing({.width_bytes = 2});
  std::vector<std::string> received;
  FramedServer server(
      loop(), {.on_frame = [&](FramedConnection&, ByteView f) { received.emplace_back(f.text()); }},
      framing);
  server.listen(SocketAddress::loopback(0));
  ClientOptions options;
  options.queue_bytes = 20;
  FramedClient client(loop(), {.on_open = [](FramedConnection& c) { c.send_frame("greeting"); }},
                      framing, options);
  EXPECT_EQ(client.send_frame("x"), SendResult::closed);
  client.connect(server.address());
  EXPECT_EQ(client.send_frame("first"), SendResult::sent);
  EXPECT_EQ(client.send_frame("0123456789abc"), SendResult::refused) << "its header counts too";
  EXPECT_EQ(client.send_frame("second"), SendResult::sent);
  EXPECT_THROW(client.send_frame(std::string(70'000, 'x')), std::length_error);
  ASSERT_TRUE(run_until([&] { return received.size() == 3; }));
  EXPECT_EQ(client.send_frame("third"), SendResult::sent);
  ASSERT_TRUE(run_until([&] { return received.size() == 4; }));
  EXPECT_EQ(received, (std::vector<std::string>{"greeting", "first", "second", "third"}));
}

TEST_F(FramedClientTest, ReportsAConnectionThatCannotBeMade) {
  RawSocket closed = RawSocket::listen();
  const SocketAddress address = closed.address();
  closed.close();
  std::error_code failure;
  FramedClient client(loop(), {.on_connect_failed = [&](std::error_code why) { failure = why; }});
  client.connect(address);
  EXPECT_TRUE(run_until([&] { return static_cast<bool>(failure); }));
  EXPECT_EQ(failure, std::errc::connection_refused);
}

// A handler object of the user's own, with every callback.
struct Talker : FramedHandler {
  using FramedHandler::FramedHandler;
  void on_open(Connection& c) override { framed(c).send_frame("hello"); }
  void on_frame(FramedConnection&, ByteView f) override { heard += f.text(); }
  void on_frames_end(FramedConnection& c) override {
    ended = true;
    FramedHandler::on_frames_end(c);
  }
  void on_close(Connection&, std::error_code why) override {
    closed = true;
    reason = why;
  }
  std::string heard;
  bool ended = false;
  bool closed = false;
  std::error_code reason;
};

TEST_F(FramedClientTest, AHandlerObjectGetsEveryCallback) {
  Talker server_side;
  Talker client_side;
  FramedServer server(loop(), server_side);
  server.listen(SocketAddress::loopback(0));
  FramedClient client(loop(), client_side);
  client.connect(server.address());
  ASSERT_TRUE(
      run_until([&] { return client_side.heard == "hello" && server_side.heard == "hello"; }));
  client.connection()->end();
  EXPECT_TRUE(run_until([&] { return server_side.closed && client_side.closed; }));
  EXPECT_TRUE(server_side.ended);
  EXPECT_EQ(server_side.reason, std::error_code());
  EXPECT_EQ(client_side.reason, std::error_code());
}

// Writes down that it is gone, and its last words.
struct Diarist : Talker {
  explicit Diarist(std::vector<std::string>& diary)
      : Talker(Lines({.max_line_bytes = 500'000})), diary_(diary) {}
  ~Diarist() override { diary_.push_back("gone"); }
  void on_frame(FramedConnection&, ByteView f) override {
    if (when_frame) when_frame();
    diary_.push_back("frame of " + std::to_string(f.size()));  // it still lives
  }
  void on_close(Connection&, std::error_code why) override { diary_.push_back(why.message()); }
  std::function<void()> when_frame;

 private:
  std::vector<std::string>& diary_;
};

TEST_F(FramedClientTest, AHandlerThatServerAndClientOwnLivesUntilItsLastCallback) {
  std::vector<std::string> served, called;
  auto serving = std::make_unique<Diarist>(served);
  auto calling = std::make_unique<Diarist>(called);
  Diarist& client_side = *calling;
  // More than is received without the framing's word for it.
  ServerOptions small;
  small.connection.limits.receive_bytes = 1000;
  auto server = std::make_unique<FramedServer>(loop(), std::move(serving), small);
  server->listen(SocketAddress::loopback(0));
  auto client = std::make_unique<FramedClient>(loop(), std::move(calling));
  client_side.when_frame = [&] { client.reset(); };
  client->connect(server->address());
  ASSERT_TRUE(run_until([&] { return called.size() == 3 && served.size() == 2; }));
  const std::string destroyed = make_error_code(error::owner_destroyed).message();
  EXPECT_EQ(called, (std::vector<std::string>{"frame of 5", destroyed, "gone"}));
  RawSocket peer = RawSocket::connect_to(server->address());
  peer.send_all(std::string(400'000, 'x') + "\n");
  ASSERT_TRUE(run_until([&] { return served.size() == 3; }));
  EXPECT_EQ(served.back(), "frame of 400000");
  server.reset();
  loop().run_once(0ms);
  EXPECT_EQ(served[3], destroyed);
  EXPECT_EQ(served[4], "gone");
}

TEST_F(FramedClientDeathTest, WithoutAHandlerNeitherIsMade) {
  EXPECT_DEATH(FramedClient(loop(), std::unique_ptr<FramedHandler>()),
               "FramedClient needs a handler");
  EXPECT_DEATH(FramedServer(loop(), std::unique_ptr<FramedHandler>()),
               "FramedServer needs a handler");
}

TEST_F(FramedClientTest, APlainConnectionCanSwitchToFramesInMidStream) {
  Talker frames;
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    ASSERT_EQ(in.view().first(6).text(), "start\n");
    in.consume(6);
    c.set_handler(frames);  // what lies behind is already a frame
  };
  Server server(loop(), recorder);
  server.listen(SocketAddress::loopback(0));
  RawSocket peer = RawSocket::connect_to(server.address());
  peer.send_all(std::string("start\n\0\0\0\3abc", 13));
  EXPECT_TRUE(run_until([&] { return frames.heard == "abc"; }));
  peer.close();
  EXPECT_TRUE(run_until([&] { return frames.closed; }));
  // It was opened with one handler and closed with the other.
  recorder.live.clear();
  ++recorder.closed;
}

}  // namespace
}  // namespace millrace::test
