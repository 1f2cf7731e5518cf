#include "support/sim/sim_epoll.h"

#include "support/sim/sim_kernel.h"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace millrace::test {

void SimFile::touch() {
  for (SimWatch* watch : watches_) watch->epoll->changed(*watch);
}

SimHandle::SimHandle(std::shared_ptr<SimFile> file) : file_(std::move(file)) {
  if (file_) ++file_->handles_;
}

SimHandle::~SimHandle() {
  if (!file_ || --file_->handles_ > 0) return;
  while (!file_->watches_.empty()) {
    SimWatch& watch = *file_->watches_.back();
    watch.epoll->remove(watch.fd, *file_);
  }
  file_->close();
}

SimEpoll::~SimEpoll() {
  for (auto& [key, watch] : watches_) std::erase(watch->file->watches_, watch.get());
}

std::uint32_t SimEpoll::ready_mask(const SimWatch& watch) const {
  return watch.file->poll() & (watch.event.events | EPOLLERR | EPOLLHUP);
}

std::uint32_t SimEpoll::poll() const {
  for (const SimWatch* watch : candidates_) {
    if (ready_mask(*watch) != 0) return EPOLLIN;
  }
  return 0;
}

void SimEpoll::changed(SimWatch& watch) {
  if (std::exchange(watch.listed, true)) return;
  candidates_.push_back(&watch);
}

int SimEpoll::add(int fd, SimFile& file, const epoll_event& event) {
  auto& made = watches_[{fd, &file}];
  if (made) return EEXIST;
  made = std::make_unique<SimWatch>(SimWatch{this, &file, fd, event});
  file.watches_.push_back(made.get());
  changed(*made);
  return 0;
}

int SimEpoll::modify(int fd, SimFile& file, const epoll_event& event) {
  const auto found = watches_.find({fd, &file});
  if (found == watches_.end()) return ENOENT;
  found->second->event = event;
  changed(*found->second);
  return 0;
}

int SimEpoll::remove(int fd, SimFile& file) {
  const auto found = watches_.find({fd, &file});
  if (found == watches_.end()) return ENOENT;
  forget(*found->second);
  watches_.erase(found);
  return 0;
}

void SimEpoll::forget(SimWatch& watch) {
  std::erase(watch.file->watches_, &watch);
  std::erase(candidates_, &watch);
}

std::optional<std::uint32_t> SimEpoll::interest(int fd, const SimFile& file) const {
  const auto found = watches_.find({fd, const_cast<SimFile*>(&file)});
  if (found == watches_.end()) return std::nullopt;
  return std::uint32_t{found->second->event.events};
}

int SimEpoll::collect(epoll_event* events, int max) {
  // Those that are not ready any more leave the list; any order is right, and so is any number.
  std::vector<SimWatch*> ready;
  std::vector<std::uint32_t> masks;
  std::vector<SimWatch*> asked;
  std::swap(asked, candidates_);
  for (SimWatch* watch : asked) {
    watch->listed = false;
    std::uint32_t mask = ready_mask(*watch);
    if (mask == 0 && watch->file->may_mislead()) {
      mask = kernel().spurious_event(watch->event.events);
    }
    if (mask == 0) continue;
    ready.push_back(watch);
    masks.push_back(mask);
  }
  const std::size_t most =
      kernel().events_to_report(std::min(ready.size(), static_cast<std::size_t>(std::max(max, 0))));
  for (std::size_t i = 0; i < ready.size(); ++i) {
    if (i < most) {
      const std::size_t chosen = i + kernel().order(ready.size() - i);
      std::swap(ready[i], ready[chosen]);
      std::swap(masks[i], masks[chosen]);
      events[i] = ready[i]->event;
      events[i].events = masks[i];
      if ((ready[i]->event.events & EPOLLET) != 0) continue;
    }
    changed(*ready[i]);
  }
  return static_cast<int>(most);
}

}  // namespace millrace::test
