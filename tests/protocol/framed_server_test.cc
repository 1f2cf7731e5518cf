#include <millrace/framed_server.h>

#include "support/framed_test.h"

#include <string>
#include <vector>

namespace millrace::test {
namespace {

struct FramedServerTest : FramedTest {};

TEST_F(FramedServerTest, SaysFarewellInAFrameWhenItDrains) {
  FrameCallbacks callbacks = keep();
  callbacks.on_drain = [](FramedConnection& c) {
    c.send_frame("bye");
    c->close();
  };
  FramedServer server(loop(), std::move(callbacks));
  RawSocket peer = connect(server);
  ASSERT_TRUE(run_until([&] { return server.connection_count() == 1; }));
  server.drain(1h);
  EXPECT_EQ(receive(peer, 7), frame("bye"));
  EXPECT_TRUE(sees_end(peer));
  peer.close();
  EXPECT_TRUE(until_closed());
  EXPECT_FALSE(reason);
}

TEST_F(FramedServerTest, EchoesFramesOfEverySize) {
  FramedServer server(loop(),
                      {.on_frame = [](FramedConnection& c, ByteView f) { c.send_frame(f); }});
  RawSocket peer = connect(server);
  std::string stream;
  for (const std::size_t n : {0u, 1u, 3u, 1000u, 65'000u, 65'536u, 70'000u, 300'000u}) {
    stream += frame(std::string(n, static_cast<char>('a' + n % 26)));
  }
  std::size_t sent = 0;
  std::string back;
  EXPECT_TRUE(run_until([&] {
    sent += peer.send_some(std::string_view(stream).substr(sent));
    back += peer.receive_some();
    return back.size() >= stream.size();
  }));
  EXPECT_EQ(back, stream);
}

TEST_F(FramedServerTest, HoldsNoMemoryForAConnectionBetweenFrames) {
  FramedServer server(loop(),
                      {.on_frame = [](FramedConnection& c, ByteView f) { c.send_frame(f); }});
  RawSocket peer = connect(server);
  for (const std::string& sent : {frame("one"), frame(std::string(100'000, 'x')), frame("")}) {
    peer.send_all(sent);
    EXPECT_EQ(receive(peer, sent.size()), sent);
    EXPECT_TRUE(run_until([&] { return loop().services().blocks().live_blocks() == 0; }));
  }
}

TEST_F(FramedServerTest, CutsTheSameFramesOutOfOneByteAtATime) {
  Faults faults;
  FramedServer server(loop(), keep());
  RawSocket peer = connect(server);
  faults.on(Call::recv, Fault::shorten(1), {.times = 1'000'000});
  peer.send_all(frame("one") + frame("") + frame(std::string(5000, 'x')) + frame("four"));
  EXPECT_TRUE(run_until([&] { return frames.size() == 4; }));
  EXPECT_EQ(frames, (std::vector<std::string>{"one", "", std::string(5000, 'x'), "four"}));
}

TEST_F(FramedServerTest, CutsTheSameFramesOutOfReadsOfEverySize) {
  const std::string stream =
      frame("a") + frame(std::string(300, 'b')) + frame("") + frame(std::string(20'000, 'c'));
  for (const std::size_t step : {2u, 3u, 5u, 100u, 303u, 304u, 305u, 4096u, 16'384u, 20'313u}) {
    Faults faults;
    frames.clear();
    FramedServer server(loop(), keep());
    RawSocket peer = connect(server);
    faults.on(Call::recv, Fault::shorten(step), {.times = 1'000'000});
    peer.send_all(stream);
    EXPECT_TRUE(run_until([&] { return frames.size() == 4; })) << step;
    EXPECT_EQ(frames.back(), std::string(20'000, 'c')) << step;
    EXPECT_EQ(frames[1], std::string(300, 'b')) << step;
  }
}

TEST_F(FramedServerTest, AFrameTooLargeClosesAndSaysAnnouncedLimitPlaceAndPeer) {
  FramedServer server(loop(), keep(), LengthPrefix({.max_payload_bytes = 100}));
  RawSocket peer = connect(server);
  const std::string from = peer.address().to_string();
  peer.send_all(frame("good") + bytes_of("\0\0\0\x65"));
  EXPECT_TRUE(sees_end(peer)) << "the end of the stream, not a reset";
  peer.close();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(frames, std::vector<std::string>{"good"});
  EXPECT_EQ(bad_frames, 1);
  EXPECT_EQ(bad.code, error::frame_too_large);
  EXPECT_EQ(bad.announced, 101u);
  EXPECT_EQ(bad.limit, 100u);
  EXPECT_EQ(bad.offset, 8u);
  EXPECT_EQ(reason, error::frame_too_large);
  EXPECT_EQ(detail,
            "frame of 101 bytes announced, limit 100, at byte 8 of the stream from " + from);
}

TEST_F(FramedServerTest, WhatIsSentInOnBadFrameStillArrives) {
  FrameCallbacks callbacks = keep();
  callbacks.on_bad_frame = [](FramedConnection& c, const FrameError& e) { c.send_frame(e.text()); };
  FramedServer server(loop(), std::move(callbacks));
  RawSocket peer = connect(server);
  peer.send_all("\xff\xff\xff\xff and more that nobody reads");
  const std::string text =
      "frame of 4294967295 bytes announced, limit 16777216, at byte 0 of the stream";
  EXPECT_EQ(receive(peer, 4 + text.size()), frame(text));
  EXPECT_TRUE(sees_end(peer));
}

TEST_F(FramedServerTest, ABadFrameIsTheReasonThoughOnBadFrameCloses) {
  FrameCallbacks callbacks = keep();
  callbacks.on_bad_frame = [](FramedConnection& c, const FrameError&) { c->close(); };
  FramedServer server(loop(), std::move(callbacks));
  RawSocket peer = connect(server);
  peer.send_all("\xff\xff\xff\xff");
  EXPECT_TRUE(sees_end(peer));
  peer.close();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(reason, error::frame_too_large);
}

TEST_F(FramedServerTest, AnAnnouncedLengthTakesNoMemory) {
  FramedServer server(loop(), keep(), LengthPrefix({.max_payload_bytes = std::size_t{1} << 31}));
  RawSocket peer = connect(server);
  peer.send_all(
      bytes_of("\x7f\xff\xff\xff"
               "a little of it"));
  run_for(50ms);
  EXPECT_EQ(bad_frames, 0);
  EXPECT_LE(loop().services().blocks().live_blocks(), 1u);
  EXPECT_LE(loop().services().blocks().spare_bytes(), 256u * 1024);
}

TEST_F(FramedServerTest, AStreamThatEndsInsideAFrameIsAnErrorOfItsOwn) {
  FramedServer server(loop(), keep());
  RawSocket peer = connect(server);
  peer.send_all(frame("whole") + bytes_of("\0\0\0\7"
                                          "abc"));
  peer.end();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(frames, std::vector<std::string>{"whole"});
  EXPECT_EQ(reason, error::frame_truncated);
  EXPECT_EQ(bad.announced, 7u);
  EXPECT_EQ(bad.offset, 9u);
  EXPECT_NE(detail.find("stream ended inside a frame of 7 bytes"), std::string::npos) << detail;
}

TEST_F(FramedServerTest, AStreamThatEndsInsideAHeaderToo) {
  FramedServer server(loop(), keep());
  RawSocket peer = connect(server);
  peer.send_all(bytes_of("\0\0"));
  peer.end();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(reason, error::frame_truncated);
  EXPECT_EQ(bad.announced, 0u);
}

TEST_F(FramedServerTest, AStreamThatEndsBetweenFramesEndsInOrder) {
  FramedServer server(loop(), keep());
  RawSocket peer = connect(server);
  peer.send_all(frame("last"));
  peer.end();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(reason, std::error_code());
  EXPECT_EQ(bad_frames, 0);
}

TEST_F(FramedServerTest, NoFrameComesAfterCloseInsideOnFrame) {
  when_frame = [](FramedConnection& c, ByteView) { c->close(); };
  FramedServer server(loop(), keep());
  RawSocket peer = connect(server);
  peer.send_all(frame("one") + frame("two") + frame("three"));
  EXPECT_TRUE(sees_end(peer));
  peer.close();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(frames, std::vector<std::string>{"one"});
}

TEST_F(FramedServerTest, NoFrameComesAfterAbortInsideOnFrame) {
  when_frame = [](FramedConnection& c, ByteView) { c->abort(); };
  FramedServer server(loop(), keep());
  RawSocket peer = connect(server);
  peer.send_all(frame("one") + frame("two"));
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(frames, std::vector<std::string>{"one"});
  EXPECT_EQ(reason, error::aborted);
}

TEST_F(FramedServerTest, FramesWaitWhileReadingIsPausedAndComeOnResumeWithoutNewBytes) {
  ConnectionRef paused;
  when_frame = [&](FramedConnection& c, ByteView) {
    c->pause_reading();
    paused = c->ref();
  };
  FramedServer server(loop(), keep());
  RawSocket peer = connect(server);
  peer.send_all(frame("one") + frame("two") + frame("three"));
  ASSERT_TRUE(run_until([&] { return frames.size() == 1; }));
  run_for(30ms);
  EXPECT_EQ(frames.size(), 1u);
  for (std::size_t n = 2; n <= 3; ++n) {
    ASSERT_NE(paused.get(), nullptr);
    paused.get()->resume_reading();
    ASSERT_TRUE(run_until([&] { return frames.size() == n; }));
    run_for(10ms);
    EXPECT_EQ(frames.size(), n);
  }
  EXPECT_EQ(frames.back(), "three");
}

TEST_F(FramedServerTest, TheServerMayBeDestroyedInsideOnFrame) {
  std::unique_ptr<FramedServer> server;
  when_frame = [&](FramedConnection&, ByteView) { server.reset(); };
  server = std::make_unique<FramedServer>(loop(), keep());
  RawSocket peer = connect(*server);
  peer.send_all(frame("one") + frame("two"));
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(frames, std::vector<std::string>{"one"});
  EXPECT_EQ(reason, error::owner_destroyed);
}

TEST_F(FramedServerTest, AnExceptionInOnFrameEndsThatConnectionAlone) {
  loop().set_exception_hook([](std::exception_ptr, std::string_view) {});
  when_frame = [](FramedConnection& c, ByteView f) {
    if (f.text() == "throw") throw std::runtime_error("as asked");
    c.send_frame(f);
  };
  FramedServer server(loop(), keep());
  RawSocket bad_peer = connect(server);
  RawSocket good_peer = RawSocket::connect_to(server.address());
  bad_peer.send_all(frame("throw") + frame("never seen"));
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(reason, error::handler_exception);
  good_peer.send_all(frame("alive"));
  EXPECT_EQ(receive(good_peer, 9), frame("alive"));
}

TEST_F(FramedServerTest, SendingMoreThanTheMaximumThrowsAndQueuesNothing) {
  std::string what;
  when_frame = [&](FramedConnection& c, ByteView) {
    try {
      c.send_frame(std::string(101, 'x'));
    } catch (const std::length_error& e) {
      what = e.what();
    }
    c.send_frame("fits");
  };
  FramedServer server(loop(), keep(), LengthPrefix({.max_payload_bytes = 100}));
  RawSocket peer = connect(server);
  peer.send_all(frame("go"));
  EXPECT_EQ(receive(peer, 8), frame("fits"));
  EXPECT_EQ(what, "frame of 101 bytes to send, limit 100");
}

TEST_F(FramedServerTest, ABroadcastSharesItsPayload) {
  const SharedBytes news(std::string(10'000, 'n'));
  FrameCallbacks callbacks = keep();
  int open = 0;
  callbacks.on_open = [&](FramedConnection&) { ++open; };
  FramedServer server(loop(), std::move(callbacks));
  server.listen(SocketAddress::loopback(0));
  std::vector<RawSocket> peers;
  for (int i = 0; i < 5; ++i) peers.push_back(RawSocket::connect_to(server.address()));
  ASSERT_TRUE(run_until([&] { return open == 5; }));
  const Framing framing;
  loop().post([&] {
    server.for_each([&](Connection& c) { FramedConnection(c, framing).send_frame(news); });
    EXPECT_EQ(news.owners(), 6u);
  });
  for (RawSocket& peer : peers) EXPECT_EQ(receive(peer, 10'004), frame(std::string(10'000, 'n')));
  EXPECT_EQ(news.owners(), 1u);
}

TEST_F(FramedServerTest, ThirtyTwoFramesThatArriveTogetherAreAnsweredInOneSend) {
  FramedServer server(loop(),
                      {.on_frame = [](FramedConnection& c, ByteView f) { c.send_frame(f); }});
  RawSocket peer = connect(server);
  std::string batch;
  for (int i = 0; i < 32; ++i) batch += frame(std::string(64, static_cast<char>('A' + i)));
  peer.send_all(batch);
  EXPECT_EQ(receive(peer, batch.size()), batch);
  Faults faults;
  peer.send_all(batch);
  EXPECT_EQ(receive(peer, batch.size()), batch);
  EXPECT_EQ(faults.count(Call::recv), 1u);
  EXPECT_EQ(faults.count(Call::send) + faults.count(Call::sendmsg), 1u);
  EXPECT_EQ(faults.count(Call::epoll_ctl), 0u);
}

}  // namespace
}  // namespace millrace::test
