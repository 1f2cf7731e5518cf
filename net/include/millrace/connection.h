// Connection is one TCP connection, or one over a Unix socket: bytes in through its handler, bytes
// out through its send queue. A Server or Client makes it; it is valid from on_open until on_close
// returns, and who keeps it longer keeps a ConnectionRef. Loop's thread only.
//
//   if (!c.send(bytes)) c.pause_reading();   // above the high watermark: wait for on_drained
//   c.close();                               // everything queued still arrives
//
// No callback ever runs from inside one of these functions. Once the connection has ended, or is
// about to, sending, ending and pausing have no effect.
#pragma once

#include <millrace/bytes.h>
#include <millrace/connection_ref.h>
#include <millrace/connection_stats.h>
#include <millrace/send_result.h>
#include <millrace/socket_address.h>
#include <millrace/unique_fd.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <system_error>

namespace millrace {

class ConnectionHandler;
class SendWriter;
struct SocketOptions;

class Connection {
 public:
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Queues the bytes; what one callback queues leaves in one system call when it returns, or sooner
  // when 64 KiB have come together. True: send on. False: the queue is above the high watermark
  // (queued all the same: wait for on_drained), or nothing was queued; the result says which. What
  // would pass the hard limit is up to ConnectionLimits::overflow. The bytes are copied, but 4 KiB
  // and more of what on_data was just given: they leave from where they lie.
  SendResult send(ByteView bytes);
  // All, one after the other, as if they were one: a header, its payload, a trailer.
  SendResult send_together(ByteView first, ByteView second, ByteView third = {});
  SendResult send_together(ByteView first, SharedBytes second, ByteView third = {});
  // Queued without copying, but for those below 512 bytes.
  SendResult send(SharedBytes bytes);
  template <OwnedBytes T>
  SendResult send(T&& owned) {
    if (owned.size() < kTakeOverBytes) return send(ByteView(owned));
    return send(SharedBytes(std::move(owned)));
  }
  // The same, unless the queue is above the high watermark or would pass the hard limit: then they
  // are refused, or too_large when they never fit, whatever ConnectionLimits::overflow says.
  SendResult try_send(ByteView bytes);
  // Queues `length_bytes` of `file` from `offset`, which the kernel copies itself. A file that
  // turns out shorter closes the connection with EIO: the peer was promised more.
  SendResult send_file(UniqueFd file, std::uint64_t offset, std::uint64_t length_bytes);
  // Room for at least `bytes` at the end of the queue, to encode in place. Throws std::bad_alloc.
  SendWriter writer(std::size_t bytes);
  // Sends what is queued now instead of when the callback returns.
  void flush();
  std::size_t queued_bytes() const noexcept;

  // Half-close: FIN once everything queued is sent; reading goes on.
  void end();
  // Graceful: sends everything queued, then FIN, then discards what the peer still sends until its
  // FIN, so that unread input never becomes a RST that destroys our last bytes. Of the callbacks
  // only on_close comes after it, with the first reason given.
  void close(std::error_code why = {}, std::string_view detail = {});
  // At once: drops what is queued; the peer gets RST, and on_close `why` or error::aborted.
  void abort(std::error_code why = {}, std::string_view detail = {});
  // Neither ended nor about to: close() and abort() were not called and nothing has failed.
  bool is_open() const noexcept;
  // What the reason of the end does not say: "frame of 99999999 bytes announced, limit 16777216".
  std::string_view close_detail() const noexcept;

  // No on_data and no on_peer_end until resumed; TCP then slows the peer down. What was left in the
  // buffer is delivered on resume without waiting for new bytes.
  void pause_reading();
  void resume_reading();
  bool reading_paused() const noexcept;
  // What was received and not consumed, outside of on_data.
  ByteView unconsumed() const noexcept;
  // What the handler remembered with it (ReceiveBuffer::remember()).
  std::uint64_t remembered() const noexcept;

  // From now on `handler` gets the callbacks, on_open excepted; what was received and not consumed
  // goes to it at once, in order, and on_peer_end if the peer has ended.
  void set_handler(ConnectionHandler& handler);
  ConnectionHandler& handler() const noexcept;

  // Objects of yours that live as long as the connection, one of each type. emplace_context()
  // replaces the one of its type; context() is null if there is none.
  template <class T, class... Args>
  T& emplace_context(Args&&... args) {
    auto made = std::make_unique<Context<T>>(std::forward<Args>(args)...);
    T& value = made->value;
    put_context(std::move(made));
    return value;
  }
  template <class T>
  T* context() const noexcept {
    ContextBase* found = find_context(&kKey<T>);
    return found ? &static_cast<Context<T>*>(found)->value : nullptr;
  }

  // Unique among all connections that its loop ever has.
  std::uint64_t id() const noexcept;
  ConnectionRef ref() const noexcept;
  EventLoop& loop() const noexcept;
  SocketAddress peer() const noexcept;
  SocketAddress local() const noexcept;
  ConnectionStats stats() const noexcept;
  KernelQueues kernel_queues() const noexcept;  // two or three system calls
  std::optional<TcpInfo> tcp_info() const noexcept;
  // Changes what is given and nothing else; which option could not be set, and why, is in `why`.
  std::error_code set_socket_options(const SocketOptions& options, std::string* why = nullptr);
  SocketOptions socket_options() const;  // as the kernel has them now: a dozen system calls
  // The descriptor, for options that have no function here. Not to be read, written or closed.
  int native_handle() noexcept;

 protected:
  Connection() noexcept = default;
  ~Connection() = default;

 private:
  static constexpr std::size_t kTakeOverBytes = 4096;

  template <class T>
  static inline char kKey = 0;  // its address is the key
  struct ContextBase {
    explicit ContextBase(const void* k) noexcept : key(k) {}
    virtual ~ContextBase() = default;
    const void* key;
    std::unique_ptr<ContextBase> next;
  };
  template <class T>
  struct Context final : ContextBase {
    template <class... Args>
    explicit Context(Args&&... args) : ContextBase(&kKey<T>), value{std::forward<Args>(args)...} {}
    T value;
  };
  void put_context(std::unique_ptr<ContextBase> context);
  ContextBase* find_context(const void* key) const noexcept;

  friend class ConnectionCore;
  friend class SendWriter;
};

}  // namespace millrace
