// A stream of bytes one way, to a server that counts them and tells how many came when it has seen
// the end. The client lends the kernel pages of a file in memory and copies nothing.
#pragma once

#include "raw_load.h"
#include "raw_sockets.h"

#include <array>
#include <vector>

namespace millrace::bench {

// A message of the result is one MiB. The server's count is compared on every connection.
class Stream final : public RawLoad {
 public:
  explicit Stream(const LoadOptions& options);

 private:
  struct Peer {
    UniqueFd fd;
    std::uint64_t sent = 0;
    std::array<unsigned char, 8> told = {};  // the server's count, big-endian
    std::size_t told_bytes = 0;
  };

  void start() override;
  bool turn() override;
  void stop() override;
  bool under_way() const override { return open_ > 0; }
  void send(Peer& peer);
  void receive(Peer& peer);
  void end(Peer& peer);

  UniqueFd file_;
  ReadySet ready_;
  std::vector<Peer> peers_;
  std::size_t open_ = 0;
  std::uint64_t uncounted_ = 0;  // bytes that are not yet a MiB
};

}  // namespace millrace::bench
