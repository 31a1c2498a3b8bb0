// The state in device memory: given to a run, taken from it, and replaced between replays of a graph.
#include <fmt/format.h>

#include "gpu/graph.hpp"
#include "gpu/run_model.hpp"
#include "sprnn/error.hpp"

namespace sprnn::test {

namespace {

constexpr std::int64_t steps = 20;
const Wanted gather_plan{{.strategy = GpuStrategy::gather}};

// A model with its arrays on the device. One is made of a problem that is run in several ways.
struct Fixture {
  Model model;
  Inputs inputs;
  std::unique_ptr<Session> session;
  std::size_t outputs;
  GuardedMemory x, y, lengths, h0, c0, hn, cn;

  Fixture(const ModelSpec& spec, std::int64_t batch, Lengths kind, const Wanted& wanted = gather_plan)
      : model(random_model(spec)),
        inputs(random_inputs(model, steps, batch, 5, kind)),
        session(cuda_session(pack_for(model, batch, wanted), batch)),
        outputs(static_cast<std::size_t>(steps * batch) * output_width(session->problem())),
        x(inputs.x.size() * size_of(spec.dtype)),
        y(outputs * size_of(spec.dtype)),
        lengths(inputs.lengths.size() * sizeof(std::int64_t)),
        h0(inputs.h0.size() * size_of(spec.dtype)),
        c0(inputs.c0.size() * size_of(spec.dtype)),
        hn(inputs.h0.size() * size_of(spec.dtype)),
        cn(inputs.c0.size() * size_of(spec.dtype)) {
    x.write(spec.dtype, inputs.x);
    lengths.write(inputs.lengths.data(), inputs.lengths.size() * sizeof(std::int64_t));
  }

  [[nodiscard]] DType dtype() const { return session->problem().dtype; }
  [[nodiscard]] bool is_lstm() const { return !inputs.c0.empty(); }

  // All of the state `scale` times what was drawn.
  void scale_state(float scale) {
    const Inputs drawn = random_inputs(model, steps, inputs.batch, 5);
    for (const auto& [to, from] : {std::pair{&inputs.h0, &drawn.h0}, std::pair{&inputs.c0, &drawn.c0}}) {
      for (std::size_t i = 0; i < to->size(); ++i) (*to)[i] = scale * (*from)[i];
    }
    h0.write(dtype(), inputs.h0);
    c0.write(dtype(), inputs.c0);
  }
  [[nodiscard]] DeviceSequence sequence(cuda::Stream stream) const {
    DeviceSequence s;
    s.steps = steps;
    s.x = x.pointer();
    s.y = y.pointer();
    if (!inputs.lengths.empty()) s.lengths = static_cast<const std::int64_t*>(lengths.pointer());
    s.h0 = h0.pointer();
    s.hn = hn.pointer();
    if (is_lstm()) s.c0 = c0.pointer(), s.cn = cn.pointer();
    s.stream = stream;
    return s;
  }
  void poison() {
    for (GuardedMemory* memory : {&y, &hn, &cn}) memory->poison();
  }
  [[nodiscard]] Output output() const { return {y.read(dtype()), hn.read(dtype()), cn.read(dtype())}; }
  [[nodiscard]] Output state_on_host() const {
    Output state{{}, inputs.h0, inputs.c0};
    session->get_state(state.h, state.c);
    return state;
  }
};

// `own` is the session's state after the run that wrote `output`.
std::string unlike_own(const Output& output, const Output& own) {
  const std::string other = difference({{}, output.h, output.c}, own);
  return other.empty() ? "" : "hn, cn and the session's state: " + other;
}

CaseResult state_in_and_out(const ModelSpec& spec, std::int64_t batch, Lengths lengths, float scale,
                            const Wanted& wanted = gather_plan) {
  const cuda::Current current(*cuda::gpu(0));
  const OwnStream stream;
  Fixture f(spec, batch, lengths, wanted);
  f.scale_state(scale);
  on_device(*f.session).run(f.sequence(stream.get()));
  on_device(*f.session).check();
  const Output output = f.output();
  if (std::string note = unlike_own(output, f.state_on_host()); !note.empty()) return {0, 0, note};
  const Errors errors = compare(f.model, f.inputs, output);
  // Where every state can be stamped, the same kernel runs as for a state from the host.
  std::string note = scale > 1.0F ? "" : difference(output, run_on_host(*f.session, f.inputs));
  if (!note.empty()) note = "a state from the host gives other bits: " + note;
  return {errors.error, errors.bound, note};
}

// One graph, replayed with other states: small, out of what stamps carry, small again.
CaseResult replay_with_states(const ModelSpec& spec, std::int64_t batch, Lengths lengths,
                              const Wanted& wanted = gather_plan) {
  const cuda::Current current(*cuda::gpu(0));
  const OwnStream stream;
  Fixture f(spec, batch, lengths, wanted);
  f.scale_state(1.0F);
  on_device(*f.session).run(f.sequence(stream.get()));  // loads the kernels
  on_device(*f.session).check();
  const Graph graph(stream.get(), [&] { on_device(*f.session).run(f.sequence(stream.get())); });
  CaseResult worst;
  for (const float scale : {0.5F, 8.0F, 1.0F, 0.0F, 3.0F, 0.25F}) {
    f.scale_state(scale);
    f.poison();
    graph.launch(stream.get());
    on_device(*f.session).check();  // waits for the replay
    const Output output = f.output();
    if (std::string note = unlike_own(output, f.state_on_host()); !note.empty())
      return {0, 0, fmt::format("state times {}: {}", scale, note)};
    const Errors errors = compare(f.model, f.inputs, output);
    if (!(errors.error <= worst.error)) worst = {errors.error, errors.bound, ""};
  }
  return worst;
}

// From zeros, then on: two halves are the whole, and an old state does not matter.
CaseResult from_zero(const ModelSpec& spec) {
  const cuda::Current current(*cuda::gpu(0));
  const OwnStream stream;
  Fixture f(spec, 3, Lengths::all_steps);
  f.scale_state(0.0F);
  const Output whole = run_on_host(*f.session, f.inputs);
  f.scale_state(8.0F);
  f.session->set_state(f.inputs.h0, f.inputs.c0);
  DeviceSequence half = f.sequence(stream.get());
  half.h0 = half.c0 = nullptr;
  half.steps = steps / 2;
  half.from_zero = true;
  on_device(*f.session).run(half);
  const std::size_t element = size_of(f.dtype());
  half.from_zero = false;
  half.x = static_cast<const std::byte*>(half.x) + f.inputs.x.size() / 2 * element;
  half.y = static_cast<std::byte*>(half.y) + f.outputs / 2 * element;
  on_device(*f.session).run(half);
  on_device(*f.session).check();
  return {0, 0, difference(whole, f.output())};
}

// Runs in streams that are gone when the session is asked for what they did, and that order nothing.
CaseResult streams_gone(const ModelSpec& spec) {
  const cuda::Current current(*cuda::gpu(0));
  Fixture f(spec, 2, Lengths::all_steps);
  f.scale_state(1.0F);
  const Output expected = run_on_host(*f.session, f.inputs);
  for (int round = 0; round < 20; ++round) {
    f.poison();
    for (int run = 0; run < 3; ++run) {
      const OwnStream stream;
      DeviceSequence sequence = f.sequence(stream.get());
      on_device(*f.session).run(sequence);
    }
    if (round % 2 == 0) on_device(*f.session).check();
    if (std::string note = unlike_own(expected, f.state_on_host()); !note.empty()) return {0, 0, note};
    if (std::string note = difference(expected, f.output()); !note.empty()) return {0, 0, note};
  }
  return {};
}

CaseResult refuse_states() {
  const cuda::Current current(*cuda::gpu(0));
  std::string note;
  for (const bool lstm : {true, false}) {
    const ModelSpec spec{.cell = lstm ? lstm_cell() : gru_cell()};
    Fixture f(spec, 1, Lengths::all_steps);
    f.scale_state(1.0F);
    DeviceSequence both = f.sequence(nullptr), half = both, extra = both;
    both.from_zero = true;
    half.c0 = lstm ? nullptr : f.h0.pointer();
    extra.cn = f.h0.pointer();
    if (lstm) extra.h0 = nullptr;
    for (const DeviceSequence& sequence : {both, half, extra}) {
      try {
        on_device(*f.session).run(sequence);
        note = "not refused";
      } catch (const Error& error) {
        if (error.code() != ErrorCode::invalid_argument) note = error.what();
      }
    }
  }
  return {0, 0, note};
}

}  // namespace

void add_state_cases(std::vector<Case>& cases) {
  const auto spec = [](const Cell& cell, DType dtype, std::int64_t layers, Directions directions,
                       std::int64_t projection = 0) {
    return ModelSpec{.cell = cell,
                     .dtype = dtype,
                     .input = 11,
                     .hidden = 77,
                     .projection = projection,
                     .layers = layers,
                     .directions = directions,
                     .density = 0.3};
  };
  const auto forward = Directions::forward, reverse = Directions::reverse, both = Directions::both;
  for (const ModelSpec& s :
       {spec(tanh_cell(), DType::fp16, 1, reverse), spec(relu_cell(), DType::fp16, 2, both),
        spec(gru_cell(), DType::fp16, 2, forward), spec(gru_cell(), DType::fp32, 1, both),
        spec(lstm_cell(), DType::bf16, 2, both), spec(lstm_cell(), DType::fp16, 1, forward, 30)}) {
    for (const Lengths lengths : {Lengths::all_steps, Lengths::mixed}) {
      const char* const text = lengths == Lengths::mixed ? ", lengths" : "";
      for (const float scale : {1.0F, 8.0F}) {
        cases.push_back({fmt::format("state on the device{}, times {}, {}", text, scale, to_string(s)),
                         [=] { return state_in_and_out(s, 3, lengths, scale); }});
      }
      cases.push_back({fmt::format("graph replayed with other states{}, {}", text, to_string(s)),
                       [=] { return replay_with_states(s, 3, lengths); }});
    }
  }
  // dense-mma exchanges the initial state of every cell.
  for (const Wanted& wanted : mma_plans()) {
    const std::int64_t batch = wanted.batch(3);
    for (const Cell& cell : standard_cells()) {
      const ModelSpec s = wanted.sized(spec(cell, DType::fp16, 1, forward));
      const std::string text = fmt::format("{}, {}", to_string(wanted), to_string(s));
      for (const float scale : {1.0F, 8.0F}) {
        cases.push_back({fmt::format("state on the device, lengths, times {}, {}", scale, text),
                         [=] { return state_in_and_out(s, batch, Lengths::mixed, scale, wanted); }});
      }
      cases.push_back({"graph replayed with other states, " + text,
                       [=] { return replay_with_states(s, batch, Lengths::all_steps, wanted); }});
    }
  }
  for (const ModelSpec& s :
       {spec(gru_cell(), DType::fp16, 1, forward), spec(lstm_cell(), DType::fp32, 2, forward)}) {
    cases.push_back({"from zero, then on, " + to_string(s), [s] { return from_zero(s); }});
    cases.push_back({"streams that are gone, " + to_string(s), [s] { return streams_gone(s); }});
  }
  cases.push_back({"state on the device: what does not fit is refused", refuse_states});
}

}  // namespace sprnn::test
