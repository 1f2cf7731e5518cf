#include "datagram_scenario.h"

#include <millrace/timer.h>
#include <millrace/udp_socket.h>

#include "support/in_kernel.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>
#include <utility>

namespace millrace::test {
namespace {

using namespace std::chrono_literals;

const SocketAddress kAnswerer = SocketAddress::loopback(7000);
const SocketAddress kNobody = SocketAddress::loopback(7001);
// Some leave as one message; together they are more than may be queued.
constexpr std::array<std::size_t, 8> kQuestions{0, 1, 300, 300, 300, 299, 1'400, 3'000};

// A question is asked until it is answered, by who goes away and comes back meanwhile; what goes to
// a closed port is told.
class DatagramScenario final : public Scenario {
 public:
  using Scenario::Scenario;
  void set_up(EventLoop& loop, EventLoop& other) override {
    DatagramOptions of_answerer;
    of_answerer.local_address = of_answerer.receive_offload = true;
    UdpCallbacks echo;
    echo.on_datagram = [this](UdpSocket& s, const Datagram& d) { answer(s, d); };
    answerer_.emplace(other, std::move(echo), of_answerer);
    answerer_->bind(kAnswerer);
    reopen_.emplace(other, [this] { reopen(); });

    DatagramOptions of_asker;
    of_asker.queue_bytes = 4'000;
    of_asker.overflow = DatagramOverflow::drop_oldest;
    of_asker.send_buffer_bytes = 4'096;
    UdpCallbacks asking;
    asking.on_datagram = [this](UdpSocket&, const Datagram& d) { answered(d); };
    asking.on_drained = [this](UdpSocket&) {
      if (!std::exchange(is_drained_, true)) watch_.reached("drained");
    };
    asker_.emplace(loop, std::move(asking), of_asker);
    asker_->connect(kAnswerer);
    UdpCallbacks refused;
    refused.on_error = [this](UdpSocket&, const DatagramError& error) {
      if (error.destination == kNobody && error.code == std::errc::connection_refused) {
        if (!std::exchange(is_refused_, true)) watch_.reached("refused");
      }
    };
    lost_.emplace(loop, std::move(refused));
    lost_->bind(SocketAddress::loopback(0));
    ask_.emplace(loop, [this] { ask(); });
    ask();
  }

 private:
  static std::string_view question(std::size_t i) { return pattern(i, 0, kQuestions[i]); }
  bool done() const {
    return is_refused_ && std::count(answered_.begin(), answered_.end(), false) == 0;
  }

  void ask() {
    if (done()) return asker_->close();
    ask_->start(100ms);
    for (std::size_t i = 0; i < kQuestions.size(); ++i) {
      if (!answered_[i]) asker_->send(question(i));
    }
    if (!is_refused_) lost_->send_to(kNobody, "is anybody there");
  }

  void answer(UdpSocket& s, const Datagram& d) {
    if (d.local != kAnswerer) watch_.problem("it came to somewhere else");
    s.reply(d, d.bytes);
    if (++answers_ != kQuestions.size() / 2) return;
    s.close();
    reopen_->start(50ms);
  }
  void reopen() {
    reopen_->start(50ms);  // unless it is open then
    answerer_->bind(kAnswerer);
    reopen_->cancel();
  }

  void answered(const Datagram& d) {
    for (std::size_t i = 0; i < kQuestions.size(); ++i) {
      if (question(i) == d.bytes.text()) answered_[i] = true;
    }
    const bool known =
        std::find(kQuestions.begin(), kQuestions.end(), d.size_bytes) != kQuestions.end();
    if (!known || d.truncated()) watch_.problem("an answer to nothing");
    const bool all = std::count(answered_.begin(), answered_.end(), false) == 0;
    if (all && !std::exchange(is_answered_, true)) watch_.reached("answered");
  }

  std::optional<UdpSocket> answerer_;
  std::optional<UdpSocket> asker_;
  std::optional<UdpSocket> lost_;
  std::optional<Timer> reopen_;
  std::optional<Timer> ask_;
  std::array<bool, kQuestions.size()> answered_{};
  std::size_t answers_ = 0;
  bool is_answered_ = false;
  bool is_drained_ = false;
  bool is_refused_ = false;
};

}  // namespace

std::unique_ptr<Scenario> make_datagram_scenario(Watch& watch) {
  return std::make_unique<DatagramScenario>(watch);
}

}  // namespace millrace::test
