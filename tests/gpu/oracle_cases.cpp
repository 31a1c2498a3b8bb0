// Engine cuda against the float64 reference: random shapes, masks, devices planned for, lengths, wishes.
#include <fmt/format.h>

#include <algorithm>

#include "gpu/case.hpp"
#include "interpreter/support.hpp"
#include "plan/strategy.hpp"
#include "sprnn/cuda.hpp"
#include "sprnn/error.hpp"

namespace sprnn::test {

namespace {

// Through one session, outputs poisoned before and guarded, in chunks of `chunk` steps; twice, for the same
// bits.
CaseResult run_case(const Model& model, const Inputs& inputs, const Device& device,
                    const GatherWishes& wishes, std::int64_t chunk, bool batch_first) {
  const auto packed = pack_for(model, device, static_cast<int>(inputs.batch), wishes);
  const Problem& problem = packed->plan.problem;
  SessionOptions options;
  options.batch = static_cast<int>(inputs.batch);
  const auto session = find_engine("cuda", packed->plan).session(packed, options);
  const std::size_t per_layer = problem.directions.size() > 1 && problem.directions[1].layer == 0 ? 2 : 1;
  const std::size_t width = per_layer * static_cast<std::size_t>(problem.directions.front().w_hh.cols);
  const auto batch = static_cast<std::size_t>(inputs.batch);
  const auto in = static_cast<std::size_t>(problem.input_size);
  const auto steps = static_cast<std::size_t>(inputs.steps);
  std::vector<float> x = inputs.x;
  if (batch_first) {
    for (std::size_t t = 0; t < steps; ++t) {
      for (std::size_t b = 0; b < batch; ++b) {
        std::copy_n(inputs.x.begin() + static_cast<std::ptrdiff_t>((t * batch + b) * in), in,
                    x.begin() + static_cast<std::ptrdiff_t>((b * steps + t) * in));
      }
    }
  }
  Output outputs[2];
  for (Output& output : outputs) {
    session->set_state(inputs.h0, inputs.c0);
    GuardedOutput y(steps * batch * width);
    const std::int64_t step = chunk == 0 ? inputs.steps : chunk;
    for (std::int64_t begin = 0; begin < inputs.steps; begin += step) {
      Sequence sequence;
      sequence.steps = std::min(step, inputs.steps - begin);
      sequence.x = x.data() + static_cast<std::size_t>(begin) * batch * in;
      sequence.y = y.data() + static_cast<std::size_t>(begin) * batch * width;
      sequence.batch_first = batch_first;
      if (!inputs.lengths.empty()) sequence.lengths = inputs.lengths.data();
      session->run(sequence);
    }
    if (!y.problem().empty()) return {0, 0, y.problem()};
    output = {{y.values().begin(), y.values().end()}, inputs.h0, inputs.c0};
    if (batch_first) {
      for (std::size_t t = 0; t < steps; ++t) {
        for (std::size_t b = 0; b < batch; ++b) {
          std::copy_n(y.values().begin() + static_cast<std::ptrdiff_t>((b * steps + t) * width), width,
                      output.y.begin() + static_cast<std::ptrdiff_t>((t * batch + b) * width));
        }
      }
    }
    session->get_state(output.h, output.c);
  }
  const Errors errors = compare(model, inputs, outputs[0]);
  return {errors.error, errors.bound, outputs[0] == outputs[1] ? "" : "other bits when run again"};
}

struct Drawn {
  ModelSpec spec;
  std::string device;
  std::int64_t steps, batch, chunk;
  Lengths lengths;
  bool batch_first;
};

Drawn draw(std::uint64_t seed) {
  Random random(seed);
  const auto one_of = [&](auto... choices) {
    const std::common_type_t<decltype(choices)...> all[] = {choices...};
    return all[random.integer(0, sizeof...(choices) - 1)];
  };
  Drawn d;
  d.spec.seed = seed;
  d.spec.cell = standard_cells()[static_cast<std::size_t>(random.integer(0, 3))];
  d.spec.dtype = one_of(DType::fp32, DType::fp16, DType::bf16);
  d.spec.hidden = one_of(1, 2, 3, 5, 7, 13, 16, 31, 37, 61, 64, 97, 127, 130, 251, 512, 777);
  d.spec.input = one_of(1, 2, 5, 11, 33, 128);
  d.spec.density = one_of(0.0, 0.01, 0.1, 0.3, 0.6, 1.0);
  d.spec.input_density = one_of(0.02, 0.4, 1.0);
  d.spec.mask = one_of(Mask::uniform, Mask::skewed_rows, Mask::empty_rows, Mask::one_full_row, Mask::bands);
  d.spec.layers = one_of(1, 1, 1, 2);
  d.spec.directions = one_of(Directions::forward, Directions::forward, Directions::reverse, Directions::both);
  d.spec.bias = random.chance(0.7);
  if (d.spec.cell.kind == CellKind::lstm && d.spec.hidden > 1 && random.chance(0.4)) {
    d.spec.projection = random.integer(1, d.spec.hidden - 1);
  }
  d.batch = one_of(1, 2, 3, 4, 5, 7, 8, 13, 16, 32);
  d.steps = one_of(1, 2, 7, 33, 64);
  d.lengths = one_of(Lengths::all_steps, Lengths::mixed);
  d.chunk =
      d.spec.directions == Directions::forward && d.lengths == Lengths::all_steps ? one_of(0, 0, 1, 7) : 0;
  d.batch_first = d.chunk == 0 && random.chance(0.3);
  d.device = one_of("here", "here", "here", "tiny");
  return d;
}

Device device_of(const std::string& name) { return name == "tiny" ? tiny_gpu() : find_gpu(0); }

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
                           return run_case(model, random_inputs(model, 256, 3, 7), find_gpu(0), {}, 0, false);
                         }});
      }
    }
  }
  for (std::uint64_t seed = 1; seed <= 150; ++seed) {
    const Drawn d = draw(seed);
    cases.push_back({fmt::format("{} steps, batch {}{}{}{}, planned for {}: {}", d.steps, d.batch,
                                 d.lengths == Lengths::mixed ? ", lengths" : "",
                                 d.chunk > 0 ? fmt::format(", chunks of {}", d.chunk) : "",
                                 d.batch_first ? ", batch first" : "", d.device, to_string(d.spec)),
                     [d] {
                       const Model model = random_model(d.spec);
                       return run_case(model, random_inputs(model, d.steps, d.batch, d.spec.seed, d.lengths),
                                       device_of(d.device), {}, d.chunk, d.batch_first);
                     }});
  }
  std::vector<GatherWishes> wishes;
  for (const int lanes : {1, 2, 4, 8, 16, 32}) wishes.push_back({.lanes_a_row = lanes});
  for (const int groups : {1, 2, 3, 8}) wishes.push_back({.groups = groups});
  for (const int ctas : {1, 2, 3, 16}) wishes.push_back({.ctas = ctas});
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
    for (const GatherWishes& wish : wishes) {
      const std::string text = [&] {
        const Model model = random_model(spec);
        return gather::to_text(std::get<GatherPlan>(
            make_plan(describe(model, 8), find_device("h100"), {{}, wish}).directions[0].choice));
      }();
      cases.push_back({fmt::format("wish {}: 8 steps, batch 8, {}; {}", cases.size(), to_string(spec), text),
                       [spec, wish] {
                         const Model model = random_model(spec);
                         return run_case(model, random_inputs(model, 8, 8, 3), find_gpu(0), wish, 0, false);
                       }});
    }
  }
}

}  // namespace sprnn::test
