// SimEpoll is a simulated epoll instance: level- and edge-triggered watches, EPOLLERR and EPOLLHUP
// always, registrations of a descriptor and its file, which vanish with the file. Like the real one
// it keeps a list of those that may be ready, and asks them when it is waited for.
#pragma once

#include "support/sim/sim_file.h"

#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <sys/epoll.h>

namespace millrace::test {

struct SimWatch {
  SimEpoll* epoll;
  SimFile* file;
  int fd;
  epoll_event event;
  bool listed = false;  // among those that may be ready
};

class SimEpoll final : public SimFile {
 public:
  using SimFile::SimFile;
  ~SimEpoll() override;

  std::uint32_t poll() const override;
  // Each as epoll_ctl(2): 0 or an errno value.
  int add(int fd, SimFile& file, const epoll_event& event);
  int modify(int fd, SimFile& file, const epoll_event& event);
  int remove(int fd, SimFile& file);
  // Those that are ready, at most `max`; the kernel's decisions choose how many and in what order.
  int collect(epoll_event* events, int max);

  // What is watched for on `fd`; no value: it is not watched.
  std::optional<std::uint32_t> interest(int fd, const SimFile& file) const;
  void changed(SimWatch& watch);

 private:
  std::uint32_t ready_mask(const SimWatch& watch) const;
  void forget(SimWatch& watch);

  std::map<std::pair<int, SimFile*>, std::unique_ptr<SimWatch>> watches_;
  std::vector<SimWatch*> candidates_;
};

}  // namespace millrace::test
