// Clients that connect from a port of their choice.
#include <millrace/client.h>
#include <millrace/connection.h>

#include "support/loop_test.h"
#include "support/sockets.h"

namespace millrace::test {
namespace {

struct ClientLocalPortTest : LoopTest {};

TEST_F(ClientLocalPortTest, ConnectsAgainThoughTheFirstConnectionIsStillInTimeWait) {
  RawSocket listeners[] = {RawSocket::listen(), RawSocket::listen()};
  ClientOptions options;
  options.local = free_address();
  Client client(loop(), recorder, options);
  for (RawSocket& listener : listeners) {
    const int before = recorder.closed;
    client.connect(listener.address());
    ASSERT_TRUE(run_until([&] { return recorder.opened + recorder.connect_failed > before; }));
    ASSERT_TRUE(recorder.failures.empty()) << recorder.failures[0].message();
    EXPECT_EQ(client.connection()->local(), options.local);
    // Who ends first has the connection in TIME_WAIT.
    client.close();
    RawSocket accepted = listener.accept();
    EXPECT_TRUE(sees_end(accepted));
    accepted.close();
    ASSERT_TRUE(run_until([&] { return recorder.closed > before; }));
  }
}

}  // namespace
}  // namespace millrace::test
