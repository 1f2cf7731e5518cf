#include "unix_scenario.h"

#include <millrace/client.h>
#include <millrace/server.h>
#include <millrace/unique_fd.h>
#include <millrace/unix_connection.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include <sys/eventfd.h>
#include <unistd.h>

namespace millrace::test {
namespace {

constexpr std::size_t kPassed = 3;

ConnectionOptions with_descriptors() {
  ConnectionOptions options;
  options.limits.receive_descriptors = 8;
  return options;
}

// What clients pass they get back, in order and with what is in it.
class UnixScenario final : public Scenario {
 public:
  using Scenario::Scenario;
  void set_up(EventLoop& loop, EventLoop& other) override {
    const SocketAddress address = SocketAddress::unix_path("/sim/torture");
    ServerOptions options;
    options.connection = with_descriptors();
    options.listen.path.mode = 0600;
    server_.emplace(loop, returner_, options);
    server_->listen(address);
    clients_[0].emplace(watch_, other, "there and back");
    clients_[1].emplace(watch_, loop, "there and back again");
    for (auto& client : clients_) client->connect(address);
  }

 private:
  struct Returner : ConnectionHandler {
    explicit Returner(Watch& w) : watch(w) {}
    Watch& watch;
    void on_open(Connection& c) override { watch.opened(c, false); }
    void on_data(Connection& c, ReceiveBuffer& in) override {
      in.consume_all();
      std::vector<UniqueFd> passed = take_descriptors(c);
      if (!passed.empty()) send_descriptors(c, "back", std::move(passed));
    }
    void on_peer_end(Connection& c) override {
      watch.peer_ended(c);
      c.close();
    }
    void on_close(Connection& c, std::error_code why) override { watch.closed_uncompared(c, why); }
  };

  class Passer final : public ConnectionHandler {
   public:
    Passer(Watch& watch, EventLoop& loop, const char* name)
        : watch_(watch), name_(name), client_(loop, *this, options()) {}
    void connect(const SocketAddress& address) { client_.connect(address); }

    void on_open(Connection& c) override {
      watch_.opened(c, true);
      const auto who = peer_credentials(c);  // none: the kernel would not say
      if (who && who->uid != ::geteuid()) watch_.problem("the peer is somebody else");
      for (unsigned i = 1; i <= kPassed && c.is_open(); ++i) {
        UniqueFd event(::eventfd(i, EFD_NONBLOCK | EFD_CLOEXEC));
        if (!event) return c.close();
        std::vector<UniqueFd> passed;
        passed.push_back(std::move(event));
        send_descriptors(c, "there", std::move(passed));
        c.flush();
      }
    }
    void on_data(Connection& c, ReceiveBuffer& in) override {
      in.consume_all();
      for (const UniqueFd& each : take_descriptors(c)) {
        const std::uint64_t number = value_of(each);
        if (number != ++received_) watch_.problem("a descriptor that is not the next");
      }
      if (received_ == kPassed) c.close();
    }
    void on_peer_end(Connection& c) override {
      watch_.peer_ended(c);
      c.close();
    }
    void on_close(Connection& c, std::error_code why) override {
      watch_.closed_uncompared(c, why);
      if (received_ == kPassed && !why) watch_.reached(name_);
    }

   private:
    static std::uint64_t value_of(const UniqueFd& event) {
      std::uint64_t value = 0;
      ssize_t n = 0;
      do {
        n = ::read(event.get(), &value, sizeof value);
      } while (n < 0 && errno == EINTR);
      return n == sizeof value ? value : 0;
    }
    static ClientOptions options() {
      ClientOptions made;
      made.connection = with_descriptors();
      made.local = SocketAddress::unix_abstract({});  // a name, to tell them apart
      return made;
    }

    Watch& watch_;
    const char* name_;
    std::uint64_t received_ = 0;
    Client client_;
  };

  Returner returner_{watch_};
  std::optional<Server> server_;
  std::array<std::optional<Passer>, 2> clients_;
};

}  // namespace

std::unique_ptr<Scenario> make_unix_scenario(Watch& watch) {
  return std::make_unique<UnixScenario>(watch);
}

}  // namespace millrace::test
