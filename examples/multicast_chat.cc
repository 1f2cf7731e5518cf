// A chat without a server: each line of standard input goes to a multicast group, and what its
// members say is printed, one's own lines among it, which is how one sees that they were sent. What
// it shows: joining a group, and a port that several members on one machine share.
#include <millrace/millrace.h>

#include <csignal>
#include <exception>
#include <iostream>
#include <string>
#include <string_view>

#include <CLI/CLI.hpp>
#include <unistd.h>

using namespace millrace;

namespace {

// What standard input has: a terminal gives lines, a pipe anything.
class Lines {
 public:
  // False at the end.
  template <class Use>
  bool read(Use&& use) {
    char block[4096];
    const ssize_t n = ::read(STDIN_FILENO, block, sizeof block);
    if (n <= 0) return false;
    text_.append(block, static_cast<std::size_t>(n));
    for (std::size_t end; (end = text_.find('\n')) != std::string::npos; text_.erase(0, end + 1)) {
      use(std::string_view(text_).substr(0, end));
    }
    return true;
  }

 private:
  std::string text_;
};

int chat(const SocketAddress& group, const std::string& interface, const std::string& name) {
  EventLoop loop;
  SignalWatcher stop(loop, {SIGINT, SIGTERM}, [&](int) { loop.stop(); });
  const bool v6 = group.family() == SocketAddress::Family::ipv6;
  const SocketAddress any =
      v6 ? SocketAddress::any_v6(group.port()) : SocketAddress::any(group.port());

  UdpSocket socket(
      loop,
      {.on_datagram = [](UdpSocket&,
                         const Datagram& d) { std::cout << d.bytes.text() << std::endl; }},
      {.reuse_address = true, .multicast = {.interface = interface}});
  socket.bind(any);
  socket.join(group, {.interface = interface});
  std::cout << "joined " << group << std::endl;

  Lines lines;
  IoWatcher keyboard(loop, STDIN_FILENO, Interest::read, [&](IoEvents) {
    const auto say = [&](std::string_view line) {
      socket.send_to(group, name + ": " + std::string(line));
    };
    if (!lines.read(say)) loop.stop();
  });
  loop.run();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("A chat in a multicast group.");
  std::string group = "239.255.77.77:7077";
  std::string interface;
  std::string name = "somebody";
  app.add_option("--group", group, "GROUP:PORT, numeric")->capture_default_str();
  app.add_option("--interface", interface, "by name; otherwise as the routes say");
  app.add_option("--name", name, "what stands in front of what you say")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    return chat(SocketAddress::parse(group), interface, name);
  } catch (const std::exception& e) {
    std::cerr << "multicast_chat: " << e.what() << '\n';
    return 1;
  }
}
