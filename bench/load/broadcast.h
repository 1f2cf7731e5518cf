// A broadcast: one publisher sends a frame, the server sends it to everybody else; when all have
// got it, the next one. With `verify` every byte is compared, otherwise they are counted and not
// copied.
#pragma once

#include "payload.h"
#include "raw_load.h"
#include "raw_sockets.h"

#include <vector>

namespace millrace::bench {

// `connections` is the number of subscribers. A message of the result is one delivery, its latency
// from the sending of the frame.
class Broadcast final : public RawLoad {
 public:
  explicit Broadcast(const LoadOptions& options);

 private:
  void start() override;
  bool turn() override;
  bool under_way() const override { return missing_ > 0; }
  void publish();
  void receive(std::size_t number, TimePoint now);
  void end(std::size_t number, int error);

  Payload payload_;
  std::vector<std::byte> frame_;  // the present one, as it is on the wire
  std::vector<std::byte> block_;
  ReadySet ready_;
  std::vector<UniqueFd> subscribers_;
  std::vector<std::size_t> received_;  // of the present frame
  UniqueFd publisher_;
  std::size_t missing_ = 0;  // subscribers that do not have all of it
  std::size_t alive_ = 0;
  std::uint64_t published_ = 0;
  TimePoint published_at_;
};

}  // namespace millrace::bench
