#include "stream_model.h"

#include <millrace/error.h>

#include "connection_core.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <string>

namespace millrace::test {
namespace {

std::array<char, 2 * kPatternBytes> make_pattern() {
  std::array<char, 2 * kPatternBytes> made{};
  std::uint32_t state = 12345;
  for (std::size_t i = 0; i < kPatternBytes; ++i) {
    state = state * 1664525 + 1013904223;
    made[i] = made[i + kPatternBytes] = static_cast<char>(state >> 24);
  }
  return made;
}

std::string describe(const Side& side) {
  return std::string(side.is_client ? "client" : "server") + " side of stream " +
         std::to_string(side.stream);
}

bool is_reason(const Side& side, std::error_code why, const ConnectionOptions& options) {
  if (!why) {
    return side.peer_ended || side.did_close || side.did_end || side.was_drained;
  }
  if (why.category() == std::system_category()) {
    return std::count(side.kernel_errors.begin(), side.kernel_errors.end(), why.value()) > 0;
  }
  if (why == error::aborted) return side.did_abort;
  if (why == error::handler_exception) return side.did_throw;
  if (why == error::owner_destroyed) return side.was_destroyed;
  if (why == error::drain_deadline) return side.was_drained;
  if (why == error::idle_timeout) return options.timeouts.idle.count() > 0;
  if (why == error::write_stalled) return side.accepted > side.taken_by_kernel;
  if (why == error::lifetime_exceeded) return options.timeouts.lifetime.count() > 0;
  if (why == error::linger_timeout) {
    return side.did_close || side.peer_ended || side.was_drained ||
           options.timeouts.idle.count() > 0 || options.timeouts.lifetime.count() > 0;
  }
  if (why == error::first_byte_timeout) {
    return options.timeouts.first_byte.count() > 0 && side.received == 0;
  }
  if (why == error::message_timeout) return options.timeouts.message.count() > 0;
  if (why == error::frame_truncated) return side.over_unix;  // which knows no reset
  if (why == error::descriptors_lost) return side.lost_descriptors;
  if (why == error::too_many_descriptors) return options.limits.receive_descriptors > 0;
  if (why == error::send_queue_overflow) {
    return options.limits.overflow == Overflow::close && side.refused;
  }
  return false;
}

}  // namespace

std::string_view pattern(std::uint64_t stream, std::uint64_t position, std::size_t n) {
  static const auto kTable = make_pattern();
  const std::size_t begin = (stream * 7919 + position) % kPatternBytes;
  return {kTable.data() + begin, std::min(n, kPatternBytes)};
}

std::uint64_t stream_of(const SocketAddress& client) {
  if (client.family() != SocketAddress::Family::unix_domain) return client.port();
  const std::string name(client.abstract_name());
  return 1 + std::strtoull(name.c_str(), nullptr, 16);
}

std::string_view next_bytes(const Side& side, std::size_t n) {
  return pattern(side.stream, side.accepted, n);
}

void check_arrived(SimWorld& world, const Side& side, std::uint64_t peer_stream, ByteView bytes) {
  std::uint64_t at = side.received;
  for (std::string_view left = bytes.text(); !left.empty();) {
    const std::string_view right = pattern(peer_stream, at, left.size());
    if (left.substr(0, right.size()) != right) {
      return world.problem(describe(side) + ": wrong bytes after position " + std::to_string(at));
    }
    at += right.size();
    left.remove_prefix(right.size());
  }
}

void check_end(SimWorld& world, Side& side, Connection& c, std::error_code why,
               const ConnectionOptions& options) {
  const auto problem = [&](const std::string& what) {
    world.problem(describe(side) + ": " + what + " (" + why.message() + ")");
  };
  if (side.closed) problem("on_close twice");
  side.closed = true;
  side.why = why;
  side.over_unix = ConnectionCore::of(c).over_unix();
  side.lost_descriptors = world.kernel().descriptors_refused() > 0;
  side.kernel_errors = world.kernel().errors_of(ConnectionCore::of(c).fd());
  const ConnectionStats stats = c.stats();
  side.taken_by_kernel = stats.bytes_sent;
  side.lost = stats.queued_bytes;
  if (side.accepted != side.taken_by_kernel + side.lost) {
    problem(std::to_string(side.accepted) + " bytes accepted, " +
            std::to_string(side.taken_by_kernel) + " sent and " + std::to_string(side.lost) +
            " lost");
  }
  if (!why && side.lost > 0) problem("an orderly end that lost bytes");
  if (!is_reason(side, why, options)) problem("it had no reason to end so");
}

}  // namespace millrace::test
