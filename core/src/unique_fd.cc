#include <millrace/unique_fd.h>

#include "syscalls.h"

#include <cerrno>

namespace millrace {

void UniqueFd::reset(int fd) noexcept {
  if (const int old = std::exchange(fd_, fd); old >= 0) {
    const int saved = errno;  // destructors run between a failed call and the reading of its errno
    sys::close(old);
    errno = saved;
  }
}

}  // namespace millrace
