// A small key-value store that speaks the protocol of Redis: redis-cli and redis-benchmark work
// with it. What it shows: a framing of one's own (RespCommand in resp.h), replies that are written
// as they are, large values that are sent without a copy, and a protocol error that is told before
// the connection is closed.
#include "resp.h"
#include "serve.h"

#include <array>
#include <memory>
#include <unordered_map>

using namespace millrace;

namespace {

using Words = std::span<const std::string_view>;

std::string lower(std::string_view text) {
  std::string made(text);
  for (char& c : made) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return made;
}

// "$5\r\nhello\r\n"
template <class Bytes>
SendResult send_bulk(Connection& c, const Bytes& value) {
  std::array<char, 24> head{'$'};
  char* end = std::to_chars(head.data() + 1, head.data() + 22, value.size()).ptr;
  *end++ = '\r';
  *end++ = '\n';
  return c.send_together({head.data(), static_cast<std::size_t>(end - head.data())}, value, "\r\n");
}

SendResult send_error(Connection& c, std::string text) {
  for (char& x : text)
    x = x == '\r' || x == '\n' ? ' ' : x;  // what a client said could forge replies
  return c.send("-" + text + "\r\n");
}

class Store : public FramedHandler {
 public:
  Store() : FramedHandler(RespCommand()) {}

  void on_frame(FramedConnection& c, ByteView frame) override {
    if (!words_.read(frame)) {
      say_protocol_error(c, "unbalanced quotes in request");
      return c->close(error::frame_corrupt, "unbalanced quotes");
    }
    if (words_.all().empty()) return;
    // Who does not read the replies is not read from.
    if (!run(c.connection(), words_.all())) c->pause_reading();
  }
  void on_drained(Connection& c) override { c.resume_reading(); }
  void on_bad_frame(FramedConnection& c, const FrameError& why) override {
    if (why.code != error::frame_truncated) say_protocol_error(c, why.detail);
  }

 private:
  struct Command {
    std::string_view name;
    std::size_t least, most;  // words, with the name
    SendResult (Store::*run)(Connection&, Words);
  };
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view key) const noexcept {
      return std::hash<std::string_view>()(key);
    }
  };

  static void say_protocol_error(FramedConnection& c, const char* what) {
    send_error(c.connection(), std::string("ERR Protocol error: ") + what);
  }

  SendResult run(Connection& c, Words words);

  SendResult ping(Connection& c, Words words) {
    return words.size() == 1 ? c.send("+PONG\r\n") : send_bulk(c, words[1]);
  }
  SendResult echo(Connection& c, Words words) { return send_bulk(c, words[1]); }
  SendResult get(Connection& c, Words words) {
    const auto found = values_.find(words[1]);
    return found == values_.end() ? c.send("$-1\r\n") : send_bulk(c, found->second);
  }
  SendResult set(Connection& c, Words words) {
    if (words.size() > 3) return send_error(c, "ERR syntax error");
    SharedBytes value{ByteView(words[2])};
    const auto found = values_.find(words[1]);
    if (found == values_.end()) {
      values_.emplace(words[1], std::move(value));
    } else {
      found->second = std::move(value);
    }
    return c.send("+OK\r\n");
  }
  SendResult del(Connection& c, Words words) {
    std::size_t gone = 0;
    for (const std::string_view key : words.subspan(1)) {
      const auto found = values_.find(key);
      if (found == values_.end()) continue;
      values_.erase(found);
      ++gone;
    }
    return c.send(":" + std::to_string(gone) + "\r\n");
  }
  SendResult select(Connection& c, Words words) {
    return words[1] == "0" ? c.send("+OK\r\n") : send_error(c, "ERR DB index is out of range");
  }
  SendResult quit(Connection& c, Words) {
    const SendResult sent = c.send("+OK\r\n");
    c.close();
    return sent;
  }
  // What clients ask when they connect.
  SendResult hello(Connection& c, Words words) {
    if (words.size() > 1 && words[1] != "2") {
      return send_error(c, "NOPROTO unsupported protocol version");
    }
    return c.send("*4\r\n$6\r\nserver\r\n$8\r\nmillrace\r\n$5\r\nproto\r\n:2\r\n");
  }
  SendResult command(Connection& c, Words) { return c.send("*0\r\n"); }
  SendResult config(Connection& c, Words words) {
    if (words.size() != 3 || lower(words[1]) != "get") {
      return send_error(c, "ERR unknown subcommand '" + std::string(words[1].substr(0, 128)) + "'");
    }
    const std::string name = lower(words[2]);
    if (name == "save") return c.send("*2\r\n$4\r\nsave\r\n$0\r\n\r\n");
    if (name == "appendonly") return c.send("*2\r\n$10\r\nappendonly\r\n$2\r\nno\r\n");
    return c.send("*0\r\n");
  }
  SendResult unknown(Connection& c, Words words) {
    std::string rest;
    for (std::size_t i = 1; i < words.size() && rest.size() < 128; ++i) {
      rest += "'" + std::string(words[i].substr(0, 128 - rest.size())) + "' ";
    }
    return send_error(c, "ERR unknown command '" + std::string(words[0].substr(0, 128)) +
                             "', with args beginning with: " + rest);
  }

  // Shared with the send queues of the connections that they are being sent on.
  std::unordered_map<std::string, SharedBytes, Hash, std::equal_to<>> values_;
  RespWords words_;
};

SendResult Store::run(Connection& c, Words words) {
  static constexpr std::size_t kAny = SIZE_MAX;
  static constexpr Command kCommands[] = {
      {"get", 2, 2, &Store::get},          {"set", 3, kAny, &Store::set},
      {"del", 2, kAny, &Store::del},       {"ping", 1, 2, &Store::ping},
      {"echo", 2, 2, &Store::echo},        {"select", 2, 2, &Store::select},
      {"quit", 1, kAny, &Store::quit},     {"hello", 1, kAny, &Store::hello},
      {"config", 2, kAny, &Store::config}, {"command", 1, kAny, &Store::command},
  };
  const std::string name = lower(words[0].substr(0, 16));
  for (const Command& each : kCommands) {
    if (each.name != name) continue;
    if (words.size() >= each.least && words.size() <= each.most) return (this->*each.run)(c, words);
    return send_error(c, "ERR wrong number of arguments for '" + name + "' command");
  }
  return unknown(c, words);
}

}  // namespace

int main(int argc, char** argv) {
  Store store;
  return serve(argc, argv, "resp_server", "A key-value store for clients of Redis.",
               [&](EventLoop& loop) { return std::make_unique<FramedServer>(loop, store); });
}
