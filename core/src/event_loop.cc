#include <millrace/event_loop.h>

#include "loop_core.h"

#include <utility>

namespace millrace {

EventLoop::EventLoop(LoopOptions options)
    : core_(std::make_unique<LoopCore>(options)), services_(&core_->services()) {}
EventLoop::~EventLoop() {
  core_->shut_down();
}

void EventLoop::run() {
  core_->run();
}
bool EventLoop::run_once(Delay max_wait) {
  return core_->run_once(max_wait.value());
}
void EventLoop::run_for(Delay duration) {
  core_->run_for(duration.value());
}
void EventLoop::stop() noexcept {
  core_->mailbox().stop();
}

bool EventLoop::post(Task task) {
  return core_->mailbox().post(std::move(task));
}
void EventLoop::defer(Task task) {
  core_->defer(std::move(task));
}
LoopRef EventLoop::ref() const noexcept {
  return core_->ref();
}

TimePoint EventLoop::now() const noexcept {
  return core_->now();
}
TimePoint EventLoop::refresh_now() noexcept {
  return core_->refresh_now();
}

Timer EventLoop::after(Delay delay, Function<void()> callback) {
  Timer timer(*this, std::move(callback));
  timer.start(delay);
  return timer;
}

Timer EventLoop::every(Delay period, Function<void()> callback, Repeat repeat) {
  Timer timer(*this, std::move(callback));
  timer.start_every(period, repeat);
  return timer;
}

bool EventLoop::in_loop_thread() const noexcept {
  return core_->in_loop_thread();
}

void EventLoop::set_exception_hook(ExceptionHook hook) {
  core_->set_exception_hook(std::move(hook));
}

int EventLoop::backend_fd() const noexcept {
  return core_->poller().fd();
}
std::optional<Duration> EventLoop::next_timeout() {
  return core_->next_timeout();
}
void EventLoop::reinit_after_fork() {
  core_->reinit_after_fork();
}
LoopStats EventLoop::stats() const noexcept {
  return core_->stats();
}
void EventLoop::reset_longest() noexcept {
  core_->reset_longest();
}

bool LoopRef::post(Task task) const {
  return mailbox_ && mailbox_->post(std::move(task));
}
void LoopRef::stop() const noexcept {
  if (mailbox_) mailbox_->stop();
}
bool LoopRef::alive() const noexcept {
  return mailbox_ && !mailbox_->closed();
}

}  // namespace millrace
