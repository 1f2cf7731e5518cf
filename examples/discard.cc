// Discard (RFC 863): throws away what it receives. What it shows: the smallest server there is.
// Input that nobody asks for is consumed, and a peer that ends is closed, without a line of code.
#include "serve.h"

#include <memory>

int main(int argc, char** argv) {
  return serve(argc, argv, "discard", "Throws away what it receives.",
               [](millrace::EventLoop& loop) {
                 return std::make_unique<millrace::Server>(loop, millrace::Callbacks{});
               });
}
