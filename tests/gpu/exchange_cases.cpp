// Never hanging: waits that cannot end are given up, named and survived; SMs that other work holds are waited
// for. No hook in the product: a captured graph tells where a session's ring lies, and another kernel wipes
// words of it while the run waits for them.
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <thread>

#include "gpu/graph.hpp"
#include "gpu/intruder.hpp"
#include "gpu/run_model.hpp"
#include "plan/mma_layout.hpp"
#include "plan/strategy.hpp"
#include "sprnn/error.hpp"

namespace sprnn::test {

namespace {

constexpr double deadline = 0.02;

// So few CTAs that other kernels find SMs, and a ring in device memory, where the intruder reaches it.
Wanted few_ctas(bool stamps, GpuStrategy strategy = GpuStrategy::gather) {
  return {{.strategy = strategy, .groups = 1, .ctas = 16, .stamps = stamps, .in_cluster = false}};
}

// cuBLASLt may clear memory of its own, which a captured graph shows like a ring.
Wanted with_sparse_input(Wanted wanted) {
  wanted.wishes.w_ih = InputStorage::csr;
  return wanted;
}

struct Fixture {
  cuda::Current current{*cuda::gpu(0)};
  OwnStream stream;
  Model model;
  Inputs inputs;
  std::shared_ptr<const Packed> packed;
  std::unique_ptr<Session> session;

  Fixture(const ModelSpec& spec, std::int64_t steps, const Wanted& wanted)
      : model(random_model(spec)),
        inputs(random_inputs(model, steps, wanted.batch(3), 5)),
        packed(pack_for(model, inputs.batch, with_sparse_input(wanted))),
        session(cuda_session(packed, inputs.batch, deadline)) {}

  [[nodiscard]] std::size_t step_outputs() const {
    return static_cast<std::size_t>(inputs.batch) * output_width(packed->plan.problem);
  }
  // The ring of the session's only direction, with the control words at its end.
  [[nodiscard]] Graph::Range ring() {
    (void)run_on_host(*session, inputs);  // loads the kernels: a capture must not
    GuardedMemory x(inputs.x.size() * sizeof(float)),
        y(static_cast<std::size_t>(inputs.steps) * step_outputs() * sizeof(float));
    const Graph graph(stream.get(), [&] {
      DeviceSequence sequence;
      sequence.steps = inputs.steps;
      sequence.x = x.pointer();
      sequence.y = y.pointer();
      sequence.stream = stream.get();
      on_device(*session).run(sequence);
    });
    on_device(*session).check();
    const auto ranges = graph.memsets();
    if (ranges.size() != 1)
      throw std::runtime_error(
          fmt::format("the captured run has {} memsets, expected that of a ring", ranges.size()));
    return ranges.front();
  }
  // The quad that is wiped: where warps take some of the state during their product, the first that the first
  // warp takes; else the ring's first.
  [[nodiscard]] cuda::DevicePointer quad(const Graph::Range& ring) const {
    const DirectionPlan& direction = packed->plan.directions[0];
    const auto* mma = std::get_if<MmaPlan>(&direction.choice);
    if (mma == nullptr || mma->gathered) return ring.begin;
    const Problem& problem = packed->plan.problem;
    const mma::MatrixLayout w_hh = mma::make_layout(*mma, problem, problem.directions[0]).w_hh;
    const auto quads = w_hh.state_quads(mma->group_batch, mma->exchange_word);
    const int before = quads.streamed == 0 ? 0 : quads.held / w_hh.image.planes;  // of a lane
    return ring.begin + static_cast<unsigned>(16 * mma::warp_lanes * before);
  }
  // 32-bit words: arrivals at the rendezvous, then a barrier for each exchange of each group.
  [[nodiscard]] cuda::DevicePointer control(const Graph::Range& ring) const {
    const int groups = packed->plan.directions[0].gpu().groups;
    return ring.begin + ring.bytes - 4 * (1 + 2 * static_cast<unsigned>(groups));
  }
};

ModelSpec small(const Cell& cell, DType dtype, std::int64_t projection = 0) {
  return {.cell = cell, .dtype = dtype, .input = 6, .hidden = 64, .projection = projection, .density = 0.3};
}

// What a wiped word must lead to.
struct Expected {
  const char* message;
  std::size_t quads;  // of a slot: one is named, with the timestep and a CTA that waits for it; 0: nothing is
};

std::size_t number_after(const std::string& text, std::string_view what) {
  const std::size_t at = text.find(what);
  if (at == std::string::npos) throw std::runtime_error(fmt::format("no \"{}\" in: {}", what, text));
  return std::strtoull(text.c_str() + at + what.size(), nullptr, 10);
}

CaseResult survive(Fixture& f, cuda::DevicePointer wiped, int words, const Expected& expected) {
  const Output before = run_on_host(*f.session, f.inputs);
  const std::size_t step = f.step_outputs();
  GuardedOutput y(before.y.size());
  std::string message = "nothing";
  double seconds = 0.0;
  {
    Intruder intruder;
    intruder.wipe(wiped, words, 10.0);
    f.session->set_state(f.inputs.h0, f.inputs.c0);
    const auto begin = std::chrono::steady_clock::now();
    try {
      f.session->run({f.inputs.steps, f.inputs.x.data(), y.data()});
    } catch (const Error& error) {
      message = error.code() == ErrorCode::deadline ? error.what()
                                                    : fmt::format("not a deadline: {}", error.what());
    }
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    intruder.stop();
  }
  if (message.find(expected.message) == std::string::npos)
    return {0, 0, fmt::format("expected \"{}\", found: {}", expected.message, message)};
  if (!y.problem().empty()) return {0, 0, y.problem()};
  // What a CTA had computed when another gave up is there; behind the timestep named, nothing can be.
  std::size_t first = 0;
  if (expected.quads > 0) {
    const GpuPlan& plan = f.packed->plan.directions[0].gpu();
    first = number_after(message, "timestep ") + 1;
    if (first > static_cast<std::size_t>(f.inputs.steps) ||
        number_after(message, "CTA ") >= static_cast<std::size_t>(plan.groups * plan.ctas) ||
        number_after(message, "for word ") >= expected.quads)
      return {0, 0, "names what there is not: " + message};
  }
  for (std::size_t i = first * step; i < before.y.size(); ++i) {
    if (!std::isnan(y.values()[i]))
      return {0, 0, fmt::format("y[{}] is {}, not NaN; {}", i, y.values()[i], message)};
  }
  if (!refuses_to_go_on(*f.session, f.inputs))
    return {0, 0, "goes on from the state of a run that was given up"};
  const std::string other = difference(run_on_host(*f.session, f.inputs), before);
  if (!other.empty()) return {0, 0, "other bits after the abort: " + other};
  // Ten waits' worth for a start, and time for everything else.
  return {seconds, 5.0, ""};
}

CaseResult lose_word(const ModelSpec& spec, const Wanted& wanted) {
  Fixture f(spec, 2000, wanted);
  const Graph::Range ring = f.ring();
  const std::size_t quads = ring.bytes / 32;
  // The first to give up may be a CTA that waits for the words of one that waits for the lost word.
  if (f.packed->plan.directions[0].gpu().stamps)
    return survive(f, f.quad(ring), 4, {"of the exchange", quads});
  return survive(f, f.control(ring) + 4, 1, {"waited", quads});  // the group's barrier follows the rendezvous
}

CaseResult lose_arrivals(const ModelSpec& spec, const Wanted& wanted) {
  // A CTA that has seen all arrivals before they are wiped waits for words of the others instead: then again.
  CaseResult result{};
  for (int tries = 0; tries < 10; ++tries) {
    Fixture f(spec, 20, wanted);
    const Graph::Range ring = f.ring();
    result = survive(f, f.control(ring), 1, {"not all of its CTAs started", 0});
    if (result.note.find("for the words of the exchange") == std::string::npos) break;
  }
  return result;
}

// The state of a run that was given up is not to be had before a check has reported it.
CaseResult read_state() {
  Fixture f(small(tanh_cell(), DType::fp16), 2000, few_ctas(true));
  const Graph::Range ring = f.ring();
  GuardedMemory x(f.inputs.x.size() * 2), y(f.step_outputs() * static_cast<std::size_t>(f.inputs.steps) * 2);
  x.write(DType::fp16, f.inputs.x);
  std::vector<float> h(f.inputs.h0.size());
  std::string message = "nothing";
  Intruder intruder;
  intruder.wipe(ring.begin, 4, 10.0);
  DeviceSequence sequence;
  sequence.steps = f.inputs.steps;
  sequence.x = x.pointer();
  sequence.y = y.pointer();
  on_device(*f.session).run(sequence);
  try {
    f.session->get_state(h, {});
  } catch (const Error& error) {
    message = error.what();
  }
  intruder.stop();
  if (message.find("given up") == std::string::npos) return {0, 0, "expected a deadline, found: " + message};
  return {0, 1, ""};
}

// A run that was queued behind one that is given up writes NaN, until check() has reported it.
CaseResult queue_behind() {
  Fixture f(small(tanh_cell(), DType::fp16), 2000, few_ctas(true));
  const Graph::Range ring = f.ring();
  const Output before = run_on_host(*f.session, f.inputs);
  const std::size_t bytes = before.y.size() * 2;
  GuardedMemory x(f.inputs.x.size() * 2), y(bytes), behind(bytes), hn(f.inputs.h0.size() * 2);
  x.write(DType::fp16, f.inputs.x);
  std::string message = "nothing";
  {
    Intruder intruder;
    intruder.wipe(ring.begin, 4, 10.0);
    f.session->set_state(f.inputs.h0, f.inputs.c0);
    CudaSession& session = on_device(*f.session);
    for (const GuardedMemory* to : {&y, &behind}) {
      DeviceSequence sequence;
      sequence.steps = f.inputs.steps;
      sequence.x = x.pointer();
      sequence.y = to->pointer();
      sequence.hn = hn.pointer();
      session.run(sequence);
    }
    // Once the abort is known without waiting, waiting says the same.
    const auto begin = std::chrono::steady_clock::now();
    while (message == "nothing" && std::chrono::steady_clock::now() - begin < std::chrono::seconds(10)) {
      try {
        session.check_now();
      } catch (const Error& error) {
        message = error.what();
      }
    }
    intruder.stop();
    session.check();  // reported once
    session.check_now();
  }
  if (message.find("given up") == std::string::npos) return {0, 0, "expected a deadline, found: " + message};
  for (const float value : behind.read(DType::fp16)) {
    if (!std::isnan(value)) return {0, 0, fmt::format("the run behind wrote {}, not NaN", value)};
  }
  for (const float value : hn.read(DType::fp16)) {
    if (!std::isnan(value)) return {0, 0, fmt::format("hn is {}, not NaN", value)};
  }
  const std::string other = difference(run_on_device(*f.session, f.inputs), before);
  return {0, 0, other.empty() ? "" : "other bits after the abort: " + other};
}

// `share`: of the SMs, that other work holds while a plan for `ctas` CTAs runs. The holder goes after
// `seconds`.
CaseResult beside_holder(double share, bool fits_beside, double seconds) {
  const int sms = test_gpu().gpu().sm_count;
  const int held = static_cast<int>(share * sms);
  const ModelSpec spec{.cell = lstm_cell(), .dtype = DType::fp16, .input = 8, .hidden = 512, .density = 0.1};
  const Model model = random_model(spec);
  const Inputs inputs = random_inputs(model, 64, 4, 3);
  GpuWishes wishes{.groups = 1};
  if (fits_beside) wishes.ctas = sms - held;
  const auto packed = pack_for(model, test_gpu(), 4, wishes);
  const auto session = cuda_session(packed, 4);
  const Output alone = run_on_host(*session, inputs);
  Intruder intruder;
  intruder.hold_sms(held, seconds);
  const Output beside = run_on_host(*session, inputs);
  const bool overlapped = intruder.is_running();
  intruder.stop();
  if (fits_beside && !overlapped) return {0, 0, "the run waited for SMs that it did not need"};
  if (!fits_beside && overlapped)
    return {0, 0, "the plan fits beside the other work: the case shows nothing"};
  return {0, 0, difference(alone, beside)};
}

// Other work holds nearly all SMs for longer than a start may take: an error or a late answer, never a hang.
CaseResult start_too_late() {
  Fixture f({.cell = tanh_cell(), .dtype = DType::fp16, .input = 8, .hidden = 1024, .density = 0.1}, 16, {});
  const Output alone = run_on_host(*f.session, f.inputs);
  Intruder intruder;
  intruder.hold_sms(test_gpu().gpu().sm_count - 8, 40 * deadline);
  std::string message;
  try {
    message = difference(run_on_host(*f.session, f.inputs), alone);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::deadline) message = error.what();
  }
  intruder.stop();
  if (message.empty()) message = difference(run_on_host(*f.session, f.inputs), alone);
  return {0, 0, message};
}

CaseResult refuse_deadline(const char* text) {
  const Model model = random_model({});
  const auto packed = pack_for(model, test_gpu(), 1);
  const char* old = std::getenv("SPRNN_DEADLINE");
  const std::string kept = old == nullptr ? "" : old;
  setenv("SPRNN_DEADLINE", text, 1);
  std::string note = "not refused";
  try {
    (void)cuda_session(packed, 1);
  } catch (const Error& error) {
    note = error.code() == ErrorCode::invalid_argument ? "" : error.what();
  }
  if (old == nullptr) {
    unsetenv("SPRNN_DEADLINE");
  } else {
    setenv("SPRNN_DEADLINE", kept.c_str(), 1);
  }
  return {0, 0, note};
}

}  // namespace

void add_exchange_cases(std::vector<Case>& cases) {
  // Alone: each counts on SMs and measures time.
  const auto add = [&](std::string name, std::function<CaseResult()> run) {
    cases.push_back({std::move(name), std::move(run), true});
  };
  for (const ModelSpec& spec : {small(tanh_cell(), DType::fp16), small(lstm_cell(), DType::fp32),
                                small(gru_cell(), DType::bf16), small(relu_cell(), DType::fp16),
                                small(relu_cell(), DType::fp32), small(lstm_cell(), DType::fp16, 24)}) {
    add(fmt::format("timeout: a word of the exchange is lost, {}", to_string(spec)),
        [spec] { return lose_word(spec, few_ctas(true)); });
  }
  const ModelSpec tanh = small(tanh_cell(), DType::fp16), projected = small(lstm_cell(), DType::fp16, 24);
  add("timeout: the grid barrier is lost, " + to_string(tanh),
      [tanh] { return lose_word(tanh, few_ctas(false)); });
  for (const GpuStrategy strategy :
       {GpuStrategy::dense_mma, GpuStrategy::sparse_mma, GpuStrategy::vector_mma}) {
    const ModelSpec masked = masked_for(strategy, tanh);
    for (const bool stamps : {true, false}) {
      add(fmt::format("timeout: {} is lost, {}, {}", stamps ? "a word of the exchange" : "the grid barrier",
                      to_string(strategy), to_string(masked)),
          [=] { return lose_word(masked, few_ctas(stamps, strategy)); });
    }
  }
  for (const Wanted& wanted : mma_detours()) {
    const ModelSpec spec = wanted.sized(tanh);
    add(fmt::format("timeout: a word of the exchange is lost, {}, {}", to_string(wanted), to_string(spec)),
        [=] { return lose_word(spec, wanted); });
  }
  for (const ModelSpec& spec : {tanh, projected}) {
    add("timeout: arrivals at the rendezvous are lost, " + to_string(spec),
        [spec] { return lose_arrivals(spec, few_ctas(true)); });
  }
  const Wanted counted = mma_plans().back();
  const ModelSpec of_cluster = counted.sized(tanh);
  add(fmt::format("timeout: arrivals at the rendezvous are lost, {}, {}", to_string(counted),
                  to_string(of_cluster)),
      [=] { return lose_arrivals(of_cluster, counted); });
  add("timeout: a run queued behind the one given up", queue_behind);
  add("timeout: the state of a run given up", read_state);
  add("half of the SMs held, plan for the other half", [] { return beside_holder(0.5, true, 4.0); });
  add("half of the SMs held for 0.5 s, plan for all", [] { return beside_holder(0.5, false, 0.5); });
  add("all SMs but 8 held longer than a start may take", start_too_late);
  for (const char* text : {"0", "-1", "2s", "nan", "1e9"}) {
    cases.push_back(
        {fmt::format("SPRNN_DEADLINE={} is refused", text), [text] { return refuse_deadline(text); }});
  }
}

}  // namespace sprnn::test
