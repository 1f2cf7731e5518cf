#include "unix_path.h"

#include <millrace/error.h>
#include <millrace/unique_fd.h>

#include "syscalls.h"

#include <cerrno>
#include <optional>
#include <string_view>
#include <utility>

#include <fmt/format.h>

namespace millrace {
namespace {

// How often a lock that went away under our hands is looked for again.
constexpr int kLockTries = 100;

[[noreturn]] void fail(int error, std::string_view call, const SocketAddress& address) {
  throw_system_error(error, fmt::format("{} {}", call, address.to_string()));
}
[[noreturn]] void in_the_way(const SocketAddress& address, std::string_view what) {
  throw_system_error(EADDRINUSE, fmt::format("bind {} ({})", address.to_string(), what));
}

bool same_file(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

// Two processes that start at once must not both find the same file stale: the second would remove
// what the first has bound. Held by an empty file beside it, for as long as that takes.
class TakeoverLock {
 public:
  explicit TakeoverLock(const SocketAddress& address)
      : path_(std::string(address.path()) + ".millrace-lock") {
    for (int i = 0; i < kLockTries; ++i) {
      file_ = UniqueFd(sys::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
      if (!file_) throw_system_error(errno, "open " + path_);
      if (sys::flock(file_.get(), LOCK_EX | LOCK_NB) != 0) break;
      struct stat ours;
      struct stat there;
      // Not so when who had it has removed it in the meantime.
      if (sys::fstat(file_.get(), &ours) == 0 && sys::lstat(path_.c_str(), &there) == 0 &&
          same_file(ours, there)) {
        return;
      }
    }
    in_the_way(address, "another process is just taking it");
  }
  TakeoverLock(const TakeoverLock&) = delete;
  TakeoverLock& operator=(const TakeoverLock&) = delete;
  ~TakeoverLock() { sys::unlink(path_.c_str()); }

 private:
  std::string path_;
  UniqueFd file_;
};

// errno value of connecting to it; see fact 2.
int probe(const SocketAddress& address) {
  const UniqueFd prober(sys::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!prober) return errno;
  return sys::connect(prober.get(), address.native(), address.native_size()) == 0 ? 0 : errno;
}

// Throws unless what is there may be replaced; nothing: it has gone meanwhile.
std::optional<struct stat> find_stale(const SocketAddress& address) {
  struct stat found;
  if (sys::lstat(std::string(address.path()).c_str(), &found) != 0) {
    if (errno == ENOENT) return {};
    fail(errno, "lstat", address);
  }
  if (!S_ISSOCK(found.st_mode)) in_the_way(address, "there is a file that is not a socket");
  if (found.st_uid != sys::geteuid()) {
    in_the_way(address, fmt::format("there is a socket of user {}", found.st_uid));
  }
  if (const int e = probe(address); e != ECONNREFUSED) {
    const bool alive = e == 0 || e == EPROTOTYPE;
    in_the_way(address,
               alive ? std::string("a socket is bound to it")
                     : "whether it is stale cannot be told: " + system_error_code(e).message());
  }
  return found;
}

void remove_stale(const SocketAddress& address) {
  const std::string path(address.path());
  const auto found = find_stale(address);
  if (!found) return;
  struct stat still;
  if (sys::lstat(path.c_str(), &still) != 0 || !same_file(*found, still)) {
    in_the_way(address, "another process has just taken it");
  }
  if (sys::unlink(path.c_str()) != 0) fail(errno, "unlink", address);
}

int bind(int fd, const SocketAddress& address) {
  return sys::bind(fd, address.native(), address.native_size()) == 0 ? 0 : errno;
}

}  // namespace

UnixPath::UnixPath(int fd, const SocketAddress& address, const UnixPathOptions& options) {
  if (options.mode && !address.path().empty()) {
    // Before it has the owner and the group that it is to have nobody else gets in.
    const bool of_others = options.owner || options.group;
    const auto first = static_cast<mode_t>(*options.mode & (of_others ? 0700u : 0777u));
    if (sys::fchmod(fd, first) != 0) fail(errno, "fchmod for", address);
  }
  std::string path(address.path());  // memory first: once there is a file it must not be forgotten
  int error = bind(fd, address);
  if (error == EADDRINUSE && !address.path().empty() && options.replace_stale) {
    find_stale(address);  // what is there is told even where no lock can be made
    const TakeoverLock lock(address);
    remove_stale(address);
    error = bind(fd, address);
  }
  if (error != 0) fail(error, "bind", address);
  if (path.empty()) return;
  path_ = std::move(path);
  try {
    set_permissions(address, options);
  } catch (...) {
    removes_ = maker_ != 0;
    remove();
    throw;
  }
  removes_ = options.remove_at_end;
}

// Through a descriptor of the file: whoever may write to the directory could replace it meanwhile
// by a link to something else.
void UnixPath::set_permissions(const SocketAddress& address, const UnixPathOptions& options) {
  struct stat made;
  if (sys::lstat(path_.c_str(), &made) != 0) fail(errno, "lstat", address);
  if (!S_ISSOCK(made.st_mode)) in_the_way(address, "another process has replaced it");
  device_ = made.st_dev;
  inode_ = made.st_ino;
  maker_ = sys::getpid();
  const bool set_mode = options.mode && (made.st_mode & 0777u) != (*options.mode & 0777u);
  if (!set_mode && !options.owner && !options.group) return;
  const UniqueFd file(sys::open(path_.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC, 0));
  struct stat opened;
  if (!file || sys::fstat(file.get(), &opened) != 0) fail(errno, "open", address);
  if (!same_file(made, opened)) in_the_way(address, "another process has replaced it");
  if (options.owner || options.group) {
    if (made.st_uid != sys::geteuid()) in_the_way(address, "another process has replaced it");
    const uid_t owner = options.owner.value_or(static_cast<uid_t>(-1));
    const gid_t group = options.group.value_or(static_cast<gid_t>(-1));
    if (sys::fchownat(file.get(), "", owner, group, AT_EMPTY_PATH) != 0) {
      fail(errno, "chown", address);
    }
  }
  if (!set_mode) return;
  const std::string by_descriptor = "/proc/self/fd/" + std::to_string(file.get());
  if (sys::chmod(by_descriptor.c_str(), static_cast<mode_t>(*options.mode & 0777u)) != 0) {
    fail(errno, "chmod", address);
  }
}

UnixPath::UnixPath(UnixPath&& other) noexcept
    : path_(std::exchange(other.path_, {})),
      removes_(other.removes_),
      device_(other.device_),
      inode_(other.inode_),
      maker_(other.maker_) {}

UnixPath& UnixPath::operator=(UnixPath&& other) noexcept {
  if (this == &other) return *this;
  remove();
  path_ = std::exchange(other.path_, {});
  removes_ = other.removes_;
  device_ = other.device_;
  inode_ = other.inode_;
  maker_ = other.maker_;
  return *this;
}

void UnixPath::remove() noexcept {
  const std::string path = std::exchange(path_, {});
  if (path.empty() || !removes_ || maker_ != sys::getpid()) return;
  struct stat there;
  if (sys::lstat(path.c_str(), &there) != 0) return;
  if (there.st_dev == device_ && there.st_ino == inode_) sys::unlink(path.c_str());
}

}  // namespace millrace
