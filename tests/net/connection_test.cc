#include <millrace/connection.h>
#include <millrace/server.h>

#include "support/loop_test.h"

namespace millrace::test {
namespace {

struct ConnectionTest : LoopTest {};

TEST_F(ConnectionTest, EchoesAndEndsInOrder) {
  recorder.when_data = [](Connection& c, ReceiveBuffer& in) {
    c.send(in.view());
    in.consume_all();
  };
  Server server(loop(), recorder);
  server.listen(SocketAddress::loopback(0));
  RawSocket peer = RawSocket::connect_to(server.address());
  peer.send_all("hello");
  EXPECT_EQ(receive(peer, 5), "hello");
  peer.end();
  EXPECT_TRUE(sees_end(peer));
  EXPECT_TRUE(run_until([&] { return recorder.closed == 1; }));
  EXPECT_EQ(recorder.reasons.front(), std::error_code());
}

}  // namespace
}  // namespace millrace::test
