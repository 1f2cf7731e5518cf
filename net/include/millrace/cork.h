// Cork holds back what does not fill a segment, of everything that a connection sends while it
// lives: for who writes little in many callbacks and wants few packets. It may outlive its
// connection, which it does not keep alive; loop's thread only.
//
//   cork_ = Cork(c);        // a reply that is made of many callbacks
//   ...
//   c.send(row);            // again and again: leaves when a segment is full
//   ...
//   cork_ = {};             // the rest leaves, with what is queued in this callback
//
// It is not needed for what one callback sends, nor for a header and the file that follows it
// (send_file): those share their segments anyway. What it costs is the latency of what is held
// back, of which the kernel keeps nothing for longer than 200 ms. end() and close() send all.
#pragma once

#include <millrace/connection_ref.h>

namespace millrace {

class Connection;

class Cork {
 public:
  Cork() noexcept = default;  // holds nothing
  // Of several on one connection the last one that goes lets go. On a Unix socket there are no
  // segments, and nothing is held back. Throws std::bad_alloc.
  explicit Cork(Connection& connection);
  Cork(Cork&& other) noexcept;
  Cork& operator=(Cork&& other) noexcept;
  // What is queued by then still leaves together with what was held back: the cork is pulled when
  // the kernel has taken it.
  ~Cork();

 private:
  ConnectionRef connection_;
};

}  // namespace millrace
