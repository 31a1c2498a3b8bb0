// Any bytes: refused with a format error, or a checkpoint that survives being written and read again, and
// whose modules survive write_model.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "model/safetensors.hpp"
#include "sprnn/checkpoint.hpp"
#include "sprnn/error.hpp"

namespace {

using namespace sprnn;

void require(bool condition) {
  if (!condition) std::abort();
}

std::vector<std::byte> file_bytes(const Checkpoint& checkpoint) {
  const std::string header = safetensors::format_header(checkpoint);
  const auto* begin = reinterpret_cast<const std::byte*>(header.data());
  std::vector<std::byte> bytes(begin, begin + header.size());
  for (const StoredTensor& tensor : checkpoint.tensors) {
    bytes.insert(bytes.end(), tensor.data.begin(), tensor.data.end());
  }
  return bytes;
}

void check_module(const Checkpoint& checkpoint, const ModuleInfo& info) {
  Model model;
  try {
    model = read_model(checkpoint, {info.prefix, {}, {}});
  } catch (const Error& error) {
    require(error.code() == ErrorCode::format);
    return;
  }
  require(info.problem.empty());
  Checkpoint written = checkpoint;
  write_model(written, info.prefix, model);
  require(read_model(written, {info.prefix, {}, {}}) == model);
}

void check_file(const std::vector<std::byte>& bytes) {
  Checkpoint checkpoint;
  try {
    checkpoint = parse_checkpoint(bytes, "fuzz");
  } catch (const Error& error) {
    require(error.code() == ErrorCode::format);
    return;
  }
  const Checkpoint again = parse_checkpoint(file_bytes(checkpoint), "again");
  require(again.tensors == checkpoint.tensors && again.metadata == checkpoint.metadata);
  for (const ModuleInfo& info : find_modules(checkpoint)) check_module(checkpoint, info);
}

// The header's length, set to end at the last brace: nearly every change of the text makes it lie, which
// would hide everything behind that check.
void repair_length(std::vector<std::byte>& bytes) {
  const auto brace = std::find(bytes.rbegin(), bytes.rend(), std::byte{'}'});
  const auto end = static_cast<std::size_t>(bytes.rend() - brace);
  if (end < safetensors::length_bytes) return;
  const std::uint64_t length = end - safetensors::length_bytes;
  for (std::size_t i = 0; i < safetensors::length_bytes; ++i) {
    bytes[i] = static_cast<std::byte>(length >> (8 * i));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto* begin = reinterpret_cast<const std::byte*>(data);
  std::vector<std::byte> bytes(begin, begin + size);
  check_file(bytes);
  repair_length(bytes);
  check_file(bytes);
  return 0;
}
