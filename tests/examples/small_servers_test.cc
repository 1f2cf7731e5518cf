#include "examples/programs.h"

#include <csignal>
#include <fstream>

#include <gtest/gtest.h>

namespace millrace::test {
namespace {

TEST(Discard, TakesWhatComesAnswersNothingAndEndsWithItsPeer) {
  ServerProgram server("discard");
  RawSocket peer = RawSocket::connect_to(server.address());
  peer.send_all(std::string(3'000'000, 'x'));
  peer.end();
  EXPECT_EQ(receive_all(peer), "");
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0);
}

TEST(Daytime, TellsTheTimeAndCloses) {
  ServerProgram server("daytime");
  RawSocket peer = RawSocket::connect_to(server.address());
  const std::string time = receive_all(peer);
  EXPECT_NE(time.find("UTC\r\n"), std::string::npos) << time;
  EXPECT_TRUE(peer.at_end());
}

TEST(Daytime, TellsItEvenToAPeerThatTalksAllTheTime) {
  ServerProgram server("daytime");
  RawSocket peer = RawSocket::connect_to(server.address());
  peer.send_some(std::string(100'000, 'x'));
  EXPECT_NE(receive_all(peer).find("UTC\r\n"), std::string::npos);
  EXPECT_TRUE(peer.at_end()) << "a reset instead of the end";
}

TEST(Chargen, SendsItsPatternWithoutAGap) {
  ServerProgram server("chargen");
  RawSocket peer = RawSocket::connect_to(server.address());
  constexpr std::size_t kPeriod = 95 * 74;
  const std::string text = receive(peer, 400 * kPeriod);
  ASSERT_EQ(text.size(), 400 * kPeriod);
  EXPECT_EQ(text.substr(0, 8), " !\"#$%&'");
  for (std::size_t i = kPeriod; i < text.size(); i += kPeriod) {
    ASSERT_EQ(text.compare(i, kPeriod, text, 0, kPeriod), 0) << "at byte " << i;
  }
}

TEST(Chargen, KeepsServingBesideAPeerThatDoesNotRead) {
  ServerProgram server("chargen");
  const RawSocket deaf = RawSocket::connect_to(server.address(), 4096);
  RawSocket reader = RawSocket::connect_to(server.address());
  EXPECT_EQ(receive(reader, 20'000'000).size(), 20'000'000u);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  std::ifstream status("/proc/" + std::to_string(server.pid()) + "/status");
  std::string word;
  std::size_t peak = 0;
  while (status >> word && word != "VmHWM:") {
  }
  status >> peak;
  EXPECT_GT(peak, 0u);
  EXPECT_LT(peak, 40'000u) << "kilobytes";
#endif
}

}  // namespace
}  // namespace millrace::test
