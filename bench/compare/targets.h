// Which of the figures that we want have been reached.
#pragma once

#include "outcome.h"

#include <string>
#include <vector>

namespace millrace::bench {

struct Verdict {
  std::string what;
  double measured = 0;
  double wanted = 0;  // at most
  bool reached() const { return measured <= wanted; }
};

// Of what was measured; nothing if kSubject did not take part.
std::vector<Verdict> verdicts(const Outcome& outcome);

}  // namespace millrace::bench
