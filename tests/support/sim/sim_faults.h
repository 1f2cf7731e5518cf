// What can go wrong with a system call, and how often. A value.
#pragma once

namespace millrace::test {

// How many calls in a thousand meet what.
struct SimFaults {
  unsigned interrupted = 0;     // EINTR
  unsigned spurious = 0;        // EAGAIN though ready, an event though not
  unsigned short_transfer = 0;  // fewer bytes, or datagrams, than there were or was room for
  unsigned few_events = 0;      // epoll_wait() reports only some
  unsigned aborted = 0;         // accept4(): the connection has gone (ECONNABORTED, EPROTO ...)
  unsigned no_descriptor = 0;   // EMFILE, ENFILE
  unsigned no_memory = 0;       // ENOMEM, ENOBUFS, ENOSPC
  unsigned reset = 0;           // the connection is reset
  unsigned lost = 0;            // a UDP datagram, on its way
  unsigned duplicated = 0;      // it arrives twice
  unsigned unsendable = 0;      // a UDP datagram: EPERM, ENETUNREACH ...

  // What every kernel does now and then: nobody may notice.
  static constexpr SimFaults harmless() {
    SimFaults faults;
    faults.interrupted = 20;
    faults.spurious = 20;
    faults.short_transfer = 100;
    faults.few_events = 100;
    return faults;
  }
  // And what ends connections and loses datagrams.
  static constexpr SimFaults harmful() {
    SimFaults faults = harmless();
    faults.aborted = 20;
    faults.no_descriptor = 5;
    faults.no_memory = 2;
    faults.reset = 1;
    faults.lost = 20;
    faults.duplicated = 10;
    faults.unsendable = 2;
    return faults;
  }
};

}  // namespace millrace::test
