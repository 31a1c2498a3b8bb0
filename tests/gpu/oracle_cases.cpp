// Engine cuda against the float64 reference: random shapes, masks, devices planned for, lengths, wishes.
#include <fmt/format.h>

#include "gpu/run_model.hpp"
#include "plan/strategy.hpp"
#include "support/drawn_problem.hpp"

namespace sprnn::test {

namespace {

struct Drawn : GpuProblem {
  std::int64_t steps = 1, chunk = 0;
  bool batch_first = false;
};

Drawn draw(std::uint64_t seed) {
  Random random(seed);
  Drawn d{draw_gpu_problem(random, 777)};
  const std::int64_t lengths_of_time[] = {1, 2, 7, 33, 64};
  d.steps = lengths_of_time[random.integer(0, 4)];
  const bool in_chunks = random.chance(0.5);
  if (in_chunks && d.spec.directions == Directions::forward && d.lengths == Lengths::all_steps) {
    d.chunk = random.chance(0.5) ? 1 : 7;
  }
  d.batch_first = d.chunk == 0 && random.chance(0.3);
  return d;
}

constexpr GpuWishes gather_plan{.strategy = GpuStrategy::gather};

// Groups that could be clusters are none in every second case.
std::optional<bool> in_cluster(std::uint64_t number) {
  return number % 4 < 2 ? std::nullopt : std::optional(false);
}

}  // namespace

void add_oracle_cases(std::vector<Case>& cases) {
  for (const Cell& cell : standard_cells()) {
    for (const DType dtype : {DType::fp32, DType::fp16, DType::bf16}) {
      for (const std::int64_t projection : {0, 24}) {
        if (projection > 0 && cell.kind != CellKind::lstm) continue;
        const ModelSpec spec{.cell = cell,
                             .dtype = dtype,
                             .input = 12,
                             .hidden = 48,
                             .projection = projection,
                             .density = 0.3};
        cases.push_back({fmt::format("256 steps, batch 3: {}", to_string(spec)), [spec] {
                           const Model model = random_model(spec);
                           return check_model(model, random_inputs(model, 256, 3, 7), test_gpu(),
                                              gather_plan);
                         }});
      }
    }
  }
  const ModelSpec largest{.dtype = DType::fp16, .input = 12, .hidden = 16384, .density = 0.005};
  cases.push_back({fmt::format("5 steps, batch 2: {}", to_string(largest)), [largest] {
                     const Model model = random_model(largest);
                     return check_model(model, random_inputs(model, 5, 2, 7), test_gpu(), gather_plan);
                   }});
  const auto add_drawn = [&](const std::string& what, const Drawn& d, std::uint64_t seed,
                             GpuStrategy strategy) {
    cases.push_back(
        {fmt::format("{}{} steps, batch {}{}{}{}, planned for {}: {}", what, d.steps, d.batch,
                     d.lengths == Lengths::mixed ? ", lengths" : "",
                     d.chunk > 0 ? fmt::format(", chunks of {}", d.chunk) : "",
                     d.batch_first ? ", batch first" : "", d.tiny ? "tiny" : "here", to_string(d.spec)),
         [d, seed, strategy] {
           const Model model = random_model(d.spec);
           return check_model(model, random_inputs(model, d.steps, d.batch, d.spec.seed, d.lengths),
                              d.tiny ? tiny_gpu() : test_gpu(),
                              {.strategy = strategy, .in_cluster = in_cluster(seed)},
                              {d.chunk, d.batch_first});
         }});
  };
  for (std::uint64_t seed = 1; seed <= 150; ++seed) {
    add_drawn("", draw(seed), seed, GpuStrategy::gather);
  }
  // The property tests' own problems: ten times twelve, the first of each large; by the planner's own
  // strategy.
  for (std::uint64_t i = 0; i < 120; ++i) {
    const DrawnProblem d = draw_problem(20260101 + i, i % 12 == 0);
    cases.push_back({fmt::format("property: {}", to_string(d)), [d] {
                       const Model model = random_model(d.spec);
                       return check_model(model,
                                          random_inputs(model, d.steps, d.batch, d.input_seed, d.lengths),
                                          test_gpu());
                     }});
  }
  for (std::uint64_t seed = 1; seed <= 180; ++seed) {
    Drawn d = draw(1000 + seed);
    if (d.spec.dtype == DType::fp32) d.spec.dtype = DType::bf16;
    d.spec.projection = 0;
    d.spec.hidden = std::min<std::int64_t>(d.spec.hidden, 130);  // so that also the tiny one has a plan
    const GpuStrategy strategy = seed % 3 == 0   ? GpuStrategy::sparse_mma
                                 : seed % 2 == 0 ? GpuStrategy::dense_mma
                                                 : GpuStrategy::vector_mma;
    d.spec = masked_for(strategy, d.spec);
    add_drawn(fmt::format("{}: ", to_string(strategy)), d, seed, strategy);
  }
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    Random random(seed);
    const auto one_of = [&](std::initializer_list<int> all) {
      return all.begin()[random.integer(0, static_cast<std::int64_t>(all.size()) - 1)];
    };
    Drawn d = draw(2000 + seed);
    if (d.spec.dtype == DType::fp32) d.spec.dtype = DType::fp16;
    d.spec.projection = 0;
    d.batch = one_of({5, 9, 16, 17, 40});
    GpuWishes wishes{.strategy = seed % 3 == 0 ? GpuStrategy::sparse_mma : GpuStrategy::dense_mma,
                     .groups = one_of({1, 2})};
    wishes.group_batch = std::min<int>(one_of({1, 2, 3, 4, 8, 8, 9, 16}), static_cast<int>(d.batch));
    d.spec = masked_for(*wishes.strategy, d.spec);
    cases.push_back(
        {fmt::format(
             "{}, groups and batches: {} steps, batch {}{}{}{}, {} x {}, {}", to_string(*wishes.strategy),
             d.steps, d.batch, d.lengths == Lengths::mixed ? ", lengths" : "",
             d.chunk > 0 ? fmt::format(", chunks of {}", d.chunk) : "", d.batch_first ? ", batch first" : "",
             *wishes.groups, *wishes.group_batch, to_string(d.spec)),
         [d, wishes] {
           const Model model = random_model(d.spec);
           return check_model(model, random_inputs(model, d.steps, d.batch, d.spec.seed, d.lengths),
                              test_gpu(), wishes, {d.chunk, d.batch_first});
         }});
  }
  // Any mask on sparse tensor cores: the rest is gathered.
  for (std::uint64_t seed = 1; seed <= 90; ++seed) {
    Drawn d = draw(4000 + seed);
    if (d.spec.dtype == DType::fp32) d.spec.dtype = DType::bf16;
    d.spec.projection = 0;
    d.spec.hidden =
        std::min<std::int64_t>(d.spec.hidden, d.tiny ? 100 : 130);  // so that also the tiny one has a plan
    d.spec.density = std::max(d.spec.density, 0.1);
    add_drawn("sparse-mma and a rest: ", d, seed, GpuStrategy::sparse_mma);
  }
  // Warps of whole rows, in clusters and through the L2.
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    Random random(seed);
    Drawn d = draw(3000 + seed);
    if (d.spec.dtype == DType::fp32) d.spec.dtype = DType::fp16;
    d.spec.projection = 0;
    d.spec.hidden = random.integer(16, 400);
    const int warps = random.chance(0.7) ? 4 : 8;
    GpuWishes wishes{
        .strategy = seed % 3 == 0 ? GpuStrategy::sparse_mma : GpuStrategy::dense_mma,
        .group_batch = std::min<int>(static_cast<int>(random.integer(1, 8)), static_cast<int>(d.batch)),
        .warps = warps,
        .row_parts = warps,
        .in_cluster = random.chance(0.8)};
    d.spec = masked_for(*wishes.strategy, d.spec);
    cases.push_back(
        {fmt::format("{}, whole rows of {} warps{}: {} steps, batch {}{}{}{}, {} a group, {}",
                     to_string(*wishes.strategy), warps, *wishes.in_cluster ? " in a cluster" : "", d.steps,
                     d.batch, d.lengths == Lengths::mixed ? ", lengths" : "",
                     d.chunk > 0 ? fmt::format(", chunks of {}", d.chunk) : "",
                     d.batch_first ? ", batch first" : "", *wishes.group_batch, to_string(d.spec)),
         [d, wishes] {
           const Model model = random_model(d.spec);
           return check_model(model, random_inputs(model, d.steps, d.batch, d.spec.seed, d.lengths),
                              test_gpu(), wishes, {d.chunk, d.batch_first});
         }});
  }
  // So large that the weights of most are streamed.
  constexpr GpuStrategy dense = GpuStrategy::dense_mma, sparse = GpuStrategy::sparse_mma;
  for (const auto& [strategy, cell, hidden, batch] : {std::tuple{dense, tanh_cell(), 5700, 4},
                                                      {dense, lstm_cell(), 2500, 9},
                                                      {dense, gru_cell(), 3000, 20},
                                                      {dense, relu_cell(), 6000, 1},
                                                      {sparse, lstm_cell(), 3500, 4},
                                                      {sparse, lstm_cell(), 2500, 16},
                                                      {sparse, gru_cell(), 3000, 20},
                                                      {sparse, tanh_cell(), 5632, 4}}) {
    const ModelSpec spec = masked_for(
        strategy, {.cell = cell, .dtype = DType::fp16, .input = 9, .hidden = hidden, .density = 0.02});
    cases.push_back(
        {fmt::format("{}, large: 8 steps, batch {}, {}", to_string(strategy), batch, to_string(spec)),
         [spec, strategy = strategy, batch = batch] {
           const Model model = random_model(spec);
           return check_model(model, random_inputs(model, 8, batch, 4), test_gpu(), {.strategy = strategy});
         }});
  }
  for (const auto& [cell, hidden, density, batch] : {std::tuple{tanh_cell(), 5632, 0.3, 4},
                                                     {lstm_cell(), 2500, 0.5, 8},
                                                     {gru_cell(), 3000, 0.3, 1},
                                                     {relu_cell(), 9000, 0.1, 2}}) {
    const ModelSpec spec{
        .cell = cell, .dtype = DType::fp16, .input = 9, .hidden = hidden, .density = density};
    cases.push_back(
        {fmt::format("sparse-mma and a rest, large: 8 steps, batch {}, {}", batch, to_string(spec)),
         [spec, batch = batch] {
           const Model model = random_model(spec);
           return check_model(model, random_inputs(model, 8, batch, 4), test_gpu(),
                              {.strategy = GpuStrategy::sparse_mma});
         }});
  }
  for (const std::int64_t hidden : {1000, 2304}) {
    for (const Cell& cell : standard_cells()) {
      for (const GpuStrategy strategy : {dense, sparse, GpuStrategy::vector_mma}) {
        const ModelSpec spec = masked_for(
            strategy, {.cell = cell, .dtype = DType::fp16, .input = 9, .hidden = hidden, .density = 0.05});
        cases.push_back({fmt::format("{}: 20 steps, batch 5, {}", to_string(strategy), to_string(spec)),
                         [spec, strategy] {
                           const Model model = random_model(spec);
                           return check_model(model, random_inputs(model, 20, 5, 4), test_gpu(),
                                              {.strategy = strategy});
                         }});
      }
    }
  }
  std::vector<GpuWishes> wishes;
  for (const int lanes : {1, 2, 4, 8, 16, 32}) wishes.push_back({.lanes = lanes});
  for (const int groups : {1, 2, 3, 8}) wishes.push_back({.groups = groups});
  for (const int ctas : {1, 2, 3, 8, 16}) {
    for (const bool in_cluster : {false, true}) wishes.push_back({.ctas = ctas, .in_cluster = in_cluster});
  }
  for (const int group_batch : {1, 3, 5, 8}) wishes.push_back({.group_batch = group_batch});
  for (const int warps : {4, 12, 32}) wishes.push_back({.warps = warps});
  for (int bits = 0; bits < 32; ++bits) {
    wishes.push_back({.stamps = (bits & 1) != 0,
                      .wide_loads = (bits & 2) != 0,
                      .bank_order = (bits & 4) != 0,
                      .opaque_pairs = (bits & 8) != 0,
                      .fence = (bits & 16) != 0});
  }
  wishes.push_back({.w_ih = InputStorage::csr});
  for (const DType dtype : {DType::fp16, DType::fp32}) {
    const ModelSpec spec{.cell = lstm_cell(), .dtype = dtype, .input = 9, .hidden = 80, .density = 0.4};
    for (GpuWishes wish : wishes) {
      wish.strategy = GpuStrategy::gather;
      const std::string text = [&] {
        const Model model = random_model(spec);
        return gather::to_text(std::get<GatherPlan>(
            make_plan(describe(model, 8), find_device("h100"), {{}, wish}).directions[0].choice));
      }();
      cases.push_back({fmt::format("wish {}: 8 steps, batch 8, {}; {}", cases.size(), to_string(spec), text),
                       [spec, wish] {
                         const Model model = random_model(spec);
                         return check_model(model, random_inputs(model, 8, 8, 3), test_gpu(), wish);
                       }});
    }
  }
}

}  // namespace sprnn::test
