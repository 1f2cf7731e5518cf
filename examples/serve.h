// What the small servers here have in common: `NAME --listen HOST:PORT`, one line when ready, a
// clean end on SIGINT and SIGTERM, one clear line and status 1 when something is wrong.
// echo_server.cc spells the same out.
#pragma once

#include <millrace/millrace.h>

#include <csignal>
#include <exception>
#include <iostream>
#include <string>

#include <CLI/CLI.hpp>

// `make_server(loop)` returns a unique_ptr to a server that does not listen yet.
template <class MakeServer>
int serve(int argc, char** argv, const std::string& name, const std::string& what,
          MakeServer&& make_server) {
  CLI::App app(what, name);
  std::string address;
  app.add_option("--listen", address, "HOST:PORT to listen on; port 0 lets the kernel choose")
      ->required();
  CLI11_PARSE(app, argc, argv);
  try {
    millrace::EventLoop loop;
    millrace::SignalWatcher stop(loop, {SIGINT, SIGTERM}, [&](int) { loop.stop(); });
    auto server = make_server(loop);
    server->listen(address);
    std::cout << "listening on " << server->address() << std::endl;
    loop.run();
    return 0;
  } catch (const std::exception& e) {
    std::cerr << name << ": " << e.what() << '\n';
    return 1;
  }
}
