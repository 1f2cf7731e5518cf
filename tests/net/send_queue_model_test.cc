// Random operations on a SendQueue beside a string that knows what it should hold, into sockets
// with small buffers and faults, read by somebody who takes random amounts.
#include "send_queue.h"
#include "support/random.h"
#include "support/send_queue_test.h"

#include <cerrno>
#include <string>

namespace millrace::test {
namespace {

class SendQueueModel {
 public:
  SendQueueModel(std::uint64_t seed, StreamPair::Kind kind) : random_(seed), pair_(kind) {}

  void step() {
    switch (random_.below(17)) {
      case 0:
      case 1:
      case 2:
        append(random_.bytes(random_.size_up_to(300)));
        break;
      case 3:
        append(random_.bytes(random_.size_up_to(200'000)));
        break;
      case 4:
        append_quick();
        break;
      case 5:
        append_shared();
        break;
      case 6:
        append_file();
        break;
      case 7:
        write_in_place();
        break;
      case 8:
        script_a_fault();
        break;
      case 9:
        flush_with();
        break;
      case 10:
        borrow();
        break;
      case 11:
      case 12:
      case 13:
        flush();
        break;
      default:
        read(random_.size_up_to(100'000));
        break;
    }
    check();
  }

  void finish() {
    while (received_ < expected_.size()) {
      flush();
      if (read(1 << 20) == 0 && !pair_.wait()) break;
    }
    EXPECT_TRUE(queue_.empty());
    EXPECT_EQ(received_, expected_.size());
    EXPECT_EQ(pool_.live_blocks(), 0u);
  }

  void clear() {
    queue_.clear(pool_);
    EXPECT_EQ(queue_.bytes(), 0u);
    EXPECT_EQ(pool_.live_blocks(), 0u);
  }

 private:
  void check() {
    queue_.check_invariants();
    EXPECT_EQ(queue_.bytes(), expected_.size() - sent_);
    EXPECT_EQ(queue_.empty(), sent_ == expected_.size());
    EXPECT_TRUE(!queue_.empty() || pool_.live_blocks() == 0);
  }

  SendQueue::Stay stay() {
    return random_.one_in(2) ? SendQueue::Stay::brief : SendQueue::Stay::long_term;
  }

  void append(const std::string& bytes) {
    queue_.append(bytes, pool_, stay());
    expected_ += bytes;
  }

  void append_quick() {
    // Never more than a block: that is its caller's business.
    const std::string first = random_.bytes(random_.between(1, 2000));
    const std::string second = random_.bytes(random_.size_up_to(40'000));
    const std::string third = random_.bytes(random_.size_up_to(10));
    if (queue_.append_quick(first, second, third, pool_)) expected_ += first + second + third;
  }

  void append_shared() {
    std::string bytes = random_.bytes(random_.size_up_to(100'000));
    expected_ += bytes;
    if (random_.one_in(2)) {
      queue_.append(SharedBytes(std::move(bytes)), pool_);
    } else {
      queue_.append(SharedBytes(ByteView(bytes)), pool_);
    }
  }

  // From memory that is overwritten as soon as the queue owns what was not sent.
  void borrow() {
    std::string lent = random_.bytes(random_.between(1, BlockPool::kLargestPooledBytes));
    const std::size_t pieces = random_.between(1, std::min<std::size_t>(lent.size(), 4));
    for (std::size_t i = 0; i < pieces; ++i) {
      const std::size_t at = lent.size() / pieces * i;
      queue_.borrow(ByteView(lent).from(at).first(lent.size() / pieces), pool_);
      expected_ += lent.substr(at, lent.size() / pieces);
      if (random_.one_in(3)) append(random_.bytes(random_.size_up_to(300)));
    }
    EXPECT_TRUE(queue_.borrows());
    if (!random_.one_in(4)) flush();
    queue_.own(pool_);
    EXPECT_FALSE(queue_.borrows());
    lent.assign(lent.size(), '#');
  }

  void append_file() {
    const std::string content = random_.bytes(random_.size_up_to(150'000));
    const std::size_t offset = random_.below(content.size() + 1);
    const std::size_t length = random_.below(content.size() - offset + 1);
    queue_.append_file(file_of(content), offset, length, pool_);
    expected_ += content.substr(offset, length);
  }

  // As a SendWriter does: room, what is written of it, and the rest is dropped.
  void write_in_place() {
    const std::size_t room = random_.between(1, random_.one_in(10) ? 150'000 : 5'000);
    Block* block = queue_.reserve(room, pool_, stay());
    EXPECT_GE(block->room(), room);
    for (std::size_t left = room; left > 0 && !random_.one_in(3);) {
      const std::string bytes = random_.bytes(random_.between(0, left));
      std::memcpy(block->bytes() + block->end, bytes.data(), bytes.size());
      queue_.commit(bytes.size());
      expected_ += bytes;
      left -= bytes.size();
    }
    queue_.drop_empty_tail(pool_);
  }

  void script_a_fault() {
    constexpr Call kCalls[] = {Call::send, Call::sendmsg, Call::sendfile};
    constexpr int kErrors[] = {EAGAIN, EINTR};
    const Call call = kCalls[random_.below(3)];
    if (random_.one_in(3)) {
      faults_.on(call, Fault::fail(kErrors[random_.below(2)]), {.times = random_.between(1, 3)});
    } else {
      faults_.on(call, Fault::shorten(random_.between(1, 3000)));
    }
  }

  void flush() { took(queue_.flush(pair_.ours.fd(), pool_), 0); }

  void flush_with() {
    const std::string first = random_.bytes(random_.size_up_to(100'000));
    const std::string second = random_.bytes(random_.size_up_to(1000));
    const std::string third = random_.bytes(random_.size_up_to(10));
    const std::size_t queued = queue_.bytes();
    std::size_t taken = 0;
    const auto flushed = queue_.flush_with(pair_.ours.fd(), pool_, {first, second, third}, &taken);
    EXPECT_TRUE(taken == 0 || flushed.bytes == queued + taken) << "only behind the whole queue";
    expected_ += (first + second + third).substr(0, taken);
    took(flushed, taken);
  }

  void took(const SendQueue::Flushed& flushed, std::size_t beside) {
    EXPECT_EQ(flushed.error, 0);
    EXPECT_GE(flushed.bytes, beside);
    sent_ += flushed.bytes;
    EXPECT_TRUE(flushed.blocked || queue_.empty() || flushed.bytes >= std::size_t{1} << 20);
  }

  std::size_t read(std::size_t most) {
    const std::string part = pair_.theirs.receive_some(std::max<std::size_t>(most, 1));
    EXPECT_TRUE(expected_.compare(received_, part.size(), part) == 0)
        << "other bytes than were queued, from " << received_ << " on";
    received_ += part.size();
    EXPECT_LE(received_, sent_);
    return part.size();
  }

  Random random_;
  Faults faults_;
  BlockPool pool_;
  SendQueue queue_;
  StreamPair pair_;
  std::string expected_;  // all that was ever queued
  std::size_t sent_ = 0;
  std::size_t received_ = 0;
};

void run(StreamPair::Kind kind) {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    SendQueueModel model(seed, kind);
    for (int step = 0; step < 400 && !::testing::Test::HasFailure(); ++step) model.step();
    if (::testing::Test::HasFailure()) return model.clear();
    if (seed % 4 == 0) {
      model.clear();
    } else {
      model.finish();
    }
  }
}

TEST(SendQueueModelTest, SendsOverTcpWhatTheModelHolds) {
  run(StreamPair::Kind::small_tcp);
}

TEST(SendQueueModelTest, SendsOverAUnixSocketWhatTheModelHolds) {
  run(StreamPair::Kind::tiny_unix);
}

}  // namespace
}  // namespace millrace::test
