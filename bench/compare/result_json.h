// The JSON of a whole run, format "millrace-bench 1", which bench/report reads. All durations in
// nanoseconds, all ratios to the reference in the same round.
#pragma once

#include "outcome.h"

#include <string>

#include <nlohmann/json_fwd.hpp>

namespace millrace::bench {

nlohmann::json to_json(const Outcome& outcome);
// Takes over what other programs have measured: `growth_timers` becomes growth.timers, every other
// key the same one. Throws std::runtime_error naming a file that is not a JSON object.
void merge_file(nlohmann::json& result, const std::string& path);
// Throws std::runtime_error naming a file that it cannot write.
void write_file(const nlohmann::json& result, const std::string& path);

}  // namespace millrace::bench
