// An object of the user's that lives with the connection.
#include "support/one_peer_test.h"

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace millrace::test {
namespace {

struct ConnectionContextTest : OnePeerTest {};

struct Session {
  std::string user;
  int requests = 0;
};

// Counts those that are alive.
struct Counted {
  explicit Counted(int& count) : alive(count) { ++alive; }
  Counted(const Counted&) = delete;
  ~Counted() { --alive; }
  int& alive;
};

TEST_F(ConnectionContextTest, IsWhatWasPutThereAndNullForEveryOtherType) {
  start();
  Connection& c = connection();
  EXPECT_EQ(c.context<Session>(), nullptr);
  Session& made = c.emplace_context<Session>("alice", 3);
  EXPECT_EQ(c.context<Session>(), &made);
  EXPECT_EQ(c.context<Session>()->user, "alice");
  EXPECT_EQ(c.context<Session>()->requests, 3);
  EXPECT_EQ(c.context<std::string>(), nullptr);
  EXPECT_EQ(c.context<int>(), nullptr);
}

TEST_F(ConnectionContextTest, StaysWithItsConnectionFromCallbackToCallback) {
  recorder.when_open = [](Connection& c) { c.emplace_context<Session>(); };
  recorder.when_data = [](Connection& c, ReceiveBuffer& in) {
    in.consume_all();
    c.send(std::to_string(++c.context<Session>()->requests));
  };
  listen();
  RawSocket first = connect();
  RawSocket second = connect();
  first.send_all("x");
  EXPECT_EQ(receive(first, 1), "1");
  first.send_all("x");
  EXPECT_EQ(receive(first, 1), "2");
  second.send_all("x");
  EXPECT_EQ(receive(second, 1), "1");
  first.close();
  second.close();
  EXPECT_TRUE(until_closed(2));
}

TEST_F(ConnectionContextTest, ReplacingDestroysTheOldOneAndNoneOfAnotherType) {
  int alive = 0;
  start();
  connection().emplace_context<Session>("alice");
  connection().emplace_context<Counted>(alive);
  connection().emplace_context<int>(7);
  connection().emplace_context<Counted>(alive);
  EXPECT_EQ(alive, 1);
  connection().emplace_context<Session>("bob");
  EXPECT_EQ(alive, 1);
  EXPECT_NE(connection().context<Counted>(), nullptr);
  EXPECT_EQ(connection().context<Session>()->user, "bob");
  EXPECT_EQ(*connection().context<int>(), 7);
  peer.end();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(alive, 0);
}

TEST_F(ConnectionContextTest, TheOldOneFindsItsSuccessorWhileItIsDestroyed) {
  struct Curious {
    Connection& connection;
    std::string name;
    std::string* seen;
    ~Curious() {
      if (Curious* successor = connection.context<Curious>()) *seen = successor->name;
    }
  };
  std::string seen;
  start();
  connection().emplace_context<Curious>(connection(), "first", &seen);
  connection().emplace_context<Session>("another");
  connection().emplace_context<Curious>(connection(), "successor", &seen);
  EXPECT_EQ(seen, "successor");
  peer.end();
  EXPECT_TRUE(until_closed());
}

// The timer and the reason of the end hang in the same list.
TEST_F(ConnectionContextTest, IsFoundBesideWhatTheConnectionKeepsItself) {
  int alive = 0;
  ServerOptions options;
  options.connection.timeouts.idle = 1h;
  recorder.when_open = [](Connection& c) { c.emplace_context<Session>("alice"); };
  recorder.when_close = [&](Connection& c, std::error_code why) {
    EXPECT_EQ(why, std::errc::io_error);
    EXPECT_EQ(c.close_detail(), "as told");
    EXPECT_EQ(c.context<Session>()->user, "bob");
    EXPECT_NE(c.context<Counted>(), nullptr);
    EXPECT_EQ(c.context<int>(), nullptr);
  };
  start(options);
  connection().emplace_context<Counted>(alive);
  connection().emplace_context<Session>("bob");
  connection().close(std::make_error_code(std::errc::io_error), "as told");
  connection().emplace_context<Counted>(alive);
  EXPECT_EQ(alive, 1);
  peer.close();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(alive, 0);
}

TEST_F(ConnectionContextTest, AConstructorThatThrowsLeavesWhatWasThere) {
  struct Failing {
    explicit Failing(int) { throw std::runtime_error("no"); }
  };
  start();
  connection().emplace_context<Session>("alice");
  EXPECT_THROW(connection().emplace_context<Failing>(1), std::runtime_error);
  EXPECT_EQ(connection().context<Session>()->user, "alice");
}

TEST_F(ConnectionContextTest, LivesUntilOnCloseHasReturnedAndNotForEver) {
  int alive = 0;
  int alive_in_on_close = 0;
  bool found = false;
  recorder.when_open = [&](Connection& c) { c.emplace_context<Counted>(alive); };
  recorder.when_close = [&](Connection& c, std::error_code) {
    alive_in_on_close = alive;
    found = c.context<Counted>() != nullptr;
  };
  start();
  peer.close();
  ASSERT_TRUE(until_closed());
  EXPECT_TRUE(found);
  EXPECT_EQ(alive_in_on_close, 1);
  EXPECT_EQ(alive, 0);
}

TEST_F(ConnectionContextTest, MayOwnWhatCannotBeCopied) {
  start();
  connection().emplace_context<std::unique_ptr<int>>(std::make_unique<int>(7));
  EXPECT_EQ(**connection().context<std::unique_ptr<int>>(), 7);
}

}  // namespace
}  // namespace millrace::test
