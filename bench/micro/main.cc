// Single operations of millrace, of the libraries that were found and of the best that we can write
// by hand; named OPERATION/CONTESTANT/ARGUMENT, and what only we have OPERATION/VARIANT.
//
//   millrace-micro --benchmark_filter=/millrace/           # options are those of Google Benchmark
//   millrace-micro --benchmark_repetitions=3 --benchmark_enable_random_interleaving=true
//       --benchmark_out=micro.json --benchmark_out_format=json      # for ratios; three minutes
//   millrace-micro --benchmark_min_time=0.05                        # a first impression
//   millrace-micro --growth                                # timers among up to ten million instead
#include "operations.h"

#include <algorithm>
#include <string_view>

namespace millrace::bench {

bool growth_only = false;

namespace {

void add_contestants() {
  add_raw();
  add_millrace();
#ifdef HAVE_LIBEVENT
  add_libevent();
#endif
#ifdef HAVE_LIBUV
  add_libuv();
#endif
#ifdef HAVE_LIBEV
  add_libev();
#endif
#ifdef HAVE_ASIO
  add_asio();
#endif
#ifdef HAVE_BOOST_ASIO
  add_boost_asio();
#endif
}

}  // namespace
}  // namespace millrace::bench

int main(int argc, char** argv) {
  using namespace millrace::bench;
  char** const end = std::remove_if(argv + 1, argv + argc, [](const char* argument) {
    return std::string_view(argument) == "--growth";
  });
  growth_only = end != argv + argc;
  argc = static_cast<int>(end - argv);
  argv[argc] = nullptr;
  if (growth_only) benchmark::ClearRegisteredBenchmarks();  // those of ours alone
  add_contestants();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
