// The outcome of a contest as text, piece by piece as it comes.
#pragma once

#include "outcome.h"

namespace millrace::bench {

void print_contestants(const std::vector<Contestant>& contestants);
void print_course(const std::vector<Contestant>& contestants, const CourseOutcome& one);
void print_memory(const std::vector<Contestant>& contestants, const MemoryOutcome& memory);
void print_growth(const std::vector<Contestant>& contestants, const Growth& growth);
void print_verdicts(const Outcome& outcome);

}  // namespace millrace::bench
