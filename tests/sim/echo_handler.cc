#include "echo_handler.h"

#include <millrace/connection.h>
#include <millrace/send_writer.h>
#include <millrace/unique_fd.h>
#include <millrace/unix_connection.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <sys/eventfd.h>
#include <unistd.h>

namespace millrace::test {

// The state of one connection, on the side where it is its context.
struct EchoHandler::State {
  Side* side = nullptr;
  std::uint64_t to_send = 0;  // in all; of a server's side: as much as has arrived
  Timer resume;
  ByteView echo = {};  // in on_data: what has come and is to be sent next, where it lies
};

void Mischief::perform(Connection& c, Side& side) {
  Decisions& decisions = world_.decisions();
  if (!decisions.chance(per_mille_)) return;
  switch (decisions.below(8)) {
    case 0:
      side.did_close = true;
      return c.close();
    case 1:
      side.did_abort = true;
      return c.abort();
    case 2:
      side.did_end = true;
      return c.end();
    case 3:
      side.did_throw = true;
      throw std::runtime_error("mischief");
    case 4:
      return c.flush();
    case 5:
      return world_.kernel().vanish(c.native_handle());
    case 6:
      return c.pause_reading(), c.resume_reading();
    default:
      c.pause_reading();
      // Somebody else lets it go on, much later.
      c.loop().post([ref = c.ref()] {
        if (Connection* there = ref.get()) there->resume_reading();
      });
      return;
  }
}

Side& EchoSetting::new_side(std::uint64_t stream, bool is_client) {
  auto& made = *sides.emplace_back(std::make_unique<Side>());
  made.stream = stream;
  made.is_client = is_client;
  made.opened = true;
  return made;
}

void EchoSetting::resolve(Side& side, const Connection& c) const {
  if (side.is_client || !relay || side.received > 0) return;
  side.stream = relay->client_of(c.peer().port()).value_or(0);
}

void EchoHandler::disturb(EchoSetting& setting, Connection& c) {
  auto* state = c.context<State>();
  if (!state) return;
  try {
    setting.mischief.perform(c, *state->side);
  } catch (const std::runtime_error&) {
    return;  // not out of a callback
  }
}

EchoHandler::State* EchoHandler::state_of(Connection& c) {
  auto* state = c.context<State>();
  if (!state || !setting_.world.is_live(c)) {
    setting_.world.problem("a callback of a connection that is not open");
    return nullptr;
  }
  state->echo = {};
  return state;
}

void EchoHandler::on_open(Connection& c) {
  setting_.world.opened(c);
  const std::uint64_t stream = stream_of(client_ ? c.local() : c.peer());
  Side& side = setting_.new_side(stream, client_);
  side.was_drained = !client_ && setting_.draining;
  auto& state = c.emplace_context<State>(&side, client_ ? setting_.decisions.size_up_to(60'000) : 0,
                                         Timer(c.loop(), [ref = c.ref()] {
                                           if (Connection* there = ref.get())
                                             there->resume_reading();
                                         }));
  if (client_) send_more(c, state);
  setting_.mischief.perform(c, side);
}

bool EchoHandler::send_one(Connection& c, State& state) {
  Side& side = *state.side;
  const std::uint64_t left = state.to_send - side.accepted;
  // Not more than ever fits. And byte by byte would be thousands of turns of the loop when no
  // decisions are left.
  const auto most =
      std::min<std::uint64_t>({left, 30'000, setting_.options.connection.limits.send_queue_bytes});
  const std::size_t n =
      setting_.decisions.exhausted() ? most : 1 + setting_.decisions.size_up_to(most - 1);
  const bool from_input = n <= state.echo.size();
  const std::string_view bytes = from_input ? state.echo.first(n).text() : next_bytes(side, n);
  if (!c.is_open()) return false;
  const std::size_t before = c.queued_bytes() + c.stats().bytes_sent;
  const SendResult result = [&]() -> SendResult {
    if (setting_.over_unix && setting_.decisions.below(4) == 0) return pass_some(c, side, bytes);
    switch (setting_.decisions.below(6)) {
      case 0:
        return c.send(std::string(bytes));
      case 1:
        return c.send(SharedBytes(std::string(bytes)));
      case 2:
        return c.send_together(bytes.substr(0, n / 2), bytes.substr(n / 2));
      case 3: {
        SendWriter writer = c.writer(n);
        std::memcpy(writer.room().data(), bytes.data(), n);
        return writer.commit(n);
      }
      case 4:
        return c.try_send(bytes);
      default:
        return c.send(bytes);
    }
  }();
  const std::size_t taken = c.queued_bytes() + c.stats().bytes_sent - before;
  side.accepted += taken;
  state.echo = from_input && taken == n ? state.echo.from(n) : ByteView();
  if (taken != (result.accepted() ? n : 0)) {
    setting_.world.problem("send() took " + std::to_string(taken) + " of " + std::to_string(n) +
                           " bytes and said " + std::to_string(result.state()));
  }
  side.refused |= !result;
  return static_cast<bool>(result);
}

// Event descriptors that count how many were passed before them.
SendResult EchoHandler::pass_some(Connection& c, Side& side, std::string_view bytes) {
  std::vector<UniqueFd> passed;
  for (std::uint64_t i = 1 + setting_.decisions.below(4); i > 0; --i) {
    const auto number = static_cast<unsigned>(side.descriptors_sent + passed.size() + 1);
    UniqueFd event(::eventfd(number, EFD_NONBLOCK | EFD_CLOEXEC));
    if (!event) return c.send(bytes);
    passed.push_back(std::move(event));
  }
  const std::size_t n = passed.size();
  const SendResult result = send_descriptors(c, bytes, std::move(passed));
  if (passed.size() != (result.accepted() ? 0 : n)) {
    setting_.world.problem("descriptors were taken, or not, and send_descriptors() says otherwise");
  }
  if (result.accepted()) side.descriptors_sent += n;
  return result;
}

void EchoHandler::take_passed(Connection& c, Side& side) {
  for (const UniqueFd& each : take_descriptors(c)) {
    std::uint64_t number = 0;
    const ssize_t n = ::read(each.get(), &number, sizeof number);
    if (n != sizeof number || number != ++side.descriptors_received) {
      setting_.world.problem("descriptor " + std::to_string(side.descriptors_received) + " is " +
                             std::to_string(number));
    }
  }
}

void EchoHandler::send_more(Connection& c, State& state) {
  Side& side = *state.side;
  while (side.accepted < state.to_send) {
    if (!send_one(c, state)) return;
  }
  if (!client_ || !c.is_open()) return;
  side.did_end = true;
  c.end();
}

void EchoHandler::maybe_pause(Connection& c, State& state) {
  if (!setting_.decisions.chance(30)) return;
  c.pause_reading();
  state.resume.start(std::chrono::milliseconds(setting_.decisions.below(300)));
}

void EchoHandler::on_data(Connection& c, ReceiveBuffer& in) {
  State* state = state_of(c);
  if (!state) return;
  Side& side = *state->side;
  setting_.resolve(side, c);
  take_passed(c, side);
  std::size_t n = in.size();
  // Sometimes some is left for the next time, which comes with more or with the end.
  if (!setting_.ending && setting_.decisions.chance(50)) n = setting_.decisions.below(n + 1);
  const ByteView arrived = in.view().first(n);
  check_arrived(setting_.world, side, side.stream, arrived);
  in.consume(n);
  side.received += n;
  setting_.bytes += n;
  if (!client_) {
    if (side.accepted == state->to_send) state->echo = arrived;
    state->to_send = side.received;
    send_more(c, *state);
  }
  maybe_pause(c, *state);
  setting_.mischief.perform(c, side);
}

void EchoHandler::on_drained(Connection& c) {
  State* state = state_of(c);
  if (!state) return;
  send_more(c, *state);
  setting_.mischief.perform(c, *state->side);
}

void EchoHandler::on_peer_end(Connection& c) {
  State* state = state_of(c);
  if (!state) return;
  Side& side = *state->side;
  if (side.peer_ended) setting_.world.problem("on_peer_end twice");
  side.peer_ended = true;
  setting_.resolve(side, c);
  take_passed(c, side);
  const ByteView rest = c.unconsumed();
  check_arrived(setting_.world, side, side.stream, rest);
  side.received += rest.size();
  setting_.bytes += rest.size();
  if (!client_) {
    state->to_send = side.received;
    // Above the watermark too: nothing more will come that could make it wait. Until it is closed.
    for (std::uint64_t before = ~side.accepted; side.accepted < state->to_send;) {
      if (std::exchange(before, side.accepted) == side.accepted) break;
      send_one(c, *state);
    }
  }
  setting_.mischief.perform(c, side);
  c.close();
}

void EchoHandler::on_close(Connection& c, std::error_code why) {
  State* state = state_of(c);
  if (!state) return;
  setting_.world.closed(c);
  check_end(setting_.world, *state->side, c, why, setting_.options.connection);
  state->resume.cancel();
}

}  // namespace millrace::test
