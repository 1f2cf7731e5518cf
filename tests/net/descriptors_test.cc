// Descriptors that travel with bytes over Unix sockets: in order, each once, none lost or leaked.
#include <millrace/client.h>
#include <millrace/framed_server.h>
#include <millrace/unix_connection.h>

#include "support/one_peer_test.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace millrace::test {
namespace {

// A file in memory that holds `name`, so that it is known again.
UniqueFd file_of(const std::string& name) {
  UniqueFd made(::memfd_create(name.c_str(), MFD_CLOEXEC));
  EXPECT_TRUE(made);
  EXPECT_EQ(::pwrite(made.get(), name.data(), name.size(), 0), static_cast<ssize_t>(name.size()));
  return made;
}
std::vector<UniqueFd> files_of(const std::vector<std::string>& names) {
  std::vector<UniqueFd> files;
  for (const std::string& name : names) files.push_back(file_of(name));
  return files;
}
std::string name_in(const UniqueFd& file) {
  std::string name(100, '\0');
  const ssize_t n = ::pread(file.get(), name.data(), name.size(), 0);
  name.resize(n < 0 ? 0 : static_cast<std::size_t>(n));
  return name;
}
using Names = std::vector<std::string>;
Names names_in(const std::vector<UniqueFd>& files) {
  Names names;
  for (const UniqueFd& file : files) names.push_back(name_in(file));
  return names;
}

// The server's connection sends; the peer is a plain socket that receives with recvmsg().
struct DescriptorsTest : OnePeerTest {
  void TearDown() override {
    arrived.clear();
    OnePeerTest::TearDown();
  }
  void start(const ServerOptions& options = {}) {
    server = std::make_unique<Server>(loop(), recorder, options);
    server->listen("unix:@");
    peer = connect();
  }
  static ServerOptions receiving(std::size_t descriptors) {
    ServerOptions options;
    options.connection.limits.receive_descriptors = descriptors;
    return options;
  }
  SendResult send(const std::string& bytes, const Names& names) {
    return send_descriptors(connection(), ByteView(bytes), files_of(names));
  }
  // At most `n` bytes that have come to the peer, and the descriptors with them.
  std::string peer_receives(std::size_t n) {
    std::string bytes(n, '\0');
    std::array<char, 4096> control;
    iovec part{bytes.data(), n};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t got = ::recvmsg(peer.fd(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    bytes.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
    for (cmsghdr* head = CMSG_FIRSTHDR(&message); got >= 0 && head;
         head = CMSG_NXTHDR(&message, head)) {
      const std::size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (std::size_t i = 0; i < count; ++i) {
        int number;
        std::memcpy(&number, CMSG_DATA(head) + i * sizeof number, sizeof number);
        arrived.emplace_back(number);
      }
    }
    return bytes;
  }
  // The peer sends bytes with descriptors.
  void peer_sends(const std::string& bytes, const std::vector<UniqueFd>& files) const {
    std::vector<int> numbers;
    for (const UniqueFd& file : files) numbers.push_back(file.get());
    std::array<char, 4096> control{};
    iovec part{const_cast<char*>(bytes.data()), bytes.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(numbers.size() * sizeof(int));
    cmsghdr* const head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(numbers.size() * sizeof(int));
    std::memcpy(CMSG_DATA(head), numbers.data(), numbers.size() * sizeof(int));
    ASSERT_EQ(::sendmsg(peer.fd(), &message, MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  }

  std::vector<UniqueFd> arrived;  // at the peer
};

TEST_F(DescriptorsTest, TravelWithTheFirstByteOfTheirMessage) {
  start();
  connection().send("before ");
  EXPECT_TRUE(send("with", {"one", "two"}));
  connection().send(" after");
  connection().flush();
  EXPECT_EQ(peer_receives(7), "before ");
  EXPECT_TRUE(arrived.empty());
  EXPECT_EQ(peer_receives(1), "w");
  EXPECT_EQ(names_in(arrived), (Names{"one", "two"}));
  EXPECT_EQ(peer_receives(100), "ith after");
  EXPECT_EQ(arrived.size(), 2u);
}

TEST_F(DescriptorsTest, AreCopiesAndOursAreClosedOnceTheyHaveGone) {
  start();
  const auto before = open_descriptors().size();
  EXPECT_TRUE(send("x", {"one"}));
  EXPECT_EQ(open_descriptors().size(), before + 1) << "queued";
  connection().flush();
  EXPECT_EQ(open_descriptors().size(), before);
  EXPECT_EQ(peer_receives(1), "x");
  EXPECT_EQ(names_in(arrived), Names{"one"}) << "though ours is closed";
}

TEST_F(DescriptorsTest, WithNoneOfThemAMessageIsAMessage) {
  start();
  EXPECT_TRUE(send_descriptors(connection(), ByteView("x"), {}));
  EXPECT_EQ(receive(peer, 1), "x");
}

TEST_F(DescriptorsTest, OfSeveralMessagesEachHasItsOwn) {
  start();
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(send("message", {std::to_string(i)}));
  connection().flush();
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(peer_receives(7), "message");
    ASSERT_EQ(arrived.size(), static_cast<std::size_t>(i) + 1);
    EXPECT_EQ(name_in(arrived.back()), std::to_string(i));
  }
}

TEST_F(DescriptorsTest, AMessageThatLeavesByteByByteCarriesThemOnce) {
  start();
  Faults faults;
  faults.on(Call::sendmsg, Fault::shorten(1), {.times = 1'000'000});
  faults.on(Call::send, Fault::shorten(1), {.times = 1'000'000});
  EXPECT_TRUE(send("hello", {"one"}));
  connection().send(" and ");
  EXPECT_TRUE(send("world", {"two"}));
  std::string got;
  ASSERT_TRUE(run_until([&] {
    got += peer_receives(1);
    return got.size() == 15;
  }));
  EXPECT_EQ(got, "hello and world");
  EXPECT_EQ(names_in(arrived), (Names{"one", "two"}));
}

TEST_F(DescriptorsTest, ASlowReaderGetsAllOfThemInTheirOrder) {
  ServerOptions options;
  options.listen.socket.send_buffer_bytes = 1;
  start(options);
  std::string all;
  Names names;
  for (int i = 0; i < 60; ++i) {
    const std::string bytes = pattern(3000, static_cast<unsigned>(i));
    const std::string plain(static_cast<std::size_t>(i) * 7, 'p');
    EXPECT_TRUE(send(bytes, {std::to_string(i)}).accepted());
    EXPECT_TRUE(connection().send(ByteView(plain)).accepted());
    all += bytes + plain;
    names.push_back(std::to_string(i));
  }
  std::string got;
  ASSERT_TRUE(run_until([&] {
    for (int i = 0; i < 20; ++i) got += peer_receives(500);
    return got.size() >= all.size();
  }));
  EXPECT_TRUE(same_bytes(got, all));
  EXPECT_EQ(names_in(arrived), names);
}

TEST_F(DescriptorsTest, AMessageLargerThanABlockIsWhole) {
  start();
  const std::string large = pattern(200'000);
  send(large, {"one"});
  connection().send("end");
  std::string got;
  ASSERT_TRUE(run_until([&] {
    got += peer_receives(65536);
    return got.size() >= large.size() + 3;
  }));
  EXPECT_TRUE(same_bytes(got, large + "end"));
  EXPECT_EQ(names_in(arrived), Names{"one"});
}

TEST_F(DescriptorsTest, ThatWaitWhenItIsAbortedAreClosed) {
  ServerOptions options;
  options.listen.socket.send_buffer_bytes = 1;
  start(options);
  const auto before = open_descriptors().size();
  for (int i = 0; i < 10; ++i) send(std::string(5000, 'x'), {"one", "two"});
  run_for(5ms);
  EXPECT_GT(open_descriptors().size(), before);
  connection().abort();
  ASSERT_TRUE(until_closed());
  loop().run_once(0ms);
  EXPECT_EQ(open_descriptors().size(), before - 1) << "the connection's own";
}

TEST_F(DescriptorsTest, ThatWaitWhenItIsClosedStillArrive) {
  ServerOptions options;
  options.listen.socket.send_buffer_bytes = 1;
  start(options);
  for (int i = 0; i < 10; ++i) send(std::string(5000, 'x'), {std::to_string(i)});
  connection().close();
  ASSERT_TRUE(run_until([&] {
    peer_receives(1000);
    return arrived.size() == 10;
  }));
  EXPECT_EQ(name_in(arrived.back()), "9");
}

TEST_F(DescriptorsTest, PastTheLimitTheConnectionEndsAndTheCallerKeepsThem) {
  ServerOptions options;
  options.connection.limits.send_descriptors = 3;
  start(options);
  EXPECT_TRUE(send("x", {"one", "two"}));
  std::vector<UniqueFd> more = files_of({"three", "four"});
  EXPECT_EQ(send_descriptors(connection(), ByteView("y"), std::move(more)), SendResult::closed);
  EXPECT_EQ(names_in(more), (Names{"three", "four"}));
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], error::send_queue_overflow);
  EXPECT_EQ(recorder.detail, "2 descriptors queued and 2 more to send, limit 3");
}

TEST_F(DescriptorsTest, PastTheLimitTheyAreRefusedOrDroppedIfThatIsWanted) {
  ServerOptions options;
  options.connection.limits.send_descriptors = 3;
  options.connection.limits.overflow = Overflow::refuse;
  start(options);
  EXPECT_TRUE(send("x", {"one", "two"}));
  std::vector<UniqueFd> more = files_of({"three", "four"});
  EXPECT_EQ(send_descriptors(connection(), ByteView("y"), std::move(more)), SendResult::refused);
  EXPECT_EQ(more.size(), 2u);
  EXPECT_EQ(send("z", {"1", "2", "3", "4"}), SendResult::too_large);
  // Refused: on_drained says when to try it again.
  recorder.when_drained = [&](Connection& c) {
    EXPECT_TRUE(send_descriptors(c, ByteView("y"), std::move(more)));
  };
  ASSERT_TRUE(run_until([&] { return peer_receives(1) == "y"; }));
  EXPECT_EQ(names_in(arrived), (Names{"one", "two", "three", "four"}));

  options.connection.limits.overflow = Overflow::drop_newest;
  recorder.when_drained = {};
  start(options);
  EXPECT_TRUE(send("x", {"one", "two"}));
  EXPECT_EQ(send("y", {"three", "four"}), SendResult::dropped);
  EXPECT_EQ(connection().stats().dropped_messages, 1u);
}

TEST_F(DescriptorsTest, OneMessageTakes253OfThemAndNotOneMore) {
  start();
  std::vector<UniqueFd> most;
  for (int i = 0; i < 253; ++i) most.emplace_back(::fcntl(0, F_DUPFD_CLOEXEC, 0));
  EXPECT_TRUE(send_descriptors(connection(), ByteView("x"), std::move(most)));
  connection().flush();
  EXPECT_EQ(peer_receives(1), "x");
  EXPECT_EQ(arrived.size(), 253u);
  for (int i = 0; i < 254; ++i) most.emplace_back(::fcntl(0, F_DUPFD_CLOEXEC, 0));
  EXPECT_EQ(send_descriptors(connection(), ByteView("x"), std::move(most)), SendResult::too_large);
  EXPECT_EQ(most.size(), 254u);
}

TEST_F(DescriptorsTest, OnAConnectionThatHasEndedTheyStayWithTheCaller) {
  start();
  connection().close();
  std::vector<UniqueFd> files = files_of({"one"});
  EXPECT_EQ(send_descriptors(connection(), ByteView("x"), std::move(files)), SendResult::closed);
  EXPECT_EQ(names_in(files), Names{"one"});
}

TEST_F(DescriptorsTest, ArriveInOrderNoLaterThanTheirBytes) {
  std::vector<UniqueFd> got;
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    for (UniqueFd& file : take_descriptors(c)) got.push_back(std::move(file));
    recorder.received += in.view().text();
    in.consume_all();
    const auto messages = static_cast<std::size_t>(
        std::count(recorder.received.begin(), recorder.received.end(), ';'));
    EXPECT_GE(got.size(), 2 * messages);
  };
  start(receiving(100));
  for (int i = 0; i < 10; ++i) {
    const std::string n = std::to_string(i);
    peer_sends("m" + n + ";", files_of({n + "a", n + "b"}));
    peer.send_all("plain");
  }
  ASSERT_TRUE(run_until([&] { return recorder.received.size() == 10 * 8; }));
  ASSERT_EQ(got.size(), 20u);
  EXPECT_EQ(name_in(got[0]), "0a");
  EXPECT_EQ(name_in(got[19]), "9b");
  for (const UniqueFd& file : got) EXPECT_TRUE(::fcntl(file.get(), F_GETFD) & FD_CLOEXEC);
}

TEST_F(DescriptorsTest, ThatNobodyTakesAreClosedWithTheConnection) {
  start(receiving(10));
  peer_sends("x", files_of({"one", "two"}));
  ASSERT_TRUE(run_until([&] { return recorder.received == "x"; }));
  peer.close();
  ASSERT_TRUE(until_closed());  // the fixture counts descriptors
}

TEST_F(DescriptorsTest, MayBeTakenInOnClose) {
  std::vector<UniqueFd> got;
  recorder.when_close = [&](Connection& c, std::error_code) { got = take_descriptors(c); };
  start(receiving(10));
  peer_sends("x", files_of({"one"}));
  peer.close();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(names_in(got), Names{"one"});
}

TEST_F(DescriptorsTest, MoreThanTheLimitEndsTheConnectionAndLeavesNone) {
  start(receiving(3));
  const auto before = open_descriptors().size();
  peer_sends("x", files_of({"one", "two"}));
  ASSERT_TRUE(run_until([&] { return recorder.received == "x"; }));
  peer_sends("y", files_of({"three", "four"}));
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], error::too_many_descriptors);
  EXPECT_EQ(recorder.detail, "4 received and not taken, limit 3");
  EXPECT_EQ(recorder.received, "x");
  loop().run_once(0ms);
  EXPECT_EQ(open_descriptors().size(), before - 1);
}

TEST_F(DescriptorsTest, AsManyAsTheLimitMayComeAgainAndAgainWhenTheyAreTaken) {
  std::size_t got = 0;
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    got += take_descriptors(c).size();
    in.consume_all();
  };
  start(receiving(2));
  for (int i = 0; i < 50; ++i) peer_sends("x", files_of({"one", "two"}));
  ASSERT_TRUE(run_until([&] { return got == 100; }));
  EXPECT_EQ(recorder.closed, 0);
}

TEST_F(DescriptorsTest, WithoutRoomForThemTheConnectionEndsAndOthersLive) {
  start(receiving(100));
  const RawSocket other = connect();
  recorder.when_data = {};
  peer_sends("x", files_of({"1", "2", "3", "4", "5"}));
  {
    const DescriptorLimit limit(2);
    ASSERT_TRUE(until_closed());
  }
  EXPECT_EQ(recorder.reasons[0], error::descriptors_lost);
  EXPECT_NE(recorder.detail.find("RLIMIT_NOFILE"), std::string::npos);
  EXPECT_EQ(server->connection_count(), 1u);
}

TEST_F(DescriptorsTest, ThatWereNotAskedForAreClosedByTheKernelAndEveryByteArrives) {
  start();
  const auto before = open_descriptors().size();
  std::string all;
  for (int i = 0; i < 10; ++i) {
    peer_sends("with", files_of({"one"}));
    peer.send_all("out");
    all += "without";
  }
  ASSERT_TRUE(run_until([&] { return recorder.received == all; }));
  EXPECT_TRUE(take_descriptors(connection()).empty());
  EXPECT_EQ(open_descriptors().size(), before);
}

// Reading stops where descriptors came; what lies behind must not be lost with the end.
TEST_F(DescriptorsTest, EveryByteIsDeliveredThoughSendingHasFailed) {
  for (const std::size_t limit : {std::size_t{0}, std::size_t{100}}) {
    recorder.received.clear();
    const int closed = recorder.closed;
    start(receiving(limit));
    connection().pause_reading();
    for (int i = 0; i < 5; ++i) peer_sends("with", files_of({"one"}));
    peer.close();
    connection().send("nobody there");
    connection().resume_reading();
    ASSERT_TRUE(until_closed(closed + 1));
    EXPECT_EQ(recorder.received, "withwithwithwithwith") << limit;
  }
}

TEST_F(DescriptorsTest, WhileClosingNoneIsReceived) {
  start(receiving(2));
  connection().send("bye");
  connection().close();
  EXPECT_EQ(receive(peer, 3), "bye");
  for (int i = 0; i < 5; ++i) peer_sends("x", files_of({"one", "two"}));
  peer.close();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], std::error_code());
}

TEST_F(DescriptorsTest, TravelBetweenTwoConnections) {
  std::vector<UniqueFd> got;
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    got = take_descriptors(c);
    c.send(in.view());
    in.consume_all();
  };
  start(receiving(10));
  Recorder theirs;
  theirs.when_open = [](Connection& c) {
    EXPECT_TRUE(send_descriptors(c, ByteView("take this"), files_of({"one", "two"})));
  };
  Client client(loop(), theirs);
  client.connect(server->address());
  ASSERT_TRUE(run_until([&] { return theirs.received == "take this"; }));
  EXPECT_EQ(names_in(got), (Names{"one", "two"}));
}

TEST_F(DescriptorsTest, AreThereInTheFrameThatTheyCameWith) {
  std::vector<std::pair<std::string, Names>> frames;
  FrameCallbacks callbacks;
  callbacks.on_frame = [&](FramedConnection& c, ByteView frame) {
    frames.emplace_back(frame.text(), names_in(take_descriptors(c.connection())));
  };
  ServerOptions options = receiving(10);
  FramedServer framed(loop(), std::move(callbacks), {}, options);
  framed.listen("unix:@");
  peer = RawSocket::connect_to(framed.address());
  const std::string header("\0\0\0\5", 4);
  peer_sends(header + "he", files_of({"one"}));
  peer.send_all("llo");
  peer_sends(header + "again", files_of({"two", "three"}));
  ASSERT_TRUE(run_until([&] { return frames.size() == 2; }));
  EXPECT_EQ(frames[0].first, "hello");
  EXPECT_EQ(frames[1].first, "again");
  Names all = frames[0].second;
  all.insert(all.end(), frames[1].second.begin(), frames[1].second.end());
  EXPECT_EQ(all, (Names{"one", "two", "three"}));
  EXPECT_GE(frames[0].second.size(), 1u);
}

using DescriptorsDeathTest = DescriptorsTest;

TEST_F(DescriptorsDeathTest, WithoutAByteToTravelWithAreRefused) {
  start();
  EXPECT_DEATH(send("", {"one"}), "without a byte to travel with");
  std::vector<UniqueFd> none(1);
  EXPECT_DEATH(send_descriptors(connection(), ByteView("x"), std::move(none)), "no descriptor");
}

}  // namespace
}  // namespace millrace::test
