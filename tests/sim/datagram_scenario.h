// The scenario of torture.h in which datagrams are asked for until they are answered.
#pragma once

#include "torture.h"

#include <memory>

namespace millrace::test {

std::unique_ptr<Scenario> make_datagram_scenario(Watch& watch);

}  // namespace millrace::test
