#include "contestants.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <stdexcept>

namespace millrace::bench {
namespace {

struct Known {
  const char* name;
  const char* title;
  const char* program;
  const char* package;  // without which it is not built; null: it needs none
};

constexpr Known kKnown[] = {
    {"raw", "epoll by hand", "raw_epoll", nullptr},
    {"millrace", "millrace", "peer_millrace", nullptr},
    {"libevent", "libevent", "peer_libevent", "libevent-dev"},
    {"libuv", "libuv", "peer_libuv", "libuv1-dev"},
    {"libev", "libev", "peer_libev", "libev-dev"},
    {"asio", "Asio", "peer_asio", "libasio-dev"},
    {"boost_asio", "Boost.Asio", "peer_boost_asio", "libboost-dev"},
    {"liburing", "liburing", "peer_liburing", "liburing-dev"},
};

// The last word of the one line that `PROGRAM --version` prints: "libuv 1.44.2".
std::string version_of(const std::string& program) {
  // Bounded: what does not know the option may serve instead.
  const std::string command = "timeout 5 '" + program + "' --version 2>/dev/null </dev/null";
  const auto close = [](FILE* pipe) { ::pclose(pipe); };
  const std::unique_ptr<FILE, decltype(close)> pipe(::popen(command.c_str(), "r"), close);
  std::array<char, 256> line{};
  if (!pipe || !std::fgets(line.data(), line.size(), pipe.get())) return {};
  std::string text = line.data();
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  const std::string last = text.substr(text.find_last_of(' ') + 1);
  return last.find_first_of("0123456789") == std::string::npos ? std::string() : last;
}

}  // namespace

bool Contestant::serves(const std::string& mode) const {
  return mode != kDatagramMode || std::filesystem::exists(program + "_datagrams");
}

std::vector<std::string> Contestant::command(const std::string& mode) const {
  if (mode == kDatagramMode) return {program + "_datagrams", "0"};
  std::vector<std::string> words = {program, "0"};
  if (!mode.empty()) words.push_back(mode);
  return words;
}

std::vector<Contestant> find_contestants(const std::string& directory) {
  std::vector<Contestant> all;
  for (const Known& known : kKnown) {
    Contestant one{known.name, known.title, directory + "/" + known.program, {}, {}};
    if (std::filesystem::exists(one.program)) {
      one.version = version_of(one.program);
    } else if (known.package) {
      one.absent = std::string("not built: ") + known.package + " was not found";
    } else {
      one.absent = "not built";
    }
    all.push_back(std::move(one));
  }
  return all;
}

std::vector<Contestant> choose(const std::vector<Contestant>& all,
                               const std::vector<std::string>& names) {
  if (names.empty()) return all;
  for (const std::string& name : names) {
    if (std::none_of(all.begin(), all.end(), [&](const auto& one) { return one.name == name; })) {
      std::string known;
      for (const Contestant& one : all) known += " " + one.name;
      throw std::runtime_error("there is no contestant '" + name + "'; there are" + known);
    }
  }
  std::vector<Contestant> chosen;
  for (const Contestant& one : all) {
    const bool named = std::find(names.begin(), names.end(), one.name) != names.end();
    if (chosen.empty() || named) chosen.push_back(one);  // the first is the reference
  }
  return chosen;
}

}  // namespace millrace::bench
