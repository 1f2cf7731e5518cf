// Dnsmasq is a real DNS server (package dnsmasq-base) on a loopback port, with what a test
// configures and nothing of this machine. Ended with the object.
//
//   if (!Dnsmasq::installed()) GTEST_SKIP() << Dnsmasq::kMissing;
//   Dnsmasq dns({"host-record=a.test,192.0.2.1", "local=/test/"});
#pragma once

#include <millrace/socket_address.h>

#include "support/process.h"
#include "support/sockets.h"

#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <pwd.h>
#include <unistd.h>

namespace millrace::test {

class Dnsmasq {
 public:
  static constexpr const char* kMissing = "dnsmasq is not installed (package dnsmasq-base)";
  static constexpr const char* kPath = "/usr/sbin/dnsmasq";
  static bool installed() { return ::access(kPath, X_OK) == 0; }

  explicit Dnsmasq(const std::vector<std::string>& lines) {
    // The port is free when it is chosen; somebody else may be quicker.
    for (int i = 0; i < 10; ++i) {
      address_ = free_address();
      if (start(lines)) return;
    }
    throw std::runtime_error("dnsmasq does not start: " + said_);
  }
  SocketAddress address() const { return address_; }

 private:
  bool start(const std::vector<std::string>& lines) {
    std::vector<std::string> command = {kPath,
                                        "--keep-in-foreground",
                                        "--log-facility=-",
                                        "--conf-file=/dev/null",
                                        "--pid-file=",
                                        "--no-resolv",
                                        "--no-hosts",
                                        "--bind-interfaces",
                                        "--user=" + user(),
                                        "--listen-address=127.0.0.1",
                                        "--port=" + std::to_string(address_.port())};
    for (const std::string& line : lines) command.push_back("--" + line);
    program_ = std::make_unique<Program>(command);
    for (;;) {
      const std::string line = program_->read_error_line();
      if (line.find("started") != std::string::npos) return true;
      if (line.empty()) return false;
      said_ = line;
    }
  }
  static std::string user() {
    const passwd* entry = ::getpwuid(::getuid());
    return entry ? entry->pw_name : std::to_string(::getuid());
  }

  SocketAddress address_;
  std::unique_ptr<Program> program_;
  std::string said_;
};

}  // namespace millrace::test
