#include "memory.h"

#include <millrace/client.h>
#include <millrace/event_loop.h>

#include "process_usage.h"

#include <algorithm>
#include <chrono>
#include <iomanip>
#include <memory>
#include <ostream>
#include <stdexcept>
#include <string>
#include <vector>

namespace millrace::bench {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kConnectsAtOnce = 128;
constexpr std::size_t kBurstsAtOnce = 32;
constexpr auto kStepLimit = 60s;
constexpr auto kLongestSettling = 10s;

class MemoryRun final : public ConnectionHandler {
 public:
  explicit MemoryRun(const MemoryOptions& options)
      : options_(options), payload_(std::max(options.message_bytes, options.burst_bytes), 'm') {}

  MemoryResult run() {
    MemoryResult result;
    result.before = settled();
    connect_all();
    result.open = settled();
    echo_all(options_.message_bytes, connections_.size());
    result.after_echo = settled();
    echo_all(options_.burst_bytes, kBurstsAtOnce);
    result.after_burst = settled();
    close_all();
    result.after_close = settled();
    connect_all();
    result.open_again = settled();
    close_all();
    return result;
  }

 private:
  void on_open(Connection& c) override {
    --connecting_;
    connections_.push_back(&c);
  }
  void on_data(Connection& c, ReceiveBuffer& in) override {
    std::size_t& awaited = *c.context<std::size_t>();
    if (in.size() > awaited) throw std::runtime_error("more came back than was sent");
    awaited -= in.size();
    if (awaited == 0) --echoing_;
    in.consume_all();
  }
  void on_close(Connection&, std::error_code why) override {
    if (!closing_) failure_ = why ? why.message() : "the server closed a connection";
  }
  void on_connect_failed(std::error_code why) override { failure_ = "connect: " + why.message(); }

  template <class Done>
  void run_until(Done&& done) {
    const auto limit = Clock::now() + kStepLimit;
    while (!done()) {
      loop_.run_once(20ms);
      if (!failure_.empty()) throw std::runtime_error(failure_);
      if (Clock::now() > limit) throw std::runtime_error("the server does not answer");
    }
  }

  void connect_all() {
    closing_ = false;
    run_until([this] {
      while (clients_.size() < options_.connections && connecting_ < kConnectsAtOnce) {
        ++connecting_;
        clients_.push_back(std::make_unique<Client>(loop_, *this, client_options()));
        clients_.back()->connect(options_.server);
      }
      return connections_.size() == options_.connections;
    });
  }

  ClientOptions client_options() const {
    ClientOptions options;
    options.connection.limits.high_watermark_bytes = payload_.size();
    return options;
  }

  void echo_all(std::size_t bytes, std::size_t at_once) {
    std::size_t next = 0;
    run_until([&] {
      while (next < connections_.size() && echoing_ < at_once) {
        Connection& c = *connections_[next++];
        c.emplace_context<std::size_t>(bytes);
        c.send(ByteView(payload_.data(), bytes));
        ++echoing_;
      }
      return next == connections_.size() && echoing_ == 0;
    });
  }

  void close_all() {
    closing_ = true;
    clients_.clear();
    connections_.clear();
    loop_.run_once(0ms);
  }

  std::uint64_t settled() {
    std::uint64_t last = anonymous_bytes_of(options_.server_pid);
    auto since = Clock::now();
    for (const auto limit = since + kLongestSettling;
         Clock::now() < limit && Clock::now() - since < options_.unchanged_for;) {
      loop_.run_once(50ms);
      const std::uint64_t now = anonymous_bytes_of(options_.server_pid);
      if (now != last) since = Clock::now();
      last = now;
    }
    return last;
  }

  MemoryOptions options_;
  std::string payload_;
  EventLoop loop_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::vector<Connection*> connections_;
  std::size_t connecting_ = 0;
  std::size_t echoing_ = 0;
  bool closing_ = false;
  std::string failure_;
};

}  // namespace

MemoryResult measure_memory(const MemoryOptions& options) {
  return MemoryRun(options).run();
}

void print_memory(std::ostream& out, const MemoryOptions& options, const MemoryResult& result) {
  const auto row = [&](const char* name, std::uint64_t bytes) {
    out << "  " << std::left << std::setw(34) << name << std::right << std::setw(12) << bytes
        << std::setw(10) << bytes / options.connections << '\n';
  };
  out << options.connections << " connections; anonymous bytes of the server, in all and per "
      << "connection\n";
  row("before", result.before);
  row("open, idle", result.open);
  row("after each echoed one message", result.after_echo);
  row("after each echoed a burst", result.after_burst);
  row("all closed", result.after_close);
  row("as many open again", result.open_again);
}

}  // namespace millrace::bench
