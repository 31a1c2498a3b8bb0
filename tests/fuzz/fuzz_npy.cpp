// Any bytes: refused with a format error, or an array whose shape counts its values.
#include <cstdint>
#include <cstdlib>

#include "sprnn/error.hpp"
#include "sprnn/npy.hpp"

namespace {

using namespace sprnn;

void require(bool condition) {
  if (!condition) std::abort();
}

template <class Parse>
void check(Parse parse, const std::vector<std::byte>& bytes) {
  try {
    const auto array = parse(bytes, "fuzz");
    std::size_t elements = 1;
    for (const std::int64_t dimension : array.shape) elements *= static_cast<std::size_t>(dimension);
    require(elements == array.values.size());
  } catch (const Error& error) {
    require(error.code() == ErrorCode::format);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto* begin = reinterpret_cast<const std::byte*>(data);
  const std::vector<std::byte> bytes(begin, begin + size);
  check(parse_npy_floats, bytes);
  check(parse_npy_ints, bytes);
  return 0;
}
