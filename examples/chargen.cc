// Character generator (RFC 864): sends lines without end, as fast as the peer takes them. What it
// shows: backpressure. send() says when to stop, on_drained when to go on; whatever the peer does,
// no more than the high watermark waits in memory.
#include "serve.h"

#include <memory>

using namespace millrace;

namespace {

// 95 lines of 72 characters, each starting one character later; then it repeats.
std::string pattern() {
  std::string text;
  for (int line = 0; line < 95; ++line) {
    for (int column = 0; column < 72; ++column) {
      text += static_cast<char>(' ' + (line + column) % 95);
    }
    text += "\r\n";
  }
  return text;
}

void fill(Connection& c, const SharedBytes& lines) {
  while (c.send(lines)) {
  }
}

}  // namespace

int main(int argc, char** argv) {
  const SharedBytes lines(pattern());
  return serve(argc, argv, "chargen", "Sends lines without end.", [&](EventLoop& loop) {
    return std::make_unique<Server>(
        loop, Callbacks{.on_open = [&](Connection& c) { fill(c, lines); },
                        .on_drained = [&](Connection& c) { fill(c, lines); }});
  });
}
