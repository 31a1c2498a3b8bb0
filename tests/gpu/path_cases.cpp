// Every way through the kernels, each as small as it can be: the list for compute-sanitizer, which is slow.
// The name's second word is the group that one sanitizer process runs.
#include <fmt/format.h>

#include <optional>
#include <string>
#include <string_view>

#include "gpu/run_model.hpp"
#include "sprnn/error.hpp"

namespace sprnn::test {

namespace {

constexpr std::int64_t steps = 5;

struct Path {
  const char* group;
  std::string what;
  ModelSpec spec;
  GpuWishes wishes = {};
  std::int64_t batch = 3;
  Lengths lengths = Lengths::all_steps;
  Way way = {};
  bool cramped = false;
  float h0_scale = 1.0F;
  std::optional<Device> device = std::nullopt;  // on which weights lie in shared memory and in L2
};

std::vector<Path> paths() {
  const auto spec = [](const Cell& cell, DType dtype, std::int64_t projection = 0) {
    return ModelSpec{
        .cell = cell, .dtype = dtype, .input = 5, .hidden = 21, .projection = projection, .density = 0.5};
  };
  const auto large = [&](const Cell& cell, DType dtype, std::int64_t projection = 0) {
    ModelSpec large_spec = spec(cell, dtype, projection);
    large_spec.hidden = 90;
    large_spec.density = 0.6;
    return large_spec;
  };
  const auto sized = [&](std::int64_t hidden, const Cell& cell, DType dtype) {
    ModelSpec sized_spec = spec(cell, dtype);
    sized_spec.hidden = hidden;
    return sized_spec;
  };
  const GpuWishes dense_mma{.strategy = GpuStrategy::dense_mma},
      sparse_mma{.strategy = GpuStrategy::sparse_mma}, vector_mma{.strategy = GpuStrategy::vector_mma};
  const DType fp32 = DType::fp32, fp16 = DType::fp16, bf16 = DType::bf16;
  std::vector<Path> all = {
      {"cells", "stamped", spec(tanh_cell(), fp16)},
      {"cells", "tagged", spec(relu_cell(), fp16)},
      {"cells", "tagged", spec(relu_cell(), fp32)},
      {"cells", "stamped", spec(gru_cell(), bf16)},
      {"cells", "stamped", spec(lstm_cell(), fp32)},
      {"cells", "two exchanges", spec(lstm_cell(), fp16, 9)},
      {"exchange", "grid barrier", spec(lstm_cell(), bf16, 9), {.stamps = false}},
      {"exchange", "fence", spec(tanh_cell(), fp32), {.fence = true}},
      {"exchange", "wait before the poll", spec(tanh_cell(), fp16), {.poll_wait_cycles = 200}},
      {"exchange", "groups", spec(lstm_cell(), fp16), {.groups = 3, .group_batch = 1}},
      {"exchange", "passes over the batch", spec(gru_cell(), fp16), {.groups = 1, .group_batch = 2}, 5},
      {"exchange", "a state without a stamp", spec(gru_cell(), fp16), {}, 3, Lengths::mixed, {}, false, 8.0F},
      {"places",
       "registers, shared memory and L2",
       large(gru_cell(), fp16),
       {.group_batch = 3, .warps = 4, .lanes = 1}},
      {"places", "registers, shared memory and L2", large(lstm_cell(), fp32, 9), {.warps = 4, .lanes = 1}},
      {"places",
       "narrow loads, order of columns",
       spec(tanh_cell(), bf16),
       {.wide_loads = false, .bank_order = false}},
      {"places", "opaque pairs", spec(lstm_cell(), fp16), {.opaque_pairs = true}, 8},
      {"input", "lengths", spec(lstm_cell(), fp16), {}, 4, Lengths::mixed},
      {"input", "batch first", spec(gru_cell(), fp32), {}, 4, Lengths::all_steps, {0, true}},
      {"input", "chunks of 2", spec(lstm_cell(), bf16, 9), {}, 2, Lengths::all_steps, {2, false}},
      {"input", "chunks of 1", sized(64, tanh_cell(), fp16), {}, 16, Lengths::all_steps, {1, false}},
      {"input",
       "chunks of 1, vector-mma",
       masked_for(GpuStrategy::vector_mma, sized(64, tanh_cell(), fp16)),
       vector_mma,
       16,
       Lengths::all_steps,
       {1, false}},
      {"dense", "W_ih by cuBLASLt", spec(tanh_cell(), bf16)},
      {"dense",
       "W_ih by cuBLASLt, batch first",
       spec(gru_cell(), fp32),
       {},
       4,
       Lengths::all_steps,
       {0, true}},
      {"dense", "W_ih by cuBLASLt", spec(lstm_cell(), fp16, 9), {}, 3, Lengths::mixed},
  };
  for (const GpuWishes& wishes : {dense_mma, sparse_mma, vector_mma}) {
    const std::string_view name = to_string(*wishes.strategy);
    const auto add = [&](std::string_view what, const ModelSpec& of, GpuWishes more, std::int64_t batch = 3) {
      more.strategy = wishes.strategy;
      all.push_back(
          {"mma", fmt::format("{}, {}", name, what), masked_for(*wishes.strategy, of), more, batch});
    };
    add("stamped", spec(tanh_cell(), fp16), {});
    add("stamped", spec(gru_cell(), bf16), {});
    add("relu", spec(relu_cell(), fp16), {});
    add("8 entries", spec(lstm_cell(), fp16), {.group_batch = 8}, 8);
    add("two planes", spec(lstm_cell(), bf16), {.group_batch = 11}, 11);
    add("three planes, groups", spec(gru_cell(), fp16), {.groups = 2, .group_batch = 20}, 40);
    add("grid barrier", spec(lstm_cell(), fp16), {.stamps = false});
    if (wishes.strategy != GpuStrategy::vector_mma) {
      // Behind the last unit, and beside the last step of a warp: padding.cuh.
      add("words of no unit, one entry", sized(100, lstm_cell(), fp16), {.warps = 8}, 1);
      add("words of no unit, two entries", sized(100, gru_cell(), bf16), {.warps = 8}, 2);
      add("words of no unit, 8 entries", sized(150, tanh_cell(), fp16), {.warps = 8}, 8);
    }
    if (wishes.strategy == GpuStrategy::sparse_mma) {
      const auto add_rest = [&](std::string_view what, const ModelSpec& of, GpuWishes more,
                                std::int64_t batch, const char* group = "mma",
                                Lengths lengths = Lengths::all_steps, float h0_scale = 1.0F) {
        more.strategy = wishes.strategy;
        if (std::string_view(group) == "cluster") more.row_parts = 1;
        all.push_back({group,
                       fmt::format("{} and a rest, {}", name, what),
                       of,
                       more,
                       batch,
                       lengths,
                       {},
                       false,
                       h0_scale});
      };
      add_rest("stamped", spec(gru_cell(), fp16), {}, 3);
      add_rest("tags for 8 entries", spec(relu_cell(), bf16), {.group_batch = 8}, 8);
      add_rest("grid barrier, one entry", spec(lstm_cell(), fp16), {.stamps = false}, 1);
      add_rest("words of no unit, two entries", sized(100, lstm_cell(), fp16), {.warps = 8}, 2);
      add_rest("words of no unit, 8 entries", sized(100, gru_cell(), bf16), {.warps = 8}, 8);
      add_rest("streamed weights", sized(400, tanh_cell(), fp16), {.warps = 4}, 3);
      add_rest("streamed weights, some kept", sized(400, tanh_cell(), fp16), {.warps = 4}, 4);
      add_rest("fence", spec(lstm_cell(), fp16), {.fence = true}, 5);
      add_rest("a state without a stamp", spec(gru_cell(), fp16), {}, 3, "mma", Lengths::mixed, 8.0F);
      add_rest("stamped", spec(gru_cell(), bf16), {}, 2, "cluster");
      add_rest("lengths, fence", spec(lstm_cell(), fp16), {.fence = true}, 8, "cluster", Lengths::mixed);
      add_rest("a state without a stamp", spec(gru_cell(), fp16), {}, 3, "cluster", Lengths::mixed, 8.0F);
      add("tags for 8 entries", spec(relu_cell(), bf16), {.group_batch = 8}, 8);
      add("streamed weights, one entry", sized(400, relu_cell(), bf16), {.warps = 4}, 1);
      add("streamed weights, grid barrier", sized(400, tanh_cell(), fp16), {.warps = 4, .stamps = false}, 4);
      add("streamed weights, some kept", sized(400, tanh_cell(), fp16), {.warps = 4}, 4);
      add("row parts, streamed weights", sized(400, relu_cell(), bf16), {.warps = 4, .row_parts = 2}, 8);
      add("whole rows", sized(100, lstm_cell(), fp16), {.warps = 4, .row_parts = 4});
      add("whole rows, grid barrier", sized(200, relu_cell(), bf16),
          {.warps = 4, .row_parts = 4, .stamps = false}, 8);
      add("asks late, row parts", spec(gru_cell(), fp16), {.groups = 1, .row_parts = 2, .asks_late = true},
          27);
      add("asks late, streamed weights", sized(100, gru_cell(), bf16),
          {.groups = 1, .group_batch = 11, .warps = 4, .asks_late = true}, 11);
    }
    if (wishes.strategy == GpuStrategy::dense_mma) {
      add("streamed weights", sized(150, lstm_cell(), fp16), {.group_batch = 8, .warps = 4}, 8);
      add("streamed weights, one entry", sized(400, relu_cell(), bf16), {.warps = 4}, 1);
      add("streamed weights, grid barrier", sized(400, tanh_cell(), fp16), {.warps = 4, .stamps = false}, 4);
      add("streamed weights, two planes", large(gru_cell(), fp16), {.group_batch = 9, .warps = 4}, 18);
      add("streamed weights, some kept", sized(400, tanh_cell(), fp16), {.warps = 4}, 4);
      add("row parts", spec(lstm_cell(), fp16), {.row_parts = 2});
      add("whole rows", sized(100, lstm_cell(), fp16), {.warps = 4, .row_parts = 4});
      add("whole rows, grid barrier", sized(200, relu_cell(), bf16),
          {.warps = 4, .row_parts = 4, .stamps = false}, 8);
      add("row parts, streamed weights", sized(400, relu_cell(), bf16), {.warps = 4, .row_parts = 2}, 8);
      add("asks late", spec(lstm_cell(), fp16), {.group_batch = 32, .asks_late = true}, 32);
      add("asks late, grid barrier", spec(gru_cell(), bf16), {.asks_late = true, .stamps = false}, 17);
      add("asks late, row parts", spec(gru_cell(), fp16), {.groups = 1, .row_parts = 2, .asks_late = true},
          27);
      const GpuWishes late{.groups = 1, .group_batch = 11, .warps = 4, .asks_late = true};
      add("asks late, streamed weights", sized(150, gru_cell(), bf16), late, 11);
      add("fence", spec(tanh_cell(), fp16), {.fence = true});
      GpuWishes fenced = late;
      fenced.fence = true;
      GpuWishes barrier = late;
      barrier.stamps = false;
      add("asks late, streamed weights, grid barrier", sized(400, tanh_cell(), fp16), barrier, 11);
      add("asks late, streamed weights, fence", sized(400, tanh_cell(), fp16), fenced, 11);
      add("asks late, streamed weights, some kept", sized(400, tanh_cell(), fp16), late, 22);
      GpuWishes parted = late;
      parted.row_parts = 2;
      add("asks late, row parts, streamed weights, some kept", sized(150, lstm_cell(), fp16), parted, 11);
      // Steps from L2 between those of shared memory: late_order.cuh.
      const auto add_mixed = [&](std::string_view what, const ModelSpec& of, int warps, std::int64_t batch,
                                 std::int64_t shared, std::int64_t l2 = tiny_gpu().gpu().l2_bytes) {
        add(fmt::format("asks late, streamed weights between others, {}", what), of,
            {.groups = 1,
             .ctas = 8,
             .group_batch = static_cast<int>(batch),
             .warps = warps,
             .row_parts = 2,
             .asks_late = true},
            batch);
        all.back().device = cramped_gpu(8, 192, shared, l2);
      };
      add_mixed("two tiles", sized(512, tanh_cell(), fp16), 8, 16, 45056);
      add_mixed("two tiles", sized(500, tanh_cell(), bf16), 8, 11, 45056);
      add_mixed("four tiles", sized(256, lstm_cell(), fp16), 4, 12, 65536);
      add_mixed("four tiles", sized(250, lstm_cell(), bf16), 8, 16, 65536);
      add_mixed("words of no unit", sized(400, tanh_cell(), fp16), 8, 16, 36864);
      add_mixed("some kept", sized(512, tanh_cell(), fp16), 8, 16, 45056, 200000);
    }
    all.push_back({"mma",
                   fmt::format("{}, a state without a stamp", name),
                   masked_for(*wishes.strategy, spec(gru_cell(), fp16)),
                   wishes,
                   3,
                   Lengths::mixed,
                   {},
                   false,
                   8.0F});
  }
  for (const GpuStrategy strategy :
       {GpuStrategy::gather, GpuStrategy::dense_mma, GpuStrategy::sparse_mma, GpuStrategy::vector_mma}) {
    const auto add = [&](std::string_view what, const ModelSpec& of, GpuWishes more, std::int64_t batch = 3,
                         Lengths lengths = Lengths::all_steps, float h0_scale = 1.0F) {
      more.strategy = strategy;
      const bool holds = strategy == GpuStrategy::dense_mma || strategy == GpuStrategy::sparse_mma;
      if (holds && !more.row_parts) more.row_parts = 1;
      all.push_back({"cluster",
                     fmt::format("{}, {}", to_string(strategy), what),
                     masked_for(strategy, of),
                     more,
                     batch,
                     lengths,
                     {},
                     false,
                     h0_scale});
    };
    add("stamped, groups", spec(tanh_cell(), fp16), {.groups = 3, .group_batch = 1});
    add("passes over the batch", spec(gru_cell(), bf16), {.groups = 1, .group_batch = 2}, 5);
    add("relu", spec(relu_cell(), fp16), {});
    add("lengths, fence", spec(lstm_cell(), fp16), {.fence = true}, 8, Lengths::mixed);
    add("a state without a stamp", spec(gru_cell(), fp16), {}, 3, Lengths::mixed, 8.0F);
    if (strategy == GpuStrategy::gather) add("4-byte values", spec(lstm_cell(), DType::fp32), {});
    if (strategy != GpuStrategy::dense_mma && strategy != GpuStrategy::sparse_mma) continue;
    add("streamed weights", sized(400, tanh_cell(), fp16), {.warps = 4}, 4);
    add("asks late, row parts", spec(gru_cell(), fp16), {.groups = 1, .row_parts = 2, .asks_late = true}, 27);
    const GpuWishes whole{.groups = 1, .warps = 4, .row_parts = 4};
    add("whole rows", sized(100, lstm_cell(), fp16), whole);
    add("whole rows, 8 entries", sized(70, gru_cell(), bf16), whole, 8);
    add("whole rows, one CTA", spec(gru_cell(), fp16), whole, 1);
    add("whole rows, groups", sized(200, tanh_cell(), fp16), {.groups = 3, .warps = 4, .row_parts = 4});
    add("whole rows, passes over the batch", sized(200, relu_cell(), fp16),
        {.groups = 1, .group_batch = 2, .warps = 4, .row_parts = 4}, 5);
    add("whole rows, lengths, fence", sized(90, lstm_cell(), fp16),
        {.groups = 1, .warps = 4, .row_parts = 4, .fence = true}, 7, Lengths::mixed);
    add("whole rows, a state of any value", sized(100, gru_cell(), fp16), whole, 3, Lengths::mixed, 8.0F);
    // Of half the weights only a larger layer has any there.
    add("whole rows, weights in shared memory",
        strategy == GpuStrategy::dense_mma ? sized(500, lstm_cell(), fp16) : sized(1000, tanh_cell(), fp16),
        strategy == GpuStrategy::dense_mma ? whole
                                           : GpuWishes{.groups = 1, .ctas = 4, .warps = 8, .row_parts = 8},
        2);
    add("whole rows, 8 warps", sized(300, gru_cell(), fp16), {.groups = 1, .warps = 8, .row_parts = 8}, 4);
  }
  ModelSpec both = spec(gru_cell(), fp16);
  both.layers = 2;
  both.directions = Directions::both;
  all.push_back({"input", "two layers, both directions", both, {}, 3, Lengths::mixed});
  for (Path& path : all) {
    path.cramped =
        path.what.starts_with("registers,") || path.what.find("streamed weights") != std::string::npos;
    path.wishes.w_ih = std::string_view(path.group) == "dense" ? InputStorage::dense : InputStorage::csr;
    if (!path.wishes.strategy) path.wishes.strategy = GpuStrategy::gather;
    // Else a session would first measure for hundreds of timesteps how long it had better wait.
    if (!path.wishes.poll_wait_cycles) path.wishes.poll_wait_cycles = 0;
    path.wishes.in_cluster = std::string_view(path.group) == "cluster";
    // So small a layer would be given one alone; warps of whole rows are given as many as have rows.
    if (!path.cramped && path.wishes.row_parts.value_or(1) <= 2) path.wishes.ctas = 4;
  }
  return all;
}

CaseResult run_path(const Path& path) {
  const bool sparse = path.wishes.strategy == GpuStrategy::sparse_mma;
  const bool holds = sparse || path.wishes.strategy == GpuStrategy::dense_mma;
  const bool keeps = path.what.ends_with("some kept");
  const int registers = sparse ? 152 : 176, shared = sparse ? 12288 : 16384;
  const Device device = path.device     ? *path.device
                        : !path.cramped ? test_gpu()
                        : keeps         ? cramped_gpu(6, registers, shared, 200000)
                        : holds         ? cramped_gpu(6, registers, shared)
                                        : cramped_gpu(2, 112, 8192);
  const Model model = random_model(path.spec);
  Inputs inputs = random_inputs(model, steps, path.batch, 2, path.lengths);
  for (float& h : inputs.h0) h *= path.h0_scale;
  const auto packed = pack_for(model, device, static_cast<int>(path.batch), path.wishes);
  if (const std::string missing = lacking(packed->plan, path.wishes); !missing.empty())
    return {0, 0, fmt::format("the case does not cover it: the plan lacks {}", missing)};
  for (const char* place : {"w_hh.registers", "w_hh.shared"}) {
    if (path.what.starts_with("registers,") && packed->directions[0].section(place).size() == 0)
      return {0, 0, fmt::format("{} is empty: the case does not cover it", place)};
  }
  if (path.what.ends_with("in shared memory") && packed->directions[0].section("w_hh.shared").size() == 0)
    return {0, 0, "w_hh.shared is empty: the case does not cover it"};
  if (path.cramped && packed->directions[0].section("w_hh.l2").size() == 0)
    return {0, 0, "w_hh.l2 is empty: the case does not cover it"};
  if (path.device && packed->directions[0].section("w_hh.shared").size() == 0)
    return {0, 0, "w_hh.shared is empty: the case does not cover it"};
  if (const auto* mma = std::get_if<MmaPlan>(&packed->plan.directions[0].choice)) {
    if (keeps != (mma->kept_steps > 0))
      return {0, 0, fmt::format("{} steps are kept in L2", mma->kept_steps)};
  }
  const CaseResult on_host = check_model(model, inputs, device, path.wishes, path.way);
  if (!on_host.passed()) return on_host;
  const auto session = cuda_session(packed, path.batch);
  const Errors errors = compare(model, inputs, run_on_device(*session, inputs, path.way));
  return {std::max(errors.error, on_host.error), errors.bound, ""};
}

// A deadline so short that CTAs give up, if not at the rendezvous then in a poll, as soon as they look twice.
// On a free GPU they may get through all the same; a sanitizer makes them too slow for that.
CaseResult give_up(const ModelSpec& spec, GpuWishes wishes) {
  const Model model = random_model(spec);
  const Inputs inputs = random_inputs(model, steps, 3, 2);
  wishes.groups = 1;
  wishes.w_ih = InputStorage::csr;
  const auto packed = pack_for(model, 3, {wishes});
  const auto session = cuda_session(packed, 3, 1e-9);
  for (int round = 0; round < 10; ++round) {
    try {
      const Errors errors = compare(model, inputs, run_on_host(*session, inputs));
      if (!(errors.error <= errors.bound)) return {errors.error, errors.bound, ""};
    } catch (const Error& error) {
      if (error.code() != ErrorCode::deadline) throw;
      if (!refuses_to_go_on(*session, inputs))
        return {0, 0, "goes on from the state of a run that was given up"};
    }
  }
  return {};
}

}  // namespace

void add_path_cases(std::vector<Case>& cases) {
  for (const Path& path : paths()) {
    cases.push_back({fmt::format("path {}: {}, {} steps, batch {}, {}", path.group, path.what, steps,
                                 path.batch, to_string(path.spec)),
                     [path] { return run_path(path); }});
  }
  const auto given_up = [&](std::string_view what, std::int64_t hidden, std::int64_t projection,
                            const GpuWishes& wishes) {
    const ModelSpec spec{
        .cell = lstm_cell(), .dtype = DType::fp16, .input = 5, .hidden = hidden, .projection = projection};
    cases.push_back({fmt::format("path {} given up, deadline 1 ns, {}", what, to_string(spec)),
                     [=] { return give_up(spec, wishes); }});
  };
  given_up("exchange:", 21, 9, {.ctas = 4, .in_cluster = false});
  given_up("cluster:", 21, 0, {.strategy = GpuStrategy::gather, .ctas = 4, .in_cluster = true});
  given_up("cluster: whole rows,", 100, 0,
           {.strategy = GpuStrategy::dense_mma, .warps = 4, .row_parts = 4, .in_cluster = true});
}

}  // namespace sprnn::test
