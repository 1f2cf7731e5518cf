// ConnectionCore is what a Connection is made of. It lives in its loop's slab: made by a Server or
// a Client, ended by finish(), destroyed by the loop's graveyard at the end of that iteration and
// nowhere else. Loop's thread only.
//
// Everything that happens to a connection first changes its flags and queues; settle() then brings
// the outside in line with them: flush, FIN, on_drained, on_close, epoll interest, timer. It runs
// when no callback of this connection is on the stack: at the end of each event, or, for what was
// called from elsewhere, in the loop's flush phase.
//
// Invariants, checked in debug builds at the end of settle():
// 1. Bytes are queued only while EPOLLOUT is asked for or a flush is requested.
// 2. The first reason of an end is kept; on_close comes once, after every other callback.
// 3. After finish() the descriptor is closed, both queues are empty and no timer runs; while a
//    SendWriter is open, its end empties the send queue.
// 4. What the send queue borrows lies in the loop's receive block, and only while a callback of
// this
//    connection is on the stack or the flush that follows it is due: nothing receives before that.
//    What this flush leaves is copied. (Of a connection that has failed nothing is read any more.)
#pragma once

#include <millrace/connection.h>
#include <millrace/connection_handler.h>
#include <millrace/connection_options.h>
#include <millrace/event_loop.h>
#include <millrace/io_target.h>
#include <millrace/loop_services.h>
#include <millrace/timer.h>

#include "first_read.h"
#include "send_queue.h"
#include "stored_input.h"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace millrace {

class ConnectionCore;

// Who made a connection, holds its options, and is told of its end: a Server or a Client.
class ConnectionOwner {
 public:
  explicit ConnectionOwner(const ConnectionOptions& options);

  const ConnectionOptions connection_options;
  const std::size_t quick_bytes;  // queued bytes below which a send hits no limit

  ConnectionCore* first_connection() const noexcept { return first_; }
  std::size_t connection_count() const noexcept { return count_; }

 protected:
  ~ConnectionOwner() = default;
  // Ends all connections: on_close with `why` runs before this returns, but for a connection whose
  // own callback is on the stack, which gets it when that returns. None refers to the owner then.
  void end_connections(std::error_code why) noexcept;

  bool draining_ = false;  // its connections have been asked to come to an end

 private:
  friend class ConnectionCore;
  // Its on_open is returning: what is sent here goes next.
  virtual void connection_opened(ConnectionCore& connection) noexcept;
  // A connection has ended; on_close has returned.
  virtual void connection_ended(const ConnectionCore& connection) = 0;

  ConnectionCore* first_ = nullptr;
  std::size_t count_ = 0;
};

class ConnectionCore final : public IoTarget, public Connection {
 public:
  static ConnectionCore& of(Connection& c) noexcept { return static_cast<ConnectionCore&>(c); }
  static const ConnectionCore& of(const Connection& c) noexcept {
    return static_cast<const ConnectionCore&>(c);
  }

  // Takes over a connected, non-blocking socket and opens the connection: on_open runs before this
  // returns 0. Otherwise an errno value: the kernel or the memory has no room for one more; the
  // socket is closed and nothing was called. `from_elsewhere`: there may be copies of it.
  static int open(EventLoop& loop, ConnectionOwner& owner, UniqueFd socket,
                  const SocketAddress& peer, ConnectionHandler& handler,
                  std::unique_ptr<ConnectionHandler> owned_handler, FirstRead* first_read = nullptr,
                  bool from_elsewhere = false);

  ConnectionCore(EventLoop& loop, ConnectionOwner& owner, ConnectionHandler& handler,
                 const SocketAddress& peer);
  ~ConnectionCore() override;

  // From here to the private part: what Connection's functions of the same names do.
  SendResult send_bytes(ByteView first, ByteView second, ByteView third = {});
  SendResult send_shared(ByteView first, SharedBytes second, ByteView third = {});
  SendResult try_send(ByteView bytes);
  // What was admitted before there was a connection, which no limit may refuse any more. True:
  // queued, all of it, and if `refused`, somebody waits for on_drained. False: there is no memory,
  // the connection ends, and nothing of it was sent.
  bool send_kept(ByteView bytes, bool refused) noexcept;
  SendResult send_file(UniqueFd file, std::uint64_t offset, std::uint64_t length);
  SendResult send_descriptors(ByteView bytes, std::vector<UniqueFd>& given);
  std::vector<UniqueFd> take_descriptors() noexcept;
  void flush_now();
  // A Cork is there, or is gone (cork.h).
  void cork();
  void uncork() noexcept;
  void end_output();
  void close_gracefully(std::error_code why, std::string_view detail);
  void abort(std::error_code why, std::string_view detail);
  void pause();
  void resume();
  void switch_handler(ConnectionHandler& handler);
  // Its server drains: on_drain will come, once, unless the connection is ending anyway.
  void drain() noexcept;

  ConnectionCore* next_of_owner() const noexcept { return at(next_); }
  bool open_for_sending() const noexcept { return (flags_ & kNoMoreSending) == 0; }
  // Input is delivered and callbacks run; not so after close(), abort() or a failure.
  bool is_open() const noexcept { return (flags_ & kNotOpen) == 0; }
  bool ended() const noexcept { return (flags_ & kFinished) != 0; }
  // Both directions are open, and nobody has promised anything about them.
  bool reusable() const noexcept { return !has(kNoMoreSending | kPeerEnded | kPiped); }
  // Of what was received, to whoever has it next.
  bool left_nothing() const noexcept {
    const auto* received = find<Received>();
    return input_.view().empty() && input_.note() == 0 &&
           (!received || received->descriptors.empty());
  }
  bool piped() const noexcept { return has(kPiped); }
  // From now on a close() for a reason ends with RST.
  void note_piped() noexcept { set(kPiped); }
  bool over_unix() const noexcept { return has(kUnix); }
  // Why it has ended or is about to; no error: in order.
  std::error_code end_reason() const noexcept;
  // How much may be queued within the hard limit.
  std::size_t room() const noexcept;
  std::uint64_t bytes_received() const noexcept { return bytes_received_; }
  std::chrono::milliseconds age() const noexcept;

 private:
  friend class Connection;
  friend class ConnectionOwner;
  friend class SendWriter;

  enum Flag : std::uint32_t {
    kPaused = 1 << 0,
    kSwitched = 1 << 1,        // set_handler() since the last delivery began
    kRedeliver = 1 << 2,       // stored input is due to be delivered without new bytes
    kPeerEnded = 1 << 3,       // the peer's FIN was read
    kEndRequested = 1 << 4,    // FIN once the queue is empty
    kFinSent = 1 << 5,         //
    kClosing = 1 << 6,         // close(): deliver the queue, FIN, discard input
    kReset = 1 << 7,           // end with RST
    kWriteFailed = 1 << 8,     // the socket takes no more: read what has come, then finish
    kFailed = 1 << 9,          // finish as soon as no callback is on the stack
    kFinished = 1 << 10,       // on_close has begun
    kBlocked = 1 << 11,        // the kernel refused bytes: wait for EPOLLOUT
    kAboveHigh = 1 << 12,      // on_drained is owed
    kTimersChanged = 1 << 13,  // a deadline may have come nearer
    kHandleShared = 1 << 14,   // native_handle() was given out: there may be copies
    kPeerEndOwed = 1 << 15,    // on_peer_end is due
    kOutOfMemory = 1 << 16,    // there was no room to keep the reason of the end
    kLingering = 1 << 17,      // closing, and FIN is sent: the linger clock runs
    kFlushedEarly = 1 << 18,   // before the callback returned: flushed_early_ counts
    kRetrying = 1 << 19,       // sending again after EPOLLOUT: no bytes, no progress
    kAwaitsEmpty = 1 << 20,    // with kAboveHigh: on_drained is owed only once nothing is queued
    kMessageBegun = 1 << 21,   // bytes stay unconsumed: the message clock runs
    kDrainOwed = 1 << 22,      // on_drain is due
    kDrainTold = 1 << 23,      // or has been
    kPiped = 1 << 24,          // what it sends comes from another one (pipe.h)
    kWriting = 1 << 25,        // a SendWriter has room in the send queue
    kMayBorrow = 1 << 26,      // the send queue has borrowed since its last own()
    kUnix = 1 << 27,           // a Unix socket
    kUncorkDue = 1 << 28,      // no Cork is left: the kernel is told once nothing is queued
    kDescriptors = 1 << 29,    // descriptors that the peer passes are received
  };
  static constexpr std::uint32_t kNoMoreSending =
      kEndRequested | kClosing | kWriteFailed | kFailed | kFinished;
  // With none of these, nothing queued and reading asked for, there is nothing to settle.
  static constexpr std::uint32_t kUnsettled = kPaused | kRedeliver | kPeerEnded | kPeerEndOwed |
                                              kEndRequested | kClosing | kWriteFailed | kFailed |
                                              kFinished | kBlocked | kAboveHigh | kTimersChanged |
                                              kFlushedEarly | kDrainOwed | kUncorkDue;
  static constexpr std::uint32_t kNotOpen = kClosing | kFailed | kFinished;
  static constexpr std::uint32_t kStopsDelivery = kPaused | kSwitched | kNotOpen;

  // As much as one call moves at the best price: more in the queue would only wait, and use memory.
  static constexpr std::size_t kFlushNowBytes = 64 * 1024;
  // But no more than this leaves before a callback returns: one that sends until it is told to stop
  // is told so, however fast its peer reads.
  static constexpr std::size_t kEarlyFlushBytes = 1024 * 1024;
  // From here on what was just received and is sent back is borrowed: a copy of less costs no more
  // than the second look at where it lies.
  static constexpr std::size_t kBorrowBytes = 4 * 1024;

  // What few connections need hangs in the list of the contexts, behind those of the user.
  struct Rare final : ContextBase {
    Rare() : ContextBase(&kKey<Rare>) {}
    std::error_code why;
    std::string detail;
    std::unique_ptr<ConnectionHandler> owned_handler;
    std::uint64_t dropped_messages = 0;
    std::uint64_t dropped_bytes = 0;
    unsigned corks = 0;
  };
  // What does not fit where an IPv4 peer is kept: most peers on Unix sockets have no name.
  struct PeerV6 final : ContextBase {
    explicit PeerV6(const SocketAddress& peer);
    std::array<std::byte, 28> native;
  };
  struct NamedPeer final : ContextBase {
    explicit NamedPeer(const SocketAddress& peer) : ContextBase(&kKey<NamedPeer>), address(peer) {}
    SocketAddress address;
  };
  // There once the peer has passed some.
  struct Received final : ContextBase {
    Received() : ContextBase(&kKey<Received>) {}
    std::vector<UniqueFd> descriptors;
  };
  // There while a timeout runs.
  struct Deadline final : ContextBase, TimerNode {
    explicit Deadline(ConnectionCore& c) : ContextBase(&kKey<Deadline>), connection(c) {}
    void handle_timer() override { connection.handle_deadline(); }  // which may be the end of this
    ConnectionCore& connection;
  };

  bool has(std::uint32_t flags) const noexcept { return (flags_ & flags) != 0; }
  void set(std::uint32_t flags) noexcept { flags_ |= flags; }
  void unset(std::uint32_t flags) noexcept { flags_ &= ~flags; }
  LoopServices& services() const noexcept { return IoTarget::loop().services(); }
  BlockPool& pool() const noexcept { return services().blocks(); }
  const ConnectionOptions& options() const noexcept;
  std::size_t low_watermark() const noexcept;
  // Of the list: null if there is none; made if there is none.
  template <class T>
  T* find() const noexcept {
    return static_cast<T*>(find_context(&kKey<T>));
  }
  template <class T, class... Args>
  T& obtain(Args&&... args) {
    std::unique_ptr<ContextBase>* place = &contexts_;
    while (*place && (*place)->key != &kKey<T>) place = &(*place)->next;
    if (!*place) *place = std::make_unique<T>(std::forward<Args>(args)...);
    return static_cast<T&>(**place);
  }
  Rare& rare() { return obtain<Rare>(); }
  static bool is_ours(const ContextBase& one) noexcept {
    return one.key == &kKey<Rare> || one.key == &kKey<Deadline> || one.key == &kKey<PeerV6> ||
           one.key == &kKey<NamedPeer> || one.key == &kKey<Received>;
  }

  [[gnu::flatten]] void handle_io(IoEvents events) override;
  void handle_flush() override;
  void handle_burial() noexcept override { services().slab<ConnectionCore>().destroy(this); }

  // Runs a callback; what it throws ends the connection.
  template <class F>
  void call(std::string_view kind, F&& callback) noexcept {
    ++callbacks_;
    try {
      callback();
    } catch (...) {
      handle_exception(kind);
    }
    --callbacks_;
  }
  [[gnu::noinline]] void handle_exception(std::string_view kind) noexcept;
  static constexpr std::uint32_t kNobody = ~std::uint32_t{0};
  std::uint32_t number() const noexcept { return Slab<ConnectionCore>::number_of(*this); }
  ConnectionCore* at(std::uint32_t number) const noexcept {
    return number == kNobody ? nullptr : &Slab<ConnectionCore>::of(*this).at(number);
  }
  void keep_peer(const SocketAddress& peer);
  SocketAddress peer() const noexcept;
  void enter_owner() noexcept;
  ConnectionOwner* leave_owner() noexcept;  // null if it had left before

  // Input (connection_input.cc).
  bool wants_input() const noexcept;
  bool read_turn() noexcept;
  void read_first(FirstRead& first_read) noexcept;
  bool receive_once() noexcept;
  template <class Read>
  bool receive_into(const StoredInput::Window& window, LoopServices& loop, Read&& read);
  [[gnu::noinline]] bool receive_with_descriptors(LoopServices& loop);
  bool keep_descriptors(PassedDescriptors& passed);
  void take_in(ByteView all) noexcept;
  void deliver(ByteView all) noexcept;
  [[gnu::noinline]] void keep(ByteView rest, StoredInput::Wish wish) noexcept;
  [[gnu::noinline]] void look_for_end(IoEvents events) noexcept;
  void read_remaining() noexcept;
  void start_message_clock() noexcept;

  // Output (connection_output.cc).
  SendQueue::Stay stay() const noexcept;
  bool fits(std::size_t more) const noexcept;
  SendResult admit(std::size_t more) noexcept;
  SendResult admit_message(std::size_t bytes) noexcept;
  [[gnu::cold]] SendResult overflow(std::size_t more) noexcept;
  [[gnu::cold]] void abort_overflow(std::size_t queued, std::size_t more, std::size_t limit,
                                    const char* what) noexcept;
  [[gnu::cold]] SendResult refuse() noexcept;
  [[gnu::cold]] void count_dropped(std::uint64_t messages, std::size_t bytes) noexcept;
  template <class Append>
  SendResult queue(Append&& append) noexcept;
  bool flushes_early() noexcept;
  template <class Flush>
  void count_early(Flush&& flush) noexcept;
  [[gnu::noinline]] SendResult send_slowly(ByteView first, ByteView second, ByteView third);
  SendResult send_large(ByteView first, ByteView second, ByteView third);
  void append(ByteView part);
  SendResult queue_committed(std::size_t n) noexcept;
  SendResult admit_descriptors(std::size_t more) noexcept;
  void check_no_writer() const;
  void flush_if_much() noexcept;
  SendResult appended() noexcept;
  void flush_output() noexcept {
    if (output_.empty() || has(kBlocked | kWriteFailed | kFailed | kFinished)) return;
    const std::size_t queued = output_.bytes();
    const SendQueue::Flushed flushed = output_.flush(fd(), pool());
    if (flushed.bytes != queued) return note_flushed(flushed);
    bytes_sent_ += queued;
    last_activity_ms_ = now_ms();
  }
  [[gnu::noinline]] void note_flushed(const SendQueue::Flushed& flushed) noexcept;
  bool settle_end_of_output() noexcept;
  void set_cork(bool on) noexcept;

  // Life (connection_core.cc).
  void settle() noexcept {
    if (has(kUnsettled) || !output_.empty() || interest() != Interest::read) settle_all();
  }
  [[gnu::noinline]] void settle_all() noexcept;
  bool owes_callback() const noexcept;
  void pay_callback() noexcept;
  void settle_interest() noexcept;
  void settle_soon() noexcept;
  void remember(std::error_code why, std::string_view detail) noexcept;
  [[gnu::noinline]] void fail(std::error_code why, std::string_view detail = {}) noexcept;
  // The same in the middle of the stream: the peer gets RST, not what looks like its end.
  void break_off(std::error_code why, std::string_view detail = {}) noexcept;
  void finish() noexcept;
  void end_stream() noexcept;
  void check_invariants() const noexcept;
  // Invariant 4, before something is received.
  bool borrows_nothing() const noexcept { return !has(kMayBorrow) || !output_.borrows(); }

  // Deadlines (connection_timeouts.cc).
  void settle_timer() noexcept;
  void start_deadline(std::chrono::milliseconds left) noexcept;
  void drop_deadline() noexcept;
  [[gnu::noinline]] void note_retried() noexcept;
  void handle_deadline() noexcept;
  void expire() noexcept;
  std::error_code input_overdue() const noexcept;
  void close_overdue(std::error_code why) noexcept;
  std::chrono::milliseconds until_deadline() const noexcept;
  int unacknowledged() const noexcept;
  std::size_t unacknowledged_bytes() const noexcept;
  std::size_t undelivered_bytes() const noexcept;
  [[gnu::cold]] std::string undelivered_text() const noexcept;
  // 40 bits of the loop's milliseconds are 34 years.
  std::uint64_t opened_ms() const noexcept {
    return std::uint64_t{opened_high_} << 32 | opened_low_;
  }
  std::uint32_t now_ms() const noexcept { return static_cast<std::uint32_t>(services().now_ms()); }

  // In the order of use: what one message touches lies in the first two cache lines.
  std::uint32_t flags_ = 0;
  std::uint8_t callbacks_ = 0;  // of this connection that are on the stack
  std::uint8_t opened_high_;    // of opened_ms()
  std::uint16_t peer_port_ = 0;
  ConnectionHandler* handler_;
  StoredInput input_;
  SendQueue output_;
  std::uint64_t bytes_received_ = 0;
  std::uint64_t bytes_sent_ = 0;
  std::uint32_t last_activity_ms_;
  std::uint32_t last_progress_ms_ = 0;  // of a blocked queue, or of lingering
  ConnectionOwner* owner_;
  std::uint32_t next_ = kNobody;  // of the same owner: its number in the slab
  std::uint32_t previous_ = kNobody;
  std::unique_ptr<ContextBase> contexts_;
  std::uint32_t opened_low_;
  union {                               // one before FIN, the other after
    std::uint32_t flushed_early_ = 0;   // bytes, since the last settle(); with kFlushedEarly
    std::uint32_t lingering_since_ms_;  // with kLingering
  };
  union {  // one before close(), the other after FIN
    // With kMessageBegun: since when; while paused: how long it had lasted.
    std::uint32_t message_clock_ms_ = 0;
    int unacknowledged_;  // with kLingering: when the linger clock was looked at last
  };
  std::uint32_t peer_v4_ = 0;  // a peer of another family: see keep_peer()
};

// Ten thousand of them shall wait in little memory (net/README.md counts it): what not every
// connection needs at every time is in its list of contexts.
static_assert(sizeof(ConnectionCore) <= 112);

}  // namespace millrace
