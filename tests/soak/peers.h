// The peers of the soak on real sockets: a process of its own, so that what the server takes can be
// measured apart. It does what the lines on its standard input say:
//
//   churn    connects, talks, misbehaves and leaves, about a hundred at once
//   rest N   ends all that; then N connections have echoed something and are silent: "resting N"
//   stop     ends
//
// and prints "problem TEXT" for an echo that is wrong or incomplete, and at the end what it did.
#pragma once

#include <cstdint>
#include <string>

namespace millrace::soak {

// Where the servers listen.
struct PeerTargets {
  std::string bytes;   // echo of bytes; patient
  std::string frames;  // echo of frames; patient
  std::string strict;  // echo of bytes; ends whoever is silent or does not read
};

int run_peers(const PeerTargets& targets, std::uint64_t seed);

}  // namespace millrace::soak
