#include "system_calls.h"

#include <sstream>

#include <gtest/gtest.h>

namespace millrace::test {
namespace {

using bench::CallCounts;
using bench::calls_per_message;
using bench::parse_strace_table;

TEST(SystemCalls, TheTableOfStraceIsUnderstood) {
  std::istringstream table(R"(strace: Process 4711 attached
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 61.02    0.093211           4     20391       102 recvfrom
 38.98    0.059543           2     20289           sendto
  0.00    0.000000           0         1           io_uring_enter
------ ----------- ----------- --------- --------- ----------------
100.00    0.152754           3     40681       102 total
)");
  EXPECT_EQ(parse_strace_table(table),
            (CallCounts{{"recvfrom", 20391}, {"sendto", 20289}, {"io_uring_enter", 1}}));
}

TEST(SystemCalls, WhatIsNoTableIsEmpty) {
  for (const char* text : {"", "strace: not allowed\n", "% time seconds\n", "1 2 3\n"}) {
    std::istringstream in(text);
    EXPECT_TRUE(parse_strace_table(in).empty()) << text;
  }
}

TEST(SystemCalls, StartingUpIsNotCounted) {
  const CallCounts few = {{"mmap", 30}, {"recvfrom", 110}, {"sendto", 100}};
  const CallCounts many = {{"mmap", 30}, {"recvfrom", 1120}, {"sendto", 1100}, {"epoll_wait", 40}};
  const auto each = calls_per_message(few, 100, many, 1100);
  EXPECT_EQ(each.size(), 3u) << "mmap belongs to no message";
  EXPECT_DOUBLE_EQ(each.at("recvfrom"), 1.01);
  EXPECT_DOUBLE_EQ(each.at("sendto"), 1.0);
  EXPECT_DOUBLE_EQ(each.at("epoll_wait"), 0.04);
}

TEST(SystemCalls, NothingIsSaidOfNoMessages) {
  EXPECT_TRUE(calls_per_message({}, 5, {{"sendto", 5}}, 5).empty());
}

}  // namespace
}  // namespace millrace::test
