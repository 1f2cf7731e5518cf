// SendQueueTest is the fixture of the send queue: a queue with its pool, and a pair of connected
// sockets to flush it into, with buffers as small as the kernel allows if asked for.
#pragma once

#include <millrace/block_pool.h>
#include <millrace/unique_fd.h>

#include "send_queue.h"
#include "support/faults.h"
#include "support/mappings.h"
#include "support/process.h"
#include "support/raw_socket.h"

#include <map>
#include <string>
#include <string_view>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

namespace millrace::test {

inline UniqueFd file_of(std::string_view content) {
  UniqueFd file(::memfd_create("content", MFD_CLOEXEC));
  EXPECT_EQ(::write(file.get(), content.data(), content.size()),
            static_cast<ssize_t>(content.size()));
  return file;
}

// Two connected sockets, of which ours does not block.
struct StreamPair {
  enum class Kind {
    tcp,        // as the kernel makes it: takes megabytes
    small_tcp,  // takes some 20 KB, in segments as a network has them
    tiny_unix,  // takes a few KB
  };

  explicit StreamPair(Kind kind = Kind::tcp) {
    if (kind == Kind::tiny_unix) {
      int ends[2];
      EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
      ours = RawSocket(UniqueFd(ends[0]));
      theirs = RawSocket(UniqueFd(ends[1]));
      set(ours, SOL_SOCKET, SO_SNDBUF, 1);
    } else {
      RawSocket listener = RawSocket::listen();
      if (kind == Kind::small_tcp) {
        // Inherited. With loopback's segments of 64 KiB a small window would open at a crawl.
        set(listener, IPPROTO_TCP, TCP_MAXSEG, 1400);
        set(listener, SOL_SOCKET, SO_RCVBUF, 16 * 1024);
      }
      ours = RawSocket::connect_to(listener.address(), 0, kind == Kind::small_tcp ? 16 * 1024 : 0);
      theirs = listener.accept();
    }
    ::fcntl(ours.fd(), F_SETFL, O_NONBLOCK);
  }
  static void set(const RawSocket& socket, int level, int option, int value) {
    EXPECT_EQ(::setsockopt(socket.fd(), level, option, &value, sizeof value), 0);
  }
  // Until there is room at our end or data at theirs; false when neither comes.
  bool wait() const {
    pollfd ends[] = {{ours.fd(), POLLOUT, 0}, {theirs.fd(), POLLIN, 0}};
    const bool came = ::poll(ends, 2, 10'000) > 0;
    EXPECT_TRUE(came) << "nothing moves";
    return came;
  }

  RawSocket ours;
  RawSocket theirs;
};

struct SendQueueTest : ::testing::Test {
  using Stay = SendQueue::Stay;
  static constexpr std::size_t kBlock = BlockPool::kLargestPooledBytes;

  ~SendQueueTest() override {
    queue.clear(pool);
    queue.check_invariants();
    EXPECT_EQ(pool.live_blocks(), 0u);
  }

  void append(ByteView bytes, Stay stay = Stay::brief) { queue.append(bytes, pool, stay); }
  void append_file(UniqueFd file, std::uint64_t offset, std::uint64_t length) {
    queue.append_file(std::move(file), offset, length, pool);
  }
  SendQueue::Flushed flush(int fd) {
    const std::size_t before = queue.bytes();
    const SendQueue::Flushed flushed = queue.flush(fd, pool);
    queue.check_invariants();
    EXPECT_EQ(queue.bytes(), before - flushed.bytes);
    EXPECT_FALSE(flushed.blocked && flushed.error != 0);
    under_way += flushed.bytes;
    return flushed;
  }
  SendQueue::Flushed flush_with(int fd, const SendQueue::Parts& behind, std::size_t* taken) {
    const auto flushed = queue.flush_with(fd, pool, behind, taken);
    queue.check_invariants();
    under_way += flushed.bytes;
    return flushed;
  }
  // All that has been flushed and not been received before.
  std::string receive(StreamPair& pair) {
    std::string all;
    while (under_way > 0) {
      const std::string part = pair.theirs.receive_some(1 << 20);
      if (part.empty() && !pair.wait()) break;
      under_way -= part.size();
      all += part;
    }
    EXPECT_TRUE(pair.theirs.receive_some(1).empty()) << "more than was flushed";
    return all;
  }
  // Flushes and receives until nothing is left; what was received.
  std::string drain(StreamPair& pair) {
    std::string all;
    while (!queue.empty()) {
      const auto flushed = flush(pair.ours.fd());
      if (flushed.error != 0) break;
      if (flushed.blocked) pair.wait();
      const std::string part = pair.theirs.receive_some(1 << 20);
      under_way -= part.size();
      all += part;
    }
    EXPECT_TRUE(queue.empty());
    return all + receive(pair);
  }

  Mappings mappings;
  BlockPool pool;
  SendQueue queue;
  std::size_t under_way = 0;  // flushed, not received
};

}  // namespace millrace::test
