#include "emulator/test_program.hpp"

#include <cstring>
#include <stdexcept>

namespace sprnn::emulator {

void launch(const std::string& ptx, const std::vector<Bits>& parameters, Words& data, const Shape& shape) {
  Launch of{.kernel = parse(ptx).at("test"), .cooperative = true, .parameters = {}};
  of.blocks = shape.blocks, of.threads = shape.threads, of.cluster = shape.cluster;
  of.shared_bytes = shape.shared_bytes;
  of.parameters.resize(8 * parameters.size());
  std::memcpy(of.parameters.data(), parameters.data(), of.parameters.size());
  Memory memory;
  memory.add(reinterpret_cast<Bits>(data.data()), 4 * data.size());
  run(of, memory, shape.seed);
}

Words run_body(const std::string& body, Words data, const Shape& shape) {
  const std::string ptx = R"(
.extern .shared .align 16 .b8 memory[];
.visible .entry test(.param .u64 test_param_0) {
  .reg .pred %p<9>;  .reg .b16 %rs<9>;  .reg .b32 %r<40>;  .reg .b64 %rd<9>;
  ld.param.u64 %rd0, [test_param_0];
  mov.u32 %r0, %tid.x;
  mov.u32 %r1, %ctaid.x;
  mul.wide.u32 %rd1, %r0, 4;
  add.s64 %rd1, %rd0, %rd1;
)" + body + "\nret;\n}";
  launch(ptx, {reinterpret_cast<Bits>(data.data())}, data, shape);
  return data;
}

std::string fault_of(const std::string& body, const Shape& shape) {
  try {
    run_body(body, Words(64), shape);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}

testing::AssertionResult says(const std::string& text, std::initializer_list<const char*> parts) {
  for (const char* part : parts) {
    if (text.find(part) == std::string::npos)
      return testing::AssertionFailure() << "no \"" << part << "\" in \"" << text << "\"";
  }
  return testing::AssertionSuccess();
}

Words counted(std::size_t size, const std::function<u32(u32)>& value) {
  Words words(size);
  for (u32 i = 0; i < size; ++i) words[i] = value(i);
  return words;
}

std::string with(std::string text, const std::string& what, const std::string& by) {
  return text.replace(text.find(what), what.size(), by);
}

}  // namespace sprnn::emulator
