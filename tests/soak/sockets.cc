#include "sockets.h"

#include <millrace/event_loop.h>
#include <millrace/framed_server.h>
#include <millrace/loop_services.h>
#include <millrace/server.h>

#include "support/process.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

namespace millrace::soak {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kResting = 200;
// Longer than the loop leaves between two looks at memory that it could give back.
constexpr Duration kQuiet = 1200ms;
// All connections idle: nothing is due but, rarely, a slot of the wheel.
constexpr double kWakeUpsPerIdleSecond = 5;
// How much more than during warm-up a server at rest may take: what an allocator leaves in pieces.
constexpr std::size_t kGrowthKib = 256;

// What is taken at rest.
struct Sample {
  double seconds = 0;  // since the beginning
  std::uint64_t opened = 0;
  std::uint64_t closed = 0;
  std::size_t open = 0;
  std::size_t anonymous_kib = 0;
  std::size_t descriptors = 0;
  std::size_t live_blocks = 0;
  double wake_ups = 0;  // per second
  std::uint64_t received_mib = 0;
};

class SocketSoak {
 public:
  explicit SocketSoak(const Part& part);
  Problems run();

 private:
  ServerOptions patient() const;
  ServerOptions strict() const;
  void opened() { ++opened_; }
  void closed(Connection& c) {
    ++closed_;
    received_ += c.stats().bytes_received;
  }
  Callbacks echo_bytes();
  FrameCallbacks echo_frames();

  void problem(const std::string& text);
  // Runs the loop until the peers have said something that is no problem.
  std::string hear_peers();
  std::size_t open() const;
  bool come_to_rest();
  Sample measure();
  void check(const Sample& sample);
  void check_memory();
  void finish();

  const Part part_;
  const SteadyClock::time_point begin_ = SteadyClock::now();
  const Duration churn_;
  const Duration idle_;
  Problems problems_;
  std::uint64_t opened_ = 0;
  std::uint64_t closed_ = 0;
  std::uint64_t received_ = 0;
  EventLoop loop_;
  std::unique_ptr<Server> bytes_, frames_, strict_;
  std::unique_ptr<test::Program> peers_;
  std::vector<Sample> samples_;
};

// Several rounds, if there is time for them; each takes some seconds more than its churn.
SocketSoak::SocketSoak(const Part& part)
    : part_(part),
      churn_(std::chrono::duration_cast<Duration>(
          std::clamp(part.length / 8, Seconds(0.3), part.report))),
      idle_(std::chrono::duration_cast<Duration>(
          std::clamp(part.length / 40, Seconds(0.5), Seconds(2)))) {
  bytes_ = std::make_unique<Server>(loop_, echo_bytes(), patient());
  frames_ = std::make_unique<FramedServer>(loop_, echo_frames(), Framing(), patient());
  strict_ = std::make_unique<Server>(loop_, echo_bytes(), strict());
  for (Server* server : {bytes_.get(), frames_.get(), strict_.get()}) {
    server->listen(SocketAddress::loopback(0));
  }
  peers_ = std::make_unique<test::Program>(std::vector<std::string>{
      "/proc/self/exe", "--peers", bytes_->address().to_string(), frames_->address().to_string(),
      strict_->address().to_string(), "--seed", std::to_string(part.seed)});
}

// Its idle timeout is armed for all, so that the timers of those at rest are measured too.
ServerOptions SocketSoak::patient() const {
  ServerOptions options;
  options.connection.limits.high_watermark_bytes = 64 * 1024;
  options.connection.timeouts.idle = 10min;
  options.connection.timeouts.lifetime = 24h;
  return options;
}

ServerOptions SocketSoak::strict() const {
  ServerOptions options;
  options.listen.socket.send_buffer_bytes = 16 * 1024;
  options.connection.limits.high_watermark_bytes = 64 * 1024;
  options.connection.timeouts = {
      .idle = 300ms, .write_stall = 300ms, .linger = 200ms, .linger_total = 500ms, .lifetime = 5s};
  return options;
}

Callbacks SocketSoak::echo_bytes() {
  return {.on_open = [this](Connection&) { opened(); },
          .on_data =
              [](Connection& c, ReceiveBuffer& in) {
                if (!c.send(in.view())) c.pause_reading();
                in.consume_all();
              },
          .on_drained = [](Connection& c) { c.resume_reading(); },
          .on_close = [this](Connection& c, std::error_code) { closed(c); }};
}

FrameCallbacks SocketSoak::echo_frames() {
  return {.on_open = [this](FramedConnection&) { opened(); },
          .on_frame =
              [](FramedConnection& c, ByteView frame) {
                if (!c.send_frame(frame)) c->pause_reading();
              },
          .on_drained = [](FramedConnection& c) { c->resume_reading(); },
          .on_close = [this](FramedConnection& c, std::error_code) { closed(c.connection()); }};
}

void SocketSoak::problem(const std::string& text) {
  std::printf("PROBLEM: %s\n", text.c_str());
  problems_.push_back("sockets with seed " + std::to_string(part_.seed) + ": " + text);
}

std::string SocketSoak::hear_peers() {
  constexpr std::string_view kProblem = "problem ";
  const auto end = SteadyClock::now() + 30s;
  for (;;) {
    while (!peers_->has_output() && SteadyClock::now() < end) loop_.run_once(5ms);
    if (!peers_->has_output()) return problem("the peers do not answer"), "";
    const std::string line = peers_->read_line();
    if (line.rfind(kProblem, 0) != 0) return line;
    problem("a peer: " + line.substr(kProblem.size()));
  }
}

std::size_t SocketSoak::open() const {
  return bytes_->connection_count() + frames_->connection_count() + strict_->connection_count();
}

// Until the connections that rest are the only ones, and the memory of the others has been given
// back: the loop does that now and then, and sleeps when all is done.
bool SocketSoak::come_to_rest() {
  peers_->write("rest " + std::to_string(kResting) + "\n");
  const std::string answer = hear_peers();
  if (answer != "resting " + std::to_string(kResting)) {
    problem("the peers did not come to rest: '" + answer + "'");
    return false;
  }
  const auto end = SteadyClock::now() + 20s;
  for (bool quiet = false; !quiet || open() != kResting;) {
    if (SteadyClock::now() > end) break;  // measured, and said, by who called
    const std::uint64_t before = loop_.stats().iterations;
    loop_.run_for(kQuiet);
    quiet = loop_.stats().iterations - before <= 1;
  }
  return true;
}

Sample SocketSoak::measure() {
  const std::uint64_t before = loop_.stats().iterations;
  const auto begin = SteadyClock::now();
  loop_.run_for(idle_);
  // The last one is the end of the measurement itself.
  const auto wake_ups = static_cast<double>(loop_.stats().iterations - before) - 1;
  const auto now = SteadyClock::now();
  return {.seconds = Seconds(now - begin_).count(),
          .opened = opened_,
          .closed = closed_,
          .open = open(),
          .anonymous_kib = anonymous_kib(),
          .descriptors = test::open_descriptors().size(),
          .live_blocks = loop_.services().blocks().live_blocks(),
          .wake_ups = std::max(0.0, wake_ups) / Seconds(now - begin).count(),
          .received_mib = received_ >> 20};
}

void SocketSoak::check(const Sample& sample) {
  std::printf("%7.0f %9llu %9llu %6zu %9zu %12zu %7zu %11.1f %10llu\n", sample.seconds,
              static_cast<unsigned long long>(sample.opened),
              static_cast<unsigned long long>(sample.closed), sample.open, sample.anonymous_kib,
              sample.descriptors, sample.live_blocks, sample.wake_ups,
              static_cast<unsigned long long>(sample.received_mib));
  std::fflush(stdout);
  if (sample.open != kResting) problem("not as many are open as rest");
  if (sample.opened - sample.closed != sample.open) problem("opened - closed is not what is open");
  if (sample.live_blocks != 0) problem("connections at rest hold buffer memory");
  if (sample.wake_ups > kWakeUpsPerIdleSecond) problem("the loop wakes up though all rest");
  if (sample.descriptors != samples_.front().descriptors) problem("descriptors are not flat");
}

// The first third is warm-up: the allocator has not met the worst yet.
void SocketSoak::check_memory() {
  if (samples_.size() < 3 || !kMemoryIsOurs) return;
  std::size_t warm = 0;
  const auto first = samples_.begin() + static_cast<std::ptrdiff_t>(samples_.size() / 3);
  for (auto at = samples_.begin(); at != first; ++at) warm = std::max(warm, at->anonymous_kib);
  const std::size_t last = samples_.back().anonymous_kib;
  std::printf(
      "memory at rest: %zu KiB at most during warm-up, %zu KiB at the end (%zu more fails)\n", warm,
      last, kGrowthKib);
  if (last > warm + kGrowthKib) problem("memory grows");
}

void SocketSoak::finish() {
  peers_->write("stop\n");
  const std::string summary = hear_peers();
  std::printf("%s\n", summary.c_str());
  if (peers_->wait() != 0 && problems_.empty()) problem("the peers failed");
  const auto end = SteadyClock::now() + 10s;
  while (open() > 0 && SteadyClock::now() < end) loop_.run_once(5ms);
  if (open() > 0) problem(std::to_string(open()) + " connections did not come to an end");
  if (opened_ != closed_) problem("opened and closed are not the same");
}

Problems SocketSoak::run() {
  std::printf(
      "seconds    opened    closed   open  anon KiB  descriptors  blocks  wake-ups/s  MiB in\n");
  do {
    peers_->write("churn\n");
    loop_.run_for(churn_);
    if (!come_to_rest()) return problems_;
    samples_.push_back(measure());
    check(samples_.back());
  } while (problems_.size() < kProblemsKept && SteadyClock::now() - begin_ < part_.length);
  check_memory();
  finish();
  return problems_;
}

}  // namespace

Problems run_sockets(const Part& part) {
  std::printf("-- real sockets, seed %llu; each line at rest\n",
              static_cast<unsigned long long>(part.seed));
  if_it_crashes_say("The soak on real sockets ended the program. To try it again: " + part.program +
                    " --only sockets --seed " + std::to_string(part.seed) + " --minutes 1");
  const std::size_t before = test::open_descriptors().size();
  Problems problems = SocketSoak(part).run();
  const std::size_t after = test::open_descriptors().size();
  if (after != before) {
    problems.push_back(std::to_string(after) + " descriptors instead of " + std::to_string(before));
  }
  return problems;
}

}  // namespace millrace::soak
