#include "hosts_file.h"

#include <millrace/unique_fd.h>

#include "host_name.h"
#include "syscalls.h"

#include <algorithm>
#include <cerrno>
#include <optional>

namespace millrace {
namespace {

// Longer lists of what to block exist as files of names; nobody waits for more than this.
constexpr std::size_t kMostFileBytes = 16 * 1024 * 1024;

std::string key_of(std::string_view name) {
  if (name.ends_with('.')) name.remove_suffix(1);
  std::string key(name);
  for (char& c : key) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return key;
}

// Cuts the first word off `line`; empty when there is none.
std::string_view next_word(std::string_view& line) {
  constexpr std::string_view kBlanks = " \t\r\v\f";
  line.remove_prefix(std::min(line.find_first_not_of(kBlanks), line.size()));
  const std::string_view word = line.substr(0, line.find_first_of(kBlanks));
  line.remove_prefix(word.size());
  return word;
}

}  // namespace

FileStamp FileStamp::of(const std::string& path) noexcept {
  struct stat info {};
  FileStamp stamp;
  if (sys::stat(path.c_str(), &info) != 0) return stamp;
  stamp.device_ = info.st_dev;
  stamp.inode_ = info.st_ino;
  stamp.size_ = info.st_size;
  // Not st_mtim, which whoever copies a file may set to what it was before.
  stamp.seconds_ = info.st_ctim.tv_sec;
  stamp.nanoseconds_ = info.st_ctim.tv_nsec;
  return stamp;
}

int HostsFile::refresh() {
  // First the stamp, then the text: what changes in between is seen the next time.
  const FileStamp now = FileStamp::of(path_);
  if (was_read_ && now == stamp_) return 0;
  was_read_ = false;
  stamp_ = now;
  std::string text;
  const int e = read(text);
  // Of this moment, not of the file: what is known stays, and the next lookup tries again.
  if (e == EMFILE || e == ENFILE || e == ENOMEM) return e;
  addresses_.clear();
  if (e == 0) parse(text);
  was_read_ = true;
  return e;
}

int HostsFile::read(std::string& text) const {
  // O_NONBLOCK: opening a pipe would wait for who writes to it.
  const UniqueFd file(sys::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file) return errno;
  constexpr std::size_t kBlockBytes = 64 * 1024;
  for (std::size_t size = 0; size < kMostFileBytes;) {
    text.resize(size + kBlockBytes);
    const ssize_t n = sys::read(file.get(), text.data() + size, kBlockBytes);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    size += static_cast<std::size_t>(n);
    text.resize(size);
    if (n == 0) return 0;
  }
  return EFBIG;
}

void HostsFile::parse(std::string_view text) {
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    line = line.substr(0, line.find('#'));
    const auto address = numeric_host(next_word(line), 0);
    if (!address) continue;
    for (auto name = next_word(line); !name.empty(); name = next_word(line)) {
      if (!is_host_name(name)) continue;
      auto& known = addresses_[key_of(name)];
      if (std::find(known.begin(), known.end(), *address) == known.end()) known.push_back(*address);
    }
  }
}

std::span<const SocketAddress> HostsFile::find(std::string_view name) const {
  const auto found = addresses_.find(key_of(name));
  if (found == addresses_.end()) return {};
  return found->second;
}

}  // namespace millrace
