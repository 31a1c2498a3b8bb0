// PTX that a test runs on the emulated GPU: mostly the body of one kernel, on words that it reads and writes.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

#include "emulator/machine.hpp"

namespace sprnn::emulator {

using Bits = std::uint64_t;
using u32 = std::uint32_t;
using Words = std::vector<u32>;

struct Shape {
  unsigned blocks = 1, threads = 32, cluster = 1;
  u32 shared_bytes = 0;
  std::uint64_t seed = 1;
};

// Runs the kernel `test`, for which `data` is the only memory.
void launch(const std::string& ptx, const std::vector<Bits>& parameters, Words& data,
            const Shape& shape = {});

// Runs a kernel's body with %rd0 the address of `data`, %r0 the thread, %r1 the CTA and %rd1 the address of
// the thread's own word; gives `data` as it is then.
Words run_body(const std::string& body, Words data = Words(64), const Shape& shape = {});

// The text with which a kernel's body is refused, or none.
std::string fault_of(const std::string& body, const Shape& shape = {});

// That it has all of these parts.
testing::AssertionResult says(const std::string& text, std::initializer_list<const char*> parts);

// value(0), value(1), ...
Words counted(std::size_t size, const std::function<u32(u32)>& value);

// `text` with the first `what` in it replaced.
std::string with(std::string text, const std::string& what, const std::string& by);

}  // namespace sprnn::emulator
