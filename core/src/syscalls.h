// Every system call that core makes, in one place and inline to libc. A test that links with
// -Wl,--wrap=NAME puts its own kernel under the unchanged product.
#pragma once

#include <ctime>

#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

namespace millrace::sys {

inline int close(int fd) {
  return ::close(fd);
}
inline ssize_t read(int fd, void* to, size_t n) {
  return ::read(fd, to, n);
}
inline ssize_t write(int fd, const void* from, size_t n) {
  return ::write(fd, from, n);
}

inline int epoll_create1(int flags) {
  return ::epoll_create1(flags);
}
inline int epoll_ctl(int ep, int op, int fd, epoll_event* event) {
  return ::epoll_ctl(ep, op, fd, event);
}
inline int epoll_wait(int ep, epoll_event* events, int max, int timeout_ms) {
  return ::epoll_wait(ep, events, max, timeout_ms);
}
inline int epoll_pwait2(int ep, epoll_event* events, int max, const timespec* timeout) {
  return ::epoll_pwait2(ep, events, max, timeout, nullptr);
}
inline int eventfd(unsigned value, int flags) {
  return ::eventfd(value, flags);
}
inline int timerfd_create(clockid_t clock, int flags) {
  return ::timerfd_create(clock, flags);
}
inline int timerfd_settime(int fd, int flags, const itimerspec* to) {
  return ::timerfd_settime(fd, flags, to, nullptr);
}
inline int dup3(int from, int to, int flags) {
  return ::dup3(from, to, flags);
}
inline int pthread_sigmask(int how, const sigset_t* set, sigset_t* old) {
  return ::pthread_sigmask(how, set, old);
}
inline int sigaction(int number, const struct sigaction* to, struct sigaction* old) {
  return ::sigaction(number, to, old);
}
inline int raise(int number) {
  return ::raise(number);
}
inline int pidfd_open(int pid) {
  return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
}
inline int pidfd_send_signal(int pidfd, int number) {
  return static_cast<int>(::syscall(SYS_pidfd_send_signal, pidfd, number, nullptr, 0));
}
// The system call tells what the child has used; waitid(3) leaves that out.
inline int waitid(idtype_t type, int id, siginfo_t* info, int options, rusage* used) {
  return static_cast<int>(::syscall(SYS_waitid, type, id, info, options, used));
}
inline int getpid() {
  return ::getpid();
}
inline int clock_gettime(clockid_t id, timespec* to) {
  return ::clock_gettime(id, to);
}

inline void* mmap(size_t n) {
  return ::mmap(nullptr, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}
inline void* mremap(void* old, size_t old_size, size_t new_size) {
  return ::mremap(old, old_size, new_size, MREMAP_MAYMOVE);
}
inline int munmap(void* at, size_t n) {
  return ::munmap(at, n);
}

}  // namespace millrace::sys
