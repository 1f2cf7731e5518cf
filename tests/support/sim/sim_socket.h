// SimSocket is what all simulated sockets have: a name, options, an error that waits. It lives in a
// SimKernel; SimStream and SimDatagram are what there is of it.
#pragma once

#include "support/sim/sim_address.h"
#include "support/sim/sim_file.h"
#include "support/sim/sim_kernel.h"
#include "support/sim/sim_message.h"

#include <cstddef>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include <sys/socket.h>

namespace millrace::test {

// What a call has to say: a number of bytes, or an error.
struct SimResult {
  ssize_t value = 0;
  int error = 0;
};

class SimSocket : public SimFile, public std::enable_shared_from_this<SimSocket> {
 public:
  SimSocket(SimKernel& kernel, int domain, int type);

  // The calls: 0 or an errno value, or a SimResult.
  virtual int bind(const SimAddress& address);
  virtual int listen(int) { return EOPNOTSUPP; }
  virtual int connect(const SimAddress& address) = 0;
  virtual int disconnect() = 0;  // connect() to AF_UNSPEC
  virtual int shutdown(int how) = 0;
  virtual SimResult send(SimMessage&& message) = 0;
  virtual SimResult receive(SimReceived& into, std::size_t n, int flags) = 0;
  virtual int set_option(int level, int name, const void* value, socklen_t n);
  virtual int get_option(int level, int name, void* value, socklen_t* n);
  virtual bool connected() const = 0;
  virtual int queue_size(unsigned long request, int* value) const = 0;
  int local_address(sockaddr* to, socklen_t* n) const;
  int peer_address(sockaddr* to, socklen_t* n) const;
  void remote_address(sockaddr* to, socklen_t* n) const { remote_.copy_to(to, n); }

  virtual bool listening() const { return false; }
  virtual void vanish() {}  // see SimKernel
  // Lets go of all others, at the end of the world.
  virtual void forget_all() = 0;
  int domain() const { return domain_; }
  int type() const { return type_; }
  bool is_unix() const { return domain_ == AF_UNIX; }
  bool is_bound() const { return local_.port() != 0 || !local_.name().empty(); }
  int option(int level, int name) const;
  const SimAddress& local() const { return local_; }
  const SimAddress& remote() const { return remote_; }
  mode_t file_mode() const { return file_mode_; }
  void set_file_mode(mode_t mode) { file_mode_ = mode & 0777u; }
  std::vector<int>& errors_seen() { return errors_seen_; }

 protected:
  int bind_anywhere();  // unless it is bound
  int take_error();

  const int domain_;
  const int type_;
  SimAddress local_;
  SimAddress remote_;
  std::map<std::pair<int, int>, int> options_;
  std::size_t send_buffer_;
  std::size_t receive_buffer_;
  bool has_peer_credentials_ = false;
  int error_ = 0;
  bool closed_by_owner_ = false;

 private:
  std::vector<int> errors_seen_;
  mode_t file_mode_ = 0777;  // of the file that binding makes, less the umask
};

}  // namespace millrace::test
