// The fixture of who looks at a Client from outside: a listener that is not millrace, and a client
// that is gone before the loop.
#pragma once

#include <millrace/client.h>

#include "support/loop_test.h"
#include "support/sockets.h"

#include <memory>

namespace millrace::test {

struct OneClientTest : LoopTest {
  void SetUp() override {
    LoopTest::SetUp();
    listener = RawSocket::listen();
  }
  void TearDown() override {
    client.reset();
    listener.close();
    LoopTest::TearDown();
  }

  RawSocket listener;
  ClientOptions options;
  std::unique_ptr<Client> client;
};

}  // namespace millrace::test
