// `rpc --listen HOST:PORT` serves two methods: echo, and meet, which two callers wait for: each
// gets the other's payload. `rpc HOST:PORT METHOD PAYLOAD...` makes a call for each payload, all at
// once, and prints the answers as they come. What it shows: rpc.h, and a Reply that is kept.
#include "rpc.h"

#include "serve.h"

#include <optional>

using namespace millrace;

class Demo : public rpc::Service {
  void on_request(std::string_view method, ByteView payload, rpc::Reply reply) override {
    if (method == "echo") return reply.answer(payload);
    if (method != "meet") return reply.fail("no such method");
    if (first_ && !first_->cancelled()) {
      first_->answer(payload);
      reply.answer(words_);
    } else {
      words_ = payload.text();
      first_.emplace(std::move(reply));
    }
  }
  std::optional<rpc::Reply> first_;  // of the two
  std::string words_;
};

int main(int argc, char** argv) try {
  if (argc < 4) {
    return serve(argc, argv, "rpc", "Answers echo and meet.", [](EventLoop& loop) {
      return std::make_unique<FramedServer>(loop, std::make_unique<Demo>());
    });
  }
  int open = 0, failed = 0;
  const auto note = [&](const rpc::Result& result) {
    --open;
    if (result.why || result.failed) ++failed;
    std::cout << (result.why ? result.why.message() : result.payload.text()) << std::endl;
  };
  EventLoop loop;
  rpc::Caller caller;
  FramedClient client(loop, caller);
  client.connect(argv[1]);
  while (client.state() == Client::State::connecting) loop.run_once();
  for (; open < argc - 3; ++open) {
    if (caller.call(argv[2], argv[3 + open], std::chrono::seconds(1), note) == 0)
      throw std::runtime_error("no connection to " + std::string(argv[1]));
  }
  while (open > 0) loop.run_once();
  return failed == 0 ? 0 : 1;
} catch (const std::exception& e) {
  std::cerr << "rpc: " << e.what() << '\n';
  return 1;
}
