// UnixPath binds a Unix socket to its name and, if that is a path, is the owner of the file: its
// permissions, a stale one that is in the way, and that it goes. Destroying it removes the file.
// One thread at a time.
//
//   UnixPath path(socket.get(), address, options.path);   // throws std::system_error
//   ...
//   path.remove();                                        // or when it is destroyed
//
// What is relied on (unix(7), and net/unix/af_unix.c):
// 1. fchmod() on a socket before bind() sets what the umask then cuts of the file's mode: the file
//    never has more than was asked for.
// 2. connect() by a datagram socket to a path says ECONNREFUSED when no socket is bound to the
//    file, and EPROTOTYPE when one of another type is, though it may not listen yet: it tells
//    stale from alive without connecting to anybody.
// 3. A file of a socket that is gone stays what it is: only a new bind() makes a new one.
#pragma once

#include <millrace/socket_address.h>
#include <millrace/unix_path_options.h>

#include <string>

#include <sys/types.h>

namespace millrace {

class UnixPath {
 public:
  UnixPath() noexcept = default;  // of no file
  // Binds `fd`, of whatever type; of an abstract name, or none, that is all. The error names the
  // call, the address, and what is in the way: EADDRINUSE, ENOENT, EACCES, EPERM, ENOTDIR ...
  UnixPath(int fd, const SocketAddress& address, const UnixPathOptions& options);
  UnixPath(UnixPath&& other) noexcept;
  UnixPath& operator=(UnixPath&& other) noexcept;
  ~UnixPath() { remove(); }

  // Afterwards of no file.
  void remove() noexcept;

 private:
  void set_permissions(const SocketAddress& address, const UnixPathOptions& options);

  std::string path_;  // empty: of no file
  bool removes_ = false;
  dev_t device_ = 0;
  ino_t inode_ = 0;
  pid_t maker_ = 0;
};

}  // namespace millrace
