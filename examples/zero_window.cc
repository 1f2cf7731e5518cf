// A sender pushes 70 KB at a receiver that sleeps, and tells what it sees, line by line: the
// kernels take what fits into their buffers, the rest waits in the send queue, send() says stop,
// the window that the receiver offers goes to zero; when it wakes up, all moves again by itself.
// What it shows: where the bytes of a connection that does not move can be, and how to ask for each
// place. Both ends live in one loop; the buffers are small, so that little is enough to fill them.
#include <millrace/millrace.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <iomanip>
#include <iostream>
#include <string>

#include <CLI/CLI.hpp>

using namespace millrace;

namespace {

constexpr std::size_t kPieceBytes = 7'000;
constexpr std::chrono::milliseconds kLookEvery{250};

// Prints one line of the timeline.
class Timeline {
 public:
  explicit Timeline(EventLoop& loop) : loop_(loop), start_(loop.now()) {}
  void operator()(const std::string& who, const std::string& what) {
    const auto now = loop_.refresh_now() - start_;
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
    std::cout << std::setw(5) << ms << " ms  " << std::left << std::setw(10) << who << std::right
              << what << std::endl;
  }

 private:
  EventLoop& loop_;
  TimePoint start_;
};

std::string text(std::size_t n) {
  return std::to_string(n);
}

// Stops the loop when both ends of the connection have closed.
class Ends {
 public:
  explicit Ends(EventLoop& loop) : loop_(loop) {}
  void closed() {
    if (--open_ == 0) loop_.stop();
  }

 private:
  EventLoop& loop_;
  int open_ = 2;
};

// Sends pieces until it is told to stop, goes on when the queue has drained, closes after the last.
class Sender : public ConnectionHandler {
 public:
  Sender(EventLoop& loop, Timeline& line, Ends& ends, std::size_t bytes)
      : line_(line), ends_(ends), left_(bytes), look_(loop, [this] { look(); }) {}

  void on_open(Connection& c) override {
    connection_ = &c;
    line_("sender", "has " + text(left_) + " bytes to send");
    push();
    look_.start(kLookEvery);
  }
  void on_data(Connection&, ReceiveBuffer& in) override { in.consume_all(); }
  void on_drained(Connection& c) override {
    line_("sender", "on_drained: " + text(c.queued_bytes()) + " bytes wait; sends on");
    push();
  }
  void on_close(Connection& c, std::error_code why) override {
    look_.cancel();
    connection_ = nullptr;
    line_("sender", "on_close: the kernel has taken " + text(c.stats().bytes_sent) + " bytes, " +
                        text(c.stats().queued_bytes) + " lost; " +
                        (why ? why.message() : "no error"));
    ends_.closed();
  }

  bool was_stopped() const { return was_stopped_; }
  bool saw_zero_window() const { return saw_zero_window_; }

 private:
  void push() {
    Connection& c = *connection_;
    bool more = true;
    while (more && left_ > 0) {
      const std::size_t n = std::min(left_, kPieceBytes);
      const std::uint64_t before = c.stats().bytes_sent;
      more = static_cast<bool>(c.send(std::string(n, 'x')));
      c.flush();  // so that each line shows what this piece met; without it they leave together
      left_ -= n;
      line_("sender", "send of " + text(n) + ": the kernel takes " +
                          text(c.stats().bytes_sent - before) + ", " + text(c.queued_bytes()) +
                          " wait in our queue");
    }
    if (left_ == 0) return finish();
    was_stopped_ = true;
    line_("sender", "send said stop: the queue is above its high watermark, " + text(left_) +
                        " bytes are not even queued");
  }

  void finish() {
    line_("sender", "all is sent or queued: close()");
    connection_->close();
  }

  // All that can be asked from outside about a connection that does not move.
  void look() {
    const KernelQueues kernel = connection_->kernel_queues();
    std::string window = "unknown";
    if (const auto tcp = connection_->tcp_info()) {
      window = text(tcp->peer_window_bytes);
      if (tcp->peer_window_bytes == 0) saw_zero_window_ = true;
    }
    line_("sender", "queued " + text(connection_->queued_bytes()) + ", Send-Q " +
                        text(kernel.send_bytes) + " (unsent " + text(kernel.send_unsent_bytes) +
                        "), peer's window " + window);
    look_.start(kLookEvery);
  }

  Timeline& line_;
  Ends& ends_;
  std::size_t left_;
  Connection* connection_ = nullptr;
  Timer look_;
  bool was_stopped_ = false;
  bool saw_zero_window_ = false;
};

// Reads nothing until its time has come.
class Receiver : public ConnectionHandler {
 public:
  Receiver(EventLoop& loop, Timeline& line, Ends& ends, std::chrono::milliseconds sleep)
      : loop_(loop), line_(line), ends_(ends), sleep_(sleep), alarm_(loop, [this] { wake_up(); }) {}

  void on_open(Connection& c) override {
    connection_ = &c;
    c.pause_reading();
    line_("receiver", "sleeps for " + std::to_string(sleep_.count()) + " ms");
    alarm_.start(sleep_);
  }
  void on_data(Connection&, ReceiveBuffer& in) override {
    received_ += in.size();
    in.consume_all();
  }
  void on_peer_end(Connection& c) override {
    line_("receiver", "got " + text(received_) + " bytes and the end of the stream");
    c.close();
  }
  void on_close(Connection&, std::error_code why) override {
    alarm_.cancel();
    line_("receiver", "on_close: " + (why ? why.message() : "no error"));
    ends_.closed();
  }
  void on_connect_failed(std::error_code why) override {
    line_("receiver", "cannot connect: " + why.message());
    loop_.stop();
  }

  std::size_t received() const { return received_; }

 private:
  void wake_up() {
    line_("receiver",
          "wakes up: Recv-Q " + text(connection_->kernel_queues().receive_bytes) + ", reads");
    connection_->resume_reading();
  }

  EventLoop& loop_;
  Timeline& line_;
  Ends& ends_;
  const std::chrono::milliseconds sleep_;
  Connection* connection_ = nullptr;
  Timer alarm_;
  std::size_t received_ = 0;
};

// Runs the experiment; its result is the program's status.
int run(std::size_t bytes, std::chrono::milliseconds sleep) {
  EventLoop loop;
  Timeline line(loop);
  Ends ends(loop);
  Sender sender(loop, line, ends, bytes);
  Receiver receiver(loop, line, ends, sleep);

  ServerOptions sending;
  sending.listen.socket.send_buffer_bytes = 8 * 1024;
  sending.connection.limits.high_watermark_bytes = 16 * 1024;
  ClientOptions receiving;
  receiving.socket.receive_buffer_bytes = 4 * 1024;
  Server server(loop, sender, sending);
  server.listen("127.0.0.1:0");
  Client client(loop, receiver, receiving);
  client.connect(server.address());
  loop.run();

  const bool complete = receiver.received() == bytes;
  std::cout << "conclusion: " << receiver.received() << " of " << bytes << " bytes arrived; "
            << (sender.saw_zero_window() ? "while the receiver slept its window was zero"
                                         : "the receiver's window was never seen at zero")
            << (sender.was_stopped()
                    ? ", and our queue held no more than the watermark and one piece\n"
                    : ", and the kernels and our queue had room for all\n");
  return complete ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Sends to a receiver that sleeps, and tells where the bytes are.", "zero_window");
  std::size_t bytes = 70'000;
  int sleep_ms = 1'000;
  app.add_option("--bytes", bytes, "how many to send")->check(CLI::Range(1, 100'000'000));
  app.add_option("--sleep", sleep_ms, "how long the receiver does not read, in milliseconds")
      ->check(CLI::Range(0, 60'000));
  CLI11_PARSE(app, argc, argv);
  try {
    return run(bytes, std::chrono::milliseconds(sleep_ms));
  } catch (const std::exception& e) {
    std::cerr << "zero_window: " << e.what() << '\n';
    return 1;
  }
}
