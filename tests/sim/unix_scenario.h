// The scenario of torture.h in which descriptors go to a server over a Unix socket and come back.
#pragma once

#include "torture.h"

#include <memory>

namespace millrace::test {

std::unique_ptr<Scenario> make_unix_scenario(Watch& watch);

}  // namespace millrace::test
