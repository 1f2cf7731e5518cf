// VarintLength and FrameWriter against Google's protobuf: its own functions for delimited messages
// are at the other end of the connection, in a thread of their own, since they block.
#include <millrace/framed_server.h>
#include <millrace/varint_length.h>

#include "support/loop_test.h"
#include "support/random.h"

#include <atomic>
#include <csignal>
#include <exception>
#include <functional>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl.h>
#include <google/protobuf/util/delimited_message_util.h>
#include <google/protobuf/util/message_differencer.h>
#include <reading.pb.h>
#include <sys/socket.h>

namespace millrace::test {
namespace {

using google::protobuf::io::CodedInputStream;
using google::protobuf::io::FileInputStream;
using google::protobuf::io::FileOutputStream;
using google::protobuf::util::MessageDifferencer;
using google::protobuf::util::ParseDelimitedFromCodedStream;
using google::protobuf::util::ParseDelimitedFromZeroCopyStream;
using google::protobuf::util::SerializeDelimitedToOstream;
using google::protobuf::util::SerializeDelimitedToZeroCopyStream;
using interop::Reading;

// A frame that protobuf writes into.
class FrameOutput : public google::protobuf::io::ZeroCopyOutputStream {
 public:
  explicit FrameOutput(FrameWriter& writer) : writer_(writer) {}

  bool Next(void** data, int* size) override {
    const std::span<std::byte> room = writer_.next();
    *data = room.data();
    *size = static_cast<int>(room.size());
    return true;
  }
  void BackUp(int n) override { writer_.back_up(static_cast<std::size_t>(n)); }
  std::int64_t ByteCount() const override { return static_cast<std::int64_t>(writer_.bytes()); }

 private:
  FrameWriter& writer_;
};

void send_message(FramedConnection& c, const Reading& message, std::size_t expected_bytes) {
  FrameWriter w = c.frame_writer(expected_bytes);
  FrameOutput out(w);
  EXPECT_TRUE(message.SerializeToZeroCopyStream(&out));
  EXPECT_EQ(out.ByteCount(), static_cast<std::int64_t>(message.ByteSizeLong()));
  w.commit();
}

// With a serialisation of exactly so many bytes. None has 1: a field takes 2 at least.
Reading message_of(std::size_t bytes, Random& random) {
  Reading message;
  if (bytes == 2) message.set_valid(true);
  std::size_t blob = bytes;
  for (int tries = 0; message.ByteSizeLong() != bytes; ++tries) {
    if (tries == 4) throw std::logic_error("no message has such a size");
    message.set_blob(random.bytes(blob));
    blob += bytes - message.ByteSizeLong();
  }
  return message;
}

// On both sides of each size at which the length takes one byte more, and larger than any buffer.
std::vector<Reading> messages_of_many_sizes() {
  Random random(1);
  std::vector<Reading> made;
  for (const std::size_t bytes : {0, 2, 127, 128, 16'383, 16'384, 300 * 1024, 2 * 1024 * 1024 - 1,
                                  2 * 1024 * 1024, 0, 5 * 1024 * 1024, 3}) {
    made.push_back(message_of(bytes, random));
  }
  return made;
}

Reading random_message(Random& random, int depth = 3) {
  Reading message;
  if (random.one_in(4)) message.set_blob(random.bytes(random.size_up_to(40'000)));
  if (random.one_in(2)) message.set_valid(true);
  if (random.one_in(2)) message.set_station("station " + std::to_string(random.below(1000)));
  for (std::size_t n = random.below(8); n > 0; --n) {
    message.add_values(static_cast<std::int64_t>(random.bits()) >> random.below(64));
    (*message.mutable_means())[std::to_string(n)] = static_cast<double>(random.below(1000)) / 8;
  }
  if (random.one_in(2)) message.set_checksum(static_cast<std::uint32_t>(random.bits()));
  if (depth > 0 && random.one_in(3)) *message.add_parts() = random_message(random, depth - 1);
  return message;
}

std::vector<Reading> random_messages(std::uint64_t seed) {
  Random random(seed);
  std::vector<Reading> made;
  for (int i = 0; i < 500; ++i) made.push_back(random_message(random));
  return made;
}

void expect_same(const std::vector<Reading>& got, const std::vector<Reading>& sent) {
  ASSERT_EQ(got.size(), sent.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    EXPECT_TRUE(MessageDifferencer::Equals(got[i], sent[i]))
        << "message " << i << " of " << sent[i].ByteSizeLong() << " bytes";
  }
}

// All messages until `parse`, one of protobuf's functions, finds the stream's end: a clean one.
template <class Parse, class Stream>
std::vector<Reading> read_all(Parse parse, Stream& in) {
  std::vector<Reading> got;
  bool clean_end = false;
  Reading message;
  while (parse(&message, &in, &clean_end)) {
    got.push_back(message);
    message.Clear();  // what is parsed is merged into it
  }
  EXPECT_TRUE(clean_end);
  return got;
}

struct ProtobufTest : LoopTest {
  void SetUp() override {
    std::signal(SIGPIPE, SIG_IGN);  // protobuf writes with write()
    LoopTest::SetUp();
  }

  // Keeps what comes, and does `then` with it.
  FrameCallbacks parse(std::function<void(FramedConnection&, const Reading&)> then = {}) {
    return {.on_frame =
                [this, then](FramedConnection& c, ByteView frame) {
                  Reading message;
                  const int bytes = static_cast<int>(frame.size());
                  EXPECT_TRUE(message.ParseFromArray(frame.data(), bytes));
                  if (then) then(c, message);
                  received.push_back(std::move(message));
                },
            .on_close =
                [this](FramedConnection& c, std::error_code why) {
                  ++closed;
                  reason = why;
                  detail = c->close_detail();
                }};
  }
  FrameCallbacks send_all(const std::vector<Reading>& messages, std::size_t expected_bytes) {
    return {.on_open = [&messages, expected_bytes](FramedConnection& c) {
      for (const Reading& message : messages) send_message(c, message, expected_bytes);
      c->close();
    }};
  }

  // Runs `peer` on a blocking socket in a thread, and the loop until it is done.
  void with_peer(FramedServer& server, const std::function<void(RawSocket&)>& peer) {
    server.listen(SocketAddress::loopback(0));
    const SocketAddress address = server.address();
    std::atomic<bool> done = false;
    std::thread thread([&] {
      try {
        RawSocket socket = RawSocket::connect_to(address);
        const timeval patience{20, 0};
        ::setsockopt(socket.fd(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        ::setsockopt(socket.fd(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
        peer(socket);
      } catch (const std::exception& e) {
        ADD_FAILURE() << e.what();
      }
      done = true;
    });
    EXPECT_TRUE(run_until([&] { return done.load(); }, 60s));
    thread.join();
  }
  bool until_closed() {
    return run_until([&] { return closed > 0; });
  }

  std::vector<Reading> received;
  int closed = 0;
  std::error_code reason;
  std::string detail;
};

TEST_F(ProtobufTest, MessagesOfAllSizesThatProtobufWritesToASocketAreFrames) {
  const std::vector<Reading> sent = messages_of_many_sizes();
  FramedServer server(loop(), parse(), VarintLength());
  with_peer(server, [&](RawSocket& socket) {
    FileOutputStream out(socket.fd());
    for (const Reading& message : sent) {
      EXPECT_TRUE(SerializeDelimitedToZeroCopyStream(message, &out));
    }
    EXPECT_TRUE(out.Flush());
  });
  ASSERT_TRUE(until_closed());
  EXPECT_FALSE(reason) << detail;
  expect_same(received, sent);
}

TEST_F(ProtobufTest, MessagesThatProtobufWritesToAStreamAreFramesHoweverTheyAreCut) {
  const std::vector<Reading> sent = random_messages(2);
  FramedServer server(loop(), parse(), VarintLength());
  with_peer(server, [&](RawSocket& socket) {
    std::ostringstream out;
    for (const Reading& message : sent) EXPECT_TRUE(SerializeDelimitedToOstream(message, &out));
    Random random(3);
    std::string_view rest = std::string_view(out.view());
    while (!rest.empty()) {
      const std::size_t n = std::min(rest.size(), 1 + random.size_up_to(20'000));
      socket.send_all(rest.substr(0, n));
      rest.remove_prefix(n);
    }
  });
  ASSERT_TRUE(until_closed());
  EXPECT_FALSE(reason) << detail;
  expect_same(received, sent);
}

TEST_F(ProtobufTest, FramesOfAllSizesAreReadByProtobufFromASocketUntilTheCleanEnd) {
  const std::vector<Reading> sent = messages_of_many_sizes();
  FramedServer server(loop(), send_all(sent, 256), VarintLength());
  std::vector<Reading> got;
  with_peer(server, [&](RawSocket& socket) {
    FileInputStream in(socket.fd());
    got = read_all(ParseDelimitedFromZeroCopyStream, in);
  });
  expect_same(got, sent);
}

TEST_F(ProtobufTest, RandomFramesAreReadByProtobufsCodedStream) {
  const std::vector<Reading> sent = random_messages(4);
  FramedServer server(loop(), send_all(sent, 0), VarintLength());
  std::vector<Reading> got;
  with_peer(server, [&](RawSocket& socket) {
    FileInputStream file(socket.fd(), 1000);
    CodedInputStream in(&file);
    got = read_all(ParseDelimitedFromCodedStream, in);
  });
  expect_same(got, sent);
}

TEST_F(ProtobufTest, AMessageSerialisedIntoAFrameIsTheSameWhateverSizeWasExpected) {
  const std::vector<Reading> messages = messages_of_many_sizes();
  for (const std::size_t expected_bytes : {0, 1, 256, 20'000, 3 * 1024 * 1024}) {
    SCOPED_TRACE("expected " + std::to_string(expected_bytes));
    std::ostringstream theirs;
    for (const Reading& message : messages) SerializeDelimitedToOstream(message, &theirs);
    FramedServer server(loop(), send_all(messages, expected_bytes), VarintLength());
    server.listen(SocketAddress::loopback(0));
    RawSocket peer = RawSocket::connect_to(server.address());
    EXPECT_TRUE(receive(peer, theirs.view().size()) == theirs.view());
    EXPECT_TRUE(sees_end(peer));
  }
}

TEST_F(ProtobufTest, RandomMessagesGoThereAndBackThroughBothKindsOfCode) {
  const std::vector<Reading> sent = random_messages(5);
  FramedServer server(loop(), parse([](FramedConnection& c, const Reading& message) {
                        send_message(c, message, message.ByteSizeLong());
                      }),
                      VarintLength());
  std::vector<Reading> got;
  with_peer(server, [&](RawSocket& socket) {
    FileOutputStream out(socket.fd());
    FileInputStream in(socket.fd());
    for (const Reading& message : sent) {  // one at a time: each answer is waited for
      EXPECT_TRUE(SerializeDelimitedToZeroCopyStream(message, &out));
      EXPECT_TRUE(out.Flush());
      Reading answer;
      bool clean_end = false;
      if (!ParseDelimitedFromZeroCopyStream(&answer, &in, &clean_end)) break;
      got.push_back(std::move(answer));
    }
  });
  expect_same(received, sent);
  expect_same(got, sent);
  EXPECT_TRUE(until_closed());
}

TEST_F(ProtobufTest, AMessageAboveTheLimitEndsTheConnectionByItsAnnouncement) {
  FramedServer server(loop(), parse(), VarintLength({.max_payload_bytes = 1024 * 1024}));
  server.listen(SocketAddress::loopback(0));
  RawSocket peer = RawSocket::connect_to(server.address());
  Random random(6);
  std::ostringstream out;
  const Reading fits = message_of(1024 * 1024, random);
  EXPECT_TRUE(SerializeDelimitedToOstream(fits, &out));
  const std::size_t announcement = 4;
  EXPECT_TRUE(SerializeDelimitedToOstream(message_of(2 * 1024 * 1024, random), &out));
  const std::string_view first = out.view().substr(0, 3 + 1024 * 1024 + announcement);
  std::size_t sent = 0;
  ASSERT_TRUE(run_until([&] {
    sent += peer.send_some(first.substr(sent));
    return sent == first.size();
  }));
  EXPECT_TRUE(sees_end(peer));
  peer.close();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(reason, error::frame_too_large);
  EXPECT_NE(detail.find("frame of 2097152 bytes announced, limit 1048576"), std::string::npos)
      << detail;
  expect_same(received, {fits});
}

TEST_F(ProtobufTest, AStreamThatEndsInsideAMessageIsTruncatedForBoth) {
  Random random(7);
  std::ostringstream out;
  EXPECT_TRUE(SerializeDelimitedToOstream(message_of(1000, random), &out));
  const std::string_view part = out.view().substr(0, 600);

  google::protobuf::io::ArrayInputStream in(part.data(), static_cast<int>(part.size()));
  Reading none;
  bool clean_end = true;
  EXPECT_FALSE(ParseDelimitedFromZeroCopyStream(&none, &in, &clean_end));
  EXPECT_FALSE(clean_end);

  FramedServer server(loop(), parse(), VarintLength());
  with_peer(server, [&](RawSocket& socket) { socket.send_all(part); });
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(reason, error::frame_truncated);
}

}  // namespace
}  // namespace millrace::test
