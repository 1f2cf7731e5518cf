#include "examples/programs.h"

#include <csignal>

#include <gtest/gtest.h>

namespace millrace::test {
namespace {

TEST(GlibLoop, EchoesBesideATimerOfGlib) {
  ServerProgram server("glib_loop", {"--interval", "1"});
  RawSocket peer = RawSocket::connect_to(server.address());
  peer.send_all("hello");
  EXPECT_EQ(receive(peer, 5), "hello");
  EXPECT_EQ(server.read_line(), "echoed 5");
  peer.send_all("and more");
  EXPECT_EQ(receive(peer, 8), "and more");
  EXPECT_EQ(server.read_line(), "echoed 13");
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0);
}

TEST(GlibLoop, EchoesMuch) {
  ServerProgram server("glib_loop");
  RawSocket peer = RawSocket::connect_to(server.address());
  const std::string all(3'000'000, 'x');
  std::string_view rest = all;
  std::string got;
  while (got.size() < all.size()) {
    rest.remove_prefix(peer.send_some(rest));
    const std::string part = receive(peer, std::min<std::size_t>(100'000, all.size() - got.size()));
    ASSERT_FALSE(part.empty());
    got += part;
  }
  EXPECT_TRUE(got == all);
  server.signal(SIGINT);
  EXPECT_EQ(server.wait(), 0);
}

TEST(GlibLoop, AnAddressThatIsTakenIsOneLineAndStatusOne) {
  const ServerProgram first("glib_loop");
  Program second({bin("glib_loop"), "--listen", first.address_text()});
  EXPECT_EQ(second.read_error_line().rfind("glib_loop: ", 0), 0u);
  EXPECT_EQ(second.wait(), 1);
}

}  // namespace
}  // namespace millrace::test
