// FrameWriter's output iterator with fmt, as it comes with spdlog.
#include <millrace/framed_server.h>
#include <millrace/lines.h>
#include <millrace/net_string.h>

#include "support/loop_test.h"

#include <functional>
#include <string>

#include <spdlog/fmt/fmt.h>

namespace millrace::test {
namespace {

struct FmtTest : LoopTest {
  void expect_frame(const Framing& framing, const std::string& expected,
                    const std::function<void(FrameWriter&)>& write) {
    FramedServer server(loop(),
                        {.on_open =
                             [&](FramedConnection& c) {
                               FrameWriter w = c.frame_writer();
                               write(w);
                               w.commit();
                               c->close();
                             }},
                        framing);
    server.listen(SocketAddress::loopback(0));
    RawSocket peer = RawSocket::connect_to(server.address());
    EXPECT_TRUE(receive(peer, expected.size()) == expected);
    EXPECT_TRUE(sees_end(peer));
  }
};

TEST_F(FmtTest, AFrameIsFormattedStraightIntoTheSendQueue) {
  expect_frame(Lines(), "3 of 12:  21.50 degrees\n", [](FrameWriter& w) {
    fmt::format_to(w.out(), "{} of {}: {:>6.2f} {}", 3, 12, 21.5, "degrees");
  });
}

TEST_F(FmtTest, AFrameFormattedInManyPartsGrowsFarBeyondWhatWasExpected) {
  std::string payload;
  for (int i = 0; i < 50'000; ++i) payload += fmt::format("{:04x};", i);
  expect_frame(NetString(), fmt::format("{}:{},", payload.size(), payload), [](FrameWriter& w) {
    for (int i = 0; i < 50'000; ++i) fmt::format_to(w.out(), "{:04x};", i);
  });
}

}  // namespace
}  // namespace millrace::test
