// The scenarios of torture.h: small, and together they make every system call of the product. Each
// thing that a scenario wants to come to is a goal, so that a run in which something fails can be
// compared with one in which nothing does.
#include <millrace/client.h>
#include <millrace/error.h>
#include <millrace/framed_client.h>
#include <millrace/framed_server.h>
#include <millrace/server.h>
#include <millrace/timer.h>

#include "datagram_scenario.h"
#include "support/in_kernel.h"
#include "torture.h"
#include "unix_scenario.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <iterator>
#include <optional>
#include <span>
#include <utility>

namespace millrace::test {
namespace {

using namespace std::chrono_literals;

// On the simulated kernel a port is ours alone.
const SocketAddress kAddress = SocketAddress::loopback(7000);
constexpr std::uint16_t kBlackHole = 7001;
constexpr std::uint64_t kWelcome = 20;

using How = Watch::How;

How next_way(std::size_t& counter) {
  return static_cast<How>(counter++ % static_cast<std::size_t>(How::kCount));
}

ConnectionOptions small_limits() {
  ConnectionOptions options;
  options.limits.high_watermark_bytes = 6'000;
  return options;
}

// Sends back what it gets, and waits when its peer is slow.
class WatchedEcho : public ConnectionHandler {
 public:
  explicit WatchedEcho(Watch& watch) : watch_(watch) {}
  void on_open(Connection& c) override { watch_.opened(c, false); }
  void on_data(Connection& c, ReceiveBuffer& in) override {
    const std::size_t n = in.size();
    watch_.arrived(c, in.view());
    in.consume_all();
    if (!watch_.send(c, n, next_way(way_))) c.pause_reading();
  }
  void on_drained(Connection& c) override {
    watch_.side_of(c);
    c.resume_reading();
  }
  void on_peer_end(Connection& c) override {
    watch_.peer_ended(c);
    c.close();
  }
  void on_close(Connection& c, std::error_code why) override { watch_.closed(c, why); }

 protected:
  Watch& watch_;
  std::size_t way_ = 0;
};

// Sends so many bytes and wants them back.
class EchoClient final : public ConnectionHandler {
 public:
  enum class End { half_close, close, wait_for_peer };
  EchoClient(Watch& watch, EventLoop& loop, const char* name, std::uint64_t to_send, End end,
             const ClientOptions& options)
      : watch_(watch), name_(name), to_send_(to_send), end_(end), client_(loop, *this, options) {}
  void connect() { client_.connect(kAddress); }
  void connect(std::span<const SocketAddress> addresses) { client_.connect(addresses); }

  void on_open(Connection& c) override {
    watch_.opened(c, true);
    // What one asks who wonders why a connection is stuck.
    static_cast<void>(c.local());
    static_cast<void>(c.tcp_info());
    static_cast<void>(c.kernel_queues());
    send_more(c);
  }
  void on_drained(Connection& c) override { send_more(c); }
  void on_data(Connection& c, ReceiveBuffer& in) override {
    const Side& side = watch_.arrived(c, in.view());
    in.consume_all();
    if (end_ == End::close && side.received == to_send_) c.close();
  }
  void on_peer_end(Connection& c) override {
    watch_.peer_ended(c);
    c.close();
  }
  void on_close(Connection& c, std::error_code why) override {
    const Side& side = watch_.closed(c, why);
    if (!why && side.received == to_send_) watch_.reached(name_);
  }

 private:
  void send_more(Connection& c) {
    const Side& side = watch_.side_of(c);
    while (c.is_open() && side.accepted < to_send_) {
      const auto n = std::min<std::uint64_t>(to_send_ - side.accepted, 3'000);
      if (!watch_.send(c, n, next_way(way_))) return;
    }
    if (end_ == End::half_close) c.end();
  }

  Watch& watch_;
  const char* name_;
  const std::uint64_t to_send_;
  const End end_;
  std::size_t way_ = 0;
  Client client_;
};

ClientOptions client_options() {
  ClientOptions options;
  options.connection = small_limits();
  return options;
}

class EchoScenario final : public Scenario {
 public:
  using Scenario::Scenario;
  void set_up(EventLoop& loop, EventLoop& other) override {
    ServerOptions options;
    options.connection = small_limits();
    options.max_connections = 2;  // the third waits
    server_.emplace(loop, handler_, options);
    server_->listen(kAddress);
    using End = EchoClient::End;
    clients_[0].emplace(watch_, loop, "half-close", 20'000, End::half_close, client_options());
    clients_[1].emplace(watch_, other, "close", 700, End::close, client_options());
    clients_[2].emplace(watch_, loop, "third", 5'000, End::half_close, client_options());
    for (auto& client : clients_) client->connect();
  }

 private:
  WatchedEcho handler_{watch_};
  std::optional<Server> server_;
  std::array<std::optional<EchoClient>, 3> clients_;
};

// Refused, connected, dropped by the server, connected again; a host that does not answer; one who
// changes his mind.
class ReconnectScenario final : public Scenario {
 public:
  using Scenario::Scenario;
  void set_up(EventLoop& loop, EventLoop& other) override {
    watch_.world().kernel().black_hole(kBlackHole);
    start_timer_.emplace(loop, [this, &loop] { start_server(loop); });
    start_timer_->start(250ms);

    ClientOptions options;
    options.reconnect.enabled = true;
    options.reconnect.max_attempts = 12;
    options.socket.keepalive_idle = 10s;
    client_.emplace(loop, visitor_, options);
    visitor_.client = &*client_;
    client_->connect(kAddress);

    ClientOptions impatient;
    impatient.connect_timeout = 1s;
    unanswered_.emplace(other, unanswered_handler_, impatient);
    unanswered_->connect(SocketAddress::loopback(kBlackHole));
    undecided_.emplace(other, undecided_handler_);
    undecided_->connect(SocketAddress::loopback(kBlackHole));
    change_mind_.emplace(other, [this] { undecided_->close(); });
    change_mind_->start(500ms);
  }

 private:
  // The first time it says little, and goodbye.
  struct Host : WatchedEcho {
    using WatchedEcho::WatchedEcho;
    int visits = 0;
    void on_open(Connection& c) override {
      WatchedEcho::on_open(c);
      watch_.send(c, ++visits == 1 ? 10 : kWelcome, How::view);
      if (visits == 1) c.close();
    }
  };
  struct Visitor : ConnectionHandler {
    explicit Visitor(Watch& w) : watch(w) {}
    Watch& watch;
    Client* client = nullptr;
    void on_open(Connection& c) override { watch.opened(c, true); }
    void on_data(Connection& c, ReceiveBuffer& in) override {
      if (watch.arrived(c, in.view()).received == kWelcome) client->close();
      in.consume_all();
    }
    void on_peer_end(Connection& c) override {
      watch.peer_ended(c);
      c.close();
    }
    void on_close(Connection& c, std::error_code why) override {
      if (watch.closed(c, why).received == kWelcome && !why) watch.reached("second visit");
    }
  };
  struct Unanswered : ConnectionHandler {
    Unanswered(Watch& w, const char* n, std::errc e) : watch(w), name(n), expected(e) {}
    Watch& watch;
    const char* name;
    std::errc expected;
    void on_data(Connection&, ReceiveBuffer&) override { watch.problem("data out of nowhere"); }
    void on_connect_failed(std::error_code why) override {
      if (why == expected) watch.reached(name);
    }
  };

  void start_server(EventLoop& loop) {
    start_timer_->start(100ms);  // should it not work
    server_.reset();
    server_.emplace(loop, host_);
    server_->listen(kAddress);
    start_timer_->cancel();
  }

  Host host_{watch_};
  Visitor visitor_{watch_};
  Unanswered unanswered_handler_{watch_, "time-out", std::errc::timed_out};
  Unanswered undecided_handler_{watch_, "cancelled", std::errc::operation_canceled};
  std::optional<Timer> start_timer_;
  std::optional<Timer> change_mind_;
  std::optional<Server> server_;
  std::optional<Client> client_;
  std::optional<Client> unanswered_;
  std::optional<Client> undecided_;
};

// One connection ends in time, one does not read and is cut.
class DrainScenario final : public Scenario {
 public:
  using Scenario::Scenario;
  void set_up(EventLoop& loop, EventLoop& other) override {
    watch_.allow(error::drain_deadline);
    watch_.allow(system_error_code(ECONNRESET));
    server_.emplace(loop, handler_);
    server_->listen(kAddress);
    client_.emplace(watch_, other, "in time", 5'000, EchoClient::End::wait_for_peer,
                    client_options());
    client_->connect();
    deaf_client_.emplace(other, deaf_, client_options());
    deaf_client_->connect(kAddress);
    drain_timer_.emplace(loop, [this] { drain(); });
    drain_timer_->start(1s);
    hear_timer_.emplace(other, [this] {
      if (Connection* c = deaf_client_->connection()) c->resume_reading();
    });
    hear_timer_->start(20s);
  }

 private:
  struct Deaf : ConnectionHandler {
    explicit Deaf(Watch& w) : watch(w) {}
    Watch& watch;
    std::size_t way = 0;
    void on_open(Connection& c) override {
      watch.opened(c, true);
      c.pause_reading();
      for (int i = 0; i < 9; ++i) watch.send(c, 4'000, next_way(way));
    }
    void on_data(Connection& c, ReceiveBuffer& in) override {
      watch.arrived(c, in.view());
      in.consume_all();
    }
    void on_peer_end(Connection& c) override {
      watch.peer_ended(c);
      c.close();
    }
    void on_close(Connection& c, std::error_code why) override { watch.closed(c, why); }
  };

  void drain() {
    const std::size_t open = server_->connection_count();
    try {
      server_->drain(2s, [this, open](DrainResult result) {
        if (result.finished + result.cut == open) watch_.reached("drained");
      });
    } catch (const std::bad_alloc&) {
      // Nothing has happened: once more, and if that is not to be, without grace.
      if (server_->address().port() == 0) watch_.problem("half a drain");
      if (std::exchange(failed_, true)) {
        watch_.allow(error::owner_destroyed);
        return server_.reset();
      }
      drain_timer_->start(100ms);
    }
  }

  WatchedEcho handler_{watch_};
  Deaf deaf_{watch_};
  std::optional<Server> server_;
  std::optional<EchoClient> client_;
  std::optional<Client> deaf_client_;
  std::optional<Timer> drain_timer_;
  bool failed_ = false;
  std::optional<Timer> hear_timer_;
};

// Much in one direction, through small buffers, to one who stops reading now and then.
class LargeScenario final : public Scenario {
 public:
  using Scenario::Scenario;
  void set_up(EventLoop& loop, EventLoop& other) override {
    server_.emplace(loop, sender_);
    server_->listen(kAddress);
    client_.emplace(other, reader_);
    client_->connect(kAddress);
    reader_.resume.emplace(other, [this] {
      if (Connection* c = client_->connection()) c->resume_reading();
    });
  }

 private:
  static constexpr std::uint64_t kTotal = 65'536 + 20'000 + 20'000 + 6'000 + 1'000;
  struct Sender : ConnectionHandler {
    explicit Sender(Watch& w) : watch(w) {}
    Watch& watch;
    void on_open(Connection& c) override {
      watch.opened(c, false);
      watch.send(c, 65'536, How::view);  // leaves at once, from where it lies
      watch.send(c, 20'000, How::file);
      watch.send(c, 20'000, How::shared);
      watch.send(c, 6'000, How::file);
      watch.send(c, 1'000, How::writer);
      c.close();
    }
    void on_data(Connection&, ReceiveBuffer&) override { watch.problem("data out of nowhere"); }
    void on_close(Connection& c, std::error_code why) override { watch.closed(c, why); }
  };
  struct Reader : ConnectionHandler {
    explicit Reader(Watch& w) : watch(w) {}
    Watch& watch;
    std::optional<Timer> resume;
    int pauses = 0;
    void on_open(Connection& c) override { watch.opened(c, true); }
    void on_data(Connection& c, ReceiveBuffer& in) override {
      // Not all of it, at first: some is stored.
      const std::size_t n = ++pauses < 6 ? (in.size() + 1) / 2 : in.size();
      watch.arrived(c, in.view().first(n));
      in.consume(n);
      if (pauses >= 6) return;
      resume->start(20ms);
      c.pause_reading();
    }
    void on_peer_end(Connection& c) override {
      watch.peer_ended(c);
      c.close();
    }
    void on_close(Connection& c, std::error_code why) override {
      const Side& side = watch.closed(c, why);
      if (!why && side.received == kTotal) watch.reached("large");
    }
  };

  Sender sender_{watch_};
  Reader reader_{watch_};
  std::optional<Server> server_;
  std::optional<Client> client_;
};

// Timers that end, move and destroy themselves and each other, and tasks from another loop.
class TimerScenario final : public Scenario {
 public:
  using Scenario::Scenario;
  void set_up(EventLoop& loop, EventLoop& other) override {
    // Without memory nobody may be told to end it.
    watch_.allow(error::idle_timeout);
    ClientOptions options;
    options.connection.timeouts.idle = 30s;
    server_.emplace(loop, echo_);
    server_->listen(kAddress);
    client_.emplace(loop, handler_, options);
    client_->connect(kAddress);
    start_timers(loop);
    loop.post(while_alive([this] { watch_.reached("task"); }));
    loop.defer(while_alive([this] { watch_.reached("deferred task"); }));
    // Its loop is asleep by then: it must be woken.
    from_outside_.emplace(other, [this, &loop] { post_from_outside(loop); });
    from_outside_->start_every(50ms);
  }

 private:
  struct Handler : ConnectionHandler {
    explicit Handler(Watch& w) : watch(w) {}
    Watch& watch;
    std::optional<ConnectionRef> ref;
    void on_open(Connection& c) override {
      watch.opened(c, true);
      ref = c.ref();
    }
    void on_data(Connection& c, ReceiveBuffer& in) override {
      if (watch.arrived(c, in.view()).received == 500) watch.reached("posted sends came back");
      in.consume_all();
    }
    void on_peer_end(Connection& c) override {
      watch.peer_ended(c);
      c.close();
    }
    void on_close(Connection& c, std::error_code why) override { watch.closed(c, why); }
  };

  // A task may be run when the scenario is gone.
  template <class F>
  Task while_alive(F task) {
    return [task, alive = std::weak_ptr<bool>(alive_)]() mutable {
      if (!alive.expired()) task();
    };
  }
  void start_timers(EventLoop& loop) {
    again_ = std::make_unique<Timer>(loop, [this] {
      if (++ticks_ < 3) return;
      watch_.reached("three ticks");
      again_.reset();
    });
    again_->start_every(10ms);
    moved_.emplace(loop, [this] {
      watch_.reached("moved timer");
      never_->cancel();
    });
    moved_->start(10ms);
    moved_->start(500ms);
    never_.emplace(loop, [this] { watch_.problem("a cancelled timer fires"); });
    never_->start(600ms);
  }
  void post_from_outside(EventLoop& loop) {
    if (posts_ == 5) {
      loop.post(while_alive([this] {
        if (Connection* c = client_->connection()) c->end();
        watch_.reached("last post");
      }));
      from_outside_->cancel();
    } else {
      const auto send = [this](Connection& c) { watch_.send(c, 100, How::view); };
      if (handler_.ref) handler_.ref->post(send);
      ++posts_;
    }
  }

  WatchedEcho echo_{watch_};
  Handler handler_{watch_};
  std::optional<Server> server_;
  std::optional<Client> client_;
  std::unique_ptr<Timer> again_;
  std::optional<Timer> moved_;
  std::optional<Timer> never_;
  std::optional<Timer> from_outside_;
  int ticks_ = 0;
  int posts_ = 0;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>();
};

// Requests and replies in frames, of all sizes.
class FramedScenario final : public Scenario {
 public:
  using Scenario::Scenario;
  void set_up(EventLoop& loop, EventLoop& other) override {
    server_.emplace(loop, replier_);
    server_->listen(kAddress);
    clients_[0].emplace(watch_, loop, "first client");
    clients_[1].emplace(watch_, other, "second client");
  }

 private:
  static constexpr std::array<std::size_t, 5> kSizes{0, 1, 100, 30'000, 3'000};
  static std::string_view frame(std::size_t i) { return pattern(i, 0, kSizes[i]); }

  struct Replier : FramedHandler {
    explicit Replier(Watch& w) : watch(w) {}
    Watch& watch;
    void on_open(Connection& c) override { watch.opened(c, false); }
    void on_frame(FramedConnection& c, ByteView got) override { c.send_frame(got); }
    void on_frames_end(FramedConnection& c) override {
      watch.peer_ended(c.connection());
      c->close();
    }
    void on_close(Connection& c, std::error_code why) override { watch.closed_uncompared(c, why); }
  };
  class Requester : public FramedHandler {
   public:
    Requester(Watch& watch, EventLoop& loop, const char* name)
        : watch_(watch), name_(name), client_(loop, *this) {
      client_.connect(kAddress);
    }
    void on_open(Connection& c) override {
      watch_.opened(c, true);
      framed(c).send_frame(frame(0));
    }
    void on_frame(FramedConnection& c, ByteView got) override {
      if (got.text() != frame(next_)) watch_.problem("a reply is not the request");
      if (++next_ == kSizes.size()) return client_.close();
      c.send_frame(frame(next_));
    }
    void on_close(Connection& c, std::error_code why) override {
      watch_.closed_uncompared(c, why);
      if (next_ == kSizes.size() && !why) watch_.reached(name_);
    }

   private:
    Watch& watch_;
    const char* name_;
    std::size_t next_ = 0;
    FramedClient client_;
  };

  Replier replier_{watch_};
  std::optional<FramedServer> server_;
  std::array<std::optional<Requester>, 2> clients_;
};

// One frame that is received into place, into a block that grows on the way.
class LargeFrameScenario final : public Scenario {
 public:
  using Scenario::Scenario;
  void set_up(EventLoop& loop, EventLoop& other) override {
    ServerOptions options;
    options.listen.socket.receive_buffer_bytes = 32 * 1024;
    server_.emplace(loop, receiver_, options);
    server_->listen(kAddress);
    ClientOptions of_client;
    of_client.socket.send_buffer_bytes = 32 * 1024;
    client_.emplace(other, sender_, of_client);
    client_->connect(kAddress);
  }

 private:
  static constexpr std::size_t kBytes = 200'000;
  struct Receiver : FramedHandler {
    explicit Receiver(Watch& w) : watch(w) {}
    Watch& watch;
    void on_open(Connection& c) override { watch.opened(c, false); }
    void on_frame(FramedConnection& c, ByteView got) override {
      const std::string_view text = got.text();
      for (std::size_t at = 0; at < kBytes; at += kPatternBytes) {
        const std::size_t n = std::min(kPatternBytes, kBytes - at);
        if (text.substr(at, n) != pattern(1, 0, n)) watch.problem("a frame is not as it was sent");
      }
      watch.reached("frame");
      c->close();
    }
    void on_close(Connection& c, std::error_code why) override { watch.closed_uncompared(c, why); }
  };
  struct Sender : FramedHandler {
    explicit Sender(Watch& w) : watch(w) {}
    Watch& watch;
    void on_open(Connection& c) override {
      watch.opened(c, true);
      std::string frame;
      for (std::size_t at = 0; at < kBytes; at += kPatternBytes) {
        frame += pattern(1, 0, std::min(kPatternBytes, kBytes - at));
      }
      framed(c).send_frame(SharedBytes(std::move(frame)));
    }
    void on_frame(FramedConnection&, ByteView) override { watch.problem("a frame from nowhere"); }
    void on_close(Connection& c, std::error_code why) override { watch.closed_uncompared(c, why); }
  };

  Receiver receiver_{watch_};
  Sender sender_{watch_};
  std::optional<FramedServer> server_;
  std::optional<FramedClient> client_;
};

// Several addresses at once: one does not answer, one refuses, two serve. And one who finds nobody.
class RaceScenario final : public Scenario {
 public:
  using Scenario::Scenario;
  void set_up(EventLoop& loop, EventLoop& other) override {
    watch_.world().kernel().black_hole(kBlackHole);
    server_.emplace(loop, handler_);
    server_->listen(kAddress);
    server_->listen(SocketAddress::loopback_v6(kAddress.port()));
    const SocketAddress silent = SocketAddress::loopback_v6(kBlackHole);
    const SocketAddress refusing = SocketAddress::loopback(7002);
    const std::array all{silent, refusing, SocketAddress::loopback_v6(kAddress.port()), kAddress};
    using End = EchoClient::End;
    winner_.emplace(watch_, other, "race", 3'000, End::half_close, client_options());
    winner_->connect(all);
    ClientOptions impatient;
    impatient.connect_timeout = 2s;
    loser_.emplace(loop, loser_handler_, impatient);
    loser_->connect(std::array{silent, refusing});
  }

 private:
  struct Loser : ConnectionHandler {
    explicit Loser(Watch& w) : watch(w) {}
    Watch& watch;
    void on_open(Connection&) override { watch.problem("nobody is there, and it is connected"); }
    void on_data(Connection&, ReceiveBuffer&) override {}
    void on_connect_failed(std::error_code) override { watch.reached("none"); }
  };

  WatchedEcho handler_{watch_};
  Loser loser_handler_{watch_};
  std::optional<Server> server_;
  std::optional<EchoClient> winner_;
  std::optional<Client> loser_;
};

template <class T>
std::unique_ptr<Scenario> make(Watch& watch) {
  return std::make_unique<T>(watch);
}

constexpr std::array kScenarios{
    ScenarioKind{"Echo", make<EchoScenario>},
    ScenarioKind{"Reconnect", make<ReconnectScenario>},
    ScenarioKind{"Drain", make<DrainScenario>},
    ScenarioKind{"Large", make<LargeScenario>},
    ScenarioKind{"Timers", make<TimerScenario>},
    ScenarioKind{"Framed", make<FramedScenario>},
    ScenarioKind{"LargeFrame", make<LargeFrameScenario>},
    ScenarioKind{"Race", make<RaceScenario>},
    ScenarioKind{"Datagrams", make_datagram_scenario},
    ScenarioKind{"Unix", make_unix_scenario},
};

}  // namespace

std::span<const ScenarioKind> scenarios() {
  return kScenarios;
}

}  // namespace millrace::test
