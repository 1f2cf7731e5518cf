// The end of a client, its attempts and its connection: close() and destruction, in each of its
// states and inside each of its callbacks.
#include <millrace/client.h>
#include <millrace/connection.h>
#include <millrace/error.h>
#include <millrace/server.h>

#include "support/client_test.h"
#include "support/loop_test.h"
#include "support/sockets.h"

#include <memory>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include <sys/socket.h>

namespace millrace::test {
namespace {

using State = Client::State;

struct ClientEndTest : OneClientTest {
  void start(const SocketAddress& address, const ClientOptions& with = {}) {
    client = std::make_unique<Client>(loop(), recorder, with);
    client->connect(address);
  }
  void open() {
    start(listener.address());
    ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  }
  static ClientOptions reconnecting() {
    ClientOptions reconnecting;
    reconnecting.reconnect.enabled = true;
    reconnecting.reconnect.first_delay = 1h;
    return reconnecting;
  }
  // Nothing more is reported, and nothing keeps the loop busy.
  void expect_silence() {
    const std::size_t events = recorder.events.size() + recorder.failures.size();
    EXPECT_LE(run_for(50ms), 6u);
    EXPECT_EQ(recorder.events.size() + recorder.failures.size(), events);
  }
};

TEST_F(ClientEndTest, CloseWhileIdleDoesNothing) {
  client = std::make_unique<Client>(loop(), recorder);
  client->close();
  EXPECT_EQ(client->state(), State::idle);
  expect_silence();
  client->connect(listener.address());
  EXPECT_TRUE(run_until([&] { return recorder.opened == 1; }));
}

TEST_F(ClientEndTest, CloseWhileConnectingCancelsTheAttemptFromTheLoop) {
  const FullListener silent;
  start(silent.address());
  loop().run_once(0ms);
  client->close();
  EXPECT_EQ(recorder.connect_failed, 0) << "from inside close()";
  EXPECT_EQ(client->state(), State::connecting) << "its result is still to come";
  ASSERT_TRUE(run_until([&] { return recorder.connect_failed == 1; }));
  EXPECT_EQ(recorder.failures[0], std::errc::operation_canceled);
  EXPECT_EQ(client->state(), State::idle);
  expect_silence();
  EXPECT_EQ(recorder.opened + recorder.closed, 0);
}

TEST_F(ClientEndTest, CloseTwiceWhileConnectingCancelsOnce) {
  const FullListener silent;
  start(silent.address());
  client->close();
  client->close();
  ASSERT_TRUE(run_until([&] { return recorder.connect_failed == 1; }));
  client->close();
  expect_silence();
}

TEST_F(ClientEndTest, CloseWhileTheAnswerIsThereAlreadyStillCancels) {
  start(listener.address());  // on loopback it is connected by now
  client->close();
  ASSERT_TRUE(run_until([&] { return recorder.connect_failed == 1; }));
  EXPECT_EQ(recorder.failures[0], std::errc::operation_canceled);
  EXPECT_EQ(recorder.opened, 0);
}

TEST_F(ClientEndTest, CloseAfterAnAttemptThatFailedAtOnceIsOneResult) {
  start(SocketAddress::parse("255.255.255.255:9"));
  client->close();
  ASSERT_TRUE(run_until([&] { return recorder.connect_failed == 1; }));
  EXPECT_EQ(recorder.failures[0], std::errc::operation_canceled);
  expect_silence();
}

TEST_F(ClientEndTest, AfterACancelledAttemptComesTheNext) {
  const FullListener silent;
  start(silent.address());
  client->close();
  EXPECT_THROW(client->connect(listener.address()), std::logic_error) << "not idle yet";
  ASSERT_TRUE(run_until([&] { return client->state() == State::idle; }));
  client->connect(listener.address());
  EXPECT_TRUE(run_until([&] { return recorder.opened == 1; }));
}

TEST_F(ClientEndTest, CloseWhileConnectedIsGraceful) {
  open();
  RawSocket peer = listener.accept();
  client->connection()->send("last words");
  client->close();
  EXPECT_EQ(recorder.closed, 0) << "from inside close()";
  EXPECT_EQ(receive(peer, 10), "last words");
  EXPECT_TRUE(sees_end(peer));
  EXPECT_EQ(client->state(), State::connected) << "until the peer has ended too";
  peer.close();
  ASSERT_TRUE(run_until([&] { return recorder.closed == 1; }));
  EXPECT_FALSE(recorder.reasons[0]);
  EXPECT_EQ(client->state(), State::idle);
  expect_silence();
}

TEST_F(ClientEndTest, BothSidesMayCloseAtTheSameTimeAndEverythingArrives) {
  Recorder client_side;
  Server server(loop(), recorder);
  server.listen(SocketAddress::loopback(0));
  Client ours(loop(), client_side);
  ours.connect(server.address());
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1 && client_side.opened == 1; }));
  const std::string much(3'000'000, 'm');
  recorder.last->send(much);
  client_side.last->send("goodbye");
  recorder.last->close();
  client_side.last->close();
  ASSERT_TRUE(run_until([&] { return recorder.closed == 1 && client_side.closed == 1; }));
  EXPECT_EQ(recorder.reasons[0], std::error_code());
  EXPECT_EQ(client_side.reasons[0], std::error_code());
}

TEST_F(ClientEndTest, ADescriptorThatIsShutDownWhileConnectingIsOneFailureAndNoSpin) {
  FullListener silent;
  Client ours(loop(), recorder);
  const auto before = open_descriptors();
  ours.connect(silent.address());
  loop().run_once(0ms);
  for (const auto& [fd, target] : open_descriptors()) {
    if (before.count(fd) == 0 && target.rfind("socket:", 0) == 0) ::shutdown(fd, SHUT_RDWR);
  }
  EXPECT_TRUE(run_until([&] { return recorder.connect_failed == 1; }));
  EXPECT_LE(run_for(20ms), 5u);
  EXPECT_EQ(ours.state(), Client::State::idle);
}

TEST_F(ClientEndTest, CloseWhileWaitingToReconnectIsSilent) {
  start(ClosedPort().address(), reconnecting());
  ASSERT_TRUE(run_until([&] { return client->state() == State::waiting; }));
  client->close();
  EXPECT_EQ(client->state(), State::idle);
  expect_silence();
  EXPECT_EQ(recorder.connect_failed, 1);
}

TEST_F(ClientEndTest, DestroyedWhileIdleItJustGoes) {
  client = std::make_unique<Client>(loop(), recorder);
  client.reset();
  expect_silence();
}

TEST_F(ClientEndTest, DestroyedWhileConnectingItCancelsSilently) {
  const FullListener silent;
  start(silent.address());
  loop().run_once(0ms);
  client.reset();
  expect_silence();
  EXPECT_EQ(recorder.connect_failed, 0);
}

TEST_F(ClientEndTest, DestroyedBeforeTheLoopHasRunItCancelsSilently) {
  for (const SocketAddress& address :
       {listener.address(), SocketAddress::parse("255.255.255.255:9")}) {
    start(address);
    client.reset();
    expect_silence();
  }
  EXPECT_EQ(recorder.opened + recorder.connect_failed, 0);
}

TEST_F(ClientEndTest, DestroyedAfterCloseWhileConnectingItSaysNothingMore) {
  const FullListener silent;
  start(silent.address());
  client->close();
  client.reset();
  expect_silence();
  EXPECT_EQ(recorder.connect_failed, 0);
}

TEST_F(ClientEndTest, DestroyedWhileConnectedItEndsTheConnectionBeforeItReturns) {
  open();
  client.reset();
  EXPECT_EQ(recorder.reasons, std::vector<std::error_code>{error::owner_destroyed});
  RawSocket peer = listener.accept();
  EXPECT_TRUE(sees_end(peer));
}

TEST_F(ClientEndTest, DestroyedWhileItsConnectionLingersItEndsIt) {
  open();
  client->close();
  run_for(10ms);
  EXPECT_EQ(recorder.closed, 0) << "the peer has not ended";
  client.reset();
  EXPECT_EQ(recorder.closed, 1);
}

TEST_F(ClientEndTest, DestroyedWhileWaitingToReconnectItTriesNoMore) {
  options = reconnecting();
  options.reconnect.first_delay = 5ms;
  options.reconnect.longest_delay = 5ms;
  start(ClosedPort().address(), options);
  ASSERT_TRUE(run_until([&] { return client->state() == State::waiting; }));
  const Faults faults;
  client.reset();
  run_for(20ms);
  EXPECT_EQ(faults.count(Call::connect), 0u);
}

TEST_F(ClientEndTest, DestroyedByATaskOfAnotherThreadItsCallbacksRunInTheLoop) {
  open();
  const auto home = std::this_thread::get_id();
  recorder.when_close = [&](Connection&, std::error_code) {
    EXPECT_EQ(std::this_thread::get_id(), home);
  };
  std::thread other([ref = loop().ref(), this] { ref.post([this] { client.reset(); }); });
  EXPECT_TRUE(run_until([&] { return recorder.closed == 1; }));
  other.join();
}

TEST_F(ClientEndTest, TheConnectingSocketIsClosedOnceWhateverCloseSays) {
  const FullListener silent;
  Faults faults;
  start(silent.address());
  const auto before = faults.count(Call::close);
  faults.on(Call::close, Fault::fail(EINTR));
  client.reset();
  loop().run_once(0ms);
  EXPECT_EQ(faults.count(Call::close), before + 1);
}

// What a client is told, inside which of its callbacks, and whether it would reconnect.
enum class ClientAct { destroy, close };
enum class ClientCallback { open, data, drained, peer_end, close, connect_failed };

class ClientActTest
    : public ClientEndTest,
      public ::testing::WithParamInterface<std::tuple<ClientAct, ClientCallback, bool>> {
 protected:
  void act_at(ClientCallback here) {
    if (acted || here != std::get<ClientCallback>(GetParam())) return;
    acted = true;
    if (std::get<ClientAct>(GetParam()) == ClientAct::destroy) {
      client.reset();
    } else {
      client->close();
    }
  }
  bool acted = false;
};

TEST_P(ClientActTest, EndsItForGood) {
  const ClientCallback where = std::get<ClientCallback>(GetParam());
  options = std::get<bool>(GetParam()) ? reconnecting() : ClientOptions();
  options.reconnect.first_delay = 1ms;
  options.reconnect.longest_delay = 1ms;
  options.connection.limits.high_watermark_bytes = 4;
  int failed = 0;
  client = std::make_unique<Client>(loop(),
                                    Callbacks{.on_open =
                                                  [&](Connection& c) {
                                                    recorder.on_open(c);
                                                    c.send("hello");
                                                    act_at(ClientCallback::open);
                                                  },
                                              .on_data =
                                                  [&](Connection& c, ReceiveBuffer& in) {
                                                    recorder.on_data(c, in);
                                                    act_at(ClientCallback::data);
                                                  },
                                              .on_drained =
                                                  [&](Connection& c) {
                                                    recorder.on_drained(c);
                                                    act_at(ClientCallback::drained);
                                                  },
                                              .on_peer_end =
                                                  [&](Connection& c) {
                                                    act_at(ClientCallback::peer_end);
                                                    c.close();
                                                  },
                                              .on_close =
                                                  [&](Connection& c, std::error_code why) {
                                                    recorder.on_close(c, why);
                                                    act_at(ClientCallback::close);
                                                  },
                                              .on_connect_failed =
                                                  [&](std::error_code) {
                                                    ++failed;
                                                    act_at(ClientCallback::connect_failed);
                                                  }},
                                    options);
  const ClosedPort nobody;
  client->connect(where == ClientCallback::connect_failed ? nobody.address() : listener.address());
  if (where != ClientCallback::connect_failed) {
    RawSocket peer = listener.accept();
    if (where != ClientCallback::drained && where != ClientCallback::open) {
      ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
    }
    peer.send_all("welcome");
    peer.end();
    ASSERT_TRUE(run_until([&] { return acted && recorder.closed == 1; }));
  } else {
    ASSERT_TRUE(run_until([&] { return acted; }));
  }
  Faults faults;
  run_for(20ms);
  EXPECT_EQ(faults.count(Call::connect), 0u) << "it tries again";
  EXPECT_EQ(recorder.opened, where == ClientCallback::connect_failed ? 0 : 1);
  EXPECT_EQ(failed, where == ClientCallback::connect_failed ? 1 : 0);
  if (client) {
    EXPECT_EQ(client->state(), State::idle);
  }
}

std::string client_act_name(
    const ::testing::TestParamInfo<std::tuple<ClientAct, ClientCallback, bool>>& test) {
  constexpr const char* kActs[] = {"Destroy", "Close"};
  constexpr const char* kPlaces[] = {"OnOpen",    "OnData",  "OnDrained",
                                     "OnPeerEnd", "OnClose", "OnConnectFailed"};
  const auto [act, where, reconnect] = test.param;
  return std::string(kActs[static_cast<int>(act)]) + "In" + kPlaces[static_cast<int>(where)] +
         (reconnect ? "WouldReconnect" : "");
}

INSTANTIATE_TEST_SUITE_P(
    Inside, ClientActTest,
    ::testing::Combine(::testing::Values(ClientAct::destroy, ClientAct::close),
                       ::testing::Values(ClientCallback::open, ClientCallback::data,
                                         ClientCallback::drained, ClientCallback::peer_end,
                                         ClientCallback::close, ClientCallback::connect_failed),
                       ::testing::Bool()),
    client_act_name);

TEST_F(ClientEndTest, InsideOnConnectFailedItMayConnectAnew) {
  int failed = 0;
  int opened = 0;
  client = std::make_unique<Client>(loop(), Callbacks{.on_open = [&](Connection&) { ++opened; },
                                                      .on_connect_failed =
                                                          [&](std::error_code) {
                                                            ++failed;
                                                            EXPECT_EQ(client->state(), State::idle);
                                                            client->connect(listener.address());
                                                          }});
  client->connect(ClosedPort().address());
  ASSERT_TRUE(run_until([&] { return opened == 1; }));
  EXPECT_EQ(failed, 1);
}

TEST_F(ClientEndTest, InsideTheReportThatItWasCancelledItMayBeDestroyedOrConnectAnew) {
  const FullListener silent;
  for (const bool destroy : {false, true}) {
    std::vector<std::error_code> failures;
    client =
        std::make_unique<Client>(loop(), Callbacks{.on_connect_failed = [&](std::error_code why) {
                                   failures.push_back(why);
                                   if (destroy) {
                                     client.reset();
                                   } else {
                                     client->connect(silent.address());
                                   }
                                 }});
    client->connect(silent.address());
    client->close();
    ASSERT_TRUE(run_until([&] { return !failures.empty(); }));
    EXPECT_EQ(failures, std::vector{std::make_error_code(std::errc::operation_canceled)});
    EXPECT_TRUE(destroy ? !client : client->state() == State::connecting);
  }
}

TEST_F(ClientEndTest, AClientMayBeMadeAndDestroyedInsideACallbackOfAnother) {
  Recorder second;
  std::unique_ptr<Client> other;
  recorder.when_open = [&](Connection&) {
    other = std::make_unique<Client>(loop(), second);
    other->connect(listener.address());
  };
  recorder.when_data = [&](Connection&, ReceiveBuffer& in) {
    in.consume_all();
    other.reset();
    client.reset();
  };
  open();
  RawSocket peer = listener.accept();
  ASSERT_TRUE(run_until([&] { return second.opened == 1; }));
  peer.send_all("x");
  EXPECT_TRUE(run_until([&] { return recorder.closed == 1 && second.closed == 1; }));
}

TEST_F(ClientEndTest, InsideOnCloseItMayConnectAnew) {
  recorder.when_close = [&](Connection&, std::error_code) {
    EXPECT_EQ(client->state(), Client::State::idle);
    if (recorder.closed == 1) client->connect(listener.address());
  };
  open();
  listener.accept().close();
  ASSERT_TRUE(run_until([&] { return recorder.opened == 2; }));
  recorder.when_close = {};
}

TEST_F(ClientEndTest, WhatOnCloseConnectsWhileTheClientIsDestroyedIsCancelled) {
  open();
  Client* dying = client.get();
  recorder.when_close = [&](Connection&, std::error_code) { dying->connect(listener.address()); };
  client.reset();
  recorder.when_close = {};
  expect_silence();
}

}  // namespace
}  // namespace millrace::test
