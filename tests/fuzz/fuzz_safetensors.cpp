// Any bytes: refused with a format error, or a checkpoint that survives being written and read again, and
// whose modules survive write_model.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>

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

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto* begin = reinterpret_cast<const std::byte*>(data);
  Checkpoint checkpoint;
  try {
    checkpoint = parse_checkpoint({begin, begin + size}, "fuzz");
  } catch (const Error& error) {
    require(error.code() == ErrorCode::format);
    return 0;
  }
  const Checkpoint again = parse_checkpoint(file_bytes(checkpoint), "again");
  require(again.tensors == checkpoint.tensors && again.metadata == checkpoint.metadata);
  for (const ModuleInfo& info : find_modules(checkpoint)) check_module(checkpoint, info);
  return 0;
}
