// Another framing in the middle of a stream.
#include <millrace/framed_client.h>
#include <millrace/framings.h>

#include "support/framed_test.h"

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace millrace::test {
namespace {

using SwitchFramingTest = FramedTest;

constexpr const char* kUpgrade = "upgrade";

// Lines, until one says upgrade; then frames with a length, until one is empty; then lines again.
std::function<void(FramedConnection&, ByteView)> there_and_back() {
  return [](FramedConnection& c, ByteView frame) {
    if (frame == kUpgrade) c.switch_framing(LengthPrefix());
    if (frame.empty()) c.switch_framing(Lines());
  };
}

TEST_F(SwitchFramingTest, WhatHasArrivedGoesToTheNewFramingUnchangedAndInOrder) {
  when_frame = there_and_back();
  const std::string stream = "one\nupgrade\n" + frame("a\nb") + frame("c") + frame("") +
                             "two\nupgrade\n" + frame("d\n") + frame("") + "three\n";
  const std::vector<std::string> wanted{"one", kUpgrade, "a\nb", "c", "",
                                        "two", kUpgrade, "d\n",  "",  "three"};
  // In pieces of every size.
  for (std::size_t step = 1; step <= stream.size(); ++step) {
    Faults faults;
    frames.clear();
    closed = 0;
    FramedServer server(loop(), keep(), Lines());
    RawSocket peer = connect(server);
    faults.on(Call::recv, Fault::shorten(step), {.times = 1'000'000});
    peer.send_all(stream);
    ASSERT_TRUE(run_until([&] { return frames.size() == wanted.size(); })) << step;
    EXPECT_EQ(frames, wanted) << step;
    peer.end();
    ASSERT_TRUE(until_closed());
    EXPECT_FALSE(reason) << reason.message();
  }
}

TEST_F(SwitchFramingTest, WhatIsSentIsFramedAnewAtOnce) {
  when_frame = [](FramedConnection& c, ByteView) {
    c.send_frame("ready");
    c.switch_framing(NetString());
    c.send_frame("steady");
    EXPECT_EQ(c.framing().encode("x"), "1:x,");
  };
  FramedServer server(loop(), keep(), Lines());
  RawSocket peer = connect(server);
  peer.send_all("go\n");
  const std::string wanted = "ready\n6:steady,";
  EXPECT_EQ(receive(peer, wanted.size()), wanted);
  peer.end();
  EXPECT_TRUE(until_closed());
}

TEST_F(SwitchFramingTest, FromOutsideOfACallbackToo) {
  struct Handler : FramedHandler {
    Handler() : FramedHandler(Lines()) {}
    void on_open(Connection& c) override { ref = c.ref(); }
    void on_frame(FramedConnection&, ByteView f) override { frames.emplace_back(f.text()); }
    void on_bad_frame(FramedConnection&, const FrameError& e) override { bad = e.detail; }
    ConnectionRef ref;
    std::vector<std::string> frames;
    std::string bad;
  } handler;
  FramedServer server(loop(), handler);
  RawSocket peer = connect(server);
  peer.send_all("one\n3:two,4:incomplete");
  ASSERT_TRUE(run_until([&] { return handler.frames.size() == 1; }));
  run_for(5ms);
  handler.framed(*handler.ref.get()).switch_framing(NetString());
  EXPECT_EQ(handler.framed(*handler.ref.get()).framing().encode(""), "0:,");
  EXPECT_EQ(handler.framing().encode(""), "\n") << "that of all others";
  ASSERT_TRUE(run_until([&] { return !handler.bad.empty(); }));
  EXPECT_EQ(handler.frames, (std::vector<std::string>{"one", "two"}));
  EXPECT_EQ(handler.bad, "no comma behind the payload");
  peer.end();
  EXPECT_TRUE(run_until([&] { return server.connection_count() == 0; }));
}

TEST_F(SwitchFramingTest, OnlyTheConnectionThatWasSwitchedIsFramedAnew) {
  when_frame = there_and_back();
  FramedServer server(loop(), keep(), Lines());
  RawSocket first = connect(server);
  RawSocket second = RawSocket::connect_to(server.address());
  first.send_all("upgrade\n");
  ASSERT_TRUE(run_until([&] { return frames.size() == 1; }));
  second.send_all("a line\n");
  ASSERT_TRUE(run_until([&] { return frames.size() == 2; }));
  first.send_all(frame("a frame"));
  ASSERT_TRUE(run_until([&] { return frames.size() == 3; }));
  EXPECT_EQ(frames, (std::vector<std::string>{kUpgrade, "a line", "a frame"}));
  first.end();
  second.end();
  EXPECT_TRUE(run_until([&] { return closed == 2; }));
}

TEST_F(SwitchFramingTest, EveryCallbackComesAsBefore) {
  struct Handler : FramedHandler {
    Handler() : FramedHandler(Lines()) {}
    void on_frame(FramedConnection& c, ByteView f) override {
      events += "frame ";
      if (f == kUpgrade) c.switch_framing(LengthPrefix({.max_payload_bytes = 10}));
      if (f == "much") c->send(std::string(5'000'000, 'x'));
    }
    void on_drained(Connection&) override { events += "drained "; }
    void on_frames_end(FramedConnection& c) override {
      events += "end ";
      c->close();
    }
    void on_bad_frame(FramedConnection&, const FrameError&) override { events += "bad "; }
    void on_drain(Connection& c) override {
      events += "drain ";
      c.close();
    }
    void on_close(Connection&, std::error_code) override {
      events += "close";
      ++closed;
    }
    std::string events;
    int closed = 0;
  } handler;
  FramedServer server(loop(), handler);
  const auto run = [&](const std::string& bytes, const std::function<void(RawSocket&)>& then) {
    handler.events.clear();
    handler.closed = 0;
    RawSocket peer = RawSocket::connect_to(server.address());
    peer.send_all("upgrade\n" + bytes);
    then(peer);
    run_until([&] {
      peer.receive_some();
      return handler.closed == 1;
    });
    return handler.events;
  };
  server.listen(SocketAddress::loopback(0));
  EXPECT_EQ(run("", [](RawSocket& peer) { peer.end(); }), "frame end close");
  EXPECT_EQ(run(frame(std::string(11, 'x')), [](RawSocket& peer) { peer.end(); }),
            "frame bad close");
  EXPECT_EQ(run(frame("much"),
                [&](RawSocket& peer) {
                  receive(peer, 5'000'000);
                  peer.end();
                }),
            "frame frame drained end close");
  EXPECT_EQ(run("",
                [&](RawSocket& peer) {
                  run_until([&] { return handler.events == "frame "; });
                  server.drain(1h);
                  run_until([&] {
                    peer.receive_some();
                    return peer.at_end();
                  });
                  peer.end();
                }),
            "frame drain close");
}

TEST_F(SwitchFramingTest, AStreamThatEndsInsideAFrameOfTheNewFramingIsTruncated) {
  when_frame = there_and_back();
  FramedServer server(loop(), keep(), Lines());
  RawSocket peer = connect(server);
  peer.send_all("upgrade\n" + frame("whole") + frame("half of it").substr(0, 7));
  peer.end();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(reason, error::frame_truncated);
  EXPECT_EQ(bad.announced, 10u);
  EXPECT_EQ(bad.offset, 8u + 9u);
  EXPECT_EQ(frames.size(), 2u);
}

TEST_F(SwitchFramingTest, ViewsAndFramingsThatWereReplacedStayValidUntilTheCallbackReturns) {
  struct Handler : FramedHandler {
    Handler() : FramedHandler(Lines()) {}
    void on_frame(FramedConnection& c, ByteView) override {
      FramedConnection before = framed(c.connection());
      for (int i = 0; i < 10; ++i) {
        FramedConnection other = framed(c.connection());
        other.switch_framing(NetString());
        c.switch_framing(VarintLength());
      }
      before.send_frame("a");  // as lines still
      c.send_frame("b");
      framed(c.connection()).send_frame("c");
    }
  } handler;
  FramedServer server(loop(), handler);
  RawSocket peer = connect(server);
  peer.send_all("go\n");
  EXPECT_EQ(receive(peer, 6), "a\n\1b\1c");
  peer.close();
  EXPECT_TRUE(run_until([&] { return server.connection_count() == 0; }));
}

TEST_F(SwitchFramingTest, EachOfTenThousandFramesMayBeOfAnotherFraming) {
  int count = 0;
  when_frame = [&](FramedConnection& c, ByteView) {
    if (++count % 2 == 1) return c.switch_framing(NetString());
    c.switch_framing(Lines());
  };
  FramedServer server(loop(), keep(), Lines());
  RawSocket peer = connect(server);
  std::string stream;
  for (int i = 0; i < 5'000; ++i) stream += "line\n3:net,";
  std::size_t sent = 0;
  ASSERT_TRUE(run_until([&] {
    sent += peer.send_some(std::string_view(stream).substr(sent));
    return frames.size() == 10'000 || closed > 0;
  }));
  EXPECT_EQ(closed, 0);
  EXPECT_EQ(frames[9'998], "line");
  EXPECT_EQ(frames[9'999], "net");
  peer.end();
  EXPECT_TRUE(until_closed());
}

TEST_F(SwitchFramingTest, AClientSwitchesToo) {
  FramedServer server(loop(),
                      {.on_frame =
                           [](FramedConnection& c, ByteView f) {
                             c.send_frame(f);
                             if (f == kUpgrade) c.switch_framing(LengthPrefix());
                           }},
                      Lines());
  server.listen(SocketAddress::loopback(0));
  std::vector<std::string> got;
  FramedClient client(loop(),
                      {.on_open = [](FramedConnection& c) { c.send_frame(kUpgrade); },
                       .on_frame =
                           [&](FramedConnection& c, ByteView f) {
                             got.emplace_back(f.text());
                             if (f != kUpgrade) return c->close();
                             c.switch_framing(LengthPrefix());
                             c.send_frame("not\na\nline");
                           }},
                      Lines());
  client.connect(server.address());
  ASSERT_TRUE(run_until([&] { return got.size() == 2 && server.connection_count() == 0; }));
  EXPECT_EQ(got[1], "not\na\nline");
}

TEST_F(SwitchFramingTest, AConnectionWithoutAFramedHandlerCannotBeSwitched) {
  Server server(loop(), recorder);
  server.listen(SocketAddress::loopback(0));
  RawSocket peer = RawSocket::connect_to(server.address());
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  const Framing framing;
  FramedConnection framed(*recorder.last, framing);
  EXPECT_THROW(framed.switch_framing(Lines()), std::logic_error);
  EXPECT_TRUE(framed.send_frame("still sends"));
  EXPECT_EQ(receive(peer, 15), frame("still sends"));
  peer.close();
  EXPECT_TRUE(run_until([&] { return recorder.closed == 1; }));
}

TEST_F(SwitchFramingTest, AnotherHandlerGetsWhatTheSwitchedFramingHasLeft) {
  FrameCallbacks callbacks = keep();
  callbacks.on_frame = [&](FramedConnection& c, ByteView f) {
    frames.emplace_back(f.text());
    if (f == kUpgrade) c.switch_framing(NetString());
    if (f == "raw") c->set_handler(recorder);
  };
  recorder.live.clear();
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    recorder.received += in.view().text();
    EXPECT_EQ(in.remembered(), 0u);
    in.consume_all();
    c.close();
  };
  FramedServer server(loop(), std::move(callbacks), Lines());
  RawSocket peer = connect(server);
  // The recorder only knows connections that it has seen opened.
  server.for_each([&](Connection& c) { recorder.on_open(c); });
  ASSERT_TRUE(run_until([&] { return server.connection_count() == 1; }));
  server.for_each([&](Connection& c) { recorder.on_open(c); });
  peer.send_all("upgrade\n3:raw,3:raw bytes");
  ASSERT_TRUE(run_until([&] { return !recorder.received.empty(); }));
  EXPECT_EQ(recorder.received, "3:raw bytes");
  peer.close();
  EXPECT_TRUE(run_until([&] { return recorder.closed == 1; }));
}

TEST_F(SwitchFramingTest, WhatIsBeingSkippedIsSkippedToItsEndBeforeTheNewFramingBegins) {
  // The payload that is skipped is made to look like lines.
  const std::string stream = "\x0a" + std::string("AB\nEVIL\nCD") + "good\n";
  for (std::size_t cut = 1; cut <= stream.size(); ++cut) {
    frames.clear();
    closed = 0;
    FrameCallbacks callbacks = keep();
    callbacks.on_oversized_frame = [](FramedConnection& c, const FrameError&) {
      c.switch_framing(Lines());
    };
    FramedServer server(
        loop(), std::move(callbacks),
        LengthPrefix({.width_bytes = 1, .max_payload_bytes = 4, .oversize = Oversize::discard}));
    RawSocket peer = connect(server);
    peer.send_all(stream.substr(0, cut));
    run_for(1ms);
    peer.send_all(stream.substr(cut));
    ASSERT_TRUE(run_until([&] { return !frames.empty() || closed > 0; })) << cut;
    EXPECT_EQ(frames, std::vector<std::string>{"good"}) << cut;
    peer.end();
    ASSERT_TRUE(until_closed());
    EXPECT_FALSE(reason) << reason.message();
  }
}

TEST_F(SwitchFramingTest, AStreamThatEndsInsideWhatIsSkippedIsTruncatedAlsoAfterASwitch) {
  FrameCallbacks callbacks = keep();
  callbacks.on_oversized_frame = [](FramedConnection& c, const FrameError&) {
    c.switch_framing(Lines());
  };
  FramedServer server(loop(), std::move(callbacks),
                      LengthPrefix({.max_payload_bytes = 4, .oversize = Oversize::discard}));
  RawSocket peer = connect(server);
  peer.send_all(frame("too much").substr(0, 8));
  peer.end();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(reason, error::frame_truncated);
  EXPECT_TRUE(frames.empty());
}

TEST_F(SwitchFramingTest, TheEndOfTheFramesIsToldAgainWhenAnotherPlaceSwitchesAfterIt) {
  std::vector<std::string> told;
  FrameCallbacks callbacks = keep();
  callbacks.on_frames_end = [&](FramedConnection& c) { told.push_back(c.framing().encode("x")); };
  const auto handler = make_framed_handler(std::move(callbacks), Lines());
  FramedServer server(loop(), *handler);
  RawSocket peer = connect(server);
  peer.send_all("one\n");
  peer.end();
  ASSERT_TRUE(run_until([&] { return !told.empty(); }));
  server.for_each([&](Connection& c) { handler->framed(c).switch_framing(NetString()); });
  EXPECT_TRUE(run_until([&] { return told.size() > 1; }));
  EXPECT_LE(run_for(20ms), 5u);
  EXPECT_EQ(told, (std::vector<std::string>{"x\n", "1:x,"}));
  server.for_each([](Connection& c) { c.close(); });
  EXPECT_TRUE(until_closed());
}

TEST_F(SwitchFramingTest, TheEndOfTheFramesIsToldOnceThoughItSwitches) {
  FrameCallbacks callbacks = keep();
  callbacks.on_frames_end = [&](FramedConnection& c) {
    ++frames_ended;
    c.switch_framing(NetString());
    c.send_frame("bye");
  };
  FramedServer server(loop(), std::move(callbacks), Lines());
  RawSocket peer = connect(server);
  peer.send_all("one\n");
  peer.end();
  EXPECT_EQ(receive(peer, 6), "3:bye,");
  EXPECT_LE(run_for(20ms), 5u);
  EXPECT_EQ(frames_ended, 1);
  server.for_each([](Connection& c) { c.close(); });
  EXPECT_TRUE(until_closed());
}

}  // namespace
}  // namespace millrace::test
