#include <millrace/millrace.h>

#include "examples/programs.h"
#include "support/unix_dir.h"

#include <csignal>
#include <fstream>
#include <sstream>
#include <string_view>

#include <gtest/gtest.h>

namespace millrace::test {
namespace {

[[maybe_unused]] std::size_t status_kilobytes(pid_t pid, const std::string& field) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  std::string word;
  std::size_t value = 0;
  while (status >> word) {
    if (word == field + ":") {
      status >> value;
      break;
    }
  }
  return value;
}

// The two flavours of an echo server, and what a message looks like in each.
struct Flavour {
  std::string framing;
  std::string message(const std::string& text) const {
    return framing == "none" ? text : frame(text);
  }
  friend void PrintTo(const Flavour& flavour, std::ostream* out) { *out << flavour.framing; }
};

struct EchoServer : ::testing::TestWithParam<Flavour> {
  ServerProgram server{"echo_server", {"--framing", GetParam().framing}};
  std::string message(const std::string& text) const { return GetParam().message(text); }
};

INSTANTIATE_TEST_SUITE_P(Both, EchoServer,
                         ::testing::Values(Flavour{"none"}, Flavour{"length-prefix"}),
                         [](const auto& one) {
                           return one.param.framing == "none" ? "Bytes" : "Frames";
                         });

TEST(EchoServerOverUnix, ListensOnAPathAndRemovesItInTheEnd) {
  const UnixDir dir;
  const std::string address = "unix:" + dir.path("echo");
  ServerProgram server("echo_server", {}, address);
  EXPECT_EQ(server.address_text(), address);
  RawSocket peer = RawSocket::connect_to(server.address());
  peer.send_all("hello");
  EXPECT_EQ(receive(peer, 5), "hello");
  peer.close();
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0);
  EXPECT_FALSE(dir.has("echo"));
}

TEST_P(EchoServer, SaysWhereItListensEchoesAndEndsCleanlyWithASummary) {
  EXPECT_NE(server.address().port(), 0);
  RawSocket peer = RawSocket::connect_to(server.address());
  peer.send_all(message("hello"));
  EXPECT_EQ(receive(peer, message("hello").size()), message("hello"));
  peer.end();
  EXPECT_EQ(receive_all(peer), "");
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0);
  EXPECT_EQ(server.read_line(),
            "served 1 connections, " + std::to_string(message("hello").size()) + " bytes");
  EXPECT_EQ(server.read_rest(), "");
}

TEST_P(EchoServer, EndsOnSigintWithConnectionsOpen) {
  RawSocket peer = RawSocket::connect_to(server.address());
  peer.send_all(message("x"));
  EXPECT_EQ(receive(peer, message("x").size()), message("x"));
  server.signal(SIGINT);
  EXPECT_EQ(server.wait(), 0);
}

TEST_P(EchoServer, StaysSmallBesideAPeerThatDoesNotReadAndServesOthers) {
  RawSocket deaf = RawSocket::connect_to(server.address());
  const std::string block = message(std::string(60'000, 'd'));
  std::size_t sent = 0;
  // Until the server stops reading and the kernel's buffers are full, twice in a row a little
  // later.
  for (int refused = 0; refused < 2 && sent < 200'000'000;) {
    const std::string_view rest = std::string_view(block).substr(sent % block.size());
    const std::size_t n = deaf.send_some(rest);
    sent += n;
    if (n < rest.size()) {
      pollfd room{deaf.fd(), POLLOUT, 0};
      if (::poll(&room, 1, 300) == 1) continue;
      ++refused;
    }
  }
  EXPECT_LT(sent, 200'000'000u) << "the server never stopped reading";
  RawSocket other = RawSocket::connect_to(server.address());
  other.send_all(message("still there?"));
  EXPECT_EQ(receive(other, message("still there?").size()), message("still there?"));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LT(status_kilobytes(server.pid(), "VmHWM"), 40'000u);
#endif
}

TEST(EchoServerFramed, NamesNothingButClosesAPeerWhoseFrameIsTooLarge) {
  ServerProgram server("echo_server", {"--framing", "length-prefix"});
  RawSocket peer = RawSocket::connect_to(server.address());
  peer.send_all(frame("first") + "\xff\xff\xff\xff");
  EXPECT_EQ(receive_all(peer), frame("first"));
  RawSocket other = RawSocket::connect_to(server.address());
  other.send_all(frame("second"));
  EXPECT_EQ(receive(other, 10), frame("second"));
}

struct BadStart {
  const char* name;
  std::vector<std::string> arguments;
  const char* says;  // part of the one line
  friend void PrintTo(const BadStart& start, std::ostream* out) { *out << start.name; }
};

struct EchoServerBadStart : ::testing::TestWithParam<BadStart> {};

INSTANTIATE_TEST_SUITE_P(
    All, EchoServerBadStart,
    ::testing::Values(
        BadStart{"NoAddress", {}, "--listen"},
        BadStart{"UnknownOption", {"--listen", "127.0.0.1:0", "--colour"}, "--colour"},
        BadStart{"UnknownFraming", {"--listen", "127.0.0.1:0", "--framing", "xml"}, "xml"},
        BadStart{"NotAnAddress", {"--listen", "nonsense"}, "'nonsense'"},
        BadStart{"NoPort", {"--listen", "127.0.0.1"}, "port is missing"},
        BadStart{"BadPort", {"--listen", "127.0.0.1:99999"}, "99999"},
        BadStart{"NotOurAddress", {"--listen", "192.0.2.1:7000"}, "192.0.2.1:7000"}),
    [](const auto& one) { return one.param.name; });

TEST_P(EchoServerBadStart, GetsAClearLineAndAStatusThatIsNotZero) {
  std::vector<std::string> command = {bin("echo_server")};
  command.insert(command.end(), GetParam().arguments.begin(), GetParam().arguments.end());
  Program program(command);
  EXPECT_NE(program.wait(), 0);
  EXPECT_NE(program.read_error_line().find(GetParam().says), std::string::npos);
  EXPECT_EQ(program.read_rest(), "");
}

TEST(EchoServerStart, NamesAPortThatIsTaken) {
  const RawSocket taken = RawSocket::listen();
  Program program({bin("echo_server"), "--listen", taken.address().to_string()});
  EXPECT_EQ(program.wait(), 1);
  EXPECT_EQ(program.read_error_line(),
            "echo_server: bind " + taken.address().to_string() + ": Address already in use");
}

TEST(EchoClient, SendsItsInputAndPrintsWhatComesBack) {
  ServerProgram server("echo_server");
  Program client({bin("echo_client"), "--connect", server.address_text()});
  client.write("one\n");
  EXPECT_EQ(client.read_line(), "one");
  client.write("two\n");
  EXPECT_EQ(client.read_line(), "two");
  client.close_input();
  EXPECT_EQ(client.wait(), 0);
}

TEST(EchoClient, CarriesALargeFileThroughUnchanged) {
  ServerProgram server("echo_server");
  std::string text;
  for (int i = 0; i < 300'000; ++i) text += std::to_string(i) + "\n";
  const std::string path =
      ::testing::TempDir() + "/echo_client_input_" + std::to_string(::getpid());
  std::ofstream(path) << text;
  Program client(
      {"/bin/sh", "-c",
       "exec " + bin("echo_client") + " --connect " + server.address_text() + " < " + path});
  EXPECT_EQ(client.read_rest(), text);
  EXPECT_EQ(client.wait(), 0);
  ::unlink(path.c_str());
}

TEST(EchoClient, SendsLinesAsFrames) {
  ServerProgram server("echo_server", {"--framing", "length-prefix"});
  Program client(
      {bin("echo_client"), "--connect", server.address_text(), "--framing", "length-prefix"});
  client.write("first line\nsecond line\n");
  EXPECT_EQ(client.read_line(), "first line");
  EXPECT_EQ(client.read_line(), "second line");
  client.write("without an end");
  client.close_input();
  EXPECT_EQ(client.read_line(), "without an end");
  EXPECT_EQ(client.wait(), 0);
}

TEST(EchoClient, NamesTheServerThatRefuses) {
  RawSocket closed = RawSocket::listen();
  const std::string address = closed.address().to_string();
  closed.close();
  Program client({bin("echo_client"), "--connect", address});
  EXPECT_EQ(client.wait(), 1);
  EXPECT_EQ(client.read_error_line(), "echo_client: " + address + ": Connection refused");
}

TEST(EchoClient, ReportsAServerThatResets) {
  RawSocket listener = RawSocket::listen();
  Program client({bin("echo_client"), "--connect", listener.address().to_string()});
  RawSocket server = listener.accept();
  ASSERT_TRUE(server);
  server.reset();
  EXPECT_EQ(client.wait(), 1);
  EXPECT_NE(client.read_error_line().find("Connection reset"), std::string::npos);
}

TEST(Readme, ItsServerWorksAsPrinted) {
  Program server({bin("readme_server"), "127.0.0.1:0"});
  const std::string line = server.read_line();
  ASSERT_EQ(line.rfind("listening on ", 0), 0u) << line;
  RawSocket peer = RawSocket::connect_to(SocketAddress::parse(line.substr(13)));
  peer.send_all(frame("one") + frame("") + frame("three"));
  EXPECT_EQ(receive(peer, 20), frame("one") + frame("") + frame("three"));
}

}  // namespace
}  // namespace millrace::test
