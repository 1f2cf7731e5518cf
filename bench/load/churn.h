// Churn: connect, one message, its echo, close; again and again. Every byte is compared.
//
// The client closes first, with FIN: the server sees recv() = 0 and is spared TIME_WAIT, whoever it
// is. The ports that TIME_WAIT holds would run out within seconds, and searching them would slow
// the client down: each of the connections that are under way at one time comes from an address of
// its own (127.0.0.2 and on), which has all ports for itself.
#pragma once

#include "payload.h"
#include "raw_load.h"
#include "raw_sockets.h"

#include <vector>

#include <poll.h>

namespace millrace::bench {

// `connections` are under way at one time; a message of the result is one connection, its latency
// from connect() to the last byte of the echo.
class Churn final : public RawLoad {
 public:
  explicit Churn(const LoadOptions& options);

 private:
  struct Slot {
    UniqueFd fd;
    std::uint64_t connection = 0;
    std::size_t received = 0;
    bool intact = true;
    TimePoint since;
  };

  void start() override;
  bool turn() override;
  bool under_way() const override { return under_way_ > 0; }
  void open(std::size_t slot);
  void receive(std::size_t slot, TimePoint now);
  void close(std::size_t slot);

  Payload payload_;
  std::vector<Slot> slots_;
  std::vector<pollfd> polled_;  // of the same slots; -1: none open
  std::vector<std::byte> block_;
  std::size_t under_way_ = 0;
  std::uint64_t opened_ = 0;
};

}  // namespace millrace::bench
