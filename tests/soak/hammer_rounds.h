// The part of the soak that hammers real connections (support/hammer.h), in rounds of ten thousand.
#pragma once

#include "measure.h"

namespace millrace::soak {

Problems run_hammer_rounds(const Part& part);

}  // namespace millrace::soak
