// Datagrams: each socket keeps `depth` datagrams under way and compares the answers, byte by byte
// and in their order, which a loopback interface keeps. What is lost is counted, and is an error:
// all that are under way fit the server's receive buffer.
#pragma once

#include "payload.h"
#include "raw_load.h"
#include "raw_sockets.h"

#include <vector>

#include <sys/socket.h>

namespace millrace::bench {

// `connections` sockets, each connected to the server. A message of the result is one that was
// answered.
class Datagrams final : public RawLoad {
 public:
  explicit Datagrams(const LoadOptions& options);

 private:
  struct Socket {
    UniqueFd fd;
    std::uint64_t sent = 0;
    std::uint64_t answered = 0;
    TimePoint since;  // the last send
  };

  void start() override;
  bool turn() override;
  bool under_way() const override { return under_way_ > 0; }
  void send(std::size_t number, std::size_t n);
  std::size_t receive(std::size_t number);
  void look_for_losses(TimePoint now);

  Payload payload_;
  ReadySet ready_;
  std::vector<Socket> sockets_;
  std::vector<mmsghdr> messages_;  // room for what is under way on one socket
  std::vector<iovec> parts_;
  std::vector<std::byte> block_;
  std::size_t under_way_ = 0;
  TimePoint last_answer_;
};

}  // namespace millrace::bench
