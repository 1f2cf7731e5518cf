#include <millrace/connection.h>
#include <millrace/cork.h>

#include "connection_core.h"

#include <utility>

namespace millrace {

Cork::Cork(Connection& connection) : connection_(connection.ref()) {
  ConnectionCore::of(connection).cork();
}

Cork::Cork(Cork&& other) noexcept : connection_(std::move(other.connection_)) {}

Cork& Cork::operator=(Cork&& other) noexcept {
  if (this == &other) return *this;
  const Cork old(std::move(*this));
  connection_ = std::move(other.connection_);
  return *this;
}

Cork::~Cork() {
  if (Connection* connection = connection_.get()) ConnectionCore::of(*connection).uncork();
}

}  // namespace millrace
