// Who is left with TIME_WAIT or CLOSE_WAIT after each way of ending: the table in net/README.md.
#include "support/one_peer_test.h"
#include "support/tcp_facts.h"

namespace millrace::test {
namespace {

struct ClosingStatesTest : OnePeerTest {
  void start(const ServerOptions& options = {}) {
    OnePeerTest::start(options);
    ours_ = server->address();
    peers_ = peer.address();
  }
  TcpState our_state() const { return tcp_state(ours_, peers_); }
  TcpState state_of_peer() const { return tcp_state(peers_, ours_); }
  // It takes the kernel no time, but the answer of the other side.
  bool comes_to(TcpState ours, TcpState of_peer) {
    return run_until([&] { return our_state() == ours && state_of_peer() == of_peer; });
  }

 private:
  SocketAddress ours_;
  SocketAddress peers_;
};

TEST_F(ClosingStatesTest, WhoClosesFirstHasTimeWait) {
  start();
  connection().send("good bye");
  connection().close();
  EXPECT_EQ(receive(peer, 8), "good bye");
  ASSERT_TRUE(sees_end(peer));
  EXPECT_TRUE(comes_to(TcpState::fin_wait2, TcpState::close_wait));
  peer.close();
  EXPECT_TRUE(comes_to(TcpState::time_wait, TcpState::none));
}

TEST_F(ClosingStatesTest, WhoEndsFirstHasTimeWait) {
  start();
  connection().end();
  ASSERT_TRUE(sees_end(peer));
  EXPECT_TRUE(comes_to(TcpState::fin_wait2, TcpState::close_wait));
  peer.close();
  ASSERT_TRUE(until_closed());
  EXPECT_TRUE(comes_to(TcpState::time_wait, TcpState::none));
}

TEST_F(ClosingStatesTest, WhoIsClosedFirstHasNothing) {
  start();
  peer.end();
  ASSERT_TRUE(until_closed());
  ASSERT_TRUE(sees_end(peer));
  peer.close();
  EXPECT_TRUE(comes_to(TcpState::none, TcpState::time_wait));
}

TEST_F(ClosingStatesTest, AbortLeavesNothingOnEitherSide) {
  start();
  connection().abort();
  ASSERT_TRUE(until_closed());
  EXPECT_FALSE(sees_end(peer)) << "it is reset";
  EXPECT_TRUE(comes_to(TcpState::none, TcpState::none));
}

TEST_F(ClosingStatesTest, APeerThatResetsLeavesNothingOnEitherSide) {
  start();
  peer.reset();
  ASSERT_TRUE(until_closed());
  EXPECT_TRUE(comes_to(TcpState::none, TcpState::none));
}

TEST_F(ClosingStatesTest, AHandlerThatDoesNotCloseAfterThePeersEndStaysInCloseWait) {
  recorder.when_peer_end = [](Connection&) {};
  start();
  peer.end();
  ASSERT_TRUE(run_until([&] { return recorder.peer_ended == 1; }));
  run_for(20ms);
  EXPECT_EQ(our_state(), TcpState::close_wait);
  connection().close();
  ASSERT_TRUE(until_closed());
  peer.close();
  EXPECT_TRUE(comes_to(TcpState::none, TcpState::time_wait));
}

TEST_F(ClosingStatesTest, WhoHasPausedReadingStaysInCloseWaitUntilItResumes) {
  start();
  connection().pause_reading();
  peer.end();
  run_for(20ms);
  EXPECT_EQ(our_state(), TcpState::close_wait);
  connection().resume_reading();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(our_state(), TcpState::none);
}

TEST_F(ClosingStatesTest, FinWait2OfAPeerThatNeverClosesLastsAsLongAsAskedFor) {
  ServerOptions options;
  options.connection.timeouts.linger = 300ms;  // longer than an ACK may be delayed
  options.listen.socket.fin_wait2 = 1s;  // 60 otherwise, which is longer than run_until() waits
  start(options);
  connection().close();
  ASSERT_TRUE(until_closed());
  EXPECT_FALSE(recorder.reasons[0]);
  EXPECT_EQ(our_state(), TcpState::fin_wait2);
  EXPECT_TRUE(comes_to(TcpState::none, TcpState::close_wait));
}

}  // namespace
}  // namespace millrace::test
