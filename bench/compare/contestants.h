// Who takes part: the servers of bench/peers that were built, each with the same command line.
#pragma once

#include <string>
#include <vector>

namespace millrace::bench {

// A mode for which a contestant has a program of its own, or none.
constexpr const char* kDatagramMode = "--datagrams";

struct Contestant {
  std::string name;     // in tables and in JSON
  std::string title;    // in a report
  std::string program;  // its path
  std::string version;  // empty: it has none
  std::string absent;   // why it does not take part; empty: it does

  bool present() const { return absent.empty(); }
  // Whether it has a server for this mode.
  bool serves(const std::string& mode) const;
  // What starts it on a port that the kernel chooses. `mode` is a word of its command line, empty
  // for a plain echo.
  std::vector<std::string> command(const std::string& mode) const;
};

// All that there are, the reference first, looked for in `directory`.
std::vector<Contestant> find_contestants(const std::string& directory);
// The reference and those named. Throws std::runtime_error naming one that there is not.
std::vector<Contestant> choose(const std::vector<Contestant>& all,
                               const std::vector<std::string>& names);

}  // namespace millrace::bench
