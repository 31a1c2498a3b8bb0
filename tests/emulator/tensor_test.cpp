// Tensor cores, held against plain products of matrices, and the loads that feed them.
#include <gtest/gtest.h>

#include <bit>
#include <functional>
#include <string>
#include <utility>

#include "emulator/half_by_search.hpp"
#include "emulator/test_program.hpp"

namespace sprnn::emulator {
namespace {

// Matrices of small multiples of 1/4: their products are exact.
using Matrix = std::vector<std::vector<float>>;
Matrix random_matrix(Random& random, std::size_t rows, std::size_t columns) {
  Matrix matrix(rows, std::vector<float>(columns));
  for (auto& row : matrix) {
    for (float& x : row) x = static_cast<float>(static_cast<int>(random() % 65) - 32) / 4;
  }
  return matrix;
}
u32 packed(float low, float high, bool bf16) {
  return static_cast<u32>(nearest_half(high, bf16)) << 16 | nearest_half(low, bf16);
}

// The fragments as "Matrix Fragments for mma.m16n8k16" has them: element i of A, of B and of C or D.
std::pair<u32, u32> place_in_a(u32 lane, u32 i) {
  return {lane / 4 + (i < 2 || (i >= 4 && i < 6) ? 0 : 8), lane % 4 * 2 + (i & 1) + (i < 4 ? 0 : 8)};
}
std::pair<u32, u32> place_in_b(u32 lane, u32 i) { return {lane % 4 * 2 + (i & 1) + i / 2 * 8, lane / 4}; }
std::pair<u32, u32> place_in_c(u32 lane, u32 i) {
  return {lane / 4 + (i < 2 ? 0 : 8), lane % 4 * 2 + (i & 1)};
}

// d = a b + c, where `a` has half of the columns if `metadata` (two words of a row) says which.
void check_mma(const std::string& opcode, const std::string& tail, bool bf16, const Matrix& a,
               const Matrix& dense, const std::function<u32(u32 lane)>& metadata) {
  Random random(3);
  const std::size_t depth = dense[0].size();
  const Matrix b = random_matrix(random, depth, 8), c = random_matrix(random, 16, 8);
  Words data;  // of each lane 4 words of A, 4 of B, 4 of C, 1 of metadata
  for (u32 lane = 0; lane < lanes; ++lane) {
    const auto at = [](const Matrix& m, std::pair<u32, u32> place) { return m[place.first][place.second]; };
    for (u32 i = 0; i < 8; i += 2)
      data.push_back(packed(at(a, place_in_a(lane, i)), at(a, place_in_a(lane, i + 1)), bf16));
    for (u32 i = 0; i < 8; i += 2) {
      data.push_back(i * 4 < depth ? packed(at(b, place_in_b(lane, i)), at(b, place_in_b(lane, i + 1)), bf16)
                                   : 0);
    }
    for (u32 i = 0; i < 4; ++i) data.push_back(std::bit_cast<u32>(at(c, place_in_c(lane, i))));
    data.insert(data.end(), {metadata(lane), 0, 0, 0});
  }
  const std::string type = bf16 ? "bf16" : "f16";
  const Words out = run_body(
      "mul.wide.u32 %rd1, %r0, 64; add.s64 %rd1, %rd0, %rd1;"
      "ld.global.v4.u32 {%r2, %r3, %r4, %r5}, [%rd1]; ld.global.v4.u32 {%r6, %r7, %r8, %r9}, [%rd1+16];"
      "ld.global.v4.u32 {%r10, %r11, %r12, %r13}, [%rd1+32]; ld.global.u32 %r14, [%rd1+48];" +
          opcode + ".row.col.f32." + type + "." + type +
          ".f32 {%r10, %r11, %r12, %r13}, {%r2, %r3, %r4, %r5}, " +
          (depth == 32 ? "{%r6, %r7, %r8, %r9}" : "{%r6, %r7}") + ", {%r10, %r11, %r12, %r13}" + tail +
          "; st.global.v4.u32 [%rd1], {%r10, %r11, %r12, %r13};",
      data);
  for (u32 lane = 0; lane < lanes; ++lane) {
    for (u32 i = 0; i < 4; ++i) {
      const auto [row, column] = place_in_c(lane, i);
      float expected = c[row][column];
      for (std::size_t k = 0; k < depth; ++k) expected += dense[row][k] * b[k][column];
      ASSERT_EQ(std::bit_cast<float>(out[16 * lane + i]), expected)
          << opcode << tail << " " << row << ", " << column;
    }
  }
}

TEST(TensorCores, DenseProduct) {
  Random random(5);
  const Matrix a = random_matrix(random, 16, 16);
  for (const bool bf16 : {false, true})
    check_mma("mma.sync.aligned.m16n8k16", "", bf16, a, a, [](u32) { return 0; });
}

TEST(TensorCores, SparseProductWithBothSelectors) {
  Random random(5);
  const Matrix a = random_matrix(random, 16, 16);
  Matrix dense(16, std::vector<float>(32));
  std::vector<std::vector<u32>> columns(16, std::vector<u32>(16));  // of each element of `a`, within its four
  constexpr u32 pairs[6][2] = {{0, 1}, {0, 2}, {0, 3}, {1, 2}, {1, 3}, {2, 3}};
  for (u32 row = 0; row < 16; ++row) {
    for (u32 j = 0; j < 16; j += 2) {
      const auto& pair = pairs[random() % 6];
      for (u32 h = 0; h < 2; ++h) dense[row][2 * j + pair[h]] = a[row][j + h], columns[row][j + h] = pair[h];
    }
  }
  for (const u32 selector : {0U, 1U}) {
    // Two neighbours of each four lanes give metadata: columns 0 to 15 and 16 to 31, of row lane / 4 in the
    // lower half and of the row 8 below in the upper one. That of the other lanes is no metadata at all.
    const auto metadata = [&](u32 lane) {
      u32 word = lane % 4 / 2 == selector ? 0 : ~0U;
      for (u32 j = 0; word != ~0U && j < 8; ++j) {
        word |= columns[lane / 4][lane % 2 * 8 + j] << (2 * j);
        word |= columns[lane / 4 + 8][lane % 2 * 8 + j] << (2 * j + 16);
      }
      return word;
    };
    for (const bool bf16 : {false, true})
      check_mma("mma.sp.sync.aligned.m16n8k32", ", %r14, " + std::to_string(selector), bf16, a, dense,
                metadata);
  }
}

TEST(TensorCores, LoadsOfMatrices) {
  // Row r of matrix m is the 8 halves at 128 m + 16 r; element (r, c) of it has the value 64 m + 8 r + c.
  const std::string store = R"(
    mov.u32 %r2, memory; mad.lo.s32 %r2, %r0, 16, %r2; mul.wide.u32 %rd2, %r0, 16; add.s64 %rd2, %rd0, %rd2;
    ld.global.v4.u32 {%r3, %r4, %r5, %r6}, [%rd2]; st.shared.v4.u32 [%r2], {%r3, %r4, %r5, %r6}; bar.warp.sync -1;)";
  const Words data = counted(128, [](u32 i) { return 2 * i | (2 * i + 1) << 16; });
  for (const bool transposed : {false, true}) {
    for (const u32 count : {2U, 4U}) {
      const std::string trans = transposed ? ".trans" : "";
      const std::string load = count == 4 ? ".x4" + trans + ".shared.b16 {%r3, %r4, %r5, %r6}, [%r2];"
                                          : ".x2" + trans + ".shared.b16 {%r3, %r4}, [%r2];";
      const Words out = run_body(
          store + "ldmatrix.sync.aligned.m8n8" + load + "st.global.v4.u32 [%rd2], {%r3, %r4, %r5, %r6};",
          data, {.shared_bytes = 512});
      for (u32 lane = 0; lane < lanes; ++lane) {
        for (u32 m = 0; m < count; ++m) {
          const u32 i = lane / 4, j = lane % 4 * 2;
          const u32 low = transposed ? 8 * j + i : 8 * i + j, high = low + (transposed ? 8 : 1);
          EXPECT_EQ(out[4 * lane + m], (64 * m + low) | (64 * m + high) << 16) << load << " " << lane;
        }
      }
    }
  }
}

}  // namespace
}  // namespace sprnn::emulator
