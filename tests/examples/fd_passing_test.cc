#include "examples/programs.h"
#include "support/unix_dir.h"

#include <csignal>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace millrace::test {
namespace {

struct FdPassing : ::testing::Test {
  UnixDir dir;
  const std::string workers_at = "unix:" + dir.path("workers");
  ServerProgram front{"fd_passing", {"--workers", workers_at}};

  struct Worker : Program {
    explicit Worker(const std::string& front_at)
        : Program({bin("fd_passing"), "--work-for", front_at}) {
      EXPECT_EQ(read_line(), "working");
    }
    std::string greeting() const { return "served by " + std::to_string(pid()) + "\n"; }
  };
  // The greeting that a new client gets, after whose end an echo is expected.
  std::string serve_one() {
    RawSocket peer = RawSocket::connect_to(front.address());
    std::string line;
    while (line.empty() || line.back() != '\n') {
      const std::string byte = receive(peer, 1);
      if (byte.empty()) break;
      line += byte;
    }
    peer.send_all("hello");
    EXPECT_EQ(receive(peer, 5), "hello");
    peer.end();
    receive_all(peer);
    EXPECT_TRUE(peer.at_end());
    return line;
  }
};

TEST_F(FdPassing, WorkersServeInTurnWhatTheFrontHasAccepted) {
  const Worker one(workers_at);
  const Worker other(workers_at);
  std::multiset<std::string> greetings;
  for (int i = 0; i < 10; ++i) greetings.insert(serve_one());
  EXPECT_EQ(greetings.count(one.greeting()), 5u);
  EXPECT_EQ(greetings.count(other.greeting()), 5u);
}

TEST_F(FdPassing, WhileThereIsNoWorkerClientsWaitAndOneThatIsKilledIsMissedByNobody) {
  RawSocket early = RawSocket::connect_to(front.address());
  {
    Worker first(workers_at);
    EXPECT_EQ(receive(early, first.greeting().size()), first.greeting());
    first.signal(SIGKILL);
    first.wait();
    EXPECT_EQ(receive_all(early), "");
  }
  Worker second(workers_at);
  EXPECT_EQ(serve_one(), second.greeting());
  front.signal(SIGTERM);
  EXPECT_EQ(front.wait(), 0);
  EXPECT_EQ(second.wait(), 0) << "without a front there is no work";
  EXPECT_FALSE(dir.has("workers"));
}

TEST_F(FdPassing, AWorkerWithoutAFrontSaysSo) {
  Program worker({bin("fd_passing"), "--work-for", "unix:" + dir.path("nobody")});
  EXPECT_EQ(worker.read_error_line(),
            "fd_passing: unix:" + dir.path("nobody") + ": No such file or directory");
  EXPECT_EQ(worker.wait(), 1);
}

}  // namespace
}  // namespace millrace::test
