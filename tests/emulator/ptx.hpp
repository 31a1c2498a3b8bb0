// PTX as text, read into what machine.hpp runs: the part of PTX ISA 9.0 that NVRTC makes of this project's
// kernels.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sprnn::emulator {

inline constexpr int lanes = 32;
// A register of a warp; narrow ones are zero above their bits.
using Lanes = std::array<std::uint64_t, lanes>;

// What an operand's value is: a register of the warp, or the same for all kernels' runs.
struct Operand {
  enum class Kind { none, reg, constant, special } kind = Kind::none;
  int index = 0;                // of a register or a constant
  bool negated = false;         // of a predicate
  std::int64_t offset = 0;      // of an address
  std::vector<Operand> vector;  // {a, b}, [a, b] or a|b: then it has no value itself
};

inline constexpr std::uint32_t shared_begin = 1024;  // of a CTA's addresses of shared memory: 0 is nothing's

enum class Special { tid, ntid, ctaid, nctaid, laneid, smid, nsmid, clock, globaltimer, dynamic_shared };
enum class Space { generic, global, shared, param, local };

struct Instruction {
  std::vector<std::string> words;  // of the opcode: "ld", "relaxed", "gpu", "global", "v2", "u64"
  int guard = -1;                  // register of its predicate, or -1
  bool guard_negated = false;
  std::vector<Operand> operands;
  int target = -1;  // of a branch: index of an instruction
  std::string text;

  [[nodiscard]] bool has(std::string_view word) const {
    for (const std::string& w : words) {
      if (w == word) return true;
    }
    return false;
  }
};

struct Kernel {
  std::string name;
  std::vector<Instruction> instructions;
  int registers = 0;
  std::vector<std::uint64_t> constants;
  struct Parameter {
    std::size_t at = 0, bytes = 0;  // within the bytes of all
  };
  std::vector<Parameter> parameters;
  std::size_t parameter_bytes = 0;
  std::uint32_t static_shared = 0;      // bytes
  std::uint32_t dynamic_shared_at = 0;  // where launch-time shared memory begins
  std::uint32_t local_bytes = 0;
};

// Throws std::runtime_error that quotes what it does not know.
[[nodiscard]] std::map<std::string, std::shared_ptr<const Kernel>> parse(std::string_view ptx);

// 1, 2, 4, 8 or 16 bytes of "u32", "b64", "f16x2" ...; 0: no type.
[[nodiscard]] int bytes_of(std::string_view type);

}  // namespace sprnn::emulator
