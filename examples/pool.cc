// Asks a server for something many times over a few connections: each line of standard input goes
// to the server by whichever connection is free, and what comes back for it is printed. What it
// shows: a ConnectionPool, a lease that is given back when the answer is complete, and what becomes
// of requests while the server is away.
#include <millrace/millrace.h>

#include <exception>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

using namespace millrace;

namespace {

// One line, its answer, and the connection in between.
class Request final : public ConnectionHandler {
 public:
  Request(ConnectionPool& pool, std::string line, Function<void()> done)
      : line_(std::move(line)), done_(std::move(done)) {
    waiting_ = pool.acquire([this](std::error_code why, ConnectionLease lease) {
      if (why) return finish("! " + line_ + ": " + why.message());
      lease->set_handler(*this);
      lease->send_together(line_, "\n");
      lease_ = std::move(lease);
    });
  }

  void on_data(Connection&, ReceiveBuffer& in) override {
    const std::size_t end = in.view().text().find('\n');
    if (end == std::string_view::npos) return;
    const std::string answer(in.view().text().substr(0, end));
    in.consume(end + 1);
    lease_.release();  // for the next line
    finish(answer);
  }
  void on_close(Connection&, std::error_code why) override {
    finish("! " + line_ + ": " + (why ? why.message() : "the server has closed"));
  }

 private:
  void finish(const std::string& text) {
    std::cout << text << std::endl;
    done_();
  }

  const std::string line_;
  Function<void()> done_;
  LeaseRequest waiting_;
  ConnectionLease lease_;
};

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Sends each line of standard input to an echo server, over a few connections.",
               "pool");
  std::string address;
  ConnectionPoolOptions options;
  app.add_option("--connect", address, "HOST:PORT of the server")->required();
  app.add_option("--connections", options.max_connections, "at the most")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    EventLoop loop;
    ConnectionPool pool(loop, address, options);
    std::vector<std::unique_ptr<Request>> requests;
    std::size_t left = 0;
    for (std::string line; std::getline(std::cin, line); ++left) {
      requests.push_back(std::make_unique<Request>(pool, line, [&] {
        if (--left == 0) loop.stop();
      }));
    }
    if (left > 0) loop.run();
    const ConnectionPoolStats stats = pool.stats();
    std::cout << stats.leases << " requests over " << stats.made << " connections" << std::endl;
    return stats.leases == requests.size() ? 0 : 1;
  } catch (const std::exception& e) {
    std::cerr << "pool: " << e.what() << '\n';
    return 1;
  }
}
