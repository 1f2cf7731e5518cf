#include "examples/programs.h"
#include "support/sockets.h"

#include <csignal>
#include <random>

#include <gtest/gtest.h>

namespace millrace::test {
namespace {

// What a peer sees last: its end, or a reset.
bool sees_end(RawSocket& peer) {
  receive_all(peer);
  return peer.at_end();
}

bool sees_reset(RawSocket& peer) {
  receive_all(peer);
  return !peer.at_end() && peer.last_error() == ECONNRESET;
}

// The target is a socket of the test.
struct Relay : ::testing::Test {
  RawSocket target = RawSocket::listen();
  ServerProgram program{"relay", {"--to", target.address().to_string()}};

  struct Pair {
    RawSocket peer, far;  // who connected to the relay, and what the target has accepted
  };
  Pair connect() {
    Pair pair;
    pair.peer = RawSocket::connect_to(program.address());
    pair.far = target.accept();
    EXPECT_TRUE(pair.far) << "the relay does not connect";
    return pair;
  }
};

TEST_F(Relay, PassesBytesOnBothWays) {
  auto [peer, far] = connect();
  peer.send_all("hello");
  EXPECT_EQ(receive(far, 5), "hello");
  far.send_all("and hello to you");
  EXPECT_EQ(receive(peer, 16), "and hello to you");
}

TEST_F(Relay, KeepsWhatWasSentBeforeItHadConnectedAndAHalfClose) {
  RawSocket peer = RawSocket::connect_to(program.address());
  peer.send_all("the question");
  peer.end();
  RawSocket far = target.accept();
  ASSERT_TRUE(far);
  EXPECT_EQ(receive_all(far), "the question");
  EXPECT_TRUE(far.at_end());
  far.send_all("the answer");
  far.close();
  EXPECT_EQ(receive_all(peer), "the answer");
  EXPECT_TRUE(peer.at_end());
}

TEST_F(Relay, LosesNothingOfMuchThatIsReadLate) {
  auto [peer, far] = connect();
  std::string all(8 << 20, '\0');
  std::minstd_rand random(1);
  for (char& c : all) c = static_cast<char>(random());
  std::string_view rest = all;
  std::string got;
  while (got.size() < all.size()) {
    rest.remove_prefix(peer.send_some(rest));
    const std::string part = receive(far, std::min<std::size_t>(100'000, all.size() - got.size()));
    ASSERT_FALSE(part.empty());
    got += part;
  }
  EXPECT_TRUE(got == all);
}

TEST_F(Relay, APeersResetReachesTheTargetAndNobodyElse) {
  auto [peer, far] = connect();
  auto [other, other_far] = connect();
  peer.reset();
  EXPECT_TRUE(sees_reset(far));
  other.send_all("still there?");
  EXPECT_EQ(receive(other_far, 12), "still there?");
}

TEST_F(Relay, AResetOfTheTargetReachesThePeer) {
  auto [peer, far] = connect();
  far.reset();
  EXPECT_TRUE(sees_reset(peer));
}

TEST_F(Relay, APeerThatIsGoneBeforeTheTargetAnswersLeavesNoTrace) {
  RawSocket peer = RawSocket::connect_to(program.address());
  peer.reset();
  if (RawSocket far = target.accept()) receive_all(far);
  auto [other, other_far] = connect();
  other.send_all("x");
  EXPECT_EQ(receive(other_far, 1), "x");
}

TEST_F(Relay, EndsOnSigtermWithConnectionsOpen) {
  auto [peer, far] = connect();
  peer.send_all("x");
  EXPECT_EQ(receive(far, 1), "x");
  program.signal(SIGTERM);
  EXPECT_EQ(program.wait(), 0);
  EXPECT_EQ(receive_all(peer), "");
  EXPECT_EQ(receive_all(far), "");
}

TEST_F(Relay, EndsOnSigint) {
  auto [peer, far] = connect();
  peer.close();
  EXPECT_TRUE(sees_end(far));
  program.signal(SIGINT);
  EXPECT_EQ(program.wait(), 0);
}

TEST(RelayWithoutTarget, ResetsWhoeverConnectsAndGoesOn) {
  const ClosedPort nobody;
  ServerProgram program("relay", {"--to", nobody.address().to_string()});
  for (int i = 0; i < 3; ++i) {
    RawSocket peer = RawSocket::connect_to(program.address());
    EXPECT_TRUE(sees_reset(peer));
  }
  program.signal(SIGTERM);
  EXPECT_EQ(program.wait(), 0);
}

TEST(RelayWithoutTarget, ABadTargetIsOneLineAndStatusOne) {
  Program program({bin("relay"), "--listen", "127.0.0.1:0", "--to", "nonsense"});
  EXPECT_EQ(program.read_error_line().rfind("relay: ", 0), 0u);
  EXPECT_EQ(program.wait(), 1);
}

}  // namespace
}  // namespace millrace::test
