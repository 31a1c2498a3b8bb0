// The same bits however the timesteps are cut into calls, and sequences so long that anything that drifts,
// wraps or overflows shows.
#include <fmt/format.h>

#include "engines/reference/reference.hpp"
#include "gpu/run_model.hpp"

namespace sprnn::test {

namespace {

std::string to_text(InputStorage storage) { return std::string(to_string(storage)); }

CaseResult same_bits(const ModelSpec& spec, std::int64_t batch, InputStorage storage) {
  const Model model = random_model(spec);
  const Inputs inputs = random_inputs(model, 1000, batch, 4);
  const auto session =
      cuda_session(pack_for(model, test_gpu(), static_cast<int>(batch), {.w_ih = storage}), batch);
  const Output whole = run_on_host(*session, inputs);
  for (const std::int64_t chunk : {1, 7}) {
    for (const bool host : {true, false}) {
      const Output cut =
          host ? run_on_host(*session, inputs, {chunk}) : run_on_device(*session, inputs, {chunk});
      const std::string other = difference(whole, cut);
      if (!other.empty())
        return {0, 0, fmt::format("chunks of {} on {}: {}", chunk, host ? "the host" : "the device", other)};
    }
  }
  const Errors errors = compare(model, inputs, whole);
  return {errors.error, errors.bound, ""};
}

// The last steps of a sequence, by the reference from the state that was carried in.
struct Tail {
  Inputs inputs;
  std::vector<float> y;
};

Errors compare_tail(const Model& model, const Tail& tail, const Output& end) {
  return compare(model, tail.inputs, {tail.y, end.h, end.c});
}

Inputs last_steps(const Inputs& inputs, std::int64_t steps, std::int64_t in) {
  Inputs tail;
  tail.steps = steps;
  tail.batch = inputs.batch;
  tail.x.assign(inputs.x.end() - static_cast<std::ptrdiff_t>(steps * inputs.batch * in), inputs.x.end());
  return tail;
}

CaseResult long_run(const ModelSpec& spec, std::int64_t steps, std::int64_t batch) {
  constexpr std::int64_t compared = 256;
  const Model model = random_model(spec);
  const Inputs inputs = random_inputs(model, steps, batch, 6);
  const auto session = cuda_session(pack_for(model, test_gpu(), static_cast<int>(batch)), batch);
  const Output whole = run_on_host(*session, inputs);

  Inputs head = inputs;
  head.steps = steps - compared;
  head.x.resize(head.x.size() - static_cast<std::size_t>(compared * batch * spec.input));
  const Output carried = run_on_host(*session, head);
  Tail tail{last_steps(inputs, compared, spec.input), {}};
  tail.inputs.h0 = carried.h;
  tail.inputs.c0 = carried.c;
  const auto width = static_cast<std::int64_t>(output_width(session->problem()));
  tail.y.assign(whole.y.end() - static_cast<std::ptrdiff_t>(compared * batch * width), whole.y.end());
  const Errors errors = compare_tail(model, tail, whole);
  // The session still has the carried state, c in fp32: the rest must be the same bits as in one call.
  std::vector<float> y(tail.y.size());
  session->run({compared, tail.inputs.x.data(), y.data()});
  const std::string other = difference({y, {}, {}}, {tail.y, {}, {}});
  return {errors.error, errors.bound, other};
}

// More than 2^32 values of the input projection in one call: device memory, so that nothing is copied.
CaseResult large_projection() {
  const ModelSpec spec{.cell = lstm_cell(),
                       .dtype = DType::fp16,
                       .input = 16,
                       .hidden = 2048,
                       .projection = 16,
                       .density = 0.02,
                       .input_density = 0.3};
  constexpr std::int64_t steps = 8256, batch = 64, compared = 64;
  static_assert(steps * 4 * 2048 * batch > std::int64_t{1} << 32);
  const Model model = random_model(spec);
  const Inputs inputs = random_inputs(model, steps, batch, 8);
  const auto session = cuda_session(pack_for(model, test_gpu(), batch), batch);
  const Output whole = run_on_device(*session, inputs);
  const std::string other = difference(whole, run_on_device(*session, inputs, {1000}));
  if (!other.empty()) return {0, 0, "chunks of 1000: " + other};
  Inputs head = inputs;
  head.steps = steps - compared;
  head.x.resize(head.x.size() - static_cast<std::size_t>(compared * batch * spec.input));
  const Output carried = run_on_device(*session, head);
  Tail tail{last_steps(inputs, compared, spec.input), {}};
  tail.inputs.h0 = carried.h;
  tail.inputs.c0 = carried.c;
  tail.y.assign(whole.y.end() - compared * batch * spec.projection, whole.y.end());
  const Errors errors = compare_tail(model, tail, whole);
  return {errors.error, errors.bound, ""};
}

}  // namespace

void add_chunk_cases(std::vector<Case>& cases) {
  for (const Cell& cell : standard_cells()) {
    for (const DType dtype : {DType::fp32, DType::fp16, DType::bf16}) {
      for (const InputStorage storage : {InputStorage::dense, InputStorage::csr}) {
        const bool lstm = cell.kind == CellKind::lstm;
        const ModelSpec spec{.cell = cell,
                             .dtype = dtype,
                             .input = 33,
                             .hidden = 130,
                             .projection = lstm && storage == InputStorage::csr ? 40 : 0,
                             .layers = dtype == DType::bf16 ? 2 : 1,
                             .density = 0.2};
        cases.push_back({fmt::format("1000 steps whole and in chunks of 1 and 7, batch 5, W_ih {}, {}",
                                     to_text(storage), to_string(spec)),
                         [spec, storage] { return same_bits(spec, 5, storage); }});
      }
    }
  }
  const auto spec = [](const Cell& cell, DType dtype, std::int64_t projection) {
    return ModelSpec{
        .cell = cell, .dtype = dtype, .input = 4, .hidden = 64, .projection = projection, .density = 0.3};
  };
  for (const ModelSpec& s : {spec(tanh_cell(), DType::fp16, 0), spec(relu_cell(), DType::fp16, 0),
                             spec(gru_cell(), DType::bf16, 0), spec(lstm_cell(), DType::fp32, 0),
                             spec(lstm_cell(), DType::fp16, 24)}) {
    cases.push_back(
        {fmt::format("1000000 steps, batch 2, {}", to_string(s)), [s] { return long_run(s, 1000000, 2); }});
  }
  cases.push_back({"8256 steps, batch 64, lstm fp16 I=16 H=2048 P=16: T*G*H*B above 2^32", large_projection});
}

}  // namespace sprnn::test
