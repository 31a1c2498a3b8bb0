// Every way through the kernels, each as small as it can be: the list for compute-sanitizer, which is slow.
// The name's second word is the group that one sanitizer process runs.
#include <fmt/format.h>

#include "gpu/run_model.hpp"

namespace sprnn::test {

namespace {

constexpr std::int64_t steps = 5;

// Pairs in registers, in shared memory and in L2.
Device cramped_gpu() {
  GpuDescription gpu = tiny_gpu().gpu();
  gpu.sm_count = 2;
  gpu.max_registers_per_thread = 56;
  gpu.shared_bytes_per_block = gpu.shared_bytes_per_sm = 6144;
  return {"cramped", gpu};
}

struct Path {
  const char* group;
  const char* what;
  ModelSpec spec;
  GatherWishes wishes = {};
  std::int64_t batch = 3;
  Lengths lengths = Lengths::all_steps;
  Way way = {};
  bool cramped = false;
  float h0_scale = 1.0F;
};

std::vector<Path> paths() {
  const auto spec = [](const Cell& cell, DType dtype, std::int64_t projection = 0) {
    return ModelSpec{
        .cell = cell, .dtype = dtype, .input = 5, .hidden = 21, .projection = projection, .density = 0.5};
  };
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
      {"places", "registers, shared memory and L2", spec(gru_cell(), fp16), {.warps = 4, .lanes_a_row = 1}},
      {"places", "registers, shared memory and L2", spec(lstm_cell(), fp32, 9), {.warps = 4}},
      {"places",
       "narrow loads, order of columns",
       spec(tanh_cell(), bf16),
       {.wide_loads = false, .bank_order = false}},
      {"places", "opaque pairs", spec(lstm_cell(), fp16), {.opaque_pairs = true}, 8},
      {"input", "csr", spec(lstm_cell(), fp16), {.w_ih = InputStorage::csr}},
      {"input", "csr", spec(gru_cell(), fp32), {.w_ih = InputStorage::csr}},
      {"input", "dense", spec(tanh_cell(), bf16), {.w_ih = InputStorage::dense}},
      {"input", "lengths", spec(lstm_cell(), fp16), {}, 4, Lengths::mixed},
      {"input", "batch first", spec(gru_cell(), fp32), {}, 4, Lengths::all_steps, {0, true}},
      {"input", "chunks of 2", spec(lstm_cell(), bf16, 9), {}, 2, Lengths::all_steps, {2, false}},
  };
  for (Path& path : all) path.cramped = std::string_view(path.what).starts_with("registers,");
  ModelSpec both = spec(gru_cell(), fp16);
  both.layers = 2;
  both.directions = Directions::both;
  all.push_back({"input", "two layers, both directions", both, {}, 3, Lengths::mixed});
  return all;
}

CaseResult run_path(const Path& path) {
  const Model model = random_model(path.spec);
  Inputs inputs = random_inputs(model, steps, path.batch, 2, path.lengths);
  for (float& h : inputs.h0) h *= path.h0_scale;
  const CaseResult on_host =
      check_model(model, inputs, path.cramped ? cramped_gpu() : find_gpu(0), path.wishes, path.way);
  if (!on_host.passed()) return on_host;
  const auto packed =
      pack_for(model, path.cramped ? cramped_gpu() : find_gpu(0), static_cast<int>(path.batch), path.wishes);
  const auto session = cuda_session(packed, path.batch);
  const Errors errors = compare(model, inputs, run_on_device(*session, inputs, path.way));
  return {std::max(errors.error, on_host.error), errors.bound, ""};
}

}  // namespace

void add_path_cases(std::vector<Case>& cases) {
  for (const Path& path : paths()) {
    cases.push_back({fmt::format("path {}: {}, {} steps, batch {}, {}", path.group, path.what, steps,
                                 path.batch, to_string(path.spec)),
                     [path] { return run_path(path); }});
  }
}

}  // namespace sprnn::test
