// An echo in closed loop whose answers are counted and not looked at: no byte is copied on the way
// into the kernel (large messages) or out of it, so that a client on one processor keeps up with a
// server on another. Whether the bytes are right is what run_load() with `verify` finds out before.
#pragma once

#include "raw_load.h"
#include "raw_sockets.h"

#include <vector>

namespace millrace::bench {

// One message under way per connection.
class ByteEcho final : public RawLoad {
 public:
  explicit ByteEcho(const LoadOptions& options);

  // Step by step instead of run(): more connections, each with a message under way at once; what
  // one more warm-up and measured time of the options brings.
  void connect(std::size_t more);
  LoadResult measure_again();

 private:
  struct Peer {
    UniqueFd fd;
    std::size_t to_send = 0;
    std::size_t to_receive = 0;
    TimePoint since;
    bool waits_for_room = false;
  };

  void start() override { connect(options_.connections); }
  bool turn() override;
  bool under_way() const override { return awaited_ > 0; }
  void begin_message(std::size_t number, TimePoint now);
  void send_more(std::size_t number);
  void receive(std::size_t number, TimePoint now);
  void end(Peer& peer, int error);

  std::vector<std::byte> wire_;  // the message with its header
  UniqueFd file_;                // the same; none for small ones
  ReadySet ready_;
  std::vector<Peer> peers_;
  std::size_t awaited_ = 0;  // answers
};

}  // namespace millrace::bench
