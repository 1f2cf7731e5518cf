#include "examples/programs.h"

#include <fstream>
#include <thread>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace millrace::test {
namespace {

std::vector<std::string> load(const std::string& address, std::vector<std::string> more) {
  std::vector<std::string> command = {bin("millrace-bench"),
                                      "echo",
                                      "--connect",
                                      address,
                                      "--duration",
                                      "300ms",
                                      "--warmup",
                                      "50ms",
                                      "--verify"};
  command.insert(command.end(), more.begin(), more.end());
  return command;
}

struct Case {
  const char* name;
  const char* server;
  std::vector<std::string> server_options;
  std::vector<std::string> load_options;
  const char* listen = "127.0.0.1:0";
  friend void PrintTo(const Case& one, std::ostream* out) { *out << one.name; }
};

struct LoadTool : ::testing::TestWithParam<Case> {};

INSTANTIATE_TEST_SUITE_P(
    All, LoadTool,
    ::testing::Values(
        Case{"Bytes", "echo_server", {}, {"--connections", "10"}},
        Case{"BytesPipelined", "echo_server", {}, {"--connections", "3", "--depth", "50"}},
        Case{"Frames",
             "echo_server",
             {"--framing", "length-prefix"},
             {"--connections", "10", "--depth", "32", "--framing", "length-prefix"}},
        Case{"LargeFrames",
             "echo_server",
             {"--framing", "length-prefix"},
             {"--connections", "2", "--size", "1000000", "--framing", "length-prefix"}},
        Case{"LargeMessages", "echo_server", {}, {"--connections", "2", "--size", "700000"}},
        Case{"OneByte", "echo_server", {}, {"--size", "1"}},
        Case{"OpenLoop", "echo_server", {}, {"--connections", "5", "--rate", "2000"}},
        Case{"OverUnix", "echo_server", {}, {"--connections", "10"}, "unix:@"},
        Case{"WithIdleOnes", "echo_server", {}, {"--connections", "2", "--idle", "100"}}),
    [](const auto& one) { return one.param.name; });

TEST_P(LoadTool, VerifiesEveryByteAndWritesWhatItFound) {
  ServerProgram server(GetParam().server, GetParam().server_options, GetParam().listen);
  const std::string path =
      ::testing::TempDir() + "/load_" + GetParam().name + std::to_string(::getpid()) + ".json";
  auto options = GetParam().load_options;
  options.insert(options.end(), {"--json", path});
  Program tool(load(server.address_text(), options));
  const std::string table = tool.read_rest();
  EXPECT_EQ(tool.wait(), 0) << table;
  for (const char* row :
       {"messages", "msg/s", "MB/s", "p50", "p90", "p99", "p99.9", "p99.99", "max"}) {
    EXPECT_NE(table.find(row), std::string::npos) << row << " is missing in\n" << table;
  }
  const auto json = nlohmann::json::parse(std::ifstream(path));
  EXPECT_GT(json["messages"], 0);
  EXPECT_TRUE(json["errors"].empty()) << json["errors"];
  const auto& latency = json["latency_ns"];
  EXPECT_LE(latency["p50"], latency["p99"]);
  EXPECT_LE(latency["p99.99"], latency["max"]);
  ::unlink(path.c_str());
}

TEST(LoadToolErrors, ConnectionRefusedIsAnErrorThatIsNamed) {
  RawSocket closed = RawSocket::listen();
  const std::string address = closed.address().to_string();
  closed.close();
  Program tool(load(address, {}));
  EXPECT_EQ(tool.wait(), 1);
  const std::string line = tool.read_error_line();
  EXPECT_NE(line.find(address), std::string::npos) << line;
  EXPECT_NE(line.find("Connection refused"), std::string::npos) << line;
}

// A server of the test's own that answers once, wrongly or not at all.
std::string errors_of(const std::function<void(RawSocket&)>& answer,
                      const std::vector<std::string>& options, int* status) {
  RawSocket listener = RawSocket::listen();
  Program tool(load(listener.address().to_string(), options));
  std::thread server([&] {
    RawSocket peer = listener.accept();
    answer(peer);
    receive_all(peer);  // until the tool has closed
  });
  const std::string table = tool.read_rest();
  *status = tool.wait();
  listener.close();
  server.join();
  return table;
}

TEST(LoadToolErrors, AWrongByteIsFound) {
  int status = 0;
  const std::string table = errors_of(
      [](RawSocket& peer) {
        std::string message = receive(peer, 64);
        message[63] = static_cast<char>(message[63] ^ 1);
        peer.send_all(message);
      },
      {}, &status);
  EXPECT_NE(status, 0);
  EXPECT_NE(table.find("wrong bytes"), std::string::npos) << table;
}

TEST(LoadToolErrors, AServerThatClosesIsFound) {
  int status = 0;
  const std::string table =
      errors_of([](RawSocket& peer) { peer.end(); }, {"--connections", "1"}, &status);
  EXPECT_NE(status, 0);
  EXPECT_NE(table.find("closed by the server"), std::string::npos) << table;
}

TEST(LoadToolErrors, BrokenFramingIsFound) {
  int status = 0;
  const std::string table = errors_of(
      [](RawSocket& peer) {
        receive(peer, 68);
        peer.send_all("\xff\xff\xff\xff");
      },
      {"--framing", "length-prefix"}, &status);
  EXPECT_NE(status, 0);
  EXPECT_NE(table.find("broken framing"), std::string::npos) << table;
}

TEST(LoadToolErrors, BadOptionsAreNamed) {
  for (const auto& [options, says] : std::vector<std::pair<std::vector<std::string>, const char*>>{
           {{"--duration", "5"}, "--duration"},
           {{"--size", "0"}, "--size"},
           {{"--framing", "xml"}, "xml"},
           {{"--json", "/nonexistent/file"}, "/nonexistent/file"}}) {
    ServerProgram server("echo_server");
    Program tool(load(server.address_text(), options));
    EXPECT_NE(tool.wait(), 0) << says;
    EXPECT_NE(tool.read_error_line().find(says), std::string::npos) << says;
  }
}

TEST(RawEpoll, IsAnEchoServerToo) {
  for (const bool framed : {false, true}) {
    std::vector<std::string> command = {bin("raw_epoll"), "0"};
    if (framed) command.push_back("--framed");
    Program server(command);
    const std::string line = server.read_line();
    ASSERT_EQ(line.rfind("listening on ", 0), 0u);
    std::vector<std::string> options = {"--connections", "5", "--depth", "10", "--size", "5000"};
    if (framed) options.insert(options.end(), {"--framing", "length-prefix"});
    Program tool(load(line.substr(13), options));
    const std::string table = tool.read_rest();
    EXPECT_EQ(tool.wait(), 0) << table;
  }
}

}  // namespace
}  // namespace millrace::test
