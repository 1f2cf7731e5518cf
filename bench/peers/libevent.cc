// The echo server over libevent's bufferevents: what was read moves from the input to the output
// buffer without a copy, and a broadcast is added to the outputs by reference. One thread, no
// locks. libevent 2.1 reads at most 4 KiB at a time and asks how much there is before; that is its
// own.
#include "peer.h"

#include <csignal>
#include <string>
#include <vector>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>

using peer::kBlock, peer::Mode;

namespace {

Mode mode;
std::vector<bufferevent*> open;  // of the broadcast alone

// As peer::whole_frames(), in a buffer of many pieces.
std::size_t whole_frames(evbuffer* in) {
  const std::size_t n = evbuffer_get_length(in);
  std::size_t at = 0;
  evbuffer_ptr frame;
  evbuffer_ptr_set(in, &frame, 0, EVBUFFER_PTR_SET);
  while (n - at >= 4) {
    std::uint32_t length;
    evbuffer_copyout_from(in, &frame, &length, 4);
    const std::size_t whole = 4 + std::size_t{ntohl(length)};
    if (n - at < whole) break;
    at += whole;
    evbuffer_ptr_set(in, &frame, whole, EVBUFFER_PTR_ADD);
  }
  return at;
}

void echo_frames(bufferevent* c, evbuffer* in) {
  const std::size_t whole = whole_frames(in);
  if (whole == evbuffer_get_length(in)) {
    bufferevent_write_buffer(c, in);
  } else if (whole > 0) {
    evbuffer_remove_buffer(in, bufferevent_get_output(c), whole);
  }
}

void broadcast_frames(bufferevent* sender, evbuffer* in) {
  const std::size_t whole = whole_frames(in);
  if (whole == 0) return;
  evbuffer* frames = evbuffer_new();
  evbuffer_remove_buffer(in, frames, whole);
  for (bufferevent* c : open) {
    if (c != sender) evbuffer_add_buffer_reference(bufferevent_get_output(c), frames);
  }
  evbuffer_free(frames);
}

void handle_read(bufferevent* c, void* received) {
  evbuffer* in = bufferevent_get_input(c);
  switch (mode) {
    case Mode::echo:
      bufferevent_write_buffer(c, in);
      return;
    case Mode::framed:
      return echo_frames(c, in);
    case Mode::sink:
      *static_cast<std::uint64_t*>(received) += evbuffer_get_length(in);
      evbuffer_drain(in, evbuffer_get_length(in));
      return;
    case Mode::broadcast:
      return broadcast_frames(c, in);
  }
}

void close_connection(bufferevent* c, void* received) {
  if (mode == Mode::broadcast) std::erase(open, c);
  delete static_cast<std::uint64_t*>(received);
  bufferevent_free(c);
}

void handle_event(bufferevent* c, short what, void* received) {
  if (what & BEV_EVENT_EOF) {
    if (mode == Mode::sink) {
      const auto count = peer::big_endian(*static_cast<std::uint64_t*>(received));
      bufferevent_write(c, count.data(), count.size());
    }
    if (evbuffer_get_length(bufferevent_get_output(c)) > 0) {
      bufferevent_setcb(c, nullptr, close_connection, handle_event, received);  // when it is sent
      return;
    }
  }
  close_connection(c, received);
}

void handle_connection(evconnlistener* listener, evutil_socket_t fd, sockaddr*, int, void*) {
  bufferevent* c =
      bufferevent_socket_new(evconnlistener_get_base(listener), fd, BEV_OPT_CLOSE_ON_FREE);
  bufferevent_set_max_single_read(c, kBlock);
  bufferevent_set_max_single_write(c, kBlock);
  bufferevent_setcb(c, handle_read, nullptr, handle_event,
                    mode == Mode::sink ? new std::uint64_t(0) : nullptr);
  bufferevent_enable(c, EV_READ);
  if (mode == Mode::broadcast) open.push_back(c);
}

}  // namespace

int main(int argc, char** argv) {
  const auto arguments =
      peer::arguments(argc, argv, std::string("libevent ") + event_get_version());
  mode = arguments.mode;
  std::signal(SIGPIPE, SIG_IGN);  // libevent leaves it to its user
  event_config* config = event_config_new();
  event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
  event_config_set_flag(config, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST);
  event_base* base = event_base_new_with_config(config);
  event_config_free(config);
  evconnlistener_new(base, handle_connection, nullptr, 0, 0, peer::listen_on(arguments.port));
  event_base_dispatch(base);
}
