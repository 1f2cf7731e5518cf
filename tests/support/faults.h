// Faults under the product's system calls, by script: "the 3rd recv on this descriptor says
// EAGAIN", "accept4 says ENFILE five times", "send takes 1 byte"; or at random, from a seed; or one
// call of a whole run, by its number. The product is unchanged and does not know: the linker leads
// its calls through here (-Wl,--wrap). Without a script everything goes to the kernel: the real
// one, or the simulated one (support/sim/sim_kernel.h). Also counts calls, and can move the
// monotonic clock forward.
//
//   Faults faults;                                         // ends all scripts when it goes
//   faults.on(Call::recv, Fault::fail(ECONNRESET), {.skip = 2});
//   faults.on(Call::send, Fault::shorten(1), {.times = 100});
//   faults.advance_clock(10s);
//   EXPECT_EQ(faults.count(Call::epoll_ctl), 1u);
#pragma once

#include "support/sim/sim_faults.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace millrace::test {

class Decisions;

enum class Call : std::uint8_t {
  accept4,
  bind,
  close,
  connect,
  epoll_create1,
  epoll_ctl,
  epoll_wait,  // and epoll_pwait2
  eventfd,
  getpeername,
  getsockname,
  getsockopt,
  ioctl,
  listen,
  mmap,
  mremap,
  read,
  recv,
  recvmmsg,
  recvmsg,
  send,
  sendfile,
  sendmmsg,
  sendmsg,
  setsockopt,
  shutdown,
  socket,
  timerfd_create,
  timerfd_settime,
  write,
  kCount
};

const char* name_of(Call call);

struct Fault {
  int error = 0;                       // the call is not made and fails so
  std::optional<std::size_t> at_most;  // recv, send, sendmsg, sendfile: of that many bytes only
  bool made = false;                   // the call is made, and then says that it failed
  static Fault fail(int errno_value) { return {errno_value, {}}; }
  static Fault fail_after(int errno_value) { return {errno_value, {}, true}; }
  static Fault shorten(std::size_t bytes) { return {0, bytes}; }
};

// A call that was made, or would have been.
struct RecordedCall {
  Call call;
  int fd = -1;
  int operation = 0;  // of epoll_ctl
};

struct When {
  int fd = -1;             // -1: any
  std::uint64_t skip = 0;  // calls that go through before
  std::uint64_t times = 1;
};

class Faults {
 public:
  Faults();
  ~Faults();
  Faults(const Faults&) = delete;
  Faults& operator=(const Faults&) = delete;

  void on(Call call, Fault fault, When when = {});
  // Each call meets these with their chances, as `decisions` (which must live as long as this)
  // says.
  void at_random(Decisions& decisions, const SimFaults& chances);
  // From now on keeps which calls are made, in order. One thread.
  void record();
  std::vector<RecordedCall> recorded() const;
  // While recording: the call with this number in recorded(), counted from 0, meets the fault.
  void on_number(std::size_t number, Fault fault);

  // Calls made since this object was made, those that failed by script included.
  std::uint64_t count(Call call) const;
  // CLOCK_MONOTONIC as the product sees it. Timer descriptors and waits are the kernel's and stay:
  // run the loop with run_once(0).
  void advance_clock(std::chrono::nanoseconds by);
  // From now on that clock moves by advance_clock() only, so that a test can be exact about time.
  void stop_clock();
};

}  // namespace millrace::test
