// IoTarget is what the loop dispatches readiness to, for those who build transports on it (as net
// does); who only wants to watch a descriptor takes an IoWatcher. It is made in a Slab of its loop,
// is destroyed by bury() at the end of an iteration and nowhere else, and is for the loop's thread.
//
//   class Session final : public IoTarget { void handle_io(IoEvents) override { ... } };
//   Session* s = loop.services().slab<Session>().make(loop);
//   s->attach(fd, Interest::read);
//   ... s->detach(); ::close(fd); s->bury();
//
// After detach() no event reaches the target any more, not even one of the batch that is being
// worked on; until the end of the iteration its memory stays valid under the feet of its callers.
#pragma once

#include <millrace/slab.h>

#include <cstdint>

namespace millrace {

class EventLoop;
class LoopCore;

// What to be told of. Hang-up and error are always told.
enum class Interest : std::uint8_t { none = 0, read = 1, write = 2, read_write = 3 };

constexpr Interest operator|(Interest a, Interest b) noexcept {
  return static_cast<Interest>(static_cast<int>(a) | static_cast<int>(b));
}
constexpr bool has(Interest set, Interest what) noexcept {
  return (static_cast<int>(set) & static_cast<int>(what)) != 0;
}

// What is the case with a descriptor. Readiness is a hint: the call that follows may still say
// EAGAIN.
struct IoEvents {
  std::uint32_t bits = 0;  // as epoll(7) gives them

  bool readable() const noexcept { return (bits & 0x001) != 0; }
  bool writable() const noexcept { return (bits & 0x004) != 0; }
  bool error() const noexcept { return (bits & 0x008) != 0; }
  bool hangup() const noexcept { return (bits & 0x010) != 0; }
  // The peer is gone for good in some way: reading will show the rest, then how.
  bool ended() const noexcept { return (bits & 0x018) != 0; }
};

class IoTarget {
 public:
  IoTarget(const IoTarget&) = delete;
  IoTarget& operator=(const IoTarget&) = delete;

  EventLoop& loop() const noexcept { return *SlabChunk::of(this).loop; }
  int fd() const noexcept { return fd_; }  // -1 while not attached
  Interest interest() const noexcept { return interest_; }
  bool attached() const noexcept { return fd_ >= 0; }
  bool silenced() const noexcept { return attached() && !registered_; }

 protected:
  explicit IoTarget(EventLoop& loop);  // may throw std::bad_alloc
  virtual ~IoTarget();

  // Watches `fd`, level-triggered. Returns 0 or an errno value: EPERM (not pollable: a regular
  // file), EBADF, EEXIST (already watched), ENOMEM, ENOSPC.
  [[nodiscard]] int attach(int fd, Interest interest) noexcept;
  // A system call when it differs from the present interest, none otherwise. Ends silence().
  // Returns 0 or an errno value.
  int set_interest(Interest interest) noexcept {
    return interest == interest_ && registered_ ? 0 : change_interest(interest);
  }
  // No event at all until set_interest(). epoll cannot mask a hang-up or an error, it can only
  // forget the descriptor: whoever is not going to read has to, or the loop would spin.
  void silence() noexcept;
  // Stops watching; the descriptor stays open.
  void detach() noexcept;
  // Stops watching and closes. Spares the system call that would remove the registration unless the
  // descriptor may have copies elsewhere (`shared`, or the process has forked): the kernel drops a
  // registration with the last copy.
  void detach_and_close(bool shared = false) noexcept;
  // Gives the descriptor up: no longer watched, not closed. -1 when not attached.
  [[nodiscard]] int detach_and_release() noexcept;

  // handle_flush() will run near the end of this iteration (of the next, when asked for while that
  // phase runs). Asking twice is asking once.
  void request_flush() noexcept;
  bool flush_requested() const noexcept { return flush_requested_; }
  // Destroys this object at the end of the iteration. Precondition: detached.
  void bury() noexcept;

  virtual void handle_io(IoEvents events) = 0;
  virtual void handle_flush() {}
  // In a child of fork(), before fd() is watched there: what fd() shares with the parent and must
  // not can be replaced, under the same number. May throw and ask for a flush; makes and buries no
  // target.
  virtual void handle_reinit() {}
  // Destroys the object in its slab.
  virtual void handle_burial() noexcept = 0;

 private:
  friend class LoopCore;
  LoopCore& usable_core() const noexcept;
  int change_interest(Interest interest) noexcept;

  int fd_ = -1;
  Interest interest_ = Interest::none;
  bool registered_ = false;
  bool flush_requested_ = false;
  bool buried_ = false;
};

}  // namespace millrace
