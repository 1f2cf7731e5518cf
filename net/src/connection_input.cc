// How a connection receives: into one window, to the handler, and what it leaves into the store.
#include <millrace/check.h>
#include <millrace/error.h>

#include "connection_core.h"
#include "stream_io.h"

#include <algorithm>
#include <cerrno>
#include <new>
#include <string>

namespace millrace {
namespace {

// What one connection may read before the others of the batch have their turn.
constexpr std::size_t kReadBudgetBytes = 256 * 1024;
// A receive queue is smaller than this: whoever sends more after our write failed is not dead.
constexpr int kRemainingReads = 1024;

}  // namespace

bool ConnectionCore::wants_input() const noexcept {
  if (has(kPeerEnded | kFailed | kFinished)) return false;
  return has(kClosing) || !has(kPaused);
}

// True when the budget is used up: there may be more.
bool ConnectionCore::read_turn() noexcept {
  const std::uint64_t end = bytes_received_ + kReadBudgetBytes;
  while (receive_once() && wants_input()) {
    if (bytes_received_ >= end) return true;
    flush_output();
  }
  return false;
}

// What is beyond the window, epoll will tell. A callback may have destroyed the server:
// `first_read` lives on to the end of the iteration.
void ConnectionCore::read_first(FirstRead& first_read) noexcept {
  const std::uint64_t before = bytes_received_;
  receive_once();
  first_read.tried(bytes_received_ != before);
  flush_output();
  settle();
}

// True when there may be more: the window was filled. A read that does not fill it has emptied the
// socket, and asking once more would only be told EAGAIN.
bool ConnectionCore::receive_once() noexcept {
  try {
    LoopServices& loop = services();
    if (has(kClosing | kDescriptors)) {
      if (!has(kClosing)) return receive_with_descriptors(loop);
      // Once closing, what comes is discarded; what was stored is of no use any more.
      input_.clear(loop.blocks());
    }
    return receive_into(input_.window(loop), loop, [fd = fd()](std::byte* to, std::size_t n) {
      return stream_read(fd, to, n);
    });
  } catch (const std::bad_alloc&) {
    break_off(make_error_code(std::errc::not_enough_memory), "no memory to receive into");
    return false;
  }
}

// The kernel stops reading behind descriptors: there may be more though the window is not full.
bool ConnectionCore::receive_with_descriptors(LoopServices& loop) {
  PassedDescriptors passed;
  const bool filled = receive_into(input_.window(loop), loop, [&](std::byte* to, std::size_t n) {
    const IoResult got = stream_read(fd(), to, n, &passed);
    const bool kept = (passed.count == 0 && !passed.lost) || keep_descriptors(passed);
    return kept ? got : IoResult{0, EAGAIN};  // not kept: it has failed, and delivers no more
  });
  return filled || passed.count > 0;
}

template <class Read>
bool ConnectionCore::receive_into(const StoredInput::Window& window, LoopServices& loop,
                                  Read&& read) {
  MILLRACE_DCHECK(borrows_nothing(), "invariant 4: what was received is still borrowed");
  const IoResult got = read(window.at, window.size);
  if (got.blocked()) return false;
  if (got.failed()) {
    break_off(system_error_code(got.error));
    return false;
  }
  if (got.bytes == 0) {
    set(kPeerEnded | kPeerEndOwed);
    return false;
  }
  bytes_received_ += got.bytes;
  last_activity_ms_ = now_ms();
  if (has(kClosing)) {
    last_progress_ms_ = last_activity_ms_;
  } else {
    take_in(input_.received(window, got.bytes, loop));
  }
  return got.bytes == window.size;
}

void ConnectionCore::take_in(ByteView all) noexcept {
  if (all.size() >= input_.expected()) {
    deliver(all);
  } else {
    keep(all, {input_.expected(), input_.note()});
  }
}

void ConnectionCore::deliver(ByteView all) noexcept {
  unset(kRedeliver | kSwitched);
  ReceiveBuffer in(all, input_.take_note(), &flags_, kStopsDelivery);
  call("on_data", [&] { handler_->on_data(*this, in); });
  if (!is_open()) return;
  // What the callback has seen is not delivered again without new bytes, whatever it did: it knows.
  unset(kRedeliver);
  // Who leaves nothing but a note is in the middle of a message all the same: it skips it.
  const bool goes_on = in.empty() && in.note() != 0 && in.remembered() != 0;
  if (in.size() < all.size() && !goes_on) unset(kMessageBegun);
  if (in.empty() && in.expected() == 0 && in.note() == 0) {
    input_.clear(pool());
    return;
  }
  if (!has(kSwitched)) return keep(in.view(), {in.expected(), in.note()});
  keep(in.view(), {});
  if (!in.empty()) set(kRedeliver);  // to the new handler
}

void ConnectionCore::keep(ByteView rest, StoredInput::Wish wish) noexcept {
  const std::size_t limit = options().limits.receive_bytes;
  // Whoever pauses because of what came with one receive cannot have prevented the rest of it.
  const std::size_t beyond = has(kPaused) ? LoopServices::kReceiveBlockBytes : 0;
  try {
    if (std::max(rest.size() - std::min(rest.size(), beyond), wish.expected) > limit) {
      const std::size_t most = std::max(rest.size(), wish.expected);
      return close_gracefully(
          error::receive_buffer_overflow,
          std::to_string(most) + " bytes unconsumed or expected, limit " + std::to_string(limit));
    }
    input_.keep(rest, wish, pool());
    if ((!rest.empty() || wish.note != 0) && !has(kMessageBegun)) start_message_clock();
  } catch (const std::bad_alloc&) {
    break_off(make_error_code(std::errc::not_enough_memory), "no memory to keep what was received");
  }
}

void ConnectionCore::start_message_clock() noexcept {
  set(kMessageBegun);
  message_clock_ms_ = has(kPaused) ? 0 : now_ms();
  if (options().timeouts.message > std::chrono::milliseconds::zero()) set(kTimersChanged);
}

// Reading is not wanted, but the socket reports its end, and would do so for ever.
void ConnectionCore::look_for_end(IoEvents events) noexcept {
  const IoResult found = stream_peek(fd());
  if (found.failed()) return break_off(system_error_code(found.error));
  if (found.bytes == 0 && !found.blocked()) {
    // A reset that follows FIN: reading says no more than that the stream has ended, so that nobody
    // can miss what asking takes away.
    const int error = events.error() ? stream_error(fd()) : 0;
    if (error != 0) return break_off(system_error_code(error));
    if (has(kFinSent)) {
      set(kPeerEnded);  // both directions have ended
      return;
    }
  }
  // Data waits until reading is resumed, and the end behind it.
  silence();
}

// The socket takes no more bytes. What has arrived before is still delivered, then it is over.
void ConnectionCore::read_remaining() noexcept {
  for (int i = 0; i < kRemainingReads && wants_input(); ++i) {
    const std::uint64_t before = bytes_received_;
    const bool more = receive_once() || (has(kUnix) && bytes_received_ != before);
    if (!more && !has(kRedeliver)) break;
    if (has(kRedeliver) && wants_input()) deliver(input_.view());
  }
  fail({});  // the failed write has left the reason
}

void ConnectionCore::pause() {
  if (!is_open() || has(kPaused)) return;
  set(kPaused);
  if (has(kMessageBegun)) message_clock_ms_ = now_ms() - message_clock_ms_;
}

void ConnectionCore::resume() {
  if (!is_open() || !has(kPaused)) return;
  unset(kPaused);
  // The clocks that stood still go on.
  if (has(kMessageBegun)) message_clock_ms_ = now_ms() - message_clock_ms_;
  if (has(kMessageBegun) || bytes_received_ == 0) set(kTimersChanged);
  const ByteView stored = input_.view();
  if (!stored.empty() && stored.size() >= input_.expected()) set(kRedeliver);
  settle_soon();
}

void ConnectionCore::switch_handler(ConnectionHandler& handler) {
  if (!is_open()) return;
  handler_ = &handler;
  set(kSwitched);
  input_.forget_wish(pool());
  if (!input_.view().empty()) set(kRedeliver);
  if (has(kPeerEnded)) set(kPeerEndOwed);  // it was told to the other one
  settle_soon();
}

}  // namespace millrace
