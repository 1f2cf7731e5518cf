// The real kernel, with faults that a seed decides: interrupted calls, short transfers and
// readiness that is none may not be noticed by anybody; what ends connections ends those that it
// met, with its reason, and no byte is wrong.
#include <millrace/client.h>
#include <millrace/error.h>
#include <millrace/server.h>

#include "support/loop_test.h"
#include "support/random.h"
#include "support/sim/decisions.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

namespace millrace::test {
namespace {

constexpr int kClients = 8;

struct Talker final : ConnectionHandler {
  std::string to_send;
  std::string received;
  bool over = false;
  std::error_code why;

  void on_open(Connection& c) override {
    c.send(to_send);
    c.end();
  }
  void on_data(Connection&, ReceiveBuffer& in) override {
    received += in.view().text();
    in.consume_all();
  }
  void on_close(Connection&, std::error_code reason) override {
    over = true;
    why = reason;
  }
  void on_connect_failed(std::error_code reason) override {
    over = true;
    why = reason;
  }
};

class SeededFaultsTest : public LoopTest, public ::testing::WithParamInterface<std::uint64_t> {
 protected:
  // Runs clients that echo to their end, under these faults.
  std::vector<std::unique_ptr<Talker>> run(const SimFaults& chances) {
    loop().set_exception_hook([](std::exception_ptr, std::string_view) {});
    recorder.when_data = [](Connection& c, ReceiveBuffer& in) {
      c.send(in.view());
      in.consume_all();
    };
    Server server(loop(), recorder);
    server.listen(SocketAddress::loopback(0));
    Random random(GetParam());
    std::vector<std::unique_ptr<Talker>> talkers;
    std::vector<std::unique_ptr<Client>> clients;
    ClientOptions options;
    options.connection.timeouts.idle = 5s;
    for (int i = 0; i < kClients; ++i) {
      talkers.push_back(std::make_unique<Talker>());
      talkers.back()->to_send = random.bytes(1 + random.size_up_to(300'000));
      clients.push_back(std::make_unique<Client>(loop(), *talkers.back(), options));
    }
    SeededDecisions decisions(GetParam());
    Faults faults;
    faults.at_random(decisions, chances);
    for (auto& client : clients) client->connect(server.address());
    EXPECT_TRUE(run_until([&] {
      return std::all_of(talkers.begin(), talkers.end(), [](auto& one) { return one->over; });
    }));
    return talkers;
  }
};

TEST_P(SeededFaultsTest, WhatIsHarmlessNobodyNotices) {
  for (const auto& talker : run(SimFaults::harmless())) {
    EXPECT_EQ(talker->why, std::error_code());
    EXPECT_TRUE(talker->received == talker->to_send);
  }
}

TEST_P(SeededFaultsTest, WhatEndsConnectionsLeavesAReasonAndNoWrongByte) {
  for (const auto& talker : run(SimFaults::harmful())) {
    EXPECT_TRUE(talker->to_send.starts_with(talker->received));
    if (!talker->why) {
      EXPECT_TRUE(talker->received == talker->to_send);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, SeededFaultsTest, ::testing::Range<std::uint64_t>(1, 21));

}  // namespace
}  // namespace millrace::test
