// DnsChannel asks DNS servers through c-ares: its sockets are watched by the loop, its deadlines
// are a timer of the loop, its system calls are ours. Whoever has it destroys it, but not from
// inside handle_answer(). Loop's thread.
//
//   DnsChannel channel(loop, options, [&] { start_anew(); });
//   channel.ask(name, Resolver::Families::any, asker);   // asker.handle_answer() comes once
#pragma once

#include <millrace/error.h>
#include <millrace/function.h>
#include <millrace/resolver.h>
#include <millrace/timer.h>

#include <string>
#include <system_error>
#include <vector>

#include <sys/types.h>

struct ares_channeldata;
struct ares_addrinfo;

namespace millrace {

class DnsChannel;

class DnsAsker {
 public:
  // Called from c-ares: touches neither the channel nor anything of the user's.
  virtual void handle_answer(std::error_code why,
                             std::vector<SocketAddress> addresses) noexcept = 0;

 protected:
  ~DnsAsker() = default;

 private:
  friend class DnsChannel;
  DnsChannel* channel_ = nullptr;
};

class DnsChannel {
 public:
  // Called in a child after fork(), where the sockets are the parent's, when anything happens: the
  // callback destroys the channel. Throws std::system_error.
  DnsChannel(EventLoop& loop, const ResolverOptions& options, Function<void()> on_inherited);
  ~DnsChannel();  // answers every question that is left
  DnsChannel(const DnsChannel&) = delete;
  DnsChannel& operator=(const DnsChannel&) = delete;

  // The answer may come from inside this call; until then there is no other question of the
  // asker's.
  void ask(const std::string& name, Resolver::Families families, DnsAsker& asker) noexcept;
  // Answers every question, and closes the sockets.
  void cancel_all() noexcept;
  std::size_t questions() const noexcept { return questions_; }
  // Whether it was made by a parent of this process.
  bool inherited() const noexcept;

 private:
  class Socket;
  struct SocketCalls;
  friend struct SocketCalls;

  void take_servers(const std::vector<SocketAddress>& servers);
  void process(int readable, int writable) noexcept;
  void start_timer() noexcept;
  Socket* find(int fd) const noexcept;
  void note_answer(const void* answer, std::size_t size) noexcept;
  static void handle_socket_state(void* self, int fd, int readable, int writable);
  static void handle_result(void* asker, int status, int timeouts, ares_addrinfo* result);

  EventLoop& loop_;
  Function<void()> on_inherited_;
  pid_t process_;
  ares_channeldata* ares_ = nullptr;
  std::size_t questions_ = 0;
  std::vector<Socket*> sockets_;
  error failure_ =
      error::name_servers_unreachable;  // the last one of a server, or on the way to it
  Timer timer_;                         // runs while c-ares waits for something
};

}  // namespace millrace
