// How a connection sends: into its queue, and from there to the kernel when a callback returns,
// when enough has come together, or when EPOLLOUT says that there is room again.
#include <millrace/check.h>
#include <millrace/error.h>
#include <millrace/send_writer.h>

#include "connection_core.h"
#include "syscalls.h"

#include <algorithm>
#include <new>
#include <string>
#include <utility>

namespace millrace {
namespace {

// A shared payload takes a block of the smallest class in the queue: less than this is copied.
constexpr std::size_t kSharedBytes = 2 * BlockPool::kSmallestBytes;
constexpr std::uint64_t kLargestFileBytes = std::uint64_t{1} << 62;

}  // namespace

SendQueue::Stay ConnectionCore::stay() const noexcept {
  return callbacks_ > 0 && !has(kBlocked) ? SendQueue::Stay::brief : SendQueue::Stay::long_term;
}

// Files take no memory and do not count.
std::size_t ConnectionCore::room() const noexcept {
  const std::size_t limit = options().limits.send_queue_bytes;
  const std::size_t queued = output_.bytes() < limit ? output_.bytes() : output_.bytes_in_memory();
  return limit - std::min(queued, limit);
}

// Whether `more` bytes stay within the hard limit.
bool ConnectionCore::fits(std::size_t more) const noexcept {
  const std::size_t limit = options().limits.send_queue_bytes;
  if (more > limit) return false;
  return output_.bytes() <= limit - more || output_.bytes_in_memory() <= limit - more;
}

// sent: `more` bytes may be queued. Otherwise what whoever wanted to is told.
SendResult ConnectionCore::admit(std::size_t more) noexcept {
  if (!open_for_sending()) return SendResult::closed;
  return fits(more) ? SendResult(SendResult::sent) : overflow(more);
}

// The same for a whole message, which is counted if it is dropped.
SendResult ConnectionCore::admit_message(std::size_t bytes) noexcept {
  const SendResult result = admit(bytes);
  const bool never_fits = result == SendResult::too_large;
  if (result == SendResult::dropped ||
      (never_fits && options().limits.overflow == Overflow::drop_newest)) {
    count_dropped(1, bytes);
  }
  return result;
}

// `more` bytes would pass the hard limit.
SendResult ConnectionCore::overflow(std::size_t more) noexcept {
  const ConnectionLimits& limits = options().limits;
  if (limits.overflow == Overflow::close) {
    abort_overflow(output_.bytes(), more, limits.send_queue_bytes, " bytes");
    return SendResult::closed;
  }
  // Nobody shall wait for on_drained to try again what never fits.
  if (more > limits.send_queue_bytes) return SendResult::too_large;
  const SendResult refused = refuse();
  return limits.overflow == Overflow::drop_newest ? SendResult(SendResult::dropped) : refused;
}

void ConnectionCore::abort_overflow(std::size_t queued, std::size_t more, std::size_t limit,
                                    const char* what) noexcept {
  std::string detail;
  try {
    detail = std::to_string(queued) + what + " queued and " + std::to_string(more) +
             " more to send, limit " + std::to_string(limit);
  } catch (const std::bad_alloc&) {
    // The error says enough.
  }
  abort(error::send_queue_overflow, detail);
}

// Whoever is refused stops, and on_drained is owed to him. Not at once, though, when no more than
// the low watermark waits: the next try would be refused as well, and so on, without a pause.
SendResult ConnectionCore::refuse() noexcept {
  if (output_.bytes() <= low_watermark()) set(kAwaitsEmpty);
  set(kAboveHigh);
  settle_soon();
  return SendResult::refused;
}

void ConnectionCore::count_dropped(std::uint64_t messages, std::size_t bytes) noexcept {
  try {
    rare().dropped_messages += messages;
    rare().dropped_bytes += bytes;
  } catch (const std::bad_alloc&) {
    // There is no room to count; the result has told it.
  }
}

// Whether what has come together may leave now, before the callback returns.
bool ConnectionCore::flushes_early() noexcept {
  if (has(kBlocked) || flushed_early_ >= kEarlyFlushBytes) return false;
  set(kFlushedEarly);
  settle_soon();
  return true;
}

template <class Flush>
void ConnectionCore::count_early(Flush&& flush) noexcept {
  const std::uint64_t before = bytes_sent_;
  flush();
  flushed_early_ += static_cast<std::uint32_t>(bytes_sent_ - before);
}

// Appends, and flushes or sees to it that it will be.
template <class Append>
SendResult ConnectionCore::queue(Append&& append) noexcept {
  try {
    append();
  } catch (const std::bad_alloc&) {
    // Part of it may be queued: nothing more may follow.
    break_off(make_error_code(std::errc::not_enough_memory),
              "no memory to queue what was to be sent");
    return SendResult::closed;
  }
  flush_if_much();
  return appended();
}

void ConnectionCore::flush_if_much() noexcept {
  if (output_.bytes() >= kFlushNowBytes && flushes_early()) count_early([&] { flush_output(); });
}

// After something was queued.
SendResult ConnectionCore::appended() noexcept {
  if (has(kWriteFailed)) return SendResult::closed;
  if (!has(kBlocked) && !output_.empty()) settle_soon();
  if (output_.bytes() <= options().limits.high_watermark_bytes) return SendResult::sent;
  unset(kAwaitsEmpty);
  set(kAboveHigh);
  return SendResult::above_watermark;
}

SendResult ConnectionCore::send_bytes(ByteView first, ByteView second, ByteView third) {
  const std::size_t total = first.size() + second.size() + third.size();
  // A reply in a callback: below every limit there is nothing to ask, and the flush will come.
  if (callbacks_ > 0 && owner_ && output_.bytes() + total < owner_->quick_bytes &&
      total < kBorrowBytes && !has(kNoMoreSending | kBlocked)) [[likely]] {
    if (output_.append_quick(first, second, third, pool())) [[likely]]
      return SendResult::sent;
  }
  return send_slowly(first, second, third);
}

// An open writer has its room behind the last byte of the queue.
void ConnectionCore::check_no_writer() const {
  MILLRACE_CHECK(!has(kWriting), "something was sent or flushed between writer() and commit()");
}

SendResult ConnectionCore::send_slowly(ByteView first, ByteView second, ByteView third) {
  check_no_writer();
  const std::size_t total = first.size() + second.size() + third.size();
  const SendResult admitted = admit_message(total);
  if (!admitted) return admitted;
  if (total == 0) return has(kAboveHigh) ? SendResult::above_watermark : SendResult::sent;
  if (total >= kFlushNowBytes && flushes_early()) {
    return send_large(first, second, third);
  }
  return queue([&] {
    for (const ByteView part : {first, second, third}) append(part);
  });
}

// What was just received, and leaves before anything else is, need not be copied.
void ConnectionCore::append(ByteView part) {
  if (part.empty()) return;
  const bool leaves_first = callbacks_ > 0 && !has(kBlocked);
  if (leaves_first && part.size() >= kBorrowBytes &&
      part.size() <= BlockPool::kLargestPooledBytes && services().in_receive_block(part)) {
    set(kMayBorrow);
    output_.borrow(part, pool());
  } else {
    output_.append(part, pool(), stay());
  }
}

// Goes from where it lies; only what the kernel refuses is copied.
SendResult ConnectionCore::send_large(ByteView first, ByteView second, ByteView third) {
  std::size_t taken = 0;
  const SendQueue::Parts parts{first, second, third};
  count_early([&] { note_flushed(output_.flush_with(fd(), pool(), parts, &taken)); });
  if (has(kWriteFailed)) return SendResult::closed;
  return queue([&] {
    for (const ByteView part : parts) {
      const std::size_t of_part = std::min(taken, part.size());
      output_.append(part.from(of_part), pool(), stay());
      taken -= of_part;
    }
  });
}

SendResult ConnectionCore::send_shared(ByteView first, SharedBytes second, ByteView third) {
  if (second.size() < kSharedBytes) return send_bytes(first, second.view(), third);
  check_no_writer();
  const SendResult admitted = admit_message(first.size() + second.size() + third.size());
  if (!admitted) return admitted;
  return queue([&] {
    append(first);
    output_.append(std::move(second), pool());
    append(third);
  });
}

SendResult ConnectionCore::try_send(ByteView bytes) {
  if (!open_for_sending()) return SendResult::closed;
  const ConnectionLimits& limits = options().limits;
  if (bytes.size() > limits.send_queue_bytes) return SendResult::too_large;
  const bool above = output_.bytes() > limits.high_watermark_bytes;
  return above || !fits(bytes.size()) ? refuse() : send_bytes(bytes, {});
}

bool ConnectionCore::send_kept(ByteView bytes, bool refused) noexcept {
  try {
    output_.append(bytes, pool(), stay());
  } catch (const std::bad_alloc&) {
    break_off(make_error_code(std::errc::not_enough_memory), "no memory to send what was kept");
    return false;
  }
  flush_if_much();
  appended();
  if (refused) refuse();
  return true;
}

SendResult ConnectionCore::send_file(UniqueFd file, std::uint64_t offset, std::uint64_t length) {
  if (!open_for_sending()) return SendResult::closed;
  if (offset > kLargestFileBytes || length > kLargestFileBytes - offset ||
      length > kLargestFileBytes - output_.bytes()) {
    abort(make_error_code(std::errc::invalid_argument), "send_file: a range that no file has");
    return SendResult::closed;
  }
  check_no_writer();
  // A file takes no memory: it counts for the watermark, but not against the hard limit.
  return queue([&] { output_.append_file(std::move(file), offset, length, pool()); });
}

SendResult ConnectionCore::send_descriptors(ByteView bytes, std::vector<UniqueFd>& given) {
  if (!over_unix()) return SendResult::unsupported;
  if (given.empty()) return send_bytes(bytes, {});
  MILLRACE_CHECK(!bytes.empty(), "send_descriptors() without a byte to travel with");
  for (const UniqueFd& one : given) MILLRACE_CHECK(one, "send_descriptors() of no descriptor");
  check_no_writer();
  SendResult admitted = admit_descriptors(given.size());
  if (admitted) admitted = admit_message(bytes.size());
  if (!admitted) return admitted;
  return queue([&] { output_.append_descriptors(bytes, given, pool()); });
}

// As admit_message().
SendResult ConnectionCore::admit_descriptors(std::size_t more) noexcept {
  if (!open_for_sending()) return SendResult::closed;
  const ConnectionLimits& limits = options().limits;
  const std::size_t waiting = output_.descriptors();
  if (more > kMostDescriptors) return SendResult::too_large;
  if (waiting + more <= limits.send_descriptors) return SendResult::sent;
  if (limits.overflow == Overflow::close) {
    abort_overflow(waiting, more, limits.send_descriptors, " descriptors");
    return SendResult::closed;
  }
  const bool never_fits = more > limits.send_descriptors;
  if (limits.overflow == Overflow::drop_newest) count_dropped(1, 0);
  if (never_fits) return SendResult::too_large;
  const SendResult refused = refuse();
  return limits.overflow == Overflow::drop_newest ? SendResult(SendResult::dropped) : refused;
}

void ConnectionCore::note_flushed(const SendQueue::Flushed& flushed) noexcept {
  if (has(kMayBorrow)) {
    unset(kMayBorrow);
    output_.own(pool());
  }
  if (flushed.bytes > 0) {
    bytes_sent_ += flushed.bytes;
    last_activity_ms_ = last_progress_ms_ = now_ms();
  }
  if (flushed.error != 0) {
    remember(system_error_code(flushed.error), "send");
    // With RST: a large message that was to go from where it lay is lost without ever being queued.
    set(kWriteFailed | kReset);
    settle_soon();
  } else if (flushed.blocked) {
    set(kBlocked);
    if (has(kRetrying)) return;
    // The clock of a stall starts when bytes begin to wait.
    last_progress_ms_ = now_ms();
    set(kTimersChanged);
  } else if (!output_.empty()) {
    request_flush();  // the budget is used up
  }
}

void ConnectionCore::flush_now() {
  check_no_writer();
  flush_output();
  settle_soon();
}

void ConnectionCore::cork() {
  if (!open_for_sending()) return;
  if (rare().corks++ > 0) return;
  if (has(kUncorkDue)) return unset(kUncorkDue);  // the kernel holds back still
  set_cork(true);
}

void ConnectionCore::uncork() noexcept {
  Rare* const rare = find<Rare>();
  if (!rare || rare->corks == 0 || --rare->corks > 0) return;  // was not open when it was made
  // What is queued is part of what shall leave together.
  set(kUncorkDue);
  settle_soon();
}

void ConnectionCore::set_cork(bool on) noexcept {
  unset(kUncorkDue);
  if (services().forked_away()) return;
  // A socket without segments does not know it, one that has failed will tell when it is used.
  const int value = on ? 1 : 0;
  sys::setsockopt(fd(), IPPROTO_TCP, TCP_CORK, &value, sizeof value);
}

void ConnectionCore::end_output() {
  if (!open_for_sending()) return;
  set(kEndRequested);
  settle_soon();
}

// Sends FIN when it is due. True when there is nothing left to wait for.
bool ConnectionCore::settle_end_of_output() noexcept {
  if (!output_.empty() || !has(kEndRequested | kClosing)) return false;
  if (has(kClosing) && has(kPeerEnded)) return true;  // close(2) sends the FIN
  if (has(kClosing) && !has(kLingering)) unacknowledged_ = unacknowledged();
  if (!has(kFinSent)) {
    // ENOTCONN after a reset: the next read will tell.
    sys::shutdown(fd(), SHUT_WR);
    set(kFinSent);
  }
  if (has(kClosing) && !has(kLingering)) {
    lingering_since_ms_ = last_progress_ms_ = now_ms();
    set(kLingering | kTimersChanged);
  }
  return has(kPeerEnded);
}

SendResult ConnectionCore::queue_committed(std::size_t n) noexcept {
  output_.commit(n);
  return appended();
}

SendWriter::SendWriter(ConnectionCore& core, std::size_t bytes) : core_(core) {
  BlockPool& pool = core.pool();
  // Room is promised even when nothing of it may be sent: then what is written goes nowhere.
  nowhere_ = !core.open_for_sending();
  if (!nowhere_) core.check_no_writer();
  block_ = nowhere_ ? pool.acquire(bytes) : core.output_.reserve(bytes, pool, core.stay());
  end_ = block_->end;
  if (!nowhere_) core.set(ConnectionCore::kWriting);
  writing_ = !nowhere_;
}

SendWriter::~SendWriter() {
  if (nowhere_) {
    core_.pool().release(block_);
    return;
  }
  if (writing_) core_.unset(ConnectionCore::kWriting);
  if (core_.ended()) {  // meanwhile, and has left us the memory
    core_.output_.clear(core_.pool());
    return;
  }
  if (core_.output_.last() == block_) core_.output_.drop_empty_tail(core_.pool());
  core_.flush_if_much();  // not in commit(): until the writer is gone its block must stay
}

std::span<std::byte> SendWriter::room() const noexcept {
  return {block_->bytes() + end_, block_->capacity - end_};
}

void SendWriter::check_undisturbed() const {
  MILLRACE_CHECK(core_.output_.last() == block_ && block_->end == end_,
                 "something was sent or flushed between writer() and commit()");
}

std::span<std::byte> SendWriter::grow(std::size_t written, std::size_t more) {
  MILLRACE_CHECK_LE(written, room().size(), "grow() keeps more than room()");
  if (room().size() - written >= more) return room();
  std::size_t wanted;
  if (__builtin_add_overflow(written, more, &wanted)) throw std::bad_alloc();
  if (nowhere_) {
    block_->end = written;
    block_ = core_.pool().grow(block_, std::max(wanted, written * 2));
    block_->end = 0;
  } else {
    check_undisturbed();
    block_ = core_.output_.reserve_more(written, wanted, core_.pool());
  }
  end_ = block_->end;
  return room();
}

SendResult SendWriter::commit(std::size_t n) {
  MILLRACE_CHECK_LE(n, room().size(), "commit() of more than room()");
  if (nowhere_ || !core_.open_for_sending()) return SendResult::closed;
  check_undisturbed();
  const SendResult admitted = core_.admit_message(n);
  if (!admitted) return admitted;
  end_ += n;
  // From here on others may send; who commits once more finds out whether they did.
  if (writing_) core_.unset(ConnectionCore::kWriting);
  writing_ = false;
  return core_.queue_committed(n);
}

}  // namespace millrace
