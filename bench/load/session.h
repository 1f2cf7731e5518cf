// Session is one connection of the load tool: which messages are under way, when they were (or
// ought to have been) sent, and whether what comes back is what was sent. It is the connection's
// context, in the loop's thread.
#pragma once

#include <millrace/connection.h>
#include <millrace/length_prefix.h>
#include <millrace/receive_buffer.h>
#include <millrace/time.h>

#include "histogram.h"
#include "payload.h"

#include <cstdint>
#include <deque>
#include <map>
#include <string>

namespace millrace::bench {

// What all sessions share and report to.
struct Tally {
  Payload payload;
  bool verify = false;
  bool measuring = false;
  std::uint64_t under_way = 0;  // messages sent and not answered, in all
  std::uint64_t answered = 0;
  std::uint64_t messages = 0;  // answered while measuring
  Histogram latency = {};      // of those
  std::map<std::string, std::uint64_t> errors = {};
};

class Session {
 public:
  Session(Tally& tally, std::uint64_t number) : tally_(tally), number_(number) {}

  // Queues one message whose latency counts from `since`.
  void send(Connection& c, const LengthPrefix* framing, TimePoint since);
  // Takes what arrived at `now`; answers that are complete are recorded, and followed by the next
  // message if `respond`.
  void receive(Connection& c, ReceiveBuffer& in, const LengthPrefix* framing, TimePoint now,
               bool respond);
  std::size_t under_way() const noexcept { return sent_.size(); }

 private:
  void receive_part(ByteView part);
  void complete(TimePoint now);
  Tally& tally_;
  std::uint64_t number_;
  std::uint64_t next_sent_ = 0;
  std::uint64_t next_answer_ = 0;
  std::size_t position_ = 0;  // within the answer that is arriving (unframed)
  bool intact_ = true;
  std::deque<TimePoint> sent_;
};

}  // namespace millrace::bench
