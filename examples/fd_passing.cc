// A front process accepts TCP connections and hands each over to one of its worker processes, which
// serves it as if it had accepted it. What it shows: descriptors that travel over a Unix socket,
// who may be at the other end of it, and sockets that a server adopts. Workers come and go; while
// there is none, who connects waits in the kernel's queue.
//
//   fd_passing --listen 127.0.0.1:7000 --workers unix:/tmp/workers.sock
//   fd_passing --work-for unix:/tmp/workers.sock                          # as often as you like
#include <millrace/millrace.h>
#include <millrace/unix_connection.h>

#include <csignal>
#include <exception>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <unistd.h>

using namespace millrace;

namespace {

class Front {
 public:
  Front(EventLoop& loop, const std::string& address, const std::string& workers_at)
      : workers_(loop,
                 Callbacks{.on_open = [this](Connection& c) { greet(c); },
                           .on_close = [this](Connection& c, std::error_code) { forget(c); }},
                 for_workers()),
        listener_(loop, SocketAddress::parse(address),
                  [this](UniqueFd socket, const SocketAddress&) { hand_over(std::move(socket)); }) {
    listener_.pause();
    workers_.listen(workers_at);
  }
  SocketAddress address() const { return listener_.address(); }

 private:
  static ServerOptions for_workers() {
    ServerOptions options;
    options.listen.path.mode = 0600;
    // A worker that does not take what it is passed keeps its place, and the others get more.
    options.connection.limits.overflow = Overflow::refuse;
    return options;
  }
  void greet(Connection& worker) {
    const auto who = peer_credentials(worker);
    if (!who || who->uid != ::geteuid()) return worker.close();  // it would read our clients' bytes
    idle_.push_back(worker.ref());
    listener_.resume();
  }
  void forget(const Connection& worker) {
    std::erase_if(idle_, [&](const ConnectionRef& one) { return one == worker.ref(); });
    if (idle_.empty()) listener_.pause();
  }
  // In turn; a worker that takes no more for the moment is passed over.
  void hand_over(UniqueFd socket) {
    std::vector<UniqueFd> sockets;
    sockets.push_back(std::move(socket));
    for (std::size_t tries = 0; tries < idle_.size(); ++tries) {
      Connection* worker = idle_[next_++ % idle_.size()].get();
      if (worker && send_descriptors(*worker, ".", std::move(sockets)).accepted()) return;
    }
  }

  std::vector<ConnectionRef> idle_;
  std::size_t next_ = 0;
  Server workers_;
  Listener listener_;
};

int serve_as_front(EventLoop& loop, const std::string& address, const std::string& workers_at) {
  const Front front(loop, address, workers_at);
  std::cout << "listening on " << front.address() << std::endl;
  loop.run();
  return 0;
}

int serve_as_worker(EventLoop& loop, const std::string& front_at) {
  const std::string greeting = "served by " + std::to_string(::getpid()) + "\n";
  Server server(loop, {.on_open = [&](Connection& c) { c.send(ByteView(greeting)); },
                       .on_data =
                           [](Connection& c, ReceiveBuffer& in) {
                             c.send(in.view());
                             in.consume_all();
                           }});
  int status = 0;
  ClientOptions options;
  options.connection.limits.receive_descriptors = 64;
  Client front(loop,
               {.on_open = [](Connection&) { std::cout << "working" << std::endl; },
                .on_data =
                    [&](Connection& c, ReceiveBuffer& in) {
                      in.consume_all();  // one byte for each socket: they need something to go with
                      for (UniqueFd& socket : take_descriptors(c)) {
                        // Of a client that is gone again there is nothing to serve.
                        static_cast<void>(server.adopt(std::move(socket)));
                      }
                    },
                .on_close = [&](Connection&, std::error_code) { loop.stop(); },
                .on_connect_failed =
                    [&](std::error_code why) {
                      std::cerr << "fd_passing: " << front_at << ": " << why.message() << '\n';
                      status = 1;
                      loop.stop();
                    }},
               options);
  front.connect(front_at);
  loop.run();
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Accepts connections in one process and serves them in others.", "fd_passing");
  std::string address;
  std::string workers;
  std::string front;
  auto* listen = app.add_option("--listen", address, "the front: HOST:PORT for clients");
  auto* as_front = app.add_option("--workers", workers, "the front: unix:PATH for the workers");
  auto* as_worker = app.add_option("--work-for", front, "a worker: unix:PATH of the front");
  listen->needs(as_front)->excludes(as_worker);
  as_front->needs(listen);
  app.require_option(1, 2);
  CLI11_PARSE(app, argc, argv);
  try {
    EventLoop loop;
    SignalWatcher stop(loop, {SIGINT, SIGTERM}, [&](int) { loop.stop(); });
    return front.empty() ? serve_as_front(loop, address, workers) : serve_as_worker(loop, front);
  } catch (const std::exception& e) {
    std::cerr << "fd_passing: " << e.what() << '\n';
    return 1;
  }
}
