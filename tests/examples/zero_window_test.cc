#include "examples/programs.h"

#include <cstdint>
#include <optional>
#include <sstream>

#include <gtest/gtest.h>

namespace millrace::test {
namespace {

using Lines = std::vector<std::string>;

Lines lines_of(const std::string& text) {
  Lines lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

// The first line at or after `from` that says `what`; the number of lines if none does.
std::size_t find(const Lines& lines, const std::string& what, std::size_t from = 0) {
  while (from < lines.size() && lines[from].find(what) == std::string::npos) ++from;
  return from;
}

// The number that follows `name` in a line.
std::optional<std::uint64_t> number_after(const std::string& line, const std::string& name) {
  const std::size_t at = line.find(name);
  if (at == std::string::npos) return {};
  std::istringstream in(line.substr(at + name.size()));
  std::uint64_t value = 0;
  if (!(in >> value)) return {};
  return value;
}

struct Experiment {
  explicit Experiment(std::vector<std::string> options) {
    options.insert(options.begin(), bin("zero_window"));
    Program program(options);
    text = program.read_rest();
    status = program.wait();
    lines = lines_of(text);
  }
  std::string text;
  Lines lines;
  int status = -1;
};

TEST(ZeroWindow, TellsOfTheStopTheZeroWindowTheWakeUpAndTheDrainInThisOrder) {
  const Experiment run({"--sleep", "600"});
  EXPECT_EQ(run.status, 0) << run.text;
  std::size_t at = 0;
  for (const char* what :
       {"has 70000 bytes to send", "send said stop", "peer's window 0", "receiver  wakes up",
        "on_drained", "all is sent or queued: close()", "got 70000 bytes and the end of the stream",
        "conclusion: 70000 of 70000 bytes arrived; while the receiver slept its window was zero"}) {
    at = find(run.lines, what, at);
    ASSERT_LT(at, run.lines.size()) << "no line '" << what << "' in its place in\n" << run.text;
  }
  EXPECT_LT(
      find(run.lines, "sender    on_close: the kernel has taken 70000 bytes, 0 lost; no error"),
      run.lines.size())
      << run.text;
  EXPECT_LT(find(run.lines, "receiver  on_close: no error"), run.lines.size()) << run.text;
}

// Each byte that was sent is in one of three places, and the program finds it there.
TEST(ZeroWindow, AccountsForEveryByteWhileTheReceiverSleeps) {
  const Experiment run({"--sleep", "600"});
  const std::size_t stop = find(run.lines, "send said stop");
  const std::size_t look = find(run.lines, "peer's window 0");
  const std::size_t wake = find(run.lines, "wakes up");
  ASSERT_LT(wake, run.lines.size()) << run.text;
  ASSERT_LT(stop, look) << run.text;
  ASSERT_LT(look, wake) << run.text;
  std::uint64_t pushed = 0;
  std::uint64_t taken = 0;
  for (std::size_t i = 0; i < stop; ++i) {
    pushed += number_after(run.lines[i], "send of ").value_or(0);
    taken += number_after(run.lines[i], "the kernel takes ").value_or(0);
  }
  const std::uint64_t queued = number_after(run.lines[look], "queued ").value_or(0);
  const std::uint64_t send_q = number_after(run.lines[look], "Send-Q ").value_or(0);
  const std::uint64_t unsent = number_after(run.lines[look], "unsent ").value_or(0);
  const std::uint64_t receive_q = number_after(run.lines[wake], "Recv-Q ").value_or(0);
  EXPECT_GT(queued, 16'384u) << run.text;
  EXPECT_GT(unsent, 0u) << run.text;
  EXPECT_GT(receive_q, 0u) << run.text;
  EXPECT_EQ(pushed, taken + queued) << run.text;
  EXPECT_EQ(taken, send_q + receive_q) << run.text;
}

TEST(ZeroWindow, SaysSoWhenThereIsRoomForAll) {
  const Experiment run({"--bytes", "1000", "--sleep", "0"});
  EXPECT_EQ(run.status, 0);
  EXPECT_EQ(find(run.lines, "send said stop"), run.lines.size()) << run.text;
  EXPECT_LT(find(run.lines, "the kernels and our queue had room for all"), run.lines.size())
      << run.text;
}

TEST(ZeroWindow, NamesABadOption) {
  for (const char* option : {"--bytes", "--sleep"}) {
    Program program({bin("zero_window"), option, "-1"});
    EXPECT_NE(program.wait(), 0);
    EXPECT_NE(program.read_error_line().find(option), std::string::npos);
  }
}

}  // namespace
}  // namespace millrace::test
