// Every framing on real connections: what is cut, what is told, and that a callback is obeyed at
// once.
#include <millrace/framed_client.h>
#include <millrace/framings.h>

#include "support/framed_test.h"
#include "support/one_peer_test.h"

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace millrace::test {
namespace {

struct Example {
  std::string name;
  Framing framing;
  std::vector<std::string> payloads;  // which it can carry
  std::string bad;                    // what breaks it, behind whole frames
  std::error_code error;
  std::string half;  // the beginning of a frame
};

void PrintTo(const Example& example, std::ostream* to) {
  *to << example.name;
}

std::vector<Example> examples() {
  const std::vector<std::string> any{"", "a", "bc\n\r\n;", pattern(3000), std::string(70'000, 'x')};
  const std::vector<std::string> text{"a", "bc", std::string(3000, 'y'), std::string(60'000, 'x')};
  return {
      {"LengthPrefix", LengthPrefix(), any, "\x7f\xff\xff\xff", error::frame_too_large, {"\0", 1}},
      {"LengthField", LengthField({.offset_bytes = 1, .width_bytes = 3, .strip_bytes = 4}), any,
       "h\xff\xff\xff", error::frame_too_large, "h"},
      {"VarintLength", VarintLength(), any, "\x80\x80\x80\x80\x80", error::frame_corrupt, "\xac"},
      {"NetString", NetString(), any, "01:", error::frame_corrupt, "5:hell"},
      {"FixedLength", FixedLength(5), {"12345", "abcde"}, "", {}, "1234"},
      {"Lines", Lines({.max_line_bytes = 65'000}), text, std::string(65'002, 'z'),
       error::frame_too_large, "no end"},
      {"StrictLines", Lines({.end = LineEnd::strict_crlf}), text, "a\nb\r\n", error::frame_corrupt,
       "a\r"},
      {"Delimited", Delimited("\r\n.\r\n"), text, std::string(64 * 1024 + 5, 'z'),
       error::frame_too_large, "\r\n.\r"},
      {"HeaderBlock",
       HeaderBlock(),
       {"A: b\n\n", "Content-Length: 3\r\n\r\nxyz"},
       "nothing\n\n",
       error::frame_corrupt,
       "Content-Length: 3\r\n\r\nxy"},
      {"HeaderBlockBodies", HeaderBlock({.bodies_only = true}), any,
       "Content-Length: 1\nContent-Length: 1\n\n", error::frame_corrupt, "Content-Length"},
      {"Checksummed",
       Checksummed(LengthPrefix()),
       any,
       {"\0\0\0\4zzzz", 8},
       error::frame_checksum,
       {"\0\0\0\4zzz", 7}},
  };
}

struct FramedCodecsTest : FramedTest, ::testing::WithParamInterface<Example> {
  const Example& example() const { return GetParam(); }
  std::string stream() const {
    std::string bytes;
    for (const std::string& payload : example().payloads)
      bytes += example().framing.encode(payload);
    return bytes;
  }
  // Sends without waiting for more than the kernel takes.
  void send(RawSocket& peer, const std::string& bytes) {
    std::size_t sent = 0;
    run_until([&] {
      sent += peer.send_some(std::string_view(bytes).substr(sent));
      return sent == bytes.size();
    });
  }
  bool until_frames(std::size_t n) {
    return run_until([&] { return frames.size() >= n || closed > 0; });
  }
};

TEST_P(FramedCodecsTest, AServerEchoesToAClientWhateverTheReads) {
  for (const std::size_t step : {1u, 7u, 4096u, 1u << 20}) {
    Faults faults;
    std::vector<std::string> got;
    FramedServer server(loop(),
                        {.on_frame = [](FramedConnection& c, ByteView f) { c.send_frame(f); }},
                        example().framing);
    server.listen(SocketAddress::loopback(0));
    FramedClient client(
        loop(),
        {.on_open =
             [&](FramedConnection& c) {
               for (const auto& payload : example().payloads) c.send_frame(payload);
               c->end();
             },
         .on_frame = [&](FramedConnection&, ByteView f) { got.emplace_back(f.text()); },
         .on_close = [&](FramedConnection&, std::error_code) { ++closed; }},
        example().framing);
    faults.on(Call::recv, Fault::shorten(step), {.times = 10'000'000});
    closed = 0;
    client.connect(server.address());
    ASSERT_TRUE(until_closed());
    EXPECT_EQ(got, example().payloads) << step;
  }
}

TEST_P(FramedCodecsTest, FramesBeforeABadOneAreGivenThenTheReasonWithItsPlace) {
  FramedServer server(loop(), keep(), example().framing);
  RawSocket peer = connect(server);
  if (example().bad.empty()) {  // no bytes are wrong
    send(peer, stream() + stream());
    EXPECT_TRUE(until_frames(2 * example().payloads.size()));
    return;
  }
  send(peer, stream() + example().bad + stream());
  ASSERT_TRUE(run_until([&] { return bad_frames == 1; }));
  peer.end();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(frames, example().payloads) << "and none of those behind it";
  EXPECT_EQ(reason, example().error);
  EXPECT_EQ(bad.code, example().error);
  EXPECT_EQ(bad.offset, stream().size());
  EXPECT_NE(detail.find("at byte " + std::to_string(stream().size()) + " of the stream from 127."),
            std::string::npos)
      << detail;
  EXPECT_EQ(bad_frames, 1);
}

TEST_P(FramedCodecsTest, AStreamThatEndsInsideAFrameIsTruncated) {
  FramedServer server(loop(), keep(), example().framing);
  RawSocket peer = connect(server);
  send(peer, stream() + example().half);
  peer.end();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(frames, example().payloads);
  EXPECT_EQ(reason, error::frame_truncated);
  EXPECT_EQ(bad.offset, stream().size());
  EXPECT_EQ(frames_ended, 0);
}

TEST_P(FramedCodecsTest, BetweenTwoFramesTheEndIsInOrderAndNoMemoryIsHeld) {
  FramedServer server(loop(), keep(), example().framing);
  RawSocket peer = connect(server);
  send(peer, stream());
  ASSERT_TRUE(until_frames(example().payloads.size()));
  EXPECT_TRUE(run_until([&] { return loop().services().blocks().live_blocks() == 0; }));
  peer.end();
  ASSERT_TRUE(until_closed());
  EXPECT_FALSE(reason) << reason.message();
  EXPECT_EQ(frames_ended, 1);
}

TEST_P(FramedCodecsTest, NoFrameFollowsAClosePauseAbortThrowOrTheEndOfTheServer) {
  enum Act { close, abort, pause, throws, destroy, kActs };
  for (int act = close; act < kActs; ++act) {
    auto server = std::make_unique<FramedServer>(loop(), keep(), example().framing);
    ConnectionRef ref;
    frames.clear();
    closed = 0;
    when_frame = [&](FramedConnection& c, ByteView) {
      if (ref.id() != 0) return;
      ref = c->ref();
      switch (act) {
        case close:
          return c->close();
        case abort:
          return c->abort();
        case pause:
          return c->pause_reading();
        case throws:
          throw std::runtime_error("out of on_frame");
        default:
          server.reset();
      }
    };
    RawSocket peer = connect(*server);
    send(peer, stream());
    ASSERT_TRUE(until_frames(1)) << act;
    run_for(2ms);
    EXPECT_EQ(frames.size(), 1u) << act;
    if (act == pause) {
      ref.get()->resume_reading();
      EXPECT_TRUE(until_frames(example().payloads.size()));
      EXPECT_EQ(frames, example().payloads);
    }
    peer.close();
    EXPECT_TRUE(until_closed()) << act;
  }
}

TEST_P(FramedCodecsTest, FramesThatPauseOneAfterAnotherAllComeInOrder) {
  FramedServer server(loop(), keep(), example().framing);
  ConnectionRef ref;
  when_frame = [&](FramedConnection& c, ByteView) {
    c->pause_reading();
    ref = c->ref();
  };
  RawSocket peer = connect(server);
  send(peer, stream() + example().half);
  for (std::size_t i = 0; i < example().payloads.size(); ++i) {
    ASSERT_TRUE(until_frames(i + 1));
    EXPECT_EQ(frames.size(), i + 1);
    ref.get()->resume_reading();
  }
  peer.end();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(frames, example().payloads);
  EXPECT_EQ(reason, error::frame_truncated);
}

INSTANTIATE_TEST_SUITE_P(All, FramedCodecsTest, ::testing::ValuesIn(examples()),
                         [](const auto& each) { return each.param.name; });

using FramedDiscardTest = FramedTest;

TEST_F(FramedDiscardTest, AnOversizedFrameIsToldAtOnceSkippedAsItComesAndTheNextOneFollows) {
  const std::string big(100'000, 'b');
  struct Case {
    Framing lenient, sender;
    std::uint64_t announced;
  };
  const std::vector<Case> cases{
      {LengthPrefix({.max_payload_bytes = 10, .oversize = Oversize::discard}), LengthPrefix(),
       100'000},
      {VarintLength({.max_payload_bytes = 10, .oversize = Oversize::discard}), VarintLength(),
       100'000},
      {NetString({.max_payload_bytes = 10, .oversize = Oversize::discard}), NetString(), 100'000},
      {Lines({.max_line_bytes = 10, .oversize = Oversize::discard}),
       Lines({.max_line_bytes = 1 << 20}), 0},
      {Delimited({.delimiters = {"<>"}, .max_frame_bytes = 10, .oversize = Oversize::discard}),
       Delimited({.delimiters = {"<>"}, .max_frame_bytes = 1 << 20}), 0},
      {HeaderBlock({.bodies_only = true, .max_body_bytes = 10, .oversize = Oversize::discard}),
       HeaderBlock({.bodies_only = true}), 100'000}};
  for (std::size_t i = 0; i < cases.size(); ++i) {
    SCOPED_TRACE(i);
    const Case& each = cases[i];
    frames.clear();
    oversized.clear();
    closed = 0;
    FramedServer server(loop(), keep(), each.lenient);
    RawSocket peer = connect(server);
    const std::string first = each.sender.encode("first");
    const std::string large = each.sender.encode(big);
    peer.send_all(first + large.substr(0, 50));
    ASSERT_TRUE(run_until([&] { return oversized.size() == 1; })) << "before its end has come";
    EXPECT_EQ(oversized[0].code, error::frame_too_large);
    EXPECT_EQ(oversized[0].announced, each.announced);
    EXPECT_EQ(oversized[0].limit, 10u);
    EXPECT_EQ(oversized[0].offset, first.size());
    // What is skipped takes no memory, but for the number that is remembered.
    peer.send_all(large.substr(50, 10'000));
    run_for(2ms);
    EXPECT_LE(loop().services().blocks().live_blocks(), 1u);
    peer.send_all(large.substr(10'050) + each.sender.encode("next"));
    ASSERT_TRUE(run_until([&] { return frames.size() == 3; }));
    EXPECT_EQ(frames, (std::vector<std::string>{"first", "oversized", "next"}));
    peer.end();
    ASSERT_TRUE(until_closed());
    EXPECT_FALSE(reason) << reason.message();
  }
}

TEST_F(FramedDiscardTest, AStreamThatEndsWhileAFrameIsSkippedIsTruncated) {
  const Framing lenient[] = {LengthPrefix({.max_payload_bytes = 10, .oversize = Oversize::discard}),
                             Lines({.max_line_bytes = 10, .oversize = Oversize::discard})};
  for (const Framing& framing : lenient) {
    closed = 0;
    FramedServer server(loop(), keep(), framing);
    RawSocket peer = connect(server);
    peer.send_all(frame(std::string(100'000, 'x')).substr(0, 50'000));
    peer.end();
    ASSERT_TRUE(until_closed());
    EXPECT_EQ(reason, error::frame_truncated);
  }
}

TEST_F(FramedDiscardTest, ClosingWhenItIsToldEndsTheConnectionForThatReason) {
  FrameCallbacks callbacks = keep();
  callbacks.on_oversized_frame = [](FramedConnection& c, const FrameError& e) {
    c.send_frame("too long");
    c->close(e.code, e.text());
  };
  FramedServer server(loop(), std::move(callbacks),
                      Lines({.max_line_bytes = 10, .oversize = Oversize::discard}));
  RawSocket peer = connect(server);
  peer.send_all("one\n" + std::string(20, 'x') + "\ntwo\n");
  EXPECT_EQ(receive(peer, 9), "too long\n");
  peer.end();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(frames, std::vector<std::string>{"one"});
  EXPECT_EQ(detail,
            "frame of more than 10 bytes, no end of line within the limit, at byte 4 of the "
            "stream");
}

using FramedSearchTest = FramedTest;

TEST_F(FramedSearchTest, AnEndThatIsLongInComingIsNotReceivedByteByByte) {
  const Framing framings[] = {Lines({.max_line_bytes = 1 << 20}),
                              Delimited({.delimiters = {"||"}, .max_frame_bytes = 1 << 20}),
                              HeaderBlock({.max_header_bytes = 1 << 20})};
  for (const Framing& framing : framings) {
    closed = 0;
    FramedServer server(loop(), keep(), framing);
    RawSocket peer = connect(server);
    peer.send_all(std::string(5'000, 'x'));  // more than the shared block is put in front of
    run_for(2ms);
    const Faults calls;
    const std::string rest(200'000, 'x');
    std::size_t sent = 0;
    run_until([&] {
      sent += peer.send_some(std::string_view(rest).substr(sent));
      return sent == rest.size();
    });
    run_for(5ms);
    EXPECT_LE(calls.count(Call::recv), 60u);
    peer.close();
    EXPECT_TRUE(until_closed());
  }
}

TEST_F(FramedDiscardTest, TheMessageClockRunsWhileAFrameIsSkipped) {
  ServerOptions options;
  options.connection.timeouts.message = 30ms;
  FramedServer server(loop(), keep(),
                      LengthPrefix({.max_payload_bytes = 4, .oversize = Oversize::discard}),
                      options);
  RawSocket peer = connect(server);
  peer.send_all(frame(std::string(100'000, 'x')).substr(0, 10));
  ASSERT_TRUE(run_until([&] {
    peer.send_some("x");
    peer.receive_some();
    return peer.at_end();
  }));
  peer.end();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(reason, error::message_timeout);
}

}  // namespace
}  // namespace millrace::test
