#include <millrace/millrace.h>

#include <iostream>

int main() {
  millrace::EventLoop loop;
  bool ran = false;
  loop.post([&] {
    ran = true;
    loop.stop();
  });
  loop.run();
  millrace::FramedServer server(loop, millrace::FrameCallbacks{});
  server.listen("127.0.0.1:0");
  std::cout << (ran && server.address().port() != 0 ? "works" : "does not work") << '\n';
  return ran ? 0 : 1;
}
