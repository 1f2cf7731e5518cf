#include "system_calls.h"

#include "contest.h"
#include "raw_sockets.h"
#include "server_process.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <istream>
#include <sstream>
#include <vector>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace millrace::bench {
namespace {

using namespace std::chrono_literals;

constexpr auto kTraceFor = 200ms;
constexpr int kEndMilliseconds = 5000;
constexpr double kRare = 0.001;

struct Trace {
  CallCounts calls;
  std::uint64_t messages = 0;
};

// Until the server has seen the end of one more connection, and so of those that ended before it:
// whether it came to that before it was ended must not be left to chance.
void wait_until_ends_are_seen(const SocketAddress& server) {
  const UniqueFd last = connect_to(server);
  ::shutdown(last.get(), SHUT_WR);
  char told[64];
  pollfd ready{last.get(), POLLIN, 0};
  while (::poll(&ready, 1, kEndMilliseconds) == 1 && ::recv(last.get(), told, sizeof told, 0) > 0) {
  }
}

Trace trace(const Contestant& contestant, const Workload& workload,
            std::chrono::nanoseconds duration) {
  const std::filesystem::path table =
      std::filesystem::temp_directory_path() / ("millrace-strace-" + std::to_string(::getpid()));
  // -I2: with -o it would ignore SIGTERM.
  std::vector<std::string> command = {"strace", "-f", "-c", "-I2", "-o", table.string()};
  const auto server_command = contestant.command(workload.server_mode());
  command.insert(command.end(), server_command.begin(), server_command.end());
  Trace result;
  {
    ServerProcess server(command, kServerCpu);
    LoadOptions load = workload.load;
    load.server = server.address();
    load.warmup = 0ms;
    load.duration = duration;
    result.messages = run_workload(workload, load).total_messages;
    if (workload.kind != Kind::datagrams) wait_until_ends_are_seen(server.address());
    server.terminate();  // strace ends the server and then writes its table
  }
  std::ifstream in(table);
  result.calls = parse_strace_table(in);
  std::filesystem::remove(table);
  return result;
}

bool is_number(const std::string& word) {
  return !word.empty() && word.find_first_not_of("0123456789.") == std::string::npos;
}

}  // namespace

// % time     seconds  usecs/call     calls    errors syscall
// ------ ----------- ----------- --------- --------- ----------------
//  61.02    0.093211           4     20391       102 recvfrom
//  38.98    0.059543           2     20289           sendto
// ------ ----------- ----------- --------- --------- ----------------
// 100.00    0.152754           3     40680       102 total
CallCounts parse_strace_table(std::istream& in) {
  CallCounts counts;
  std::string line;
  while (std::getline(in, line)) {
    std::istringstream split(line);
    std::vector<std::string> words;
    for (std::string word; split >> word;) words.push_back(word);
    if (words.size() < 5 || words.size() > 6 || words.back() == "total") continue;
    if (!std::all_of(words.begin(), words.end() - 1, is_number)) continue;
    counts[words.back()] += std::strtoull(words[3].c_str(), nullptr, 10);
  }
  return counts;
}

std::map<std::string, double> calls_per_message(const CallCounts& few, std::uint64_t few_messages,
                                                const CallCounts& many,
                                                std::uint64_t many_messages) {
  std::map<std::string, double> per_message;
  if (many_messages <= few_messages) return per_message;
  const auto messages = static_cast<double>(many_messages - few_messages);
  for (const auto& [call, count] : many) {
    const auto before = few.find(call);
    const std::uint64_t without = before == few.end() ? 0 : before->second;
    if (count <= without) continue;
    const double each = static_cast<double>(count - without) / messages;
    if (each >= kRare) per_message[call] = each;
  }
  return per_message;
}

bool strace_is_there() {
  return std::system("strace -V >/dev/null 2>&1") == 0;
}

std::optional<std::map<std::string, double>> system_calls_of(const Contestant& contestant,
                                                             const Workload& workload) {
  try {
    const Trace few = trace(contestant, workload, 0ms);
    const Trace many = trace(contestant, workload, kTraceFor);
    if (few.calls.empty() || many.messages <= few.messages) return std::nullopt;
    return calls_per_message(few.calls, few.messages, many.calls, many.messages);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "compare: system calls of %s: %s\n", contestant.name.c_str(), e.what());
    return std::nullopt;
  }
}

}  // namespace millrace::bench
