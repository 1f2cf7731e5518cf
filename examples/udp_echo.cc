// A UDP echo server. What it shows: one socket serves all who send to it; replies to datagrams that
// arrive together leave together; and each leaves from the address that was asked, on a machine
// with several of them too. Errors that the network reports are told, and it goes on.
#include <millrace/millrace.h>

#include <csignal>
#include <exception>
#include <iostream>
#include <string>

#include <CLI/CLI.hpp>

using namespace millrace;

namespace {

void echo(UdpSocket& socket, const Datagram& d) {
  socket.reply(d, d.bytes);  // no answer but to send it again could be given when the queue is full
}

void complain(UdpSocket&, const DatagramError& e) {
  std::cerr << "udp_echo: " << e.destination << ": " << e.code.message() << '\n';
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Sends each datagram back to whom it came from.");
  std::string address;
  app.add_option("--listen", address, "HOST:PORT to receive on; port 0 lets the kernel choose")
      ->required();
  CLI11_PARSE(app, argc, argv);
  try {
    EventLoop loop;
    SignalWatcher stop(loop, {SIGINT, SIGTERM}, [&](int) { loop.stop(); });
    UdpSocket socket(loop, {.on_datagram = echo, .on_error = complain}, {.local_address = true});
    socket.bind(address);
    std::cout << "listening on " << socket.address() << std::endl;
    loop.run();
    const DatagramStats stats = socket.stats();
    std::cout << "received " << stats.received << " (" << stats.missed
              << " lost for want of room), "
              << "sent " << stats.sent << '\n';
    return 0;
  } catch (const std::exception& e) {
    std::cerr << "udp_echo: " << e.what() << '\n';
    return 1;
  }
}
