// An echo server in a program whose main loop is GLib's, as that of every GTK program is: a timer
// of GLib prints what the server has echoed. What it shows: glib_source.h, which nests the loop;
// the program does nothing else for it, and both live in one thread.
#include <millrace/millrace.h>

#include "glib_source.h"

#include <csignal>
#include <cstdint>
#include <exception>
#include <iostream>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>

using namespace millrace;

namespace {

struct Echoed {
  std::uint64_t bytes = 0;
  std::uint64_t printed = 0;
};

// GLib's way to call back.
gboolean print_news(gpointer data) {
  auto& echoed = *static_cast<Echoed*>(data);
  if (echoed.bytes != echoed.printed) std::cout << "echoed " << echoed.bytes << std::endl;
  echoed.printed = echoed.bytes;
  return G_SOURCE_CONTINUE;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Echoes what it receives, inside the main loop of GLib.", "glib_loop");
  std::string address;
  unsigned interval_ms = 1000;
  app.add_option("--listen", address, "HOST:PORT to listen on; port 0 lets the kernel choose")
      ->required();
  app.add_option("--interval", interval_ms, "milliseconds from one look at the sum to the next");
  CLI11_PARSE(app, argc, argv);
  try {
    const std::unique_ptr<GMainLoop, decltype(&g_main_loop_unref)> main_loop(
        g_main_loop_new(nullptr, FALSE), &g_main_loop_unref);
    EventLoop loop;
    const GlibSource source(loop, nullptr, [&] { g_main_loop_quit(main_loop.get()); });
    const SignalWatcher stop(loop, {SIGINT, SIGTERM}, [&](int) { loop.stop(); });
    Echoed echoed;
    Server server(loop, {.on_data = [&](Connection& c, ReceiveBuffer& in) {
                    echoed.bytes += in.size();
                    c.send(in.view());
                    in.consume_all();
                  }});
    server.listen(address);
    const guint timer = g_timeout_add(interval_ms, &print_news, &echoed);
    std::cout << "listening on " << server.address() << std::endl;
    g_main_loop_run(main_loop.get());
    g_source_remove(timer);
    return 0;
  } catch (const std::exception& e) {
    std::cerr << "glib_loop: " << e.what() << '\n';
    return 1;
  }
}
