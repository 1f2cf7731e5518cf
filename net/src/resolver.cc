// A lookup is a Pending: it ends when its user has been told or has cancelled, and lives until
// c-ares has given its answer besides, which nobody may be waiting for any more. The user is told
// from its timer, with delay zero once there is something to tell: never from inside resolve(), and
// never from inside c-ares, so that the callback may destroy everything.
#include <millrace/check.h>
#include <millrace/error.h>
#include <millrace/event_loop.h>
#include <millrace/loop_services.h>
#include <millrace/resolver.h>

#include "dns_channel.h"
#include "host_name.h"
#include "hosts_file.h"

#include <algorithm>
#include <cerrno>
#include <exception>
#include <iterator>
#include <new>
#include <utility>

namespace millrace {
namespace {

constexpr const char* kSystemHosts = "/etc/hosts";

const std::string& resolv_conf_of(const ResolverOptions& options) {
  static const std::string system = "/etc/resolv.conf";
  return options.resolv_conf_file.empty() ? system : options.resolv_conf_file;
}

bool is_of(SocketAddress::Family family, Resolver::Families wanted) noexcept {
  switch (wanted) {
    case Resolver::Families::ipv4:
      return family == SocketAddress::Family::ipv4;
    case Resolver::Families::ipv6:
      return family == SocketAddress::Family::ipv6;
    case Resolver::Families::any:
      break;
  }
  return true;
}

void check(const ResolverOptions& options) {
  MILLRACE_CHECK(options.try_timeout.count() > 0, "ResolverOptions::try_timeout is positive");
  MILLRACE_CHECK(options.tries >= 1 && options.tries <= 10,
                 "ResolverOptions::tries is between 1 and 10");
  for (const SocketAddress& server : options.servers) {
    const char* wrong = server.family() == SocketAddress::Family::none ? "it is no address"
                        : server.port() == 0                           ? "it has no port"
                        : server.scope() != 0                          ? "it has a scope"
                                                                       : nullptr;
    if (wrong) throw_system_error(EINVAL, "DNS server " + server.to_string() + ": " + wrong);
  }
  for (const std::string& domain : options.search_domains) {
    if (!is_host_name(domain)) throw_system_error(EINVAL, "search domain '" + domain + "'");
  }
}

}  // namespace

class Lookup::Pending final : public DnsAsker, public TimerNode, public Mortal {
 public:
  Pending(Resolver::Core& core, std::string_view host, std::uint16_t port,
          Resolver::Families families, Resolver::Done done)
      : core_(core), host_(host), port_(port), families_(families), done_(std::move(done)) {}

  const std::string& host() const noexcept { return host_; }
  void attach(Lookup* lookup) noexcept { lookup_ = lookup; }
  void ask(DnsChannel& channel) noexcept;
  void limit(std::chrono::milliseconds time) noexcept;
  // The user will be told this in the next turn.
  void finish(std::error_code why, std::vector<SocketAddress> addresses) noexcept;
  // The same with those of `addresses` that were asked for; false if there are none.
  bool finish_with(std::span<const SocketAddress> addresses);
  void cancel() noexcept;
  // Nobody will be told. What the callback holds goes when this does.
  void leave_user() noexcept;

  bool asked() const noexcept { return asked_; }
  bool told() const noexcept { return told_; }
  bool waits_for_servers() const noexcept { return !finished_ && !told_; }
  std::size_t place = 0;  // in Core::pending_

 private:
  void handle_answer(std::error_code why, std::vector<SocketAddress> addresses) noexcept override;
  void handle_timer() override;

  Resolver::Core& core_;
  const std::string host_;
  const std::uint16_t port_;
  const Resolver::Families families_;
  Resolver::Done done_;
  Lookup* lookup_ = nullptr;
  std::error_code why_ = error::name_timeout;  // that of the timer, unless there is a result
  std::vector<SocketAddress> addresses_;
  bool finished_ = false;  // there is a result
  bool told_ = false;      // or cancelled: nobody waits
  bool asked_ = false;     // the channel will answer
};

// Outlives its Resolver by the rest of the iteration.
class Resolver::Core final : public Mortal {
 public:
  using Pending = Lookup::Pending;

  Core(EventLoop& loop, ResolverOptions options);

  EventLoop& loop() const noexcept { return loop_; }
  Pending& resolve(std::string_view host, std::uint16_t port, Families families, Done done);
  void end() noexcept;  // the Resolver is gone

  // Whoever waited for it does not any more.
  void settled(Pending& pending) noexcept;
  // The channel has answered, and nobody waits.
  void remove(Pending& pending) noexcept;
  // Channels are being destroyed, and answer all that is left.
  bool closing() const noexcept { return closing_; }

 private:
  void begin(Pending& pending);
  DnsChannel& channel();
  std::unique_ptr<DnsChannel> make_channel();
  void close_channels() noexcept;
  void start_anew() noexcept;

  EventLoop& loop_;
  const ResolverOptions options_;
  HostsFile hosts_;
  FileStamp resolv_conf_;
  std::unique_ptr<DnsChannel> channel_;
  // Made from an older /etc/resolv.conf; there until they have answered.
  std::vector<std::unique_ptr<DnsChannel>> retired_;
  std::vector<std::unique_ptr<Pending>> pending_;
  std::size_t waiting_ = 0;  // those of them whose user is still to be told
  bool closing_ = false;
};

void Lookup::Pending::ask(DnsChannel& channel) noexcept {
  asked_ = true;
  channel.ask(host_, families_, *this);
}

void Lookup::Pending::limit(std::chrono::milliseconds time) noexcept {
  if (time.count() > 0) TimerNode::start(core_.loop(), time);
}

void Lookup::Pending::finish(std::error_code why, std::vector<SocketAddress> addresses) noexcept {
  finished_ = true;
  why_ = why;
  addresses_ = std::move(addresses);
  for (SocketAddress& address : addresses_) address = address.with_port(port_);
  TimerNode::start(core_.loop(), Duration(0));
}

bool Lookup::Pending::finish_with(std::span<const SocketAddress> addresses) {
  std::vector<SocketAddress> wanted;
  std::copy_if(addresses.begin(), addresses.end(), std::back_inserter(wanted),
               [this](const SocketAddress& a) { return is_of(a.family(), families_); });
  if (wanted.empty()) return false;
  finish({}, std::move(wanted));
  return true;
}

void Lookup::Pending::handle_answer(std::error_code why,
                                    std::vector<SocketAddress> addresses) noexcept {
  asked_ = false;
  if (core_.closing()) return;
  if (told_) return core_.remove(*this);
  finish(why, std::move(addresses));
}

void Lookup::Pending::handle_timer() {
  EventLoop& loop = core_.loop();
  // From the stack: the callback may destroy the Resolver, and itself with it.
  Resolver::Done done = std::move(done_);
  const std::vector<SocketAddress> addresses = std::move(addresses_);
  const std::error_code why = why_;
  leave_user();
  core_.settled(*this);
  try {
    done(why, addresses);
  } catch (...) {
    loop.services().report_exception(std::current_exception(), "resolver");
  }
}

void Lookup::Pending::cancel() noexcept {
  const Resolver::Done dropped = std::move(done_);  // last: who knows what its end does
  leave_user();
  core_.settled(*this);
}

void Lookup::Pending::leave_user() noexcept {
  told_ = true;
  if (Lookup* lookup = std::exchange(lookup_, nullptr)) lookup->pending_ = nullptr;
  TimerNode::cancel(core_.loop());
}

Resolver::Core::Core(EventLoop& loop, ResolverOptions options)
    : loop_(loop),
      options_(std::move(options)),
      hosts_(options_.hosts_file.empty() ? kSystemHosts : options_.hosts_file) {
  check(options_);
  if (const int e = hosts_.refresh(); e != 0 && !options_.hosts_file.empty()) {
    throw_system_error(e, "hosts file " + options_.hosts_file);
  }
  channel_ = make_channel();
}

std::unique_ptr<DnsChannel> Resolver::Core::make_channel() {
  // First the stamp: what changes while it is read is seen the next time.
  const FileStamp stamp = FileStamp::of(resolv_conf_of(options_));
  auto made = std::make_unique<DnsChannel>(loop_, options_, [this] { start_anew(); });
  resolv_conf_ = stamp;
  return made;
}

// The one to ask now. Throws what making one does.
DnsChannel& Resolver::Core::channel() {
  if (channel_ && channel_->inherited()) start_anew();
  if (!channel_) channel_ = make_channel();
  if (options_.servers.empty() && resolv_conf_ != FileStamp::of(resolv_conf_of(options_))) {
    std::erase_if(retired_, [](const auto& old) { return old->questions() == 0; });
    retired_.reserve(retired_.size() + 1);
    retired_.push_back(std::exchange(channel_, make_channel()));
  }
  return *channel_;
}

void Resolver::Core::close_channels() noexcept {
  closing_ = true;
  channel_.reset();
  retired_.clear();
  closing_ = false;
}

// In a child after fork(): the sockets, and the answers to what was asked, are the parent's.
void Resolver::Core::start_anew() noexcept {
  close_channels();
  std::error_code failed;
  try {
    channel_ = make_channel();
  } catch (const std::bad_alloc&) {
    failed = std::make_error_code(std::errc::not_enough_memory);
  } catch (const std::system_error& e) {
    failed = e.code();
  }
  for (std::size_t i = pending_.size(); i-- > 0;) {  // backwards: the last one takes a gap
    Pending& pending = *pending_[i];
    if (!pending.waits_for_servers()) {
      if (pending.told()) remove(pending);
    } else if (channel_) {
      pending.ask(*channel_);
    } else {
      pending.finish(failed, {});
    }
  }
}

Lookup::Pending& Resolver::Core::resolve(std::string_view host, std::uint16_t port,
                                         Families families, Done done) {
  pending_.push_back(std::make_unique<Pending>(*this, host, port, families, std::move(done)));
  Pending& pending = *pending_.back();
  pending.place = pending_.size() - 1;
  ++waiting_;
  try {
    begin(pending);
  } catch (const std::bad_alloc&) {
    pending.finish(std::make_error_code(std::errc::not_enough_memory), {});
  } catch (const std::system_error& e) {
    pending.finish(e.code(), {});
  }
  return pending;
}

void Resolver::Core::begin(Pending& pending) {
  const std::string& host = pending.host();
  if (const auto address = numeric_host(host, 0)) {
    if (!pending.finish_with({&*address, 1})) pending.finish(error::name_has_no_address, {});
    return;
  }
  if (!is_host_name(host)) return pending.finish(error::name_invalid, {});
  if (is_localhost(host)) {
    const SocketAddress loopback[] = {SocketAddress::loopback_v6(0), SocketAddress::loopback(0)};
    pending.finish_with(loopback);
    return;
  }
  hosts_.refresh();
  if (pending.finish_with(hosts_.find(host))) return;
  if (pending_.size() > options_.max_lookups) return pending.finish(error::too_many_lookups, {});
  pending.limit(options_.timeout);
  DnsChannel& servers = channel();
  // Not if it has been asked just now, with all others (start_anew()).
  if (pending.waits_for_servers() && !pending.asked()) pending.ask(servers);
}

void Resolver::Core::settled(Pending& pending) noexcept {
  --waiting_;
  if (!pending.asked()) remove(pending);
  if (waiting_ > 0) return;
  // c-ares can drop all questions, but not one of them.
  if (channel_) channel_->cancel_all();
  retired_.clear();
}

void Resolver::Core::remove(Pending& pending) noexcept {
  const std::size_t place = pending.place;
  std::swap(pending_[place], pending_.back());
  pending_[place]->place = place;
  std::unique_ptr<Pending> removed = std::move(pending_.back());
  pending_.pop_back();
  loop_.services().bury(std::move(removed));  // its timer's call may be on the stack
}

void Resolver::Core::end() noexcept {
  close_channels();
  while (!pending_.empty()) {
    pending_.back()->leave_user();
    remove(*pending_.back());
  }
}

Lookup::Lookup(Pending& pending) noexcept : pending_(&pending) {
  pending.attach(this);
}

Lookup::Lookup(Lookup&& other) noexcept : pending_(std::exchange(other.pending_, nullptr)) {
  if (pending_) pending_->attach(this);
}

Lookup& Lookup::operator=(Lookup&& other) noexcept {
  if (this == &other) return *this;
  // First its own: what the end of the old callback does finds this as it will be.
  const Lookup old(std::move(*this));
  pending_ = std::exchange(other.pending_, nullptr);
  if (pending_) pending_->attach(this);
  return *this;
}

void Lookup::cancel() noexcept {
  if (pending_) pending_->cancel();
}

Resolver::Resolver(EventLoop& loop, ResolverOptions options)
    : core_(std::make_unique<Core>(loop, std::move(options))) {}

Resolver::~Resolver() {
  LoopServices& services = core_->loop().services();
  core_->end();
  services.bury(std::move(core_));
}

Lookup Resolver::resolve(std::string_view host, std::uint16_t port, Families families, Done done) {
  MILLRACE_CHECK(done, "resolve() needs a callback");
  return Lookup(core_->resolve(host, port, families, std::move(done)));
}

Resolver& Resolver::of(EventLoop& loop) {
  return loop.services().local<Resolver>(loop);
}

}  // namespace millrace
