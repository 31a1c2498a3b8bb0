// Which function runs an instruction, by the kinds that have a file of their own; null: not of that kind.
#pragma once

#include "emulator/machine.hpp"

namespace sprnn::emulator {

[[nodiscard]] Handler find_arithmetic_handler(const Instruction& instruction);
[[nodiscard]] Handler find_conversion_handler(const Instruction& instruction);
[[nodiscard]] Handler find_memory_handler(const Instruction& instruction);
[[nodiscard]] Handler find_tensor_handler(const Instruction& instruction);

}  // namespace sprnn::emulator
