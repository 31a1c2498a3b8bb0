// The planner of strategies dense-mma, sparse-mma and vector-mma: enumerate, filter with a reason, score,
// pick the cheapest.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "plan/gather_balance.hpp"
#include "plan/gather_cost.hpp"
#include "plan/gpu_cost.hpp"
#include "plan/gpu_search.hpp"
#include "plan/mma_cost.hpp"
#include "plan/mma_layout.hpp"
#include "plan/mma_registers.hpp"
#include "plan/strategy.hpp"
#include "sprnn/error.hpp"

namespace sprnn::mma {

namespace {

using gpu::divide_up;

struct Candidate {
  int groups = 1, ctas = 1, group_batch = 1, warps = 4, units_a_cta = 1, row_parts = 1;
  GpuStrategy strategy = GpuStrategy::dense_mma;
  bool asks_late = false;
  [[nodiscard]] std::string text() const {
    return fmt::format("{}, {} group{} of {} CTAs, batch {} a group, {}", to_string(strategy), groups,
                       groups == 1 ? "" : "s", ctas, group_batch, warps_text());
  }
  [[nodiscard]] std::string warps_text() const {
    const std::string text = row_parts == 1 ? fmt::format("{} warps", warps)
                             : row_parts == warps
                                 ? fmt::format("{} warps of whole rows", warps)
                                 : fmt::format("{} x {} warps", row_parts, warps / row_parts);
    return asks_late ? text + " that ask late" : text;
  }
};

void check_wishes(const Problem& problem, const GpuDescription& gpu, const GpuWishes& wishes,
                  GpuStrategy strategy) {
  gpu::check_wishes(problem, gpu, wishes);
  if (wishes.lanes) gpu::refuse_choice("lanes", {GpuStrategy::gather});
  if (wishes.wide_loads) gpu::refuse_choice("wide_loads", {GpuStrategy::gather});
  if (wishes.bank_order) gpu::refuse_choice("bank_order", {GpuStrategy::gather});
  if (wishes.opaque_pairs) gpu::refuse_choice("opaque_pairs", {GpuStrategy::gather});
  const bool gathered = strategy == GpuStrategy::vector_mma;
  if (gathered && wishes.row_parts)
    gpu::refuse_choice("row_parts", {GpuStrategy::dense_mma, GpuStrategy::sparse_mma});
  if (gathered && wishes.asks_late)
    gpu::refuse_choice("asks_late", {GpuStrategy::dense_mma, GpuStrategy::sparse_mma});
  if (!wishes.row_parts) return;
  const bool whole = wishes.row_parts == wishes.warps;
  if (!whole && (*wishes.row_parts < 1 || *wishes.row_parts > most_row_parts)) {
    gpu::refuse_wish("row_parts", *wishes.row_parts,
                     fmt::format("1 to {}, or as many as the warps that are asked for", most_row_parts));
  }
}

// Units a CTA, of a number of CTAs or of all that are worth a try. `whole`: of that many warps that have
// whole rows, each of tiles of its own; 0: not so.
std::set<int> widths(const Problem& problem, int gates, const GpuDescription& gpu, const GpuWishes& wishes,
                     int groups, bool gathered, int whole) {
  const int sharing = mma_sharing_units(gates), multiple = gathered ? sharing : held_units;
  const auto units = static_cast<int>(problem.hidden_size);
  std::set<int> all;
  if (whole > 0 && !wishes.ctas) {
    for (int tiles = 1; tiles <= most_tiles / whole; ++tiles) {
      const int width = whole * tiles * sharing;
      if (divide_up(units, width) <= gpu.sm_count / groups) all.insert(width);
    }
    return all;
  }
  for (const int ctas : gpu::choices(wishes.ctas, gpu::halves(gpu.sm_count / groups)))
    all.insert(divide_up(divide_up(units, ctas), multiple) * multiple);
  return all;
}

std::vector<Candidate> candidates(const Problem& problem, const DirectionProblem& direction,
                                  const GpuDescription& gpu, const GpuWishes& wishes, GpuStrategy strategy) {
  check_wishes(problem, gpu, wishes, strategy);
  const bool gathered = strategy == GpuStrategy::vector_mma;
  const int gates = direction.cell.gates();
  const auto units = static_cast<int>(problem.hidden_size);
  std::vector<Candidate> all;
  const auto add = [&](int groups, int group_batch, int warps, int row_parts, bool asks_late) {
    const int whole = row_parts == warps ? warps : 0;
    for (const int width : widths(problem, gates, gpu, wishes, groups, gathered, whole)) {
      all.push_back(
          {groups, divide_up(units, width), group_batch, warps, width, row_parts, strategy, asks_late});
    }
  };
  const std::set<int> all_warps = gpu::choices(wishes.warps, {4, 8, 12, 16});
  for (const auto& [groups, batches] : gpu::group_shapes(problem, gpu, wishes, true)) {
    for (const int group_batch : batches) {
      // What many batch entries lack is registers, for their sums and for the state.
      const bool many = !gathered && group_batch > plane_entries;
      for (const int warps : all_warps) {
        for (const bool asks_late : {false, true}) {
          if ((asks_late && !many) || asks_late != wishes.asks_late.value_or(asks_late)) continue;
          // Words of planes that are not full are looked for one by one: LSTM 2304, 12 entries of held
          // ones 6.6 us a timestep, 16 5.0; asked for late 5.1 and 4.8 (H200).
          const int filled = divide_up(group_batch, plane_entries) * plane_entries;
          const bool fills = many && !wishes.group_batch;
          std::set<int> sizes{fills ? filled : group_batch};
          if (asks_late) sizes.insert(group_batch);
          for (const int entries : sizes) {
            const int needed = wishes.groups ? groups : std::min(groups, divide_up(problem.batch, entries));
            for (const int parts : gpu::choices(wishes.row_parts, asks_late ? std::set{1, 2} : std::set{1})) {
              if (parts != warps) add(needed, entries, warps, parts, asks_late);
            }
          }
        }
      }
    }
  }
  // Warps of whole rows: their words may have fewer entries than there is room for, each lane reads its own.
  if (gathered || wishes.asks_late.value_or(false)) return all;
  for (const auto& [groups, batches] : gpu::group_shapes(problem, gpu, wishes, false)) {
    for (const int group_batch : batches) {
      for (const int warps : all_warps) {
        const bool wished = wishes.row_parts == warps;
        if (wished || (!wishes.row_parts && group_batch <= plane_entries))
          add(groups, group_batch, warps, warps, false);
      }
    }
  }
  return all;
}

// What sparse-mma gathers of the non-zeros: rows to row groups, as cheap as they go, and where their pairs
// lie.
class RestFitter {
 public:
  RestFitter(const Problem& problem, const DirectionProblem& direction, const GpuDescription& gpu)
      : problem_(problem), direction_(direction), gpu_(gpu) {}

  // `plan` has all but its rest, whose pairs go to the L2. Returns why it has none; empty: it has.
  [[nodiscard]] std::string fit(MmaPlan& plan, const gpu::Image& image) {
    const std::int64_t reached = gather::offset_values * image.word_bytes;
    if (image.plane_bytes > reached)
      return fmt::format("needs {} bytes of state, 16-bit offsets reach {}", image.plane_bytes, reached);
    const std::vector<std::int32_t>& rows = longest(plan);
    double least = 0.0;
    std::optional<GatherMatrix> best;
    for (const int lanes : gpu::halves(warp_lanes)) {
      GatherMatrix matrix;
      matrix.units_a_cta = plan.units_a_cta;
      matrix.lanes = lanes;
      matrix.offset_unit = image.plane_bytes > gather::offset_values ? image.word_bytes : 1;
      matrix.half_sums = gather::sums_halves(problem_, direction_, false);
      gather::share_rows(matrix, rows, plan.warps * warp_lanes);
      for (RowPass& pass : matrix.passes)
        pass = {0, 0, divide_up(pass.registers, gather::quad) * gather::quad};
      const double cost = price(plan, matrix, image);
      if (best && cost >= least) continue;
      least = cost;
      best = std::move(matrix);
    }
    plan.rest = std::move(best);
    return "";
  }

  // From the L2 into `room` bytes of shared memory a CTA, if there are any.
  static void move(MmaPlan& plan, std::int64_t room) {
    const std::int64_t quad_bytes =
        4 * gather::block_words(Place::shared, gather::quad, plan.warps * warp_lanes, false);
    std::int64_t quads = std::max<std::int64_t>(0, room) / quad_bytes;
    for (RowPass& pass : plan.rest->passes) {
      const auto moved = static_cast<int>(std::min<std::int64_t>(pass.l2 / gather::quad, quads));
      pass.shared = moved * gather::quad;
      pass.l2 -= pass.shared;
      quads -= moved;
    }
  }

 private:
  // Wherever its pairs lie, so as from shared memory.
  [[nodiscard]] double price(const MmaPlan& plan, GatherMatrix matrix, const gpu::Image& image) const {
    for (RowPass& pass : matrix.passes) std::swap(pass.shared, pass.l2);
    gather::MatrixLayout layout = gather::make_matrix_layout(plan, matrix, "", problem_.dtype);
    layout.gates = direction_.cell.gates();
    layout.image = image;
    return gather::product_cost(plan, layout, true, problem_.dtype, gpu_);
  }

  // Depends on the number of units of a CTA alone: they have their places in order.
  const std::vector<std::int32_t>& longest(const MmaPlan& plan) {
    const auto [entry, fresh] = longest_.try_emplace(plan.units_a_cta);
    if (fresh) {
      const auto units = static_cast<std::ptrdiff_t>(problem_.hidden_size);
      std::vector<std::int32_t> map(static_cast<std::size_t>(plan.ctas * plan.units_a_cta), -1);
      std::iota(map.begin(), map.begin() + units, 0);
      entry->second =
          gather::longest_rows(map, direction_.w_hh.row_rests, direction_.cell.gates(), plan.units_a_cta);
    }
    return entry->second;
  }

  const Problem& problem_;
  const DirectionProblem& direction_;
  const GpuDescription& gpu_;
  std::map<int, std::vector<std::int32_t>> longest_;
};

// Fills `plan`, or says why the candidate does not fit the device; empty: it does.
std::string fit(const Candidate& candidate, bool in_cluster, const Problem& problem,
                const DirectionProblem& direction, const GpuDescription& gpu, const GpuWishes& wishes,
                RestFitter& rest, MmaPlan& plan) {
  plan = {};
  plan.groups = candidate.groups;
  plan.group_batch = candidate.group_batch;
  plan.ctas = candidate.ctas;
  plan.warps = candidate.warps;
  plan.gathered = candidate.strategy == GpuStrategy::vector_mma;
  plan.sparse = candidate.strategy == GpuStrategy::sparse_mma;
  plan.units_a_cta = candidate.units_a_cta;
  plan.row_parts = candidate.row_parts;
  plan.asks_late = candidate.asks_late;
  if (std::string reason = gpu::fill_common(plan, problem, direction, gpu, wishes, in_cluster);
      !reason.empty())
    return reason;
  const std::vector<std::int32_t>& shared = direction.w_hh.shared_columns;
  const std::int64_t columns =
      plan.gathered ? *std::max_element(shared.begin(), shared.end()) : problem.hidden_size;
  const int column_warps = plan.warps / plan.row_parts;
  const bool whole = !plan.gathered && column_warps == 1;
  if (whole && !in_cluster && !wishes.row_parts) return "warps of whole rows gain in a cluster only";
  if (whole && plan.group_batch > plane_entries)
    return fmt::format("warps of whole rows take at most {} batch entries a group", plane_entries);
  const bool gathers = plan.sparse && !direction.w_hh.row_rests.empty();
  if (gathers && (plan.row_parts > 1 || plan.group_batch > plane_entries)) {
    return fmt::format(
        "non-zeros beyond two of four are gathered for at most {} batch entries a group, and not for "
        "row parts",
        plane_entries);
  }
  // Of whole rows all positions are read: each warp publishes.
  const std::int64_t read = whole ? std::int64_t{plan.ctas} * plan.units_a_cta : columns;
  Layout layout = make_layout(plan, problem, direction);
  const int step_columns = layout.w_hh.step_columns();
  int steps = std::max(1, divide_up(read, std::int64_t{step_columns} * column_warps));
  if (plan.asks_late) steps = divide_up(steps, layout.w_hh.late_steps()) * layout.w_hh.late_steps();
  plan.steps = {0, 0, steps};
  if (gathers) {
    plan.rest = GatherMatrix{};  // so that the image is its
    const gpu::Image image = make_layout(plan, problem, direction).rest->image;
    if (std::string reason = rest.fit(plan, image); !reason.empty()) return reason;
  }
  layout = make_layout(plan, problem, direction);
  if (whole && (plan.warps - 1) * layout.w_hh.units_a_warp() >= plan.units_a_cta)
    return fmt::format("{} units a CTA leave a warp without rows", plan.units_a_cta);
  if (layout.w_hh.tiles > most_tiles)
    return fmt::format("needs {} tiles of rows a CTA, at most {} are taken", layout.w_hh.tiles, most_tiles);
  if (plan.gathered && layout.w_hh.zero_position(column_phases - 1) > 65535)
    return fmt::format("needs {} positions, 16-bit columns reach 65536",
                       layout.w_hh.zero_position(column_phases - 1) + 1);

  // What streams weights needs least of it beside them.
  // Whole quads of a cluster's ring are held and whole quads streamed: where it is both, perhaps one more
  // than if all were streamed.
  const std::int64_t another_quad =
      plan.in_cluster && !plan.gathered && !plan.asks_late && !gathers
          ? gpu::shared_ring_bytes(std::int64_t{gpu::warp_lanes} * column_warps * layout.state.planes)
          : 0;
  const std::int64_t available = gpu.shared_bytes_per_block - gpu::reserved_shared_bytes;
  const auto least = [&](MmaPlan smaller, int group_batch) {
    smaller.group_batch = group_batch;
    smaller.steps = {0, 0, steps};
    SharedBudget budget = shared_budget(make_layout(smaller, problem, direction), group_batch, available);
    budget.ring += another_quad;
    return budget;
  };
  if (plan.rest) RestFitter::move(plan, available - least(plan, plan.group_batch).total());
  layout = make_layout(plan, problem, direction);
  if (least(plan, plan.group_batch).total() > available) {
    const int fewest = plan.asks_late ? plane_entries + 1 : 1;  // no fewer ask late
    const auto fits = [&](int group_batch) { return least(plan, group_batch).total() <= available; };
    return gpu::shared_memory_refusal(least(plan, plan.group_batch),
                                      gpu::most_fitting(fewest, plan.group_batch, fits));
  }

  // Registers first, then shared memory, then L2. Registers are allotted to a thread in eights.
  const int threads = layout.w_hh.threads();
  plan.registers.available = std::min(gpu.max_registers_per_thread, gpu.registers_per_sm / threads / 8 * 8);
  const int a_step = weight_registers(layout.w_hh, 1);
  const std::int64_t step_bytes = std::int64_t{4} * a_step * threads;
  // What is streamed needs no second set of sums, or where the state comes late half of one, and so leaves
  // more room for what is not. (Late steps that would all fit beside half of one stream two for it.)
  const auto shared_room = [&](bool streams) {
    layout.w_hh.steps = {streams ? 0 : steps, 0, streams ? steps : 0};
    const std::int64_t left =
        available - (streams ? another_quad : 0) - shared_budget(layout, plan.group_batch, 0).total();
    return left < 0 ? -1 : left / step_bytes;
  };
  const std::int64_t room = shared_room(false), streaming_room = shared_room(true);
  int working = 0;
  for (int held = plan.asks_late ? 0 : room < 0 ? steps - 1 : steps; held >= 0; --held) {
    const bool streams = room < 0 || steps - held > room;
    if (streams && whole)
      return fmt::format("whole rows of {} columns a warp do not fit on chip", steps * step_columns);
    const int nearby =
        streams ? static_cast<int>(std::min<std::int64_t>(steps - held - 1, streaming_room)) : steps - held;
    plan.steps = layout.w_hh.steps = {held, nearby, steps - held - nearby};
    if ((layout.w_hh.streams_two_steps() || plan.asks_late) && plan.steps.l2 % 2 != 0 && nearby > 0) {
      --plan.steps.shared, ++plan.steps.l2;
      layout.w_hh.steps = plan.steps;
    }
    working = working_registers(plan, layout, direction.cell, gpu.compute_capability);
    if (working + weight_registers(layout.w_hh, held) <= plan.registers.available) break;
    if (held > 0) continue;
    return fmt::format("needs {} registers a thread before any weight, {} available with {} warps", working,
                       plan.registers.available, plan.warps);
  }
  layout = make_layout(plan, problem, direction);
  plan.registers.weights = weight_registers(layout.w_hh, plan.steps.registers);
  // Where registers are left the compiler takes some, for loads further ahead.
  plan.registers.working = plan.registers.available - plan.registers.weights;
  plan.shared = shared_budget(layout, plan.group_batch, available);
  const std::int64_t rest_bytes = layout.rest ? 4 * plan.ctas * layout.rest->block_words(Place::l2) : 0;
  const std::int64_t streamed = layout.w_hh.streamed_bytes() + rest_bytes;
  if (streamed > gpu.memory_bytes) {
    return fmt::format("needs {:.1f} GB of weights outside the chip, the device has {:.1f}",
                       static_cast<double>(streamed) / 1e9, static_cast<double>(gpu.memory_bytes) / 1e9);
  }
  if (!plan.gathered && !gpu::stays_in_l2(static_cast<double>(streamed), gpu)) {
    const double room_in_l2 = gpu::usable_l2_bytes(gpu) - static_cast<double>(rest_bytes);
    plan.kept_steps = std::clamp(static_cast<int>(room_in_l2 / static_cast<double>(plan.ctas * step_bytes)),
                                 0, plan.steps.l2);
  }
  return "";
}

}  // namespace

DirectionPlan plan(const Problem& problem, const DirectionProblem& direction, const Device& device,
                   const GpuWishes& wishes, GpuStrategy strategy) {
  const GpuDescription& gpu = device.gpu();
  const auto refuse = [&](const std::string& reason) {
    throw Error(ErrorCode::unsupported,
                fmt::format("no {} plan for hidden size {}, batch {} on {}: {}", to_string(strategy),
                            problem.hidden_size, problem.batch, device.name, reason));
  };
  if (const std::string reason = missing(problem, direction, strategy); !reason.empty()) refuse(reason);
  const std::vector<Candidate> all = candidates(problem, direction, gpu, wishes, strategy);
  if (all.empty()) {
    refuse(wishes.asks_late
               ? fmt::format("a group asks late only for more than {} batch entries", plane_entries)
               : fmt::format("warps of whole rows need more CTAs a group than {}",
                             gpu.sm_count / wishes.groups.value_or(1)));
  }
  gpu::Ranking ranking;
  RestFitter rest(problem, direction, gpu);
  MmaPlan plan;
  for (const Candidate& candidate : all) {
    for (const bool in_cluster : gpu::cluster_choices(candidate.ctas, gpu, wishes)) {
      const std::string text = fmt::format("{}{}", candidate.text(), gpu::cluster_text(in_cluster));
      const std::string reason = fit(candidate, in_cluster, problem, direction, gpu, wishes, rest, plan);
      if (reason.empty()) {
        ranking.offer(text, candidate.groups, candidate.warps_text(), plan,
                      cost(plan, problem, direction, gpu));
      } else {
        ranking.refuse(text, candidate.groups, reason);
      }
    }
  }
  if (ranking.empty()) refuse(ranking.first_refusal().candidate + ": " + ranking.first_refusal().reason);
  DirectionPlan chosen = ranking.take(direction);
  set_bytes(chosen, problem, direction);
  return chosen;
}

void set_bytes(DirectionPlan& plan, const Problem& problem, const DirectionProblem& direction) {
  const MmaPlan& choice = std::get<MmaPlan>(plan.choice);
  plan.packed_bytes = gpu::total_bytes(section_sizes(choice, problem, direction));
  const Layout layout = make_layout(choice, problem, direction);
  plan.workspace_bytes = gpu::workspace_bytes(choice, layout, problem);
  if (!choice.gathered) {  // two slots, of tagged words at most; counted words stay in shared memory
    const bool counted = choice.in_cluster && layout.w_hh.whole_rows();
    const std::int64_t ring =
        counted ? 0 : 2 * choice.groups * layout.w_hh.ring_quads(choice.group_batch, ExchangeWord::tag) * 16;
    plan.workspace_bytes += ring - gpu::ring_bytes(choice, layout);
  }
}

}  // namespace sprnn::mma
