#include "plan/gather_search.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <set>

#include "plan/gather_balance.hpp"
#include "plan/gather_registers.hpp"
#include "plan/gpu_search.hpp"
#include "sprnn/error.hpp"

namespace sprnn::gather {

namespace {

// Beyond two registers a pair, where the compiler unpacks them.
constexpr int unpacking_registers = 12;
// What the product needs beside pairs and words of the state, with what stays between timesteps: 43 were
// seen.
constexpr int beside_words = 45;
using gpu::choices;
using gpu::divide_up;
using gpu::halves;

void check_wishes(const Problem& problem, const GpuDescription& gpu, const GpuWishes& wishes) {
  gpu::check_wishes(problem, gpu, wishes);
  if (wishes.row_parts) gpu::refuse_choice("row_parts", {GpuStrategy::dense_mma, GpuStrategy::sparse_mma});
  if (wishes.asks_late) gpu::refuse_choice("asks_late", {GpuStrategy::dense_mma, GpuStrategy::sparse_mma});
  const int lanes = wishes.lanes.value_or(1);
  if (lanes < 1 || lanes > warp_lanes || !std::has_single_bit(static_cast<unsigned>(lanes)))
    gpu::refuse_wish("lanes", lanes, "1, 2, 4, 8, 16 or 32");
}

bool overflows(const MatrixLayout& matrix) { return matrix.slots[1] + matrix.slots[2] > 0; }

// Registers for words of the state that a lane may hold at once. With one lane no shuffle holds the sums in
// place, and the compiler may load the words of all slots before it sums one batch entry after the other: 7
// such plans of 37 spilled 104 to 2008 bytes, and the three tried with two lanes nothing; none of those whose
// slots read one register each. Of two registers a slot it loads some ahead: plans with 24 registers for them
// of 128, 20 of 168, and 47 of 255 spilled 136 to 680 bytes, those with 29, 27 and 61 nothing. Not so with
// loops over pairs that lie elsewhere, nor with the asm that turns a half into fp32 for each product
// (NVRTC 13.0; a bound, of which 3/4 were seen).
constexpr int few_words = 2;
int words_at_once(const MatrixLayout& matrix, DType dtype, int available) {
  const int words = matrix.image.planes * divide_up(matrix.image.word_bytes, 4);  // of a slot
  const bool ordered = overflows(matrix) || (dtype == DType::fp16 && !matrix.half_sums);
  // A weight of bf16 becomes fp32 by one shift, which is done ahead too: relu 2304, two words a slot,
  // spilled.
  const bool shifts = dtype == DType::bf16;
  if (matrix.lanes > 1 || words < few_words || ordered) return 0;
  int slots = 0;
  for (const RowPass& pass : matrix.passes) slots = std::max(slots, pass.registers);
  const int all = slots * (words + (shifts ? 1 : 0));
  return words == few_words && !shifts ? std::min(all, available / 4 - 6) : all;
}

}  // namespace

std::string Candidate::text() const {
  return fmt::format("gather, {} group{} of {} CTAs, batch {} a group, {} warps, {} lanes a row group",
                     groups, groups == 1 ? "" : "s", ctas, group_batch, warps, lanes);
}

std::vector<Candidate> candidates(const Problem& problem, const GpuDescription& gpu,
                                  const GpuWishes& wishes) {
  check_wishes(problem, gpu, wishes);
  const std::int64_t widest = std::max(problem.hidden_size, problem.projection_size);
  const std::set<int> all_lanes = choices(wishes.lanes, halves(warp_lanes));
  const std::set<int> projection_lanes =
      problem.projection_size > 0 ? halves(warp_lanes) : std::set<int>{warp_lanes};
  std::vector<Candidate> all;
  for (const auto& [groups, batches] : gpu::group_shapes(problem, gpu, wishes, true)) {
    const int most_ctas = gpu.sm_count / groups;
    std::set<int> all_ctas;
    // No more CTAs than the fullest one's number of units needs.
    for (const int ctas : choices(wishes.ctas, halves(most_ctas))) {
      const int units = divide_up(widest, ctas);
      all_ctas.insert(divide_up(widest, units));
      // Slices of whole 16-byte words are staged faster.
      if (!wishes.ctas) all_ctas.insert(divide_up(widest, divide_up(units, 4) * 4));
    }
    for (const int ctas : all_ctas) {
      for (const int group_batch : batches) {
        for (const int warps : choices(wishes.warps, {4, 8, 12, 16, 20, 24, 28, 32})) {
          for (const int lanes : all_lanes) {
            for (const int lanes_hr : projection_lanes)
              all.push_back({groups, ctas, group_batch, warps, lanes, lanes_hr});
          }
        }
      }
    }
  }
  return all;
}

Fitter::Fitter(const Problem& problem, const DirectionProblem& direction, const GpuDescription& gpu,
               const GpuWishes& wishes)
    : problem_(problem), direction_(direction), gpu_(gpu), wishes_(wishes) {}

const std::vector<std::int32_t>& Fitter::longest(bool projection, int ctas, int units_a_cta) {
  const auto [entry, fresh] = longest_.try_emplace({projection, ctas});
  if (fresh) {
    const MatrixSummary& summary = projection ? direction_.w_hr : direction_.w_hh;
    const int gates = projection ? 1 : direction_.cell.gates();
    entry->second = longest_rows(assign_units(summary.row_nonzeros, gates, ctas, units_a_cta),
                                 summary.row_nonzeros, gates, units_a_cta);
  }
  return entry->second;
}

GatherMatrix Fitter::matrix(bool projection, const Candidate& candidate, int offset_unit) {
  GatherMatrix matrix;
  matrix.offset_unit = offset_unit;
  matrix.units_a_cta =
      divide_up(projection ? problem_.projection_size : problem_.hidden_size, candidate.ctas);
  matrix.lanes = projection ? candidate.projection_lanes : candidate.lanes;
  matrix.half_sums = sums_halves(problem_, direction_, projection);
  share_rows(matrix, longest(projection, candidate.ctas, matrix.units_a_cta), candidate.warps * warp_lanes);
  return matrix;
}

// The widest load whose state 16-bit byte offsets reach; failing that, offsets that count words. Known before
// any row is looked at.
std::string Fitter::choose_word(const Candidate& candidate, GatherPlan& plan) const {
  const int element = static_cast<int>(size_of(problem_.dtype));
  const bool wide = wishes_.wide_loads.value_or(true);
  const int widest =
      wide ? std::min(16,
                      element * static_cast<int>(std::bit_ceil(static_cast<unsigned>(candidate.group_batch))))
           : element;
  const std::int64_t units =
      divide_up(std::max(problem_.hidden_size, problem_.projection_size), candidate.ctas);
  const auto plane_bytes = [&](int word) {
    return make_image(candidate.ctas * units, word, candidate.group_batch, problem_.dtype).plane_bytes;
  };
  plan.word_bytes = widest;
  while (plan.word_bytes > element && plane_bytes(plan.word_bytes) > offset_values) plan.word_bytes /= 2;
  if (plane_bytes(plan.word_bytes) > offset_values) {
    plan.word_bytes = plan.w_hh.offset_unit = widest;
    if (plane_bytes(widest) > offset_values * widest) {
      return fmt::format("needs {} words of state, 16-bit offsets reach {}", plane_bytes(widest) / widest,
                         offset_values);
    }
  }
  return "";
}

// Registers first, then shared memory, then L2: pass by pass, W_hh before W_hr.
std::string Fitter::place_slots(GatherPlan& plan) {
  const bool wide_values = problem_.dtype == DType::fp32;
  const int threads = plan.warps * warp_lanes;
  Layout layout = make_layout(plan, problem_, direction_);

  plan.shared =
      shared_budget(layout, plan.group_batch, gpu_.shared_bytes_per_block - gpu::reserved_shared_bytes);
  if (plan.shared.total() > plan.shared.available) {
    const auto fits = [&](int group_batch) {
      GatherPlan smaller = plan;
      smaller.group_batch = group_batch;
      return shared_budget(make_layout(smaller, problem_, direction_), group_batch, 0).total() <=
             plan.shared.available;
    };
    return gpu::shared_memory_refusal(plan.shared, gpu::most_fitting(1, plan.group_batch, fits));
  }

  // Registers are allotted to a thread in eights.
  plan.registers.available = std::min(gpu_.max_registers_per_thread, gpu_.registers_per_sm / threads / 8 * 8);
  // The compiler's own handling is faster where it does not press on the registers (tanh 2304 at 30 %: 1.79
  // us against 2.00), and spills where it does.
  const auto fits = [&](bool opaque) {
    const int margin = opaque ? 0 : unpacking_registers;
    return pair_registers(layout, opaque) + margin +
               working_registers(plan, layout, false, gpu_.compute_capability) <=
           plan.registers.available;
  };
  plan.opaque_pairs = wishes_.opaque_pairs.value_or(!fits(false));
  const int needed = working_registers(plan, layout, !fits(plan.opaque_pairs), gpu_.compute_capability);
  const int room = plan.registers.available - needed;
  if (room < 0) {
    return fmt::format("needs {} registers a thread before any pair, {} available with {} warps", needed,
                       plan.registers.available, plan.warps);
  }

  int in_registers = 0;
  while (pair_registers(in_registers + 1, wide_values, plan.opaque_pairs) <= room) ++in_registers;
  if (plan.w_hr && in_registers > 0)
    --in_registers;  // two matrices: each may end in half a register of offset
  const std::int64_t quad_bytes = block_words(Place::shared, quad, threads, wide_values) * 4;
  std::int64_t shared_quads = (plan.shared.available - plan.shared.total()) / quad_bytes;
  for (GatherMatrix* matrix : {&plan.w_hh, plan.w_hr ? &*plan.w_hr : nullptr}) {
    if (matrix == nullptr) continue;
    for (RowPass& pass : matrix->passes) {
      const int slots = pass.slots();
      pass.registers = slots <= in_registers ? slots : in_registers / quad * quad;
      in_registers -= pass.registers;
      const int quads = divide_up(slots - pass.registers, quad);
      pass.shared = static_cast<int>(std::min<std::int64_t>(quads, shared_quads)) * quad;
      shared_quads -= pass.shared / quad;
      pass.l2 = quads * quad - pass.shared;
    }
  }
  layout = make_layout(plan, problem_, direction_);
  plan.registers.weights = pair_registers(layout, plan.opaque_pairs);
  const int left = plan.registers.available - plan.registers.weights;
  int words = words_at_once(layout.w_hh, problem_.dtype, plan.registers.available);
  if (layout.w_hr)
    words = std::max(words, words_at_once(*layout.w_hr, problem_.dtype, plan.registers.available));
  if (words + beside_words > left && words > 0) {
    return fmt::format(
        "needs {} registers a thread for words of state, {} available with one lane a row group", words,
        std::max(0, left - beside_words));
  }
  // All slots were meant to fit, but each of two matrices may have left some over.
  const bool overflow = overflows(layout.w_hh) || (layout.w_hr && overflows(*layout.w_hr));
  const int working = working_registers(plan, layout, overflow, gpu_.compute_capability);
  if (working > left) {
    return fmt::format("needs {} registers a thread beside {} of pairs, {} available with {} warps", working,
                       plan.registers.weights, plan.registers.available, plan.warps);
  }
  plan.registers.working = std::min(plan.registers.available - plan.registers.weights, with_room(needed));
  plan.shared = shared_budget(layout, plan.group_batch, plan.shared.available);
  const std::int64_t streamed =
      4 * plan.ctas *
      (layout.w_hh.block_words(Place::l2) + (layout.w_hr ? layout.w_hr->block_words(Place::l2) : 0));
  if (streamed > gpu_.memory_bytes) {
    return fmt::format("needs {:.1f} GB of weights outside the chip, the device has {:.1f}",
                       static_cast<double>(streamed) / 1e9, static_cast<double>(gpu_.memory_bytes) / 1e9);
  }
  return "";
}

std::string Fitter::fit(const Candidate& candidate, bool in_cluster, GatherPlan& plan) {
  plan = {};
  plan.groups = candidate.groups;
  plan.group_batch = candidate.group_batch;
  plan.ctas = candidate.ctas;
  plan.warps = candidate.warps;
  if (std::string reason = choose_word(candidate, plan); !reason.empty()) return reason;
  plan.w_hh = matrix(false, candidate, plan.w_hh.offset_unit);
  if (problem_.projection_size > 0) plan.w_hr = matrix(true, candidate, plan.w_hh.offset_unit);
  if (std::string reason = gpu::fill_common(plan, problem_, direction_, gpu_, wishes_, in_cluster);
      !reason.empty())
    return reason;
  plan.bank_order = wishes_.bank_order.value_or(true);
  return place_slots(plan);
}

}  // namespace sprnn::gather
