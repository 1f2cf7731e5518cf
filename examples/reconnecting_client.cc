// Says "tick 1", "tick 2" ... to an echo server for ever, and survives the server: what it sends
// while there is none waits for the next connection. What it shows: a Client that reconnects, what
// can be asked of it meanwhile, and send() before there is a connection.
#include <millrace/millrace.h>

#include <csignal>
#include <exception>
#include <iostream>
#include <string>

#include <CLI/CLI.hpp>

using namespace millrace;

namespace {

void print_echoes(Connection&, ReceiveBuffer& in) {
  for (std::size_t end; (end = in.view().text().find('\n')) != std::string_view::npos;) {
    std::cout << "echo of " << in.view().text().substr(0, end) << std::endl;
    in.consume(end + 1);
  }
}

void print_state(const Client& client) {
  switch (client.state()) {
    case Client::State::idle:
      std::cout << "gave up: " << client.last_error().message() << std::endl;
      break;
    case Client::State::connecting:
      std::cout << "connecting" << std::endl;
      break;
    case Client::State::connected:
      std::cout << "connected to " << client.connection()->peer() << std::endl;
      break;
    case Client::State::waiting:
      std::cout << "no connection (" << client.failed_attempts()
                << " failed in a row: " << client.last_error().message() << "), "
                << client.next_attempt_in()->count() << " ms to the next attempt, "
                << client.queued_bytes() << " bytes wait" << std::endl;
      break;
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Sends a line now and then, whether the server is there or not.",
               "reconnecting_client");
  std::string address;
  int every_ms = 1000;
  app.add_option("--connect", address, "HOST:PORT of an echo server")->required();
  app.add_option("--every", every_ms, "milliseconds between two lines")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    EventLoop loop;
    SignalWatcher stop(loop, {SIGINT, SIGTERM}, [&](int) { loop.stop(); });
    ClientOptions options;
    options.reconnect = {.enabled = true, .longest_delay = std::chrono::seconds(2)};
    Client client(loop, {.on_data = print_echoes}, options);
    client.on_state_changed([&](Client::State) { print_state(client); });
    client.connect(address);
    int number = 0;
    Timer tick = loop.every(std::chrono::milliseconds(every_ms),
                            [&] { client.send("tick " + std::to_string(++number) + "\n"); });
    loop.run();
    return 0;
  } catch (const std::exception& e) {
    std::cerr << "reconnecting_client: " << e.what() << '\n';
    return 1;
  }
}
