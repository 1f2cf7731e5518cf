#include "examples/programs.h"

#include <csignal>
#include <memory>

#include <gtest/gtest.h>

namespace millrace::test {
namespace {

// Reads until a line begins so; that line.
std::string line_with(Program& program, const std::string& begin) {
  for (int i = 0; i < 1000; ++i) {
    const std::string line = program.read_line();
    if (line.rfind(begin, 0) == 0 || line.empty()) return line;
  }
  return "";
}

TEST(ReconnectingClient, SurvivesItsServerAndSendsWhatWaitedToTheNext) {
  auto server =
      std::make_unique<ServerProgram>("echo_server", std::vector<std::string>{"--framing", "none"});
  const std::string address = server->address_text();
  Program client({bin("reconnecting_client"), "--connect", address, "--every", "5"});
  EXPECT_EQ(client.read_line(), "connected to " + address);
  EXPECT_EQ(line_with(client, "echo of"), "echo of tick 1");
  server->signal(SIGKILL);
  server->wait();
  EXPECT_NE(line_with(client, "no connection").find("to the next attempt"), std::string::npos);
  EXPECT_EQ(line_with(client, "connecting"), "connecting");
  const std::string refused = line_with(client, "no connection (2 failed in a row");
  EXPECT_NE(refused.find("Connection refused"), std::string::npos) << refused;
  EXPECT_EQ(refused.find(" 0 bytes wait"), std::string::npos) << refused;
  const Program next({bin("echo_server"), "--listen", address, "--framing", "none"});
  EXPECT_EQ(line_with(client, "connected"), "connected to " + address);
  // From the first that waited on, none is missing.
  const std::string first = line_with(client, "echo of tick ");
  ASSERT_GT(first.size(), 13u);
  int number = std::stoi(first.substr(13));
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(line_with(client, "echo of"), "echo of tick " + std::to_string(++number));
  }
  client.signal(SIGTERM);
  EXPECT_EQ(client.wait(), 0);
}

}  // namespace
}  // namespace millrace::test
