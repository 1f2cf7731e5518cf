// Descriptors of connections of which there are copies: closing ours alone would tell the peer
// nothing.
#include "support/one_peer_test.h"
#include "support/process.h"

#include <unistd.h>

namespace millrace::test {
namespace {

struct ConnectionCopiesTest : OnePeerTest {
  bool sees_reset() { return !sees_end(peer) && peer.last_error() == ECONNRESET; }
};

TEST_F(ConnectionCopiesTest, ThePeerSeesTheEndThoughAChildHoldsACopy) {
  start();
  const DescriptorCopies child;
  peer.end();
  ASSERT_TRUE(until_closed());
  EXPECT_TRUE(sees_end(peer));
}

TEST_F(ConnectionCopiesTest, ThePeerSeesTheResetThoughAChildHoldsACopy) {
  start();
  const DescriptorCopies child;
  connection().abort();
  ASSERT_TRUE(until_closed());
  EXPECT_TRUE(sees_reset());
}

TEST_F(ConnectionCopiesTest, ThePeerSeesTheEndThoughTheHandleWasCopied) {
  start();
  const UniqueFd copy(::dup(connection().native_handle()));
  peer.end();
  ASSERT_TRUE(until_closed());
  EXPECT_TRUE(sees_end(peer));
}

TEST_F(ConnectionCopiesTest, ThePeerSeesTheResetThoughTheHandleWasCopied) {
  start();
  const UniqueFd copy(::dup(connection().native_handle()));
  connection().abort();
  ASSERT_TRUE(until_closed());
  EXPECT_TRUE(sees_reset());
}

}  // namespace
}  // namespace millrace::test
