// What a run of the load tool found, for people and for programs.
#pragma once

#include "load.h"

#include <iosfwd>
#include <string>

namespace millrace::bench {

void print_table(std::ostream& out, const LoadOptions& options, const LoadResult& result);
// Durations in nanoseconds, named so. Throws std::runtime_error naming a file that it cannot write.
void write_json(const std::string& path, const LoadOptions& options, const LoadResult& result);

}  // namespace millrace::bench
