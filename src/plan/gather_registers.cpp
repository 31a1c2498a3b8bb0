#include "plan/gather_registers.hpp"

#include <algorithm>
#include <bit>

#include "plan/gpu_registers.hpp"

namespace sprnn::gather {

namespace {

// Fitted to NVRTC 13.0 for sm_90: for plans over all cells, types and batches the least register count that
// spills nothing, less the pairs. It lies some 7 above them on average, since the compiler's own choices
// spread by more; tests/cuda checks that nothing is spilled.
constexpr int base = 30;
constexpr int projection = 24;
// Pairs on their way from shared memory or L2, and the words of the state that they multiply.
constexpr int pairs_in_flight = 12;
constexpr int words_in_flight = 3;

// Of many row passes that lie partly elsewhere, each has addresses of its own.
constexpr int many_passes = 4, overflowing_pass = 2;

// An entry's place in y is not in what the first one takes.
constexpr int further_entry = 3;
// The compiler's choices spread by more where there is more to choose.
constexpr int large = 150, large_share = 8;
// Code for GPUs after Hopper keeps more pairs on their way (tanh 4096, fp32, batch 4 a group, sm_121).
constexpr int hopper = 90, after_hopper = 4;

constexpr int divide_up(int a, int b) { return (a + b - 1) / b; }

// A lane's sums in fp32, and those of four products in half precision.
int summing(const GatherPlan& plan, const MatrixLayout& matrix) {
  const Image& image = matrix.image;
  const int words = image.planes * divide_up(image.word_bytes, 4);
  const int width = static_cast<int>(std::bit_ceil(static_cast<unsigned>(plan.group_batch)));
  return 2 * std::max(width, image.planes * image.entries) + (matrix.half_sums ? words : 0) +
         divide_up(image.word_bytes, 4);
}

}  // namespace

int working_registers(const GatherPlan& plan, const Layout& layout, bool overflows, int compute_capability) {
  const MatrixLayout& hh = layout.w_hh;
  // Of a (unit, batch entry) that a thread owns: what it is, its state, and a gate's input at a time.
  const int entries = divide_up(plan.w_hh.units_a_cta * plan.group_batch, hh.threads);
  int row_passes = static_cast<int>(hh.passes.size());  // the row that a thread sums in each
  int most = std::max(summing(plan, hh),
                      gpu::receiving_registers(plan, hh.image, layout.outputs_a_cta, plan.exchange_word));
  if (layout.w_hr) {
    const MatrixLayout& hr = *layout.w_hr;
    row_passes += static_cast<int>(hr.passes.size());
    most = std::max({most, summing(plan, hr),
                     gpu::receiving_registers(plan, hr.image, plan.w_hh.units_a_cta, ExchangeWord::stamp)});
  }
  // Sums of a unit's gates, asked for together; they come when those of the product have gone.
  most = std::max(most, hh.gates * hh.parts);
  const int working = base + row_passes + hh.gates * entries + 2 * (hh.gates + 2) * entries +
                      further_entry * (entries - 1) + (layout.w_hr ? projection : 0) + most +
                      (overflows ? pairs_in_flight + words_in_flight * divide_up(plan.word_bytes, 4) : 0) +
                      (overflows && compute_capability > hopper ? after_hopper : 0) +
                      (overflows && row_passes >= many_passes ? overflowing_pass * row_passes : 0);
  return working + std::max(0, working - large) / large_share;
}

}  // namespace sprnn::gather
