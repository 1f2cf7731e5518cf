// GlibSource lets a millrace loop live inside the main loop of GLib, beside its timers and sources,
// in one thread: the thread that iterates `context`. It goes before the loop does, also inside a
// callback of the loop, which nobody turns any more then.
//
//   GMainLoop* main = g_main_loop_new(nullptr, FALSE);
//   millrace::EventLoop loop;
//   GlibSource source(loop, nullptr, [&] { g_main_loop_quit(main); });   // what loop.stop() does
//   g_main_loop_run(main);
//
// Three questions are all that a foreign loop has to ask: how long it may wait, whether
// backend_fd() is readable, and, when it is or the time is over, run_once(0).
#pragma once

#include <millrace/event_loop.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <utility>

#include <glib-unix.h>
#include <glib.h>

class GlibSource {
 public:
  // `context` null: the default one.
  GlibSource(millrace::EventLoop& loop, GMainContext* context, std::function<void()> on_stop)
      : loop_(loop),
        on_stop_(std::move(on_stop)),
        source_(g_source_new(functions(), sizeof(Base))) {
    reinterpret_cast<Base*>(source_)->self = this;
    poll_ = g_source_add_unix_fd(source_, loop.backend_fd(), G_IO_IN);
    g_source_attach(source_, context);
  }
  ~GlibSource() {
    g_source_destroy(source_);
    g_source_unref(source_);
  }
  GlibSource(const GlibSource&) = delete;
  GlibSource& operator=(const GlibSource&) = delete;

 private:
  struct Base {  // what GLib allocates
    GSource source;
    GlibSource* self;
  };

  // GLib asks before it waits: whether not to wait at all, or else for how long.
  static gboolean prepare(GSource* source, gint* timeout_ms) noexcept {
    const auto timeout = of(source).loop_.next_timeout();
    *timeout_ms = -1;
    if (timeout) {
      const auto ms = std::chrono::ceil<std::chrono::milliseconds>(*timeout).count();
      constexpr std::int64_t kMost = std::numeric_limits<gint>::max();
      *timeout_ms = static_cast<gint>(std::min<std::int64_t>(ms, kMost));
    }
    return *timeout_ms == 0;
  }
  // And afterwards: whether there is something to do.
  static gboolean check(GSource* source) noexcept {
    GlibSource& self = of(source);
    return g_source_query_unix_fd(source, self.poll_) != 0 ||
           self.loop_.next_timeout() == millrace::Duration::zero();
  }
  static gboolean dispatch(GSource* source, GSourceFunc, gpointer) noexcept {
    GlibSource& self = of(source);
    // Callbacks' exceptions do not leave the loop: none passes through GLib.
    const bool goes_on = self.loop_.run_once(std::chrono::milliseconds(0));
    if (g_source_is_destroyed(source)) return G_SOURCE_REMOVE;  // and `self` is gone
    if (!goes_on) self.on_stop_();
    return G_SOURCE_CONTINUE;
  }

  static GlibSource& of(GSource* source) noexcept { return *reinterpret_cast<Base*>(source)->self; }
  static GSourceFuncs* functions() noexcept {
    static GSourceFuncs all{&prepare, &check, &dispatch, nullptr, nullptr, nullptr};
    return &all;
  }

  millrace::EventLoop& loop_;
  std::function<void()> on_stop_;
  GSource* source_;
  gpointer poll_ = nullptr;
};
