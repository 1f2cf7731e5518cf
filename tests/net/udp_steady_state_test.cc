// What a datagram costs once everything is warm: its share of one receive and one send for what
// came together, and neither memory nor a word to epoll.
#include <millrace/udp_socket.h>

#include "support/allocations.h"
#include "support/datagram_test.h"

#include <cstdint>
#include <string>

namespace millrace::test {
namespace {

struct UdpSteadyStateTest : DatagramTest {
  UdpSteadyStateTest() { loop_options.stall_threshold = Duration::zero(); }
  // A client of millrace that keeps `depth` datagrams under way, and an echo.
  void play(std::uint64_t depth, const DatagramOptions& options = {}) {
    UdpSocket echo(loop(),
                   {.on_datagram = [](UdpSocket& s, const Datagram& d) { s.reply(d, d.bytes); }},
                   options);
    echo.bind(any_port);
    const std::string text(64, 'x');
    std::uint64_t answered = 0;
    UdpSocket client(loop(),
                     {.on_datagram =
                          [&](UdpSocket& s, const Datagram& d) {
                            EXPECT_EQ(d.bytes.size(), text.size());
                            ++answered;
                            s.send(text);
                          }},
                     options);
    client.connect(echo.address());
    for (std::uint64_t i = 0; i < depth; ++i) client.send(text);
    while (answered < 100 * depth) loop().run_once(1s);
    const std::uint64_t first = answered;
    const Faults faults;
    const Allocations allocations;
    while (answered < first + 1000 * depth) loop().run_once(1s);
    EXPECT_EQ(allocations.count(), 0u);
    EXPECT_EQ(faults.count(Call::epoll_ctl), 0u);
    EXPECT_LE(faults.count(Call::recvmmsg), 2 * 1000 + 2u);
    EXPECT_LE(faults.count(Call::sendmmsg), 2 * 1000 + 2u);
    EXPECT_EQ(client.stats().missed + echo.stats().missed, 0u);
  }
};

TEST_F(UdpSteadyStateTest, ADatagramCostsOneReceiveAndOneSendAndNoMemory) {
  play(1);
}

TEST_F(UdpSteadyStateTest, ABatchOf30CostsOneReceiveAndOneSendAndNoMemory) {
  play(30);
}

TEST_F(UdpSteadyStateTest, WithLocalAddressesToo) {
  play(30, {.local_address = true});
}

TEST_F(UdpSteadyStateTest, WithReceiveOffloadToo) {
  play(30, {.receive_offload = true});
}

}  // namespace
}  // namespace millrace::test
