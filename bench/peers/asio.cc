// The echo server over Asio, compiled twice: as part of Boost and by itself. Callbacks, as in its
// documentation: each connection keeps itself alive through its handlers and reads into a buffer of
// its own, and its operations take their memory from it (Asio's "Custom Memory Allocation"). One
// thread: no locks, and executors whose type is known.
#include "peer.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <utility>
#include <vector>

#ifdef PEER_BOOST_ASIO
#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <boost/version.hpp>
namespace asio = boost::asio;
using boost::system::error_code;
constexpr int kUnsafe = BOOST_ASIO_CONCURRENCY_HINT_UNSAFE;
constexpr int kVersion[] = {BOOST_VERSION / 100'000, BOOST_VERSION / 100 % 1'000,
                            BOOST_VERSION % 100};
constexpr const char* kName = "Boost.Asio ";
#else
#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/version.hpp>
#include <asio/write.hpp>
using asio::error_code;
constexpr int kUnsafe = ASIO_CONCURRENCY_HINT_UNSAFE;
constexpr int kVersion[] = {ASIO_VERSION / 100'000, ASIO_VERSION / 100 % 1'000, ASIO_VERSION % 100};
constexpr const char* kName = "Asio ";
#endif

using peer::kBlock, peer::Mode;

namespace {

using Executor = asio::io_context::executor_type;
using Socket = asio::basic_stream_socket<asio::ip::tcp, Executor>;
using Acceptor = asio::basic_socket_acceptor<asio::ip::tcp, Executor>;

// For the one operation that a chain of handlers has under way.
class HandlerMemory {
 public:
  void* allocate(std::size_t n) {
    if (in_use_ || n > sizeof storage_) return ::operator new(n);
    in_use_ = true;
    return storage_;
  }
  void deallocate(void* memory) {
    if (memory != storage_) return ::operator delete(memory);
    in_use_ = false;
  }

 private:
  bool in_use_ = false;
  alignas(std::max_align_t) std::byte storage_[256];
};

template <class T>
struct HandlerAllocator {
  using value_type = T;
  HandlerMemory* memory;

  explicit HandlerAllocator(HandlerMemory& from) : memory(&from) {}
  template <class U>
  HandlerAllocator(const HandlerAllocator<U>& other) : memory(other.memory) {}
  T* allocate(std::size_t n) { return static_cast<T*>(memory->allocate(n * sizeof(T))); }
  void deallocate(T* p, std::size_t) { memory->deallocate(p); }
  template <class U>
  bool operator==(const HandlerAllocator<U>& other) const {
    return memory == other.memory;
  }
};

template <class Handler>
struct Recycling {
  using allocator_type = HandlerAllocator<std::byte>;
  HandlerMemory* memory;
  Handler handler;

  allocator_type get_allocator() const noexcept { return allocator_type(*memory); }
  void operator()(error_code error, std::size_t n) { handler(error, n); }
};

template <class Handler>
Recycling<Handler> recycling(HandlerMemory& memory, Handler handler) {
  return {&memory, std::move(handler)};
}

Mode mode;

class Connection;
std::vector<Connection*> open;  // of the broadcast alone

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  explicit Connection(Socket socket) : socket_(std::move(socket)) {
    if (mode == Mode::broadcast) open.push_back(this);
  }
  ~Connection() {
    if (mode == Mode::broadcast) std::erase(open, this);
  }

  void read() {
    if (filled_ == capacity_) grow();
    socket_.async_read_some(
        asio::buffer(buffer_.get() + filled_, capacity_ - filled_),
        recycling(memory_, [self = shared_from_this()](error_code error, std::size_t n) {
          if (!error) return self->handle_read(n);
          if (mode == Mode::sink && error == asio::error::eof) self->send_count();
        }));
  }

 private:
  using Payload = std::shared_ptr<const std::string>;

  // It begins small: each connection has one, busy or not. Twice as large when a read has filled
  // it, as large as a frame must be.
  void grow() {
    const std::size_t larger = std::max(2 * capacity_, kSmall);
    auto buffer = std::make_unique_for_overwrite<char[]>(larger);
    std::copy_n(buffer_.get(), filled_, buffer.get());
    buffer_ = std::move(buffer);
    capacity_ = larger;
  }

  void handle_read(std::size_t n) {
    filled_ += n;
    full_ = filled_ == capacity_ && capacity_ < kBlock;
    switch (mode) {
      case Mode::echo:
        return write(filled_);
      case Mode::framed:
        return write(peer::whole_frames(buffer_.get(), filled_));
      case Mode::sink:
        received_ += n;
        return consume(n);
      case Mode::broadcast:
        return broadcast(peer::whole_frames(buffer_.get(), filled_));
    }
  }

  // What lies in front goes back, and then we read on.
  void write(std::size_t n) {
    if (n == 0) return read();
    asio::async_write(
        socket_, asio::buffer(buffer_.get(), n),
        recycling(memory_, [self = shared_from_this()](error_code error, std::size_t written) {
          if (!error) self->consume(written);
        }));
  }

  void consume(std::size_t n) {
    filled_ -= n;
    if (filled_ > 0) std::memmove(buffer_.get(), buffer_.get() + n, filled_);
    if (full_) grow();
    read();
  }

  void broadcast(std::size_t n) {
    if (n > 0) {
      const auto frames = std::make_shared<const std::string>(buffer_.get(), n);
      for (Connection* c : open) {
        if (c != this) c->queue(frames);
      }
    }
    consume(n);
  }

  void queue(const Payload& payload) {
    waiting_.push_back(payload);
    if (sending_.empty()) send_waiting();
  }

  // All that waits, in one write; what comes meanwhile goes with the next one.
  void send_waiting() {
    sending_.swap(waiting_);
    buffers_.clear();
    for (const Payload& payload : sending_) buffers_.push_back(asio::buffer(*payload));
    asio::async_write(
        socket_, std::span<const asio::const_buffer>(buffers_),
        recycling(send_memory_, [self = shared_from_this()](error_code error, std::size_t) {
          self->sending_.clear();
          if (!error && !self->waiting_.empty()) self->send_waiting();
        }));
  }

  void send_count() {
    const auto count = peer::big_endian(received_);
    std::memcpy(buffer_.get(), count.data(), count.size());
    asio::async_write(socket_, asio::buffer(buffer_.get(), count.size()),
                      [self = shared_from_this()](error_code, std::size_t) {});
  }

  static constexpr std::size_t kSmall = 4 * 1024;

  Socket socket_;
  std::unique_ptr<char[]> buffer_;
  std::size_t capacity_ = 0;
  std::size_t filled_ = 0;
  bool full_ = false;  // the last read would have brought more
  std::uint64_t received_ = 0;
  HandlerMemory memory_;

  std::vector<Payload> waiting_;  // of the broadcast alone, to the end
  std::vector<Payload> sending_;
  std::vector<asio::const_buffer> buffers_;
  HandlerMemory send_memory_;
};

void accept(Acceptor& acceptor) {
  acceptor.async_accept([&acceptor](error_code error, Socket socket) {
    if (!error) std::make_shared<Connection>(std::move(socket))->read();
    accept(acceptor);
  });
}

std::string version() {
  std::string text = kName;
  for (const int number : kVersion) text += std::to_string(number) + ".";
  text.pop_back();
  return text;
}

}  // namespace

int main(int argc, char** argv) {
  const auto arguments = peer::arguments(argc, argv, version());
  mode = arguments.mode;
  asio::io_context context(kUnsafe);
  Acceptor acceptor(context, asio::ip::tcp::v4(), peer::listen_on(arguments.port));
  accept(acceptor);
  context.run();
}
