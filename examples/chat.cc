// A chat room of length-prefixed frames: the first frame of a member is its name, each further one
// is said to everybody else. What it shows: a broadcast through SharedBytes (one payload, however
// many members) and a ConnectionRef for each member, which can be kept without keeping anything
// alive. A member that does not read is shown the door instead of filling our memory.
#include "serve.h"

#include <map>
#include <memory>
#include <string>

using namespace millrace;

namespace {

class Room : public FramedHandler {
 public:
  void on_frame(FramedConnection& c, ByteView frame) override {
    const std::string text(frame.text());
    if (auto* name = c->context<std::string>()) {
      say(*name + ": " + text, c->id());
      return;
    }
    c->emplace_context<std::string>(text);
    members_.emplace(c->id(), c->ref());
    say("* " + text + " has come", c->id());
    c.send_frame("* welcome, " + text + "; " + std::to_string(members_.size()) + " here");
  }

  void on_close(Connection& c, std::error_code) override {
    if (members_.erase(c.id()) == 0) return;
    say("* " + *c.context<std::string>() + " has gone", c.id());
  }

 private:
  void say(std::string text, std::uint64_t from) {
    const SharedBytes line(std::move(text));
    for (const auto& [id, ref] : members_) {
      Connection* member = ref.get();
      if (!member || id == from) continue;
      if (!framed(*member).send_frame(line)) member->abort({}, "does not read");
    }
  }

  std::map<std::uint64_t, ConnectionRef> members_;
};

}  // namespace

int main(int argc, char** argv) {
  Room room;
  return serve(argc, argv, "chat", "A chat room of length-prefixed frames.",
               [&](EventLoop& loop) { return std::make_unique<FramedServer>(loop, room); });
}
