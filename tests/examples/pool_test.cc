#include "examples/programs.h"

#include <csignal>
#include <set>
#include <sstream>

#include <gtest/gtest.h>

namespace millrace::test {
namespace {

TEST(PoolExample, EachLineIsAnsweredOnceOverNoMoreConnectionsThanAllowed) {
  ServerProgram server("echo_server", {"--framing", "none"});
  Program pool({bin("pool"), "--connect", server.address_text(), "--connections", "3"});
  std::multiset<std::string> expected;
  std::string lines;
  for (int i = 0; i < 100; ++i) {
    expected.insert("line " + std::to_string(i));
    lines += "line " + std::to_string(i) + "\n";
  }
  pool.write(lines);
  pool.close_input();
  std::istringstream output(pool.read_rest());
  std::multiset<std::string> answers;
  std::string line;
  for (int i = 0; i < 100 && std::getline(output, line); ++i) answers.insert(line);
  EXPECT_EQ(answers, expected);
  std::getline(output, line);
  EXPECT_EQ(line, "100 requests over 3 connections");
  EXPECT_EQ(pool.wait(), 0);
}

TEST(PoolExample, WithoutAServerEachLineIsToldWhy) {
  const SocketAddress nobody = [] {
    const RawSocket gone = RawSocket::listen();
    return gone.address();
  }();
  Program pool({bin("pool"), "--connect", nobody.to_string()});
  pool.write("one\ntwo\n");
  pool.close_input();
  EXPECT_EQ(pool.read_line(), "! one: Connection refused");
  EXPECT_EQ(pool.read_line(), "! two: Connection refused");
  EXPECT_EQ(pool.wait(), 1);
}

}  // namespace
}  // namespace millrace::test
