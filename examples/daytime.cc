// Daytime (RFC 867): tells the time and closes. What it shows: close() right after send() still
// delivers everything, even when the peer has sent something that nobody reads.
#include "serve.h"

#include <chrono>
#include <ctime>
#include <memory>

using namespace millrace;

namespace {

std::string time_of_day() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  char text[64];
  std::tm utc{};
  const std::size_t n =
      std::strftime(text, sizeof text, "%A, %B %d, %Y %T-UTC\r\n", ::gmtime_r(&now, &utc));
  return std::string(text, n);
}

}  // namespace

int main(int argc, char** argv) {
  return serve(argc, argv, "daytime", "Tells the time and closes.", [](EventLoop& loop) {
    return std::make_unique<Server>(loop, Callbacks{.on_open = [](Connection& c) {
                                      c.send(time_of_day());
                                      c.close();
                                    }});
  });
}
