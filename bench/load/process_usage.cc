#include "process_usage.h"

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <system_error>

namespace millrace::bench {
namespace {

std::ifstream open_of(pid_t pid, const char* name) {
  const std::string path = "/proc/" + std::to_string(pid) + "/" + name;
  std::ifstream file(path);
  if (!file) throw std::system_error(errno, std::system_category(), path);
  return file;
}

// What the kernel's own threads do for a process (io_uring's workers) is among them.
std::chrono::nanoseconds running_time_of_threads(pid_t pid) {
  const std::string path = "/proc/" + std::to_string(pid) + "/task";
  std::error_code failed;
  std::int64_t sum_ns = 0;
  for (const auto& thread : std::filesystem::directory_iterator(path, failed)) {
    std::int64_t running_ns = 0;
    std::ifstream(thread.path() / "schedstat") >> running_ns;  // 0 if it has just ended
    sum_ns += running_ns;
  }
  if (failed) throw std::system_error(failed, path);
  return std::chrono::nanoseconds(sum_ns);
}

}  // namespace

CpuTime CpuTime::operator-(const CpuTime& earlier) const noexcept {
  return {total - earlier.total, user_ticks - earlier.user_ticks,
          system_ticks - earlier.system_ticks};
}

std::chrono::nanoseconds CpuTime::user() const noexcept {
  const double ticks = static_cast<double>(user_ticks + system_ticks);
  if (ticks == 0) return {};
  const double share = static_cast<double>(user_ticks) / ticks;
  return std::chrono::nanoseconds(
      static_cast<std::int64_t>(static_cast<double>(total.count()) * share));
}

CpuTime cpu_time_of(pid_t pid) {
  CpuTime time;
  time.total = running_time_of_threads(pid);

  std::string line;
  auto stat = open_of(pid, "stat");
  std::getline(stat, line);
  // The name in parentheses may hold anything; fields are counted from behind it.
  std::istringstream fields(line.substr(line.rfind(')') + 2));
  std::string skipped;
  for (int i = 0; i < 11; ++i) fields >> skipped;
  fields >> time.user_ticks >> time.system_ticks;
  return time;
}

std::uint64_t anonymous_bytes_of(pid_t pid) {
  auto rollup = open_of(pid, "smaps_rollup");
  std::string word;
  std::uint64_t kilobytes = 0;
  while (rollup >> word) {
    if (word == "Anonymous:") {
      rollup >> kilobytes;
      break;
    }
  }
  return kilobytes * 1024;
}

}  // namespace millrace::bench
