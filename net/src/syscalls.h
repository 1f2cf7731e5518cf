// Every system call that net makes, in one place and inline to libc. A test that links with
// -Wl,--wrap=NAME puts its own kernel under the unchanged product.
#pragma once

#include <fcntl.h>
#include <linux/tcp.h>  // instead of <netinet/tcp.h>, whose tcp_info is an old one
#include <netinet/in.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

namespace millrace::sys {

inline int socket(int domain, int type, int protocol) {
  return ::socket(domain, type, protocol);
}
inline int bind(int fd, const sockaddr* to, socklen_t n) {
  return ::bind(fd, to, n);
}
inline int listen(int fd, int backlog) {
  return ::listen(fd, backlog);
}
inline int accept4(int fd, sockaddr* from, socklen_t* n, int flags) {
  return ::accept4(fd, from, n, flags);
}
inline int connect(int fd, const sockaddr* to, socklen_t n) {
  return ::connect(fd, to, n);
}
inline int shutdown(int fd, int how) {
  return ::shutdown(fd, how);
}

inline ssize_t recv(int fd, void* to, size_t n, int flags) {
  return ::recv(fd, to, n, flags);
}
inline ssize_t send(int fd, const void* from, size_t n, int flags) {
  return ::send(fd, from, n, flags);
}
inline ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  return ::sendmsg(fd, message, flags);
}
inline ssize_t recvmsg(int fd, msghdr* message, int flags) {
  return ::recvmsg(fd, message, flags);
}
inline int recvmmsg(int fd, mmsghdr* messages, unsigned n, int flags) {
  return ::recvmmsg(fd, messages, n, flags, nullptr);
}
inline int sendmmsg(int fd, mmsghdr* messages, unsigned n, int flags) {
  return ::sendmmsg(fd, messages, n, flags);
}
inline ssize_t sendfile(int out, int in, off_t* offset, size_t n) {
  return ::sendfile(out, in, offset, n);
}

inline int getsockopt(int fd, int level, int name, void* value, socklen_t* n) {
  return ::getsockopt(fd, level, name, value, n);
}
inline int setsockopt(int fd, int level, int name, const void* value, socklen_t n) {
  return ::setsockopt(fd, level, name, value, n);
}
inline int getsockname(int fd, sockaddr* to, socklen_t* n) {
  return ::getsockname(fd, to, n);
}
inline int getpeername(int fd, sockaddr* to, socklen_t* n) {
  return ::getpeername(fd, to, n);
}
inline int ioctl(int fd, unsigned long request, int* value) {
  return ::ioctl(fd, request, value);
}

inline int open(const char* path, int flags) {
  return ::open(path, flags);
}
inline int stat(const char* path, struct ::stat* to) {
  return ::stat(path, to);
}
inline ssize_t read(int fd, void* to, size_t n) {
  return ::read(fd, to, n);
}

// The file of a Unix socket.
inline int open(const char* path, int flags, mode_t mode) {
  return ::open(path, flags, mode);
}
inline int unlink(const char* path) {
  return ::unlink(path);
}
inline int lstat(const char* path, struct ::stat* to) {
  return ::lstat(path, to);
}
inline int fstat(int fd, struct ::stat* to) {
  return ::fstat(fd, to);
}
inline int fchmod(int fd, mode_t mode) {
  return ::fchmod(fd, mode);
}
inline int chmod(const char* path, mode_t mode) {
  return ::chmod(path, mode);
}
inline int fchownat(int fd, const char* path, uid_t owner, gid_t group, int flags) {
  return ::fchownat(fd, path, owner, group, flags);
}
inline int flock(int fd, int operation) {
  return ::flock(fd, operation);
}
inline int fcntl(int fd, int command, int value) {
  return ::fcntl(fd, command, value);
}
inline uid_t geteuid() {
  return ::geteuid();
}
inline pid_t getpid() {
  return ::getpid();
}

inline ssize_t getrandom(void* to, size_t n) {
  return ::getrandom(to, n, GRND_NONBLOCK);
}

inline int pthread_sigmask(int how, const sigset_t* set, sigset_t* old) {
  return ::pthread_sigmask(how, set, old);
}
inline int sigtimedwait(const sigset_t* set, const timespec* timeout) {
  return ::sigtimedwait(set, nullptr, timeout);
}

}  // namespace millrace::sys
