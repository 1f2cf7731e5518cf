// Sends what it reads from standard input and prints what comes back: bytes as they are, or each
// line as a length-prefixed frame (which makes it a client of chat, too). What it shows: a Client,
// a foreign descriptor watched by the loop, a half-close (end of input becomes FIN, answers still
// come), and backpressure from the network to the pipe that feeds us.
#include <millrace/millrace.h>

#include <csignal>
#include <exception>
#include <iostream>
#include <optional>
#include <string>

#include <CLI/CLI.hpp>
#include <unistd.h>

using namespace millrace;

namespace {

class EchoClient : public ConnectionHandler {
 public:
  EchoClient(EventLoop& loop, bool framed)
      : loop_(loop), framed_(framed), file_turn_(loop, [this] { read_input(); }) {}

  // Empty: all went well.
  const std::string& failure() const { return failure_; }

  void on_open(Connection& c) override {
    connection_ = &c;
    read_on();
  }
  void on_data(Connection& c, ReceiveBuffer& in) override {
    if (framed_) return print_frames(c, in);
    std::cout << in.view().text() << std::flush;
    in.consume_all();
  }
  void on_drained(Connection&) override { read_on(); }
  void on_close(Connection&, std::error_code why) override {
    connection_ = nullptr;
    if (why) failure_ = why.message();
    loop_.stop();
  }
  void on_connect_failed(std::error_code why) override {
    failure_ = why.message();
    loop_.stop();
  }

 private:
  void print_frames(Connection& c, ReceiveBuffer& in) {
    Decoded decoded = framing_.decode(in.view(), state_);
    for (; decoded.status == Decoded::frame_ready; decoded = framing_.decode(in.view(), state_)) {
      std::cout << decoded.frame.text() << std::endl;
      in.consume(decoded.consumed);
    }
    if (decoded.status == Decoded::failed) c.abort(decoded.error);
  }

  void read_on() {
    if (!connection_ || input_ended_) return;
    try {
      input_.emplace(loop_, STDIN_FILENO, Interest::read, [this](IoEvents) { read_input(); });
    } catch (const std::system_error&) {
      file_turn_.start(Duration(0));  // a regular file cannot be watched: it is always ready
    }
  }

  void read_input() {
    if (!connection_) return;
    char block[16 * 1024];
    const ssize_t n = ::read(STDIN_FILENO, block, sizeof block);
    if (n <= 0) {
      input_ended_ = true;
      input_.reset();
      if (!line_.empty()) send_lines("\n");  // the last line had no end
      return connection_->end();
    }
    const std::string_view bytes(block, static_cast<std::size_t>(n));
    if (!(framed_ ? send_lines(bytes) : connection_->send(bytes))) {
      input_.reset();  // until on_drained
    } else if (!input_) {
      file_turn_.start(Duration(0));
    }
  }

  SendResult send_lines(std::string_view bytes) {
    line_ += bytes;
    FramedConnection framed(*connection_, framing_);
    SendResult more = SendResult::sent;
    std::size_t begin = 0;
    for (std::size_t end; (end = line_.find('\n', begin)) != std::string::npos; begin = end + 1) {
      more = framed.send_frame(std::string_view(line_).substr(begin, end - begin));
    }
    line_.erase(0, begin);
    return more;
  }

  EventLoop& loop_;
  const bool framed_;
  const Framing framing_{};
  FrameState state_;
  Connection* connection_ = nullptr;
  std::optional<IoWatcher> input_;
  Timer file_turn_;
  std::string line_;
  bool input_ended_ = false;
  std::string failure_;
};

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Sends standard input, prints what comes back.", "echo_client");
  std::string address;
  std::string framing = "none";
  app.add_option("--connect", address, "HOST:PORT of the server")->required();
  app.add_option("--framing", framing, "none, or length-prefix: each line is a frame")
      ->check(CLI::IsMember({"none", "length-prefix"}));
  CLI11_PARSE(app, argc, argv);
  try {
    EventLoop loop;
    EchoClient handler(loop, framing == "length-prefix");
    SignalWatcher stop(loop, {SIGINT, SIGTERM}, [&](int) { loop.stop(); });
    Client client(loop, handler);
    client.connect(address);
    loop.run();
    if (handler.failure().empty()) return 0;
    std::cerr << "echo_client: " << address << ": " << handler.failure() << '\n';
  } catch (const std::exception& e) {
    std::cerr << "echo_client: " << e.what() << '\n';
  }
  return 1;
}
