// The servers that the benchmark compares, each in every mode: beside one that loses bytes, or does
// less than the others, everybody looks good.
#include "examples/programs.h"

#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

namespace millrace::test {
namespace {

// Started as the benchmark does, with a mode or none.
class PeerProgram : public Program {
 public:
  explicit PeerProgram(const std::string& name, const std::string& mode = {})
      : Program(mode.empty() ? std::vector<std::string>{bin(name), "0"}
                             : std::vector<std::string>{bin(name), "0", mode}) {
    const std::string line = read_line();
    const std::string expected = "listening on ";
    if (line.rfind(expected, 0) != 0) throw std::runtime_error(name + ": " + read_error_line());
    address_ = SocketAddress::parse(line.substr(expected.size()));
  }

  RawSocket connect() const { return RawSocket::connect_to(address_); }

 private:
  SocketAddress address_;
};

std::vector<std::string> peer_programs() {
  std::istringstream names(MILLRACE_PEERS);
  std::vector<std::string> all;
  for (std::string name; std::getline(names, name, ',');) all.push_back(name);
  return all;
}

// Kernels may forbid it, and containers often do.
bool io_uring_works() {
  try {
    PeerProgram("peer_liburing");
    return true;
  } catch (const std::runtime_error&) {
    return false;
  }
}

struct Peers : ::testing::TestWithParam<std::string> {
  void SetUp() override {
    if (GetParam() == "peer_liburing" && !io_uring_works()) GTEST_SKIP() << "no io_uring here";
  }
};

INSTANTIATE_TEST_SUITE_P(All, Peers, ::testing::ValuesIn(peer_programs()),
                         [](const auto& one) { return one.param; });

// No two stretches of it are alike.
std::string some_bytes(std::size_t n) {
  std::string bytes(n, '\0');
  std::uint32_t state = 1;
  for (char& byte : bytes) {
    state = state * 1'664'525 + 1'013'904'223;
    byte = static_cast<char>(state >> 24);
  }
  return bytes;
}

// Reads only when it cannot send: the server meets a kernel that takes no more. FIN follows the
// last byte, before most of the echo was read.
std::string echo_to_slow_reader(const PeerProgram& server, std::string_view message) {
  RawSocket peer = server.connect();
  std::string echo;
  while (!message.empty()) {
    message.remove_prefix(peer.send_some(message));
    pollfd ready{peer.fd(), POLLIN | POLLOUT, 0};
    if (::poll(&ready, 1, 10'000) != 1) break;
    if (!(ready.revents & POLLOUT)) echo += peer.receive_some();
  }
  peer.end();
  return echo + receive_all(peer);
}

TEST_P(Peers, EchoesEveryByteToASlowReader) {
  const PeerProgram server(GetParam());
  const std::string message = some_bytes(6 << 20);
  EXPECT_TRUE(echo_to_slow_reader(server, message) == message);
}

TEST_P(Peers, EchoesEveryFrameToASlowReader) {
  const PeerProgram server(GetParam(), "--framed");
  std::string frames;
  for (const std::size_t size : {1 << 20, 3, 4 << 20, 0, 70'000, 1 << 20}) {
    frames += frame(some_bytes(size));
  }
  EXPECT_TRUE(echo_to_slow_reader(server, frames) == frames);
}

TEST_P(Peers, EchoesFramesThatArriveInPieces) {
  const PeerProgram server(GetParam(), "--framed");
  RawSocket peer = server.connect();
  std::string frames;
  for (const std::size_t size : {0, 1, 3, 300, 4'092, 5}) frames += frame(some_bytes(size));
  std::size_t at = 0;
  for (std::size_t piece = 1; at < frames.size(); piece = piece * 3 / 2 + 1) {
    peer.send_all(std::string_view(frames).substr(at, piece));
    at += piece;
  }
  EXPECT_EQ(receive(peer, frames.size()), frames);
  // The beginning of a frame comes back only with its end.
  peer.send_all(frame("one") + frame("two").substr(0, 5));
  EXPECT_EQ(receive(peer, 7), frame("one"));
  peer.send_all(frame("two").substr(5) + frame("three"));
  EXPECT_EQ(receive(peer, 7 + 9), frame("two") + frame("three"));
}

TEST_P(Peers, EchoesToManyAtOnce) {
  const PeerProgram server(GetParam());
  std::vector<RawSocket> clients;
  for (int i = 0; i < 100; ++i) clients.push_back(server.connect());
  for (std::size_t i = 0; i < clients.size(); ++i) clients[i].send_all(std::to_string(1000 + i));
  for (std::size_t i = 0; i < clients.size(); ++i) {
    EXPECT_EQ(receive(clients[i], 4), std::to_string(1000 + i));
  }
}

TEST_P(Peers, CountsWhatTheSinkSwallows) {
  const PeerProgram server(GetParam(), "--sink");
  const std::string empty(8, '\0');
  for (const std::size_t size : {5'000'007u, 0u, 1u}) {
    RawSocket peer = server.connect();
    peer.send_all(some_bytes(size));
    peer.end();
    std::string count = empty;
    for (std::size_t i = 0; i < 8; ++i) count[7 - i] = static_cast<char>(size >> (8 * i));
    EXPECT_EQ(receive_all(peer), count);
  }
}

TEST_P(Peers, BroadcastsToAllButTheSender) {
  const PeerProgram server(GetParam(), "--broadcast");
  // Connections are accepted in their order: when the last one is served, all are there.
  std::vector<RawSocket> others;
  for (int i = 0; i < 5; ++i) others.push_back(server.connect());
  RawSocket sender = server.connect();
  const std::string news = frame(some_bytes(100'000)) + frame("") + frame("short");
  sender.send_all(news + frame("in two").substr(0, 7));
  for (RawSocket& other : others) EXPECT_TRUE(receive(other, news.size()) == news);
  sender.send_all(frame("in two").substr(7));
  for (RawSocket& other : others) EXPECT_EQ(receive(other, 10), frame("in two"));
  others.front().send_all(frame("reply"));
  EXPECT_EQ(receive(sender, 9), frame("reply"));  // and nothing of its own before it
}

TEST_P(Peers, KeepsABroadcastForWhoDoesNotReadYet) {
  const PeerProgram server(GetParam(), "--broadcast");
  RawSocket late = server.connect();
  RawSocket other = server.connect();
  RawSocket sender = server.connect();
  const std::string news = frame(some_bytes(1 << 20));
  for (int i = 0; i < 8; ++i) {
    sender.send_all(news);
    EXPECT_TRUE(receive(other, news.size()) == news);
  }
  for (int i = 0; i < 8; ++i) EXPECT_TRUE(receive(late, news.size()) == news);
}

TEST_P(Peers, ServesOnWhenClientsVanish) {
  const std::string half = frame(some_bytes(3'000'000)).substr(0, 2'000'000);
  for (const std::string mode : {"", "--framed", "--sink", "--broadcast"}) {
    const PeerProgram server(GetParam(), mode);
    RawSocket first = server.connect();
    for (int i = 0; i < 10; ++i) {
      RawSocket unread = server.connect();
      unread.send_some(frame(some_bytes(400'000)) + half);
      RawSocket silent = server.connect();
      unread.reset();
      if (i % 2 == 0) silent.reset();
    }
    if (mode == "--broadcast") {
      RawSocket sender = server.connect();
      sender.send_all(frame("still there?"));
      // Frames of those that vanished may come before it, and after it.
      std::string heard;
      while (heard.find(frame("still there?")) == std::string::npos && !first.at_end()) {
        pollfd ready{first.fd(), POLLIN, 0};
        ASSERT_EQ(::poll(&ready, 1, 10'000), 1) << mode;
        const std::string more = first.receive_some();
        heard = heard.substr(heard.size() - std::min<std::size_t>(heard.size(), 16)) + more;
      }
      EXPECT_FALSE(first.at_end()) << mode;
      continue;
    }
    first.send_all(frame("still there?"));
    if (mode != "--sink") {
      EXPECT_EQ(receive(first, 16), frame("still there?")) << mode;
      continue;
    }
    first.end();
    EXPECT_EQ(receive_all(first), std::string(7, '\0') + '\x10');
  }
}

TEST_P(Peers, SaysItsVersionInOneLine) {
  Program program({bin(GetParam()), "--version"});
  EXPECT_GT(program.read_line().size(), 3u);
  EXPECT_EQ(program.read_rest(), "");
  EXPECT_EQ(program.wait(), 0);
}

TEST_P(Peers, RefusesAModeThatItDoesNotKnow) {
  Program program({bin(GetParam()), "0", "--chunked"});
  EXPECT_EQ(program.read_error_line().rfind("usage: ", 0), 0u);
  EXPECT_EQ(program.wait(), 2);
}

}  // namespace
}  // namespace millrace::test
