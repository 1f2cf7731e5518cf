#include "datagram_queue.h"

#include <cstring>
#include <deque>
#include <memory>
#include <random>
#include <string>

#include <gtest/gtest.h>
#include <netinet/udp.h>

namespace millrace::test {
namespace {

struct Sent {
  std::string bytes;
  SocketAddress to;
  friend bool operator==(const Sent&, const Sent&) = default;
};

struct DatagramQueueTest : ::testing::Test {
  void TearDown() override {
    queue.clear(pool);
    EXPECT_EQ(pool.live_blocks(), 0u);
  }
  void append(const std::string& bytes, const SocketAddress& to, std::uint32_t most = 65'000) {
    queue.append({.to = &to}, bytes, most, pool);
    queue.check_invariants();
  }
  // The datagrams of the messages that fill() gives, cut as the kernel would.
  std::deque<Sent> filled(std::uint32_t most = 65'000) {
    std::deque<Sent> all;
    messages = queue.fill(*out, most);
    for (unsigned i = 0; i < messages; ++i) {
      msghdr& message = out->messages[i].msg_hdr;
      std::string bytes(static_cast<const char*>(message.msg_iov->iov_base),
                        message.msg_iov->iov_len);
      const SocketAddress to = SocketAddress::from_native(message.msg_name, message.msg_namelen);
      std::size_t segment = bytes.size();
      for (auto* c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level != SOL_UDP || c->cmsg_type != UDP_SEGMENT) continue;
        std::uint16_t size;
        std::memcpy(&size, CMSG_DATA(c), sizeof size);
        segment = size;
      }
      std::uint32_t n = 0;
      do {
        all.push_back({bytes.substr(0, segment), to});
        bytes.erase(0, segment);
        ++n;
      } while (!bytes.empty());
      EXPECT_EQ(n, out->datagrams[i]);
      EXPECT_LE(n, DatagramQueue::kMostPerTrain);
    }
    return all;
  }

  BlockPool pool;
  DatagramQueue queue;
  const std::unique_ptr<DatagramsOut> out = std::make_unique<DatagramsOut>();
  unsigned messages = 0;
  const SocketAddress a = SocketAddress::loopback(1);
  const SocketAddress b = SocketAddress::loopback_v6(2);
};

TEST_F(DatagramQueueTest, DatagramsOfOneSizeAndDestinationAreOneMessage) {
  for (int i = 0; i < 10; ++i) append("12345", a);
  append("123", a);  // a shorter one ends it
  append("123", a);
  append("12345", a);  // longer than those of its train
  append("12345", b);
  EXPECT_EQ(filled().size(), 14u);
  EXPECT_EQ(messages, 4u);
  EXPECT_EQ(out->datagrams[0], 11u);
}

TEST_F(DatagramQueueTest, EmptyDatagramsAreMessagesOfTheirOwn) {
  for (int i = 0; i < 3; ++i) append("", a);
  append("x", a);
  append("", a);
  EXPECT_EQ(filled().size(), 5u);
  EXPECT_EQ(messages, 5u);
}

TEST_F(DatagramQueueTest, ATrainStaysBelow64KibAnd64Datagrams) {
  for (int i = 0; i < 100; ++i) append("x", a);
  for (int i = 0; i < 10; ++i) append(std::string(30'000, 'y'), a);
  EXPECT_EQ(filled().size(), 110u);
  for (unsigned i = 0; i < messages; ++i) {
    EXPECT_LE(out->messages[i].msg_hdr.msg_iov->iov_len, DatagramQueue::kTrainBytes);
  }
}

TEST_F(DatagramQueueTest, WhatWasSplitGoesOneByOneAndNothingJoinsIt) {
  for (int i = 0; i < 5; ++i) append("12345", a);
  EXPECT_TRUE(queue.in_train());
  queue.split();
  EXPECT_FALSE(queue.in_train());
  append("12345", a);
  EXPECT_EQ(filled().size(), 6u);
  EXPECT_EQ(messages, 6u);
}

TEST_F(DatagramQueueTest, RandomOperationsAgreeWithAModel) {
  std::mt19937 random(11);
  std::deque<Sent> model;
  std::size_t bytes = 0;
  for (int i = 0; i < 20'000; ++i) {
    const bool appends = random() % 3 != 0 || model.empty();
    if (appends && model.size() < 300) {
      const std::size_t size =
          random() % 50 == 0 ? random() % 65'508 : (random() % 4 == 0 ? random() % 200 : 64);
      const SocketAddress& to = random() % 6 == 0 ? b : a;
      std::string text = std::to_string(i) + ":";
      text.resize(size, static_cast<char>('a' + i % 26));
      append(text, to, random() % 20 == 0 ? 63 : 65'000);
      model.push_back({text, to});
      bytes += size;
    } else if (!model.empty()) {
      const std::uint32_t most = random() % 10 == 0 ? 10 : 65'000;
      const std::deque<Sent> first = filled(most);
      ASSERT_GT(first.size(), 0u);
      for (std::size_t n = 0; n < first.size(); ++n) ASSERT_EQ(first[n], model[n]) << i;
      if (random() % 30 == 0 && queue.in_train()) queue.split();
      const std::size_t gone = 1 + random() % first.size();
      for (std::size_t n = 0; n < gone; ++n) {
        bytes -= model.front().bytes.size();
        model.pop_front();
      }
      queue.remove(gone, pool);
      queue.check_invariants();
    }
    ASSERT_EQ(queue.datagrams(), model.size());
    ASSERT_EQ(queue.bytes(), bytes);
    ASSERT_EQ(queue.empty(), model.empty());
    if (!model.empty()) {
      ASSERT_EQ(queue.first_bytes(), model.front().bytes.size());
      ASSERT_EQ(queue.destination(), model.front().to);
    }
  }
}

}  // namespace
}  // namespace millrace::test
