// SimKernel is a kernel in memory: TCP, UDP and Unix sockets, epoll, eventfd, timer descriptors and
// the monotonic clock. While one lives, the system calls of its thread go to it (the linker
// leads them, support/kernel_calls.cc), unless they concern a real descriptor. Time is virtual and
// passes only when somebody waits or a test says so: a day of traffic takes a second.
//
//   SeededDecisions decisions(seed);
//   SimKernel kernel(decisions, {.latency_most = 5ms, .faults = SimFaults::harmful()});
//   EventLoop loop;                    // unchanged, on this kernel
//   ...
//   loop.run_for(24h);
//
// What it does is decided by `decisions` alone: the same decisions give the same run to the byte,
// and the same fingerprint(). It must outlive everything that has descriptors of it.
//
// What it leaves out: segments are never lost or reordered (a vanished peer excepted; datagrams of
// UDP are), there is no Nagle, congestion or TIME_WAIT, no urgent data, and all addresses are of
// one host with one interface, which fragments nothing. Unix sockets have their files in /sim/, the
// only directory.
#pragma once

#include <millrace/time.h>

#include "support/sim/decisions.h"
#include "support/sim/sim_faults.h"
#include "support/sim/sim_file.h"

#include <cerrno>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>

namespace millrace::test {

class SimNetwork;
class SimSocket;
struct SimPassed;
struct SimResult;

// What became of all datagrams: sent - lost + duplicated + copies is what was delivered,
// overflowed, unclaimed or is under way.
struct SimDatagramCounts {
  std::uint64_t sent = 0;
  std::uint64_t lost = 0;        // on their way, as the decisions wanted it
  std::uint64_t duplicated = 0;  // so too
  std::uint64_t copies = 0;      // beyond the first, for members of a group
  std::uint64_t overflowed = 0;  // the receive buffer was full
  std::uint64_t unclaimed = 0;   // nobody was there
  std::uint64_t delivered = 0;   // to a receive queue
  std::uint64_t discarded = 0;   // of these, when their socket was closed or disconnected
};

struct SimOptions {
  // Of a new socket, in bytes.
  std::size_t send_buffer = 64 * 1024;
  std::size_t receive_buffer = 64 * 1024;
  // How long a segment takes. Zero: what is sent has arrived when the call returns, as on the
  // loopback device.
  Duration latency_least{0};
  Duration latency_most{0};
  // What each call takes.
  Duration call{0};
  SimFaults faults = {};
  // Descriptors beyond this are EMFILE.
  std::size_t descriptors = 1'000'000;
};

class SimKernel {
 public:
  explicit SimKernel(Decisions& decisions, const SimOptions& options = {});
  ~SimKernel();
  SimKernel(const SimKernel&) = delete;
  SimKernel& operator=(const SimKernel&) = delete;

  // Of this thread; null if it runs on the real one.
  static SimKernel* active() noexcept;
  // Descriptors of it have numbers that the real kernel does not give out.
  static constexpr int kFirstDescriptor = 1'000'000;
  static bool owns(int fd) noexcept { return active() && fd >= kFirstDescriptor; }
  // Its only directory; names in it are its own, and /proc/self/fd/ of its descriptors.
  static constexpr std::string_view kDirectory = "/sim/";
  static bool owns(const char* path) noexcept;

  // Time, and what is under way.
  TimePoint now() const { return now_; }
  std::optional<TimePoint> next_event() const;
  // Lets the next thing happen, moving the clock to it. False: nothing is under way.
  bool step();
  // Lets everything happen that is due until then.
  void advance(Duration by);
  void at(TimePoint when, std::function<void()> event);
  TimePoint after(Duration by) const { return now_ + by; }

  // For tests to look, and to intervene.
  std::uint32_t poll(int fd) const;
  bool readable(int fd) const { return (poll(fd) & EPOLLIN) != 0; }
  std::size_t open_descriptors() const;
  std::vector<int> descriptors() const;
  std::optional<std::uint32_t> interest(int epoll, int fd) const;
  // The machine at the other end of this socket has gone without a word: nothing arrives any more,
  // either way.
  void vanish(int fd);
  // Connecting to this port gets no answer.
  void black_hole(std::uint16_t port);
  SimDatagramCounts& datagrams() { return datagrams_; }
  // Passed ones (SCM_RIGHTS) for which the receiver had no number left.
  std::uint64_t descriptors_refused() const { return descriptors_refused_; }
  // Each error that calls on this socket have returned, EAGAIN, EINTR and EINPROGRESS excepted.
  const std::vector<int>& errors_of(int fd) const;
  std::uint64_t calls() const { return calls_; }
  std::uint64_t events_run() const { return events_run_; }
  std::uint64_t bytes_moved() const { return bytes_moved_; }  // by recv and send
  // Of all calls, their results, and all bytes that they moved.
  std::uint64_t fingerprint() const { return fingerprint_; }
  SimFaults& faults() { return options_.faults; }
  const SimOptions& options() const { return options_; }
  Decisions& decisions() { return decisions_; }

  // The system calls, as in their manual pages.
  int close(int fd);
  ssize_t read(int fd, void* to, std::size_t n);
  ssize_t write(int fd, const void* from, std::size_t n);
  int epoll_create1(int flags);
  int epoll_ctl(int epoll, int op, int fd, epoll_event* event);
  int epoll_wait(int epoll, epoll_event* events, int max, std::optional<Duration> timeout);
  int eventfd(unsigned value, int flags);
  int timerfd_create(clockid_t clock, int flags);
  int timerfd_settime(int fd, int flags, const itimerspec* to);
  int clock_gettime(timespec* to);
  ssize_t getrandom(void* to, std::size_t n);
  int socket(int domain, int type, int protocol);
  int bind(int fd, const sockaddr* to, socklen_t n);
  int listen(int fd, int backlog);
  int accept4(int fd, sockaddr* from, socklen_t* n, int flags);
  int connect(int fd, const sockaddr* to, socklen_t n);
  int shutdown(int fd, int how);
  ssize_t recv(int fd, void* to, std::size_t n, int flags);
  ssize_t recvmsg(int fd, msghdr* message, int flags);
  int recvmmsg(int fd, mmsghdr* messages, unsigned n, int flags);
  ssize_t sendmsg(int fd, const msghdr* message, int flags);
  int sendmmsg(int fd, mmsghdr* messages, unsigned n, int flags);
  ssize_t sendfile(int out, int in, off_t* offset, std::size_t n);
  int getsockopt(int fd, int level, int name, void* value, socklen_t* n);
  int setsockopt(int fd, int level, int name, const void* value, socklen_t n);
  int getsockname(int fd, sockaddr* to, socklen_t* n);
  int getpeername(int fd, sockaddr* to, socklen_t* n);
  int ioctl(int fd, unsigned long request, int* value);

  // Of files in kDirectory.
  int open(const char* path, int flags, mode_t mode);
  int unlink(const char* path);
  int lstat(const char* path, struct stat* to);
  int fstat(int fd, struct stat* to);
  int fchmod(int fd, mode_t mode);
  int chmod(const char* path, mode_t mode);
  int fchownat(int fd, uid_t owner, gid_t group);  // AT_EMPTY_PATH
  int flock(int fd, int operation);
  int fcntl(int fd, int command);

  // For its files.
  SimNetwork& network() { return *network_; }
  Duration latency();
  std::uint32_t spurious_event(std::uint32_t watched);
  std::size_t events_to_report(std::size_t ready);
  std::size_t order(std::size_t n) { return decisions_.below(n); }
  std::uint64_t next_message() { return ++messages_; }

 private:
  template <class T>
  T* find(int fd) const {
    return dynamic_cast<T*>(find_any(fd));
  }
  SimFile* find_any(int fd) const;
  SimSocket* socket_of(int fd) const;  // sets errno
  int install(SimHandle file);
  int install(std::shared_ptr<SimFile> file) { return install(SimHandle(std::move(file))); }
  int install_passed(const SimPassed& passed);
  std::optional<SimPassed> pass(int fd) const;
  bool room_for_descriptor() const;
  // Every call begins with one and ends with the other.
  void enter();
  template <class R>
  R leave(const char* call, int fd, R result, int error) {
    return static_cast<R>(left(call, fd, static_cast<ssize_t>(result), error));
  }
  ssize_t left(const char* call, int fd, ssize_t result, int error);
  SimResult take(SimSocket& from, void* to, std::size_t n, int flags);
  SimResult take_message(SimSocket& from, msghdr& to, int flags);
  SimResult give_message(SimSocket& to, const msghdr& from);
  void run_due();
  bool interrupted() { return decisions_.chance(options_.faults.interrupted); }
  bool spurious() { return decisions_.chance(options_.faults.spurious); }
  int no_memory(std::initializer_list<int> errors);
  int accept_fault();
  int receive_fault(const SimSocket& socket);
  std::size_t shortened(std::size_t n);
  void mix(std::uint64_t value);
  void mix_bytes(const void* bytes, std::size_t n);

  Decisions& decisions_;
  SimOptions options_;
  TimePoint now_;
  std::map<std::pair<TimePoint, std::uint64_t>, std::function<void()>> events_;
  std::uint64_t event_number_ = 0;
  std::uint64_t events_run_ = 0;
  std::uint64_t calls_ = 0;
  std::uint64_t bytes_moved_ = 0;
  std::uint64_t fingerprint_ = 0xcbf29ce484222325;
  bool traced_;
  SimDatagramCounts datagrams_;
  std::uint64_t messages_ = 0;
  std::uint64_t descriptors_refused_ = 0;
  std::vector<SimHandle> files_;  // by descriptor - kFirstDescriptor
  std::unique_ptr<SimNetwork> network_;
  SimKernel* outer_;
};

}  // namespace millrace::test
