// UnixPathOptions says what becomes of the file that binding a Unix socket to a path makes: part of
// ListenOptions, and of no effect on abstract names. Values; any thread.
//
//   ServerOptions options;
//   options.listen.path = {.mode = 0660, .group = www_data->gr_gid};   // for its members only
//   Server server(loop, handler, options);
//   server.listen("unix:/run/app.sock");
#pragma once

#include <cstdint>
#include <optional>

namespace millrace {

struct UnixPathOptions {
  // Who may connect: write permission on the file decides. Exactly this mode, whatever the umask
  // (which is never touched: it is the process's), and nobody gets in before it is so. Not given:
  // what the umask leaves of 0777: mostly 0755, which lets in our own user and root alone.
  std::optional<std::uint32_t> mode = std::nullopt;
  // Whose file it is. The owner takes privileges; the group must be one of ours without them.
  std::optional<std::uint32_t> owner = std::nullopt;
  std::optional<std::uint32_t> group = std::nullopt;
  // A process that was killed leaves its file behind, and binding says EADDRINUSE. Such a file is
  // replaced when it is a socket, belongs to our user, and no socket of any process is bound to it;
  // anything else is never touched. Off: a file that is in the way always is an error.
  bool replace_stale = true;
  // The file goes when the socket does, if it still is the one that was made, and in the process
  // that made it: never in a forked child. A relative path is looked for where it was made, if that
  // still is the working directory. Off: who connects later is told ECONNREFUSED instead of ENOENT.
  bool remove_at_end = true;
};

}  // namespace millrace
