// Tensor cores: mma and mma.sp of 16-bit elements with sums in fp32, and ldmatrix, which feeds them. PTX ISA,
// "Matrix Fragments for mma.m16n8k16" and the two sections on sparse ones say how fragments lie.
#include <algorithm>
#include <array>
#include <string>

#include "emulator/float16.hpp"
#include "emulator/handlers.hpp"

namespace sprnn::emulator {

namespace {

constexpr int rows = 16, columns = 8;

template <bool bf16>
float half_of(std::uint64_t word, int half) {
  const auto bits = static_cast<std::uint16_t>(word >> (16 * half));
  return bf16 ? from_bf16(bits) : from_fp16(bits);
}

// Operand A from the halves of the lanes' words: word w of a lane has row lane / 4 + w % 2 * 8 and columns
// from lane % 4 * 2 + w / 2 * 8 on.
template <bool bf16>
std::array<std::array<float, 16>, rows> operand_a(Machine& machine, Warp& warp, const Operand& operand) {
  std::array<std::array<float, 16>, rows> a{};
  for (int w = 0; w < 4; ++w) {
    const std::uint64_t* const words = machine.read(warp, operand.vector[static_cast<std::size_t>(w)]);
    for (int lane = 0; lane < lanes; ++lane) {
      for (int half = 0; half < 2; ++half) {
        a[static_cast<std::size_t>(lane / 4 + w % 2 * 8)]
         [static_cast<std::size_t>(lane % 4 * 2 + w / 2 * 8 + half)] = half_of<bf16>(words[lane], half);
      }
    }
  }
  return a;
}

// Word w of a lane has rows from lane % 4 * 2 + w * 8 on, and column lane / 4.
template <bool bf16, int k>
std::array<std::array<float, columns>, k> operand_b(Machine& machine, Warp& warp, const Operand& operand) {
  std::array<std::array<float, columns>, k> b{};
  for (int w = 0; w < k / 8; ++w) {
    const std::uint64_t* const words = machine.read(warp, operand.vector[static_cast<std::size_t>(w)]);
    for (int lane = 0; lane < lanes; ++lane) {
      for (int half = 0; half < 2; ++half) {
        b[static_cast<std::size_t>(lane % 4 * 2 + w * 8 + half)][static_cast<std::size_t>(lane / 4)] =
            half_of<bf16>(words[lane], half);
      }
    }
  }
  return b;
}

// d = sum + c; word w of a lane has row lane / 4 + w / 2 * 8 and column lane % 4 * 2 + w % 2.
template <class Sum>
void add_to(Machine& machine, Warp& warp, const Operation& operation, Sum&& sum) {
  const Operand &d = operation.operand(0), &c = operation.operand(3);
  for (int w = 0; w < 4; ++w) {
    const std::uint64_t* const before = machine.read(warp, c.vector[static_cast<std::size_t>(w)]);
    std::uint64_t* const to = Machine::write(warp, d.vector[static_cast<std::size_t>(w)]);
    for (int lane = 0; lane < lanes; ++lane) {
      const float old = std::bit_cast<float>(static_cast<std::uint32_t>(before[lane]));
      const auto value =
          static_cast<float>(static_cast<double>(old) + sum(lane / 4 + w / 2 * 8, lane % 4 * 2 + w % 2));
      to[lane] = std::bit_cast<std::uint32_t>(value);
    }
  }
}

template <bool bf16>
void multiply(Machine& machine, Warp& warp, const Operation& operation, std::uint32_t) {
  const auto a = operand_a<bf16>(machine, warp, operation.operand(1));
  const auto b = operand_b<bf16, 16>(machine, warp, operation.operand(2));
  add_to(machine, warp, operation, [&](int row, int column) {
    double sum = 0.0;
    for (std::size_t k = 0; k < 16; ++k) {
      sum += static_cast<double>(a[static_cast<std::size_t>(row)][k]) *
             static_cast<double>(b[k][static_cast<std::size_t>(column)]);
    }
    return sum;
  });
}

// Two of each four columns. Which ones say two bits each, of a row 16 for 16 columns: of the two lanes that
// the selector names, the first has columns 0 to 15; the lower half of its word is row lane / 4, the upper
// row lane / 4 + 8.
template <bool bf16>
void multiply_sparse(Machine& machine, Warp& warp, const Operation& operation, std::uint32_t) {
  const auto a = operand_a<bf16>(machine, warp, operation.operand(1));
  const auto b = operand_b<bf16, 32>(machine, warp, operation.operand(2));
  Lanes which;
  std::copy_n(machine.read(warp, operation.operand(4)), lanes, which.begin());
  const std::uint64_t selector = machine.read(warp, operation.operand(5))[0];
  std::array<std::array<std::size_t, 16>, rows> column_of{};
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t j = 0; j < 16; ++j) {
      const std::uint64_t word = which[row % 8 * 4 + 2 * selector + j / 8] >> (row / 8 * 16);
      column_of[row][j] = j / 2 * 4 + (word >> (j % 8 * 2) & 3);
      if (j % 2 == 1 && column_of[row][j] <= column_of[row][j - 1])
        machine.fault(warp, 0, operation, "columns that are not in order");
    }
  }
  add_to(machine, warp, operation, [&](int row, int column) {
    double sum = 0.0;
    for (std::size_t j = 0; j < 16; ++j) {
      const auto r = static_cast<std::size_t>(row);
      sum += static_cast<double>(a[r][j]) *
             static_cast<double>(b[column_of[r][j]][static_cast<std::size_t>(column)]);
    }
    return sum;
  });
}

// ldmatrix .x1, .x2, .x4 of 8 x 8 halves: lane 8 m + r gives the address of row r of matrix m. With .trans a
// lane gets rows lane % 4 * 2 and the next one of column lane / 4, else two neighbours of row lane / 4.
void load_matrices(Machine& machine, Warp& warp, const Operation& operation, std::uint32_t) {
  const Operand &to = operation.operand(0), &from = operation.operand(1);
  const bool transposed = operation.instruction->has("trans");
  Lanes addresses;
  std::copy_n(machine.read(warp, from), lanes, addresses.begin());
  for (std::size_t m = 0; m < to.vector.size(); ++m) {
    std::array<std::array<std::uint16_t, 8>, 8> matrix{};
    for (std::size_t r = 0; r < 8; ++r) {
      const std::size_t lane = 8 * m + r;
      const std::uint64_t address = addresses[lane] + static_cast<std::uint64_t>(from.offset);
      const std::byte* const row =
          machine.locate(warp, static_cast<int>(lane), Space::shared, address, 16, operation);
      if (address >> Machine::rank_shift == 0)
        machine.trace(warp, static_cast<int>(lane), row, 16, false, operation);
      std::memcpy(matrix[r].data(), row, 16);
    }
    std::uint64_t* const words = Machine::write(warp, to.vector[m]);
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      const std::size_t two = lane % 4 * 2, one = lane / 4;
      const std::uint32_t low = transposed ? matrix[two][one] : matrix[one][two];
      const std::uint32_t high = transposed ? matrix[two + 1][one] : matrix[one][two + 1];
      words[lane] = high << 16 | low;
    }
  }
}

}  // namespace

Handler find_tensor_handler(const Instruction& i) {
  const std::string& name = i.words.front();
  if (name == "ldmatrix") return i.has("b16") && i.has("m8n8") ? load_matrices : nullptr;
  if (name != "mma" || !i.has("f32")) return nullptr;
  const bool bf16 = i.has("bf16"), sparse = i.words[1].starts_with("sp");
  if (sparse && i.has("m16n8k32")) return bf16 ? multiply_sparse<true> : multiply_sparse<false>;
  if (!sparse && i.has("m16n8k16")) return bf16 ? multiply<true> : multiply<false>;
  return nullptr;
}

}  // namespace sprnn::emulator
