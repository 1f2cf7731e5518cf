#include "torture.h"

#include <millrace/client.h>
#include <millrace/error.h>
#include <millrace/log.h>
#include <millrace/loop_services.h>
#include <millrace/send_writer.h>
#include <millrace/server.h>

#include "connection_core.h"
#include "support/in_kernel.h"
#include "support/mappings.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstring>
#include <new>
#include <optional>
#include <utility>

#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

namespace millrace::test {

using namespace std::chrono_literals;

namespace {

// As long as a scenario may take, every time-out and every wait before a reconnect included.
constexpr Duration kScenarioTime = 100s;
// What is freed goes back to the system in less.
constexpr Duration kQuietTime = 5s;
constexpr std::uint16_t kFreshPort = 9999;

std::string text_of(const Side& side) {
  return std::string(side.is_client ? "client" : "server") + " side of stream " +
         std::to_string(side.stream);
}

// As the kernel knows it: scripts of faults do not hear of this question.
SocketAddress local_address(SimKernel& kernel, int fd) {
  sockaddr_storage own{};
  socklen_t size = sizeof own;
  kernel.getsockname(fd, reinterpret_cast<sockaddr*>(&own), &size);
  return SocketAddress::from_native(&own, size);
}

}  // namespace

Side& Watch::opened(Connection& c, bool is_client) {
  const InKernel in_kernel;
  world_.opened(c);
  Side& side = *sides_.emplace_back(std::make_unique<Side>());
  side.is_client = is_client;
  side.opened = true;
  side.over_unix = ConnectionCore::of(c).over_unix();
  side.stream =
      stream_of(is_client ? local_address(world_.kernel(), ConnectionCore::of(c).fd()) : c.peer());
  sides_of_live_[&c] = &side;
  return side;
}

Side& Watch::side_of(const Connection& c) {
  const auto found = sides_of_live_.find(&c);
  if (found != sides_of_live_.end()) return *found->second;
  problem("a callback of a connection that is not open");
  return nobody_;
}

Side& Watch::arrived(Connection& c, ByteView bytes) {
  const InKernel in_kernel;
  Side& side = side_of(c);
  if (side.peer_ended && !bytes.empty()) problem(text_of(side) + ": data after the end of it");
  check_arrived(world_, side, side.stream, bytes);
  side.received += bytes.size();
  return side;
}

Side& Watch::peer_ended(Connection& c) {
  Side& side = side_of(c);
  if (std::exchange(side.peer_ended, true)) problem(text_of(side) + ": on_peer_end twice");
  return side;
}

Side& Watch::closed(Connection& c, std::error_code why) {
  const InKernel in_kernel;
  Side& side = side_of(c);
  world_.closed(c);
  sides_of_live_.erase(&c);
  side.closed = true;
  side.why = why;
  const ConnectionStats stats = c.stats();
  side.taken_by_kernel = stats.bytes_sent;
  side.lost = stats.queued_bytes;
  if (side.accepted != side.taken_by_kernel + side.lost) {
    problem(text_of(side) + ": " + std::to_string(side.accepted) + " bytes accepted, " +
            std::to_string(side.taken_by_kernel) + " sent and " + std::to_string(side.lost) +
            " lost");
  }
  check_reason(side);
  return side;
}

Side& Watch::closed_uncompared(Connection& c, std::error_code why) {
  Side& side = side_of(c);
  side.accepted = c.stats().bytes_sent + c.queued_bytes();
  side.received = c.stats().bytes_received;
  return closed(c, why);
}

void Watch::check_reason(const Side& side) {
  if (!side.why) {
    if (side.lost > 0) problem(text_of(side) + ": an orderly end that lost bytes");
    return;
  }
  if (!judges_reasons_) return;
  if (std::find(allowed_.begin(), allowed_.end(), side.why) != allowed_.end()) return;
  problem(text_of(side) + " ended without a reason to end so: " + side.why.message());
}

bool Watch::send(Connection& c, std::size_t n, How how) {
  Side& side = side_of(c);
  const std::string_view bytes = next_bytes(side, n);
  const auto taken = [&] { return c.queued_bytes() + c.stats().bytes_sent; };
  const std::uint64_t before = taken();
  const bool could = ConnectionCore::of(c).open_for_sending();
  const auto count = [&] {
    side.accepted += taken() - before;
    if (could && taken() - before < bytes.size()) side.cut_off = true;
  };
  try {
    const bool go_on = static_cast<bool>(send_as(c, bytes, how, side));
    count();
    return go_on;
  } catch (...) {
    count();
    throw;
  }
}

SendResult Watch::send_as(Connection& c, std::string_view bytes, How how, const Side& side) {
  switch (how) {
    case How::view:
    case How::kCount:
      return c.send(bytes);
    case How::together:
      return c.send_together(bytes.substr(0, bytes.size() / 2), bytes.substr(bytes.size() / 2));
    case How::owned:
      return c.send(std::string(bytes));
    case How::shared:
      return c.send(SharedBytes(bytes));
    case How::writer: {
      SendWriter writer = c.writer(bytes.size());
      std::memcpy(writer.room().data(), bytes.data(), bytes.size());
      return writer.commit(bytes.size());
    }
    case How::file:
      return c.send_file(file_with(side.stream, side.accepted, bytes.size()), 0, bytes.size());
  }
  return SendResult::closed;
}

void Watch::allow(std::error_code why) {
  const InKernel in_kernel;
  allowed_.push_back(why);
}

void Watch::reached(const std::string& goal) {
  const InKernel in_kernel;
  if (!goals_.insert(goal).second) problem("twice: " + goal);
}

void Watch::problem(const std::string& what) {
  const InKernel in_kernel;
  world_.problem(what);
}

void Watch::hook_exceptions(EventLoop& loop) {
  const InKernel in_kernel;
  loop.set_exception_hook([this](std::exception_ptr, std::string_view) { ++exceptions_; });
}

void Watch::check_streams() {
  const InKernel in_kernel;
  for (const auto& side : sides_) {
    if (!side->closed) problem(text_of(*side) + ": on_close did not come");
    if (side->over_unix) continue;  // which knows no reset: what is cut off looks complete
    for (const auto& other : sides_) {
      if (other->stream != side->stream || other->is_client == side->is_client) continue;
      if (side->received > other->accepted) problem(text_of(*side) + ": got more than was sent");
      if (side->peer_ended && other->cut_off) {
        problem(text_of(*side) + ": what was cut off looked complete");
      } else if (side->peer_ended && side->received < other->accepted) {
        problem(text_of(*side) + ": what was cut off looked complete, " +
                std::to_string(side->received) + " of " + std::to_string(other->accepted));
      }
    }
  }
}

UniqueFd file_with(std::uint64_t stream, std::uint64_t position, std::size_t n) {
  const InKernel in_kernel;
  UniqueFd file(::memfd_create("stream", MFD_CLOEXEC));
  const std::string_view bytes = pattern(stream, position, n);
  // pwrite: not one of the product's calls, so that no script of faults meets it.
  if (!file || ::pwrite(file.get(), bytes.data(), n, 0) != static_cast<ssize_t>(n)) {
    throw_system_error(errno, "a test's file");
  }
  return file;
}

void check_serves(Watch& watch, EventLoop& loop) {
  const InKernel in_kernel;
  static const std::string kHello(5000, 'h');
  std::string got;
  bool over = false;
  Server server(loop, {.on_data = [](Connection& c, ReceiveBuffer& in) {
                  c.send(in.view());
                  in.consume_all();
                }});
  Client client(loop, {.on_open = [](Connection& c) { c.send(kHello); },
                       .on_data =
                           [&](Connection& c, ReceiveBuffer& in) {
                             got += in.view().text();
                             in.consume_all();
                             if (got.size() >= kHello.size()) c.close();
                           },
                       .on_close = [&](Connection&, std::error_code) { over = true; }});
  const SocketAddress address = SocketAddress::loopback(kFreshPort);
  server.listen(address);
  client.connect(address);
  watch.world().run_until([&] { return over; }, 10s);
  if (got != kHello) watch.problem("afterwards a fresh connection is not served");
}

namespace {

// One run, from the kernel's first descriptor to its last.
class Torture {
 public:
  Torture(const ScenarioKind& kind, const TortureOptions& options)
      : kind_(kind), options_(options) {
    for (const std::error_code why : options.reasons) watch_.allow(why);
  }

  Outcome run() {
    options_.arm(*world_);
    try {
      set_up();
    } catch (const std::bad_alloc& e) {
      set_up_threw(e.what());
      outcome_.was_bad_alloc = true;
    } catch (const std::system_error& e) {
      set_up_threw(e.what());
    }
    let_it_end();
    const InKernel in_kernel;
    outcome_.problems = world_->problems();
    outcome_.goals = watch_.goals();
    return std::move(outcome_);
  }

 private:
  void set_up() {
    for (EventLoop** loop : {&loop_, &other_}) {
      *loop = &world_->add_loop();
      watch_.hook_exceptions(**loop);
    }
    {
      const InKernel in_kernel;
      scenario_ = kind_.make(watch_);
    }
    scenario_->set_up(*loop_, *other_);
  }
  void set_up_threw(const char* text) {
    const InKernel in_kernel;
    outcome_.set_up_threw = text;
  }

  void let_it_end() {
    try {
      if (outcome_.set_up_threw.empty()) world_->run_for(kScenarioTime);
      if (outcome_.set_up_threw.empty()) check_none_hangs();
      scenario_.reset();
      if (loop_) world_->run_for(1s);
      options_.disarm();
      if (world_->problems().empty()) live_on();
    } catch (const std::exception& e) {
      options_.disarm();
      watch_.problem(std::string("out of the loop came ") + e.what());
      scenario_.reset();
    }
    check_all_is_gone();
  }

  void check_none_hangs() {
    const InKernel in_kernel;
    if (const std::size_t n = world_->live_count()) {
      watch_.problem(std::to_string(n) + " connections hang");
    }
  }

  void live_on() {
    if (loop_ && other_) check_serves(watch_, *loop_);
    if (loop_) world_->run_for(kQuietTime);
    for (EventLoop* loop : {loop_, other_}) {
      if (loop && loop->next_timeout()) watch_.problem("a loop is not quiet");
    }
  }

  void check_all_is_gone() {
    const InKernel in_kernel;
    watch_.check_streams();
    for (EventLoop* loop : {loop_, other_}) {
      if (!loop) continue;
      if (loop->services().blocks().live_blocks() > 0) watch_.problem("buffers are still in use");
    }
    world_->remove_loops();
    if (const auto left = world_->kernel().open_descriptors()) {
      watch_.problem(std::to_string(left) + " descriptors were left open");
    }
    if (mappings_.bytes() != 0) watch_.problem("mapped memory was not given back");
  }

  static SimOptions sim_options() {
    SimOptions options;
    options.send_buffer = options.receive_buffer = 8 * 1024;
    options.latency_least = options.latency_most = 1ms;
    options.call = 200ns;
    return options;
  }

  // What the harness itself takes does not count.
  struct Uncounted {
    Uncounted() { world.emplace(decisions, sim_options()); }
    SeededDecisions decisions{1};
    std::optional<SimWorld> world;
  };

  const ScenarioKind& kind_;
  const TortureOptions& options_;
  Mappings mappings_;
  Uncounted uncounted_;
  SimWorld* world_ = &*uncounted_.world;
  Watch watch_{*world_};
  EventLoop* loop_ = nullptr;
  EventLoop* other_ = nullptr;
  std::unique_ptr<Scenario> scenario_;
  Outcome outcome_;
};

}  // namespace

Outcome run_torture(const ScenarioKind& kind, const TortureOptions& options) {
  // Made on first use; not in the middle of a run without memory.
  static_cast<void>(pattern(0, 0, 1));
  Torture torture(kind, options);
  return torture.run();
}

std::string joined(const std::vector<std::string>& problems) {
  std::string all;
  for (const std::string& problem : problems) all += "\n  " + problem;
  return all;
}

QuietLog::QuietLog() {
  log::set_sink([](log::Level, std::string_view) {});
}

QuietLog::~QuietLog() {
  log::set_sink({});
}

namespace {

char note[256];

void say_note(int signal) {
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, note, std::strlen(note));
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

}  // namespace

AbortNote::AbortNote() {
  std::signal(SIGABRT, say_note);
  // A sanitizer's own handler says more.
  if (const auto before = std::signal(SIGSEGV, say_note); before != SIG_DFL) {
    std::signal(SIGSEGV, before);
  }
}

AbortNote::~AbortNote() {
  std::signal(SIGABRT, SIG_DFL);
}

void AbortNote::set(const std::string& text) {
  const std::string line = "while: " + text + "\n";
  const std::size_t n = line.copy(note, sizeof note - 1);
  note[n] = '\0';
}

}  // namespace millrace::test
