// CallbackHandler makes a ConnectionHandler of a table of lambdas. It lives as long as the Server
// or Client that was given them; loop's thread.
#pragma once

#include <millrace/connection_handler.h>

#include <utility>

namespace millrace {

class CallbackHandler final : public ConnectionHandler {
 public:
  explicit CallbackHandler(Callbacks callbacks) noexcept : callbacks_(std::move(callbacks)) {}

  void on_open(Connection& c) override {
    if (callbacks_.on_open) callbacks_.on_open(c);
  }
  void on_data(Connection& c, ReceiveBuffer& in) override {
    if (callbacks_.on_data) {
      callbacks_.on_data(c, in);
    } else {
      in.consume_all();
    }
  }
  void on_drained(Connection& c) override {
    if (callbacks_.on_drained) callbacks_.on_drained(c);
  }
  void on_peer_end(Connection& c) override {
    if (callbacks_.on_peer_end) {
      callbacks_.on_peer_end(c);
    } else {
      ConnectionHandler::on_peer_end(c);
    }
  }
  void on_drain(Connection& c) override {
    if (callbacks_.on_drain) {
      callbacks_.on_drain(c);
    } else {
      ConnectionHandler::on_drain(c);
    }
  }
  void on_close(Connection& c, std::error_code why) override {
    if (callbacks_.on_close) callbacks_.on_close(c, why);
  }
  void on_connect_failed(std::error_code why) override {
    if (callbacks_.on_connect_failed) callbacks_.on_connect_failed(why);
  }

 private:
  Callbacks callbacks_;
};

}  // namespace millrace
