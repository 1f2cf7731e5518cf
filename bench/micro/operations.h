// Adds all operations for one contestant. Called once each by main(), of what is compiled in.
#pragma once

#include "dispatch_operation.h"
#include "post_operations.h"
#include "timer_operations.h"

namespace millrace::bench {

template <class Contestant>
void add_operations() {
  TimerOperations<Contestant>::add_to_run();
  if (growth_only) return;
  PostOperations<Contestant>::add_to_run();
  DispatchOperation<Contestant>::add_to_run();
}

void add_raw();
void add_millrace();
void add_libevent();
void add_libuv();
void add_libev();
void add_asio();
void add_boost_asio();

}  // namespace millrace::bench
