// A directory of the test's own for the paths of Unix sockets: gone, with what is in it, when the
// test is.
//
//   UnixDir dir;
//   server.listen(dir.address("s"));
//   EXPECT_TRUE(dir.has("s"));
#pragma once

#include <millrace/socket_address.h>

#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include <stdlib.h>
#include <sys/stat.h>

namespace millrace::test {

class UnixDir {
 public:
  UnixDir() {
    std::string name = std::filesystem::temp_directory_path() / "millrace-unix-XXXXXX";
    if (!::mkdtemp(name.data())) throw std::runtime_error("mkdtemp " + name);
    path_ = name;
  }
  ~UnixDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  UnixDir(const UnixDir&) = delete;
  UnixDir& operator=(const UnixDir&) = delete;

  const std::string& path() const { return path_; }
  std::string path(const std::string& name) const { return path_ + "/" + name; }
  SocketAddress address(const std::string& name) const {
    return SocketAddress::unix_path(path(name));
  }
  // Of the file itself; all zero if there is none.
  struct stat status(const std::string& name) const {
    struct stat found {};
    if (::lstat(path(name).c_str(), &found) != 0) return {};
    return found;
  }
  bool has(const std::string& name) const { return status(name).st_mode != 0; }
  unsigned mode(const std::string& name) const { return status(name).st_mode & 07777u; }
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) {
      all.push_back(entry.path().filename());
    }
    return all;
  }

 private:
  std::string path_;
};

}  // namespace millrace::test
