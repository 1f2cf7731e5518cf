// Which system calls a server makes per message: counted by strace, which starts it.
#pragma once

#include "contestants.h"
#include "workloads.h"

#include <cstdint>
#include <iosfwd>
#include <map>
#include <optional>
#include <string>

namespace millrace::bench {

using CallCounts = std::map<std::string, std::uint64_t>;

// The table that `strace -c` writes.
CallCounts parse_strace_table(std::istream& in);

// What a server did for `many_messages` that it did not do for `few_messages`: so that starting up
// and accepting connections do not count. Calls that are rarer than one in a thousand messages are
// left out.
std::map<std::string, double> calls_per_message(const CallCounts& few, std::uint64_t few_messages,
                                                const CallCounts& many,
                                                std::uint64_t many_messages);

bool strace_is_there();
// Nothing if it cannot be found out. Two short runs, slow ones: nothing else is measured in them.
std::optional<std::map<std::string, double>> system_calls_of(const Contestant& contestant,
                                                             const Workload& workload);

}  // namespace millrace::bench
