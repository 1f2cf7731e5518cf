// FramedTest is LoopTest for servers of frames: it keeps what their callbacks say.
//
//   struct MyTest : FramedTest {};
//   TEST_F(MyTest, CutsLines) {
//     FramedServer server(loop(), keep(), Lines());
//     RawSocket peer = connect(server);
//     peer.send_all("one\ntwo\n");
//     ASSERT_TRUE(run_until([&] { return frames.size() == 2; }));
//   }
#pragma once

#include <millrace/framed_server.h>

#include "support/loop_test.h"

#include <functional>
#include <string>
#include <vector>

namespace millrace::test {

// `payload` behind its length of four bytes.
inline std::string frame(const std::string& payload) {
  std::string bytes(4 + payload.size(), '\0');
  store(reinterpret_cast<std::byte*>(bytes.data()), static_cast<std::uint32_t>(payload.size()),
        ByteOrder::big);
  bytes.replace(4, payload.size(), payload);
  return bytes;
}

// A literal with NULs inside.
template <std::size_t N>
std::string bytes_of(const char (&literal)[N]) {
  return std::string(literal, N - 1);
}

class FramedTest : public LoopTest {
 protected:
  // Keeps frames and the ways connections end.
  FrameCallbacks keep() {
    return {.on_frame =
                [this](FramedConnection& c, ByteView f) {
                  frames.emplace_back(f.text());
                  if (when_frame) when_frame(c, f);
                },
            .on_frames_end =
                [this](FramedConnection& c) {
                  ++frames_ended;
                  c->close();
                },
            .on_oversized_frame =
                [this](FramedConnection&, const FrameError& e) {
                  frames.push_back("oversized");
                  oversized.push_back(e);
                },
            .on_bad_frame =
                [this](FramedConnection&, const FrameError& e) {
                  ++bad_frames;
                  bad = e;
                },
            .on_close =
                [this](FramedConnection& c, std::error_code why) {
                  ++closed;
                  reason = why;
                  detail = c->close_detail();
                }};
  }

  RawSocket connect(FramedServer& server) {
    server.listen(any_address());
    return RawSocket::connect_to(server.address());
  }
  bool until_closed() {
    return run_until([&] { return closed > 0; });
  }

  std::vector<std::string> frames;
  std::function<void(FramedConnection&, ByteView)> when_frame;
  int frames_ended = 0;
  std::vector<FrameError> oversized;
  int bad_frames = 0;
  FrameError bad;
  int closed = 0;
  std::error_code reason;
  std::string detail;
};

}  // namespace millrace::test
