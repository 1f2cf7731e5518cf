#include "examples/programs.h"

#include <gtest/gtest.h>

namespace millrace::test {
namespace {

struct Chat : ::testing::Test {
  // A member that has been welcomed.
  RawSocket join(const std::string& name, int members) {
    RawSocket peer = RawSocket::connect_to(server.address());
    peer.send_all(frame(name));
    expect(peer, "* welcome, " + name + "; " + std::to_string(members) + " here");
    return peer;
  }
  static void expect(RawSocket& peer, const std::string& text) {
    EXPECT_EQ(receive(peer, frame(text).size()), frame(text));
  }

  ServerProgram server{"chat"};
};

TEST_F(Chat, SaysToEverybodyElseWhatOneSays) {
  RawSocket ann = join("ann", 1);
  RawSocket bob = join("bob", 2);
  expect(ann, "* bob has come");
  RawSocket eve = join("eve", 3);
  expect(ann, "* eve has come");
  expect(bob, "* eve has come");
  bob.send_all(frame("hello"));
  expect(ann, "bob: hello");
  expect(eve, "bob: hello");
  ann.send_all(frame("hi bob"));
  expect(bob, "ann: hi bob");  // and nothing of his own came back in between
}

TEST_F(Chat, TellsWhenAMemberGoesInWhateverWay) {
  RawSocket ann = join("ann", 1);
  RawSocket bob = join("bob", 2);
  expect(ann, "* bob has come");
  bob.reset();
  expect(ann, "* bob has gone");
  RawSocket eve = join("eve", 2);
  expect(ann, "* eve has come");
  eve.close();
  expect(ann, "* eve has gone");
}

TEST_F(Chat, SurvivesGuestsThatNeverSayTheirNameOrSendGarbage) {
  RawSocket ann = join("ann", 1);
  RawSocket silent = RawSocket::connect_to(server.address());
  RawSocket garbage = RawSocket::connect_to(server.address());
  garbage.send_all("GET / HTTP/1.1\r\n\r\n");
  EXPECT_EQ(receive_all(garbage), "");
  silent.close();
  RawSocket bob = join("bob", 2);
  expect(ann, "* bob has come");
}

TEST_F(Chat, ShowsTheDoorToAMemberThatDoesNotRead) {
  RawSocket deaf = RawSocket::connect_to(server.address(), 4096);
  deaf.send_all(frame("deaf"));
  RawSocket ann = join("ann", 2);
  const std::string line = frame(std::string(100'000, 'x'));
  std::string heard;
  // Until ann is told that deaf has gone; bounded, because each line takes its share of his
  // patience.
  for (int i = 0; i < 400 && heard.find("deaf has gone") == std::string::npos; ++i) {
    ann.send_all(line);
    heard += ann.receive_some();
  }
  if (heard.empty()) heard = receive(ann, frame("* deaf has gone").size());
  EXPECT_NE(heard.find("deaf has gone"), std::string::npos);
}

}  // namespace
}  // namespace millrace::test
