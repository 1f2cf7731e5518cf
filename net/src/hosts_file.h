// HostsFile is what hosts(5) says, kept until the file changes. It reads what it is told to: a
// regular file, small enough to be read between two events. One thread.
//
//   HostsFile hosts("/etc/hosts");
//   hosts.refresh();
//   for (const SocketAddress& address : hosts.find("router")) ...
#pragma once

#include <millrace/socket_address.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace millrace {

// Tells whether a file is still the one that was seen before. A value.
class FileStamp {
 public:
  FileStamp() = default;
  static FileStamp of(const std::string& path) noexcept;  // equal for all files that are not there
  friend bool operator==(const FileStamp&, const FileStamp&) = default;

 private:
  std::uint64_t device_ = 0;
  std::uint64_t inode_ = 0;
  std::int64_t size_ = -1;
  std::int64_t seconds_ = 0;
  std::int64_t nanoseconds_ = 0;
};

class HostsFile {
 public:
  explicit HostsFile(std::string path) : path_(std::move(path)) {}

  // Reads the file if it has changed since. Returns 0 or the errno value of what failed; then
  // there are no names.
  int refresh();
  // In the order of the file, with port 0; none for names that it does not have. Valid until
  // refresh(). The case of letters does not matter, nor does a dot at the end.
  std::span<const SocketAddress> find(std::string_view name) const;

  // What refresh() makes of the file's text. Lines that make no sense are passed over.
  void parse(std::string_view text);

 private:
  int read(std::string& text) const;

  std::string path_;
  FileStamp stamp_;
  bool was_read_ = false;
  std::unordered_map<std::string, std::vector<SocketAddress>> addresses_;  // by lower-case name
};

}  // namespace millrace
