// Device descriptions: any text is refused with a format error, or a device that survives being written and
// read again.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "sprnn/device.hpp"
#include "sprnn/error.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sprnn;
  Device device;
  try {
    device = device_from_json({reinterpret_cast<const char*>(data), size});
  } catch (const Error& error) {
    if (error.code() != ErrorCode::format) std::abort();
    return 0;
  }
  if (device_from_json(to_json(device)) != device) std::abort();
  return 0;
}
