// Whatever the text: it is refused with a reason, or it is an address that prints as something that
// is the same address.
#include <millrace/socket_address.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

using millrace::SocketAddress;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  std::string why;
  const auto address = SocketAddress::try_parse(text, &why);
  if (!address) {
    if (why.empty()) std::abort();
    return 0;
  }
  const auto again = SocketAddress::try_parse(address->to_string(), &why);
  if (!again || !(*again == *address)) std::abort();
  return 0;
}
