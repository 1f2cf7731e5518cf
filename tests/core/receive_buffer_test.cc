#include <millrace/receive_buffer.h>

#include <string>

#include <gtest/gtest.h>

namespace millrace::test {
namespace {

TEST(ReceiveBuffer, ShowsAllOfTheBytesItIsMadeOver) {
  const std::string bytes("with\0nul", 8);
  const ReceiveBuffer in{ByteView(bytes)};
  EXPECT_EQ(in.size(), 8u);
  EXPECT_FALSE(in.empty());
  EXPECT_EQ(static_cast<const void*>(in.data()), bytes.data());
  EXPECT_EQ(in.view().text(), bytes);
}

TEST(ReceiveBuffer, MayBeEmpty) {
  ReceiveBuffer in{ByteView()};
  EXPECT_TRUE(in.empty());
  in.consume(0);
  in.consume_all();
  EXPECT_TRUE(in.view().empty());
}

TEST(ReceiveBuffer, LosesWhatIsConsumedFromItsFront) {
  ReceiveBuffer in("abcdef");
  in.consume(2);
  EXPECT_EQ(in.view().text(), "cdef");
  in.consume(0);
  EXPECT_EQ(in.size(), 4u);
  in.consume(4);
  EXPECT_TRUE(in.empty());
}

TEST(ReceiveBuffer, ConsumeAllLeavesNothing) {
  ReceiveBuffer in("abcdef");
  in.consume(1);
  in.consume_all();
  EXPECT_TRUE(in.empty());
}

TEST(ReceiveBuffer, ViewsOfConsumedBytesStayReadable) {
  ReceiveBuffer in("head body");
  const ByteView head = in.view().first(4);
  in.consume(5);
  EXPECT_EQ(head.text(), "head");
  EXPECT_EQ(in.view().text(), "body");
}

TEST(ReceiveBuffer, WhatIsExpectedCountsFromTheFirstByteNotConsumed) {
  ReceiveBuffer in("abc");
  EXPECT_EQ(in.expected(), 0u);
  in.expect(100);
  in.consume(2);
  EXPECT_EQ(in.expected(), 98u);
  in.expect(7);
  EXPECT_EQ(in.expected(), 7u);
  in.consume_all();
  EXPECT_EQ(in.expected(), 6u);
  in.expect(0);
  EXPECT_EQ(in.expected(), 0u);
}

TEST(ReceiveBuffer, IsNeverStoppedWhenMadeOverPlainBytes) {
  ReceiveBuffer in("abc");
  EXPECT_FALSE(in.stopped());
  in.consume_all();
  EXPECT_FALSE(in.stopped());
}

TEST(ReceiveBuffer, IsStoppedWhileABitOfTheMaskIsSet) {
  std::uint32_t flags = 0x4;
  const ReceiveBuffer in("abc", 0, &flags, 0x3);
  EXPECT_FALSE(in.stopped());
  flags = 0x6;
  EXPECT_TRUE(in.stopped());
  flags = 0x4;
  EXPECT_FALSE(in.stopped());
}

TEST(ReceiveBufferDeathTest, ConsumingMoreThanThereIsAborts) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  ReceiveBuffer in("abc");
  in.consume(1);
  EXPECT_DEATH(in.consume(3), "\\(with 3 and 2\\): consume\\(\\) of more bytes than there are");
}

}  // namespace
}  // namespace millrace::test
