#include <millrace/framed_client.h>
#include <millrace/framed_server.h>

#include "support/loop_test.h"

#include <string>
#include <vector>

namespace millrace::test {
namespace {

struct FramedClientTest : LoopTest {};

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
