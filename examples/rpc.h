// Requests and answers over LengthPrefix: any number at a time, answered in any order. What it
// shows: FrameWriter and ByteReader, timers, and who may outlive whom. Loop's thread only. A frame:
//   id 8, big endian | kind 1 | length 1 | method, only of requests | payload, or an error's text
#pragma once

#include <millrace/byte_reader.h>
#include <millrace/millrace.h>

#include <map>
#include <set>
#include <stdexcept>

namespace rpc {
using namespace millrace;

enum class Kind : std::uint8_t { request, answer, error, cancel };

struct Message {
  std::uint64_t id = 0;  // given by the caller, to one request only
  Kind kind = Kind::request;
  ByteView payload = {}, method = {};
};

inline bool parse(ByteView frame, Message& m) {
  ByteReader in(frame);
  m.id = in.get<std::uint64_t>(ByteOrder::big);
  m.kind = static_cast<Kind>(in.get<std::uint8_t>());
  m.method = in.take(in.get<std::uint8_t>());
  m.payload = in.rest();
  return in.ok();
}

inline SendResult send(Connection& c, const Message& m) {
  static const Framing framing = LengthPrefix();
  FrameWriter out = FramedConnection(c, framing).frame_writer();
  out.put(m.id, ByteOrder::big);
  out.put(static_cast<std::uint8_t>(m.kind));
  out.put(static_cast<std::uint8_t>(m.method.size()));
  out.write(m.method);
  out.write(m.payload);
  return out.commit();
}

// Answers a request, once and whenever you like; dropped without that, with an error.
class Reply {
 public:
  Reply(Reply&&) noexcept = default;
  ~Reply() { finish(Kind::error, "dropped without an answer"); }
  void answer(ByteView payload) { finish(Kind::answer, payload); }
  void fail(ByteView text) { finish(Kind::error, text); }
  // Nobody waits for it, or not any more: nothing is sent.
  bool cancelled() const { return !ref_.get() || !ref_.get()->context<Open>()->contains(id_); }

 private:
  friend class Service;
  using Open = std::set<std::uint64_t>;  // what a connection waits for
  Reply(Connection& c, std::uint64_t id) : ref_(c.ref()), id_(id) {}
  void finish(Kind kind, ByteView payload) {
    if (cancelled()) return;
    // If more waits than the peer takes, no more requests until on_drained.
    if (!send(*ref_.get(), {id_, kind, payload})) ref_.get()->pause_reading();
    ref_.get()->context<Open>()->erase(id_);
  }
  ConnectionRef ref_;
  std::uint64_t id_;
};

// What you write for a FramedServer.
class Service : public FramedHandler {
 public:
  virtual void on_request(std::string_view method, ByteView payload, Reply reply) = 0;

  void on_open(Connection& c) final { c.emplace_context<Reply::Open>(); }
  void on_drained(Connection& c) final { c.resume_reading(); }
  void on_frame(FramedConnection& c, ByteView frame) final {
    Message m;
    auto& open = *c->context<Reply::Open>();
    if (!parse(frame, m)) return c->close(error::frame_corrupt, "message cut short");
    if (m.kind == Kind::cancel) return void(open.erase(m.id));  // or it is answered already
    if (m.kind != Kind::request) return c->close(error::frame_corrupt, "not a request");
    if (!open.insert(m.id).second) return c->close(error::frame_corrupt, "id of an open request");
    on_request(m.method.text(), m.payload, Reply(c.connection(), m.id));
  }
};

struct Result {
  std::error_code why = {};  // no answer came: timed_out, or what became of the connection
  bool failed = false;       // the server has answered with an error
  ByteView payload = {};     // of the answer, or what else there is to say; valid in the callback
};

// For a FramedClient. Let the client own it: then both may go inside a callback.
class Caller : public FramedHandler {
 public:
  // `done` is called once, from the loop or when the client is destroyed, and may do anything.
  // 0: it is not called, there is no connection or no room. Throws std::length_error.
  std::uint64_t call(std::string_view method, ByteView payload, Delay deadline,
                     Function<void(const Result&)> done) {
    if (method.size() > 255) throw std::length_error("rpc: a method of more than 255 bytes");
    Connection* c = connection_.get();
    const std::uint64_t id = ++last_;
    if (!c || !send(*c, {id, Kind::request, payload, method}).accepted()) return 0;
    const auto expire = [this, id] {
      tell_cancelled(id);
      end(id, {make_error_code(std::errc::timed_out)});
    };
    calls_.emplace(id, Call{c->loop().after(deadline, expire), std::move(done)});
    return id;
  }
  // The server is told, and `done` not called; nothing when the call has ended before.
  void cancel(std::uint64_t id) {
    if (calls_.erase(id) > 0) tell_cancelled(id);
  }

  void on_open(Connection& c) override { connection_ = c.ref(); }  // from now on calls can be made
  void on_frame(FramedConnection& c, ByteView frame) final {
    Message m;
    if (!parse(frame, m)) return c->abort(error::frame_corrupt, "message cut short");
    if ((m.kind != Kind::answer && m.kind != Kind::error) || m.id > last_)
      return c->abort(error::frame_corrupt, "not an answer to a call that was made");
    end(m.id, {{}, m.kind == Kind::error, m.payload});
  }
  void on_close(Connection& c, std::error_code why) final {
    if (!why) why = make_error_code(std::errc::connection_aborted);
    while (!calls_.empty()) end(calls_.begin()->first, {why, false, c.close_detail()});
  }

 private:
  struct Call {
    Timer deadline;
    Function<void(const Result&)> done;
  };
  void tell_cancelled(std::uint64_t id) {
    if (Connection* c = connection_.get()) send(*c, {id, Kind::cancel});
  }
  void end(std::uint64_t id, const Result& result) {  // unless it was cancelled
    if (auto call = calls_.extract(id)) call.mapped().done(result);
  }

  ConnectionRef connection_;
  std::uint64_t last_ = 0;
  std::map<std::uint64_t, Call> calls_;
};

}  // namespace rpc
