#include "peers.h"

#include <millrace/byte_order.h>
#include <millrace/socket_address.h>

#include "measure.h"
#include "support/random.h"
#include "support/raw_socket.h"

#include <algorithm>
#include <cerrno>
#include <iostream>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <poll.h>
#include <unistd.h>

namespace millrace::soak {
namespace {

using test::Random;
using test::RawSocket;
using namespace std::chrono_literals;

constexpr std::size_t kAtOnce = 100;
// Of a stream that is not answered yet: more than the buffers of both sides hold, so that the
// server meets its watermark.
constexpr std::size_t kUnansweredMost = 4 * 1024 * 1024;

enum class Manner {
  faithful,  // sends, half-closes, and wants every byte back
  slow,      // the same, but reads little and seldom
  leaving,   // closes whatever is under way
  resetting,
  silent,    // says nothing until it is ended
  greedy,    // sends and never reads, until it is ended
  babbling,  // no frames, to the server of frames
  vanished,  // nothing that the server sends arrives any more
};

std::string framed(const std::string& payload) {
  const auto n = static_cast<std::uint32_t>(payload.size());
  return std::string{static_cast<char>(n >> 24), static_cast<char>(n >> 16),
                     static_cast<char>(n >> 8), static_cast<char>(n)} +
         payload;
}

struct Done {
  std::uint64_t connections = 0;
  std::uint64_t bytes = 0;  // that came back and were right
  std::uint64_t vanished = 0;
  std::uint64_t problems = 0;
};

class Peer {
 public:
  Peer(Manner manner, bool frames, const SocketAddress& server, Random& random, Done& done)
      : manner_(manner),
        frames_(frames),
        random_(random),
        done_(done),
        socket_(RawSocket::connect_to(server, manner == Manner::slow ? 4096 : 0)),
        to_send_(random.size_up_to(manner == Manner::slow ? 100'000 : 1'000'000)) {
    ++done_.connections;
    if (manner == Manner::vanished && socket_.vanish()) ++done_.vanished;
  }

  // One step; false when this peer is done.
  bool act();

 private:
  bool act_faithfully();
  void send();
  void receive(std::size_t most);
  bool is_over() const {
    return socket_.at_end() || (socket_.last_error() != 0 && socket_.last_error() != EAGAIN);
  }
  void problem(const std::string& text) {
    if (++done_.problems <= kProblemsKept) std::cout << "problem " << text << std::endl;
  }

  const Manner manner_;
  const bool frames_;
  Random& random_;
  Done& done_;
  RawSocket socket_;
  std::size_t to_send_;     // more bytes will be made
  std::string outgoing_;    // made, not yet taken by the kernel
  std::string unanswered_;  // made, not yet come back
  bool ended_ = false;
  const SteadyClock::time_point gone_ = SteadyClock::now() + 2s;
};

void Peer::send() {
  if (outgoing_.empty() && to_send_ > 0 && unanswered_.size() < kUnansweredMost) {
    const std::size_t n = std::min(to_send_, 1 + random_.size_up_to(60'000));
    to_send_ -= n;
    outgoing_ = frames_ ? framed(random_.bytes(n)) : random_.bytes(n);
    unanswered_ += outgoing_;
  }
  // Frames are cut anywhere.
  const std::size_t piece =
      random_.one_in(2) ? outgoing_.size() : random_.below(outgoing_.size() + 1);
  if (piece > 0)
    outgoing_.erase(0, socket_.send_some(std::string_view(outgoing_).substr(0, piece)));
}

void Peer::receive(std::size_t most) {
  const std::string got = socket_.receive_some(most);
  if (unanswered_.compare(0, got.size(), got) != 0) {
    problem("what came back is not what was sent");
    to_send_ = 0;
  }
  unanswered_.erase(0, got.size());
  done_.bytes += got.size();
}

bool Peer::act_faithfully() {
  if (!ended_ && !is_over()) send();
  if (to_send_ == 0 && outgoing_.empty() && !std::exchange(ended_, true)) socket_.end();
  const bool slow = manner_ == Manner::slow;
  if (!slow || random_.one_in(10)) receive(slow ? 2'000 : 64 * 1024);
  if (!is_over()) return true;
  if (!socket_.at_end() || !unanswered_.empty()) {
    problem("a connection ended (" + std::to_string(socket_.last_error()) + ") with " +
            std::to_string(unanswered_.size()) + " bytes of its echo missing");
  }
  return false;
}

bool Peer::act() {
  switch (manner_) {
    case Manner::faithful:
    case Manner::slow:
      return act_faithfully();
    case Manner::leaving:
    case Manner::resetting:
      send();
      if (random_.one_in(3)) receive(64 * 1024);
      if (!random_.one_in(20)) return true;
      if (manner_ == Manner::resetting) socket_.reset();
      return false;
    case Manner::silent:
      socket_.receive_some(1000);
      return !is_over();
    case Manner::greedy:
      socket_.send_some(random_.bytes(30'000));
      return !is_over();
    case Manner::babbling:
      socket_.send_some(std::string(1 + random_.below(20), '\xff'));
      if (random_.one_in(2)) socket_.receive_some(1000);
      return !is_over();
    case Manner::vanished:
      if (to_send_ > 0) send();
      return SteadyClock::now() < gone_;
  }
  return false;
}

class Crowd {
 public:
  Crowd(const PeerTargets& targets, std::uint64_t seed)
      : bytes_(SocketAddress::parse(targets.bytes)),
        frames_(SocketAddress::parse(targets.frames)),
        strict_(SocketAddress::parse(targets.strict)),
        random_(seed) {}

  void churn();
  void rest(std::size_t n);
  const Done& done() const { return done_; }

 private:
  void connect_one();
  void connect_quiet(bool frames);

  const SocketAddress bytes_, frames_, strict_;
  Random random_;
  Done done_;
  std::vector<std::unique_ptr<Peer>> peers_;
  std::vector<RawSocket> quiet_;
};

void Crowd::connect_one() {
  const auto manner = static_cast<Manner>(random_.below(8));
  bool frames = random_.one_in(2);
  const SocketAddress* to = frames ? &frames_ : &bytes_;
  if (manner == Manner::silent || manner == Manner::greedy || manner == Manner::vanished) {
    frames = false;
    to = &strict_;
  }
  if (manner == Manner::babbling) to = &frames_;
  peers_.push_back(std::make_unique<Peer>(manner, frames, *to, random_, done_));
}

void Crowd::churn() {
  quiet_.clear();
  if (peers_.size() < kAtOnce) connect_one();
  const std::size_t at = random_.below(peers_.size());
  if (peers_[at]->act()) return;
  std::swap(peers_[at], peers_.back());
  peers_.pop_back();
}

void Crowd::connect_quiet(bool frames) {
  RawSocket socket = RawSocket::connect_to(frames ? frames_ : bytes_);
  ++done_.connections;
  const std::string hello = framed(random_.bytes(random_.below(2'000)));
  socket.send_all(hello);
  std::string back;
  while (back.size() < hello.size()) {
    pollfd ready{socket.fd(), POLLIN, 0};
    if (::poll(&ready, 1, 10'000) != 1) throw std::runtime_error("no echo for ten seconds");
    back += socket.receive_some();
    if (socket.at_end()) throw std::runtime_error("no echo, but the end");
  }
  if (back != hello) throw std::runtime_error("an echo that is not what was sent");
  done_.bytes += back.size();
  quiet_.push_back(std::move(socket));
}

void Crowd::rest(std::size_t n) {
  peers_.clear();
  quiet_.clear();
  while (quiet_.size() < n) connect_quiet(quiet_.size() % 2 == 0);
  std::cout << "resting " << n << std::endl;
}

// What the next command is; waits for one unless there is something to do meanwhile.
bool next_command(bool busy, std::string& line) {
  if (std::cin.rdbuf()->in_avail() <= 0) {
    pollfd ready{STDIN_FILENO, POLLIN, 0};
    if (::poll(&ready, 1, busy ? 0 : -1) == 0) return false;
  }
  if (!std::getline(std::cin, line)) line = "stop";
  return true;
}

}  // namespace

int run_peers(const PeerTargets& targets, std::uint64_t seed) {
  Crowd crowd(targets, seed);
  bool churning = false;
  try {
    for (std::string line;;) {
      if (next_command(churning, line)) {
        if (line == "stop") break;
        churning = line == "churn";
        if (!churning) crowd.rest(std::stoul(line.substr(line.find(' ') + 1)));
      }
      for (int i = 0; churning && i < 100; ++i) crowd.churn();
    }
  } catch (const std::exception& e) {
    std::cout << "problem " << e.what() << std::endl;
    return 1;
  }
  const Done& done = crowd.done();
  std::cout << "peers: " << done.connections << " connections, " << (done.bytes >> 20)
            << " MiB came back right, " << done.vanished << " vanished without a word" << std::endl;
  return done.problems == 0 ? 0 : 1;
}

}  // namespace millrace::soak
