// Faults under the product's system calls, by script: "the 3rd recv on this descriptor says
// EAGAIN", "accept4 says ENFILE five times", "send takes 1 byte". The product is unchanged and does
// not know: the linker leads its calls through here (-Wl,--wrap). Without a script everything goes
// to the kernel. Also counts calls, and can move the monotonic clock forward.
//
//   Faults faults;                                         // ends all scripts when it goes
//   faults.on(Call::recv, Fault::fail(ECONNRESET), {.skip = 2});
//   faults.on(Call::send, Fault::shorten(1), {.times = 100});
//   faults.advance_clock(10s);
//   EXPECT_EQ(faults.count(Call::epoll_ctl), 1u);
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace millrace::test {

enum class Call {
  accept4,
  bind,
  close,
  connect,
  epoll_ctl,
  epoll_wait,  // and epoll_pwait2
  getsockopt,
  listen,
  recv,
  send,
  sendfile,
  sendmsg,
  setsockopt,
  shutdown,
  socket,
  kCount
};

struct Fault {
  int error = 0;                       // the call is not made and fails so
  std::optional<std::size_t> at_most;  // recv, send, sendmsg, sendfile: of that many bytes only
  bool made = false;                   // the call is made, and then says that it failed
  static Fault fail(int errno_value) { return {errno_value, {}}; }
  static Fault fail_after(int errno_value) { return {errno_value, {}, true}; }
  static Fault shorten(std::size_t bytes) { return {0, bytes}; }
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
  // Calls made since this object was made, those that failed by script included.
  std::uint64_t count(Call call) const;
  // CLOCK_MONOTONIC as the product sees it. Timer descriptors and waits are the kernel's and stay:
  // run the loop with run_once(0).
  void advance_clock(std::chrono::nanoseconds by);
  // From now on that clock moves by advance_clock() only, so that a test can be exact about time.
  void stop_clock();
};

}  // namespace millrace::test
