// Runs on device memory, as PyTorch and captured graphs make them: guarded arrays, streams, replays.
#include <fmt/format.h>

#include <atomic>
#include <thread>

#include "gpu/graph.hpp"
#include "gpu/run_model.hpp"
#include "sprnn/error.hpp"

namespace sprnn::test {

namespace {

CaseResult device_equals_host(const ModelSpec& spec, std::int64_t batch, Lengths lengths, const Way& way) {
  const cuda::Current current(*cuda::gpu(0));
  const OwnStream stream;
  const Model model = random_model(spec);
  const Inputs inputs = random_inputs(model, 33, batch, 12, lengths);
  const auto session = cuda_session(pack_for(model, test_gpu(), static_cast<int>(batch)), batch);
  const Output on_host = run_on_host(*session, inputs, way);
  for (const cuda::Stream s : {cuda::Stream{}, stream.get()}) {
    const std::string other = difference(on_host, run_on_device(*session, inputs, way, s));
    if (!other.empty()) return {0, 0, "device memory gives other bits than host memory: " + other};
  }
  const Errors errors = compare(model, inputs, on_host);
  return {errors.error, errors.bound, ""};
}

// A graph of one run, replayed: the state goes on from replay to replay, as it does from call to call.
CaseResult replay(const ModelSpec& spec, int replays) {
  constexpr std::int64_t steps = 8, batch = 3;
  const cuda::Current current(*cuda::gpu(0));
  const OwnStream stream;
  const Model model = random_model(spec);
  const Inputs inputs = random_inputs(model, steps, batch, 9);
  const auto packed = pack_for(model, test_gpu(), batch);
  const auto session = cuda_session(packed, batch), other = cuda_session(packed, batch);
  const std::size_t element = size_of(spec.dtype);
  GuardedMemory x(inputs.x.size() * element);
  const std::size_t outputs = static_cast<std::size_t>(steps * batch) * output_width(packed->plan.problem);
  GuardedMemory y(outputs * element), called(outputs * element);
  x.write(spec.dtype, inputs.x);
  (void)run_on_host(*session, inputs);  // loads the kernels: a capture must not
  const auto enqueue = [&](Session& to, const GuardedMemory& out) {
    DeviceSequence sequence;
    sequence.steps = steps;
    sequence.x = x.pointer();
    sequence.y = out.pointer();
    sequence.stream = stream.get();
    on_device(to).run(sequence);
  };
  const Graph graph(stream.get(), [&] { enqueue(*session, y); });
  session->set_state(inputs.h0, inputs.c0);
  other->set_state(inputs.h0, inputs.c0);
  CaseResult first;
  for (int i = 0; i < replays; ++i) {
    y.poison();
    graph.launch(stream.get());
    enqueue(*other, called);
    if (i % 100 != 0 && i + 1 != replays) continue;
    cuda::check(cuda::driver().synchronize(stream.get()), "cuStreamSynchronize");
    Output a{y.read(spec.dtype), inputs.h0, inputs.c0}, b{called.read(spec.dtype), inputs.h0, inputs.c0};
    session->get_state(a.h, a.c);
    other->get_state(b.h, b.c);
    const std::string unlike = difference(a, b);
    if (!unlike.empty()) return {0, 0, fmt::format("replay {} and a call differ: {}", i, unlike)};
    if (i == 0) {
      const Errors errors = compare(model, inputs, a);
      first = {errors.error, errors.bound, ""};
    }
  }
  on_device(*session).check();
  on_device(*other).check();
  return first;
}

// Sessions of different models at once, a thread and a stream each.
CaseResult concurrent(std::int64_t hidden, int threads) {
  const Cell cells[] = {tanh_cell(), lstm_cell(), gru_cell(), relu_cell()};
  const DType dtypes[] = {DType::fp16, DType::fp32, DType::bf16, DType::fp16};
  std::vector<std::string> notes(static_cast<std::size_t>(threads));
  std::atomic<int> ready{0};
  const auto work = [&](int i) {
    std::string& note = notes[static_cast<std::size_t>(i)];
    bool counted = false;
    try {
      const cuda::Current current(*cuda::gpu(0));
      const OwnStream stream;
      const Model model = random_model({.cell = cells[i % 4],
                                        .dtype = dtypes[i % 4],
                                        .input = 8,
                                        .hidden = hidden,
                                        .density = 0.1,
                                        .seed = static_cast<std::uint64_t>(i)});
      const Inputs inputs = random_inputs(model, 50, 4, 3);
      const auto session = cuda_session(pack_for(model, test_gpu(), 4), 4);
      const Output alone = run_on_host(*session, inputs);
      ++ready;
      counted = true;
      while (ready < threads) std::this_thread::yield();
      for (int round = 0; round < 20 && note.empty(); ++round) {
        const Output output = round % 2 == 0 ? run_on_host(*session, inputs)
                                             : run_on_device(*session, inputs, {}, stream.get());
        note = difference(alone, output);
      }
    } catch (const std::exception& error) {
      note = error.what();
      if (!counted) ++ready;
    }
  };
  std::vector<std::thread> all;
  for (int i = 0; i < threads; ++i) all.emplace_back(work, i);
  for (std::thread& thread : all) thread.join();
  for (const std::string& note : notes) {
    if (!note.empty()) return {0, 0, note};
  }
  return {};
}

// Runs of several sessions queued on several streams by one thread, none of them waited for in between.
CaseResult queued() {
  constexpr std::int64_t steps = 100, batch = 2;
  constexpr int sessions = 4, rounds = 10;
  const cuda::Current current(*cuda::gpu(0));
  struct One {
    Model model;
    Inputs inputs;
    OwnStream stream;
    std::unique_ptr<Session> session;
    Output alone;
    std::unique_ptr<GuardedMemory> x, y;
  };
  std::vector<std::unique_ptr<One>> all;
  for (int i = 0; i < sessions; ++i) {
    auto one = std::make_unique<One>();
    one->model = random_model({.cell = standard_cells()[static_cast<std::size_t>(i)],
                               .input = 8,
                               .hidden = 300,
                               .density = 0.1,
                               .seed = static_cast<std::uint64_t>(i)});
    one->inputs = random_inputs(one->model, steps, batch, 3);
    one->session = cuda_session(pack_for(one->model, test_gpu(), batch), batch);
    Inputs repeated = one->inputs;
    repeated.steps = steps * rounds;
    for (int round = 1; round < rounds; ++round)
      repeated.x.insert(repeated.x.end(), one->inputs.x.begin(), one->inputs.x.end());
    one->alone = run_on_host(*one->session, repeated);
    one->alone.y.erase(one->alone.y.begin(), one->alone.y.end() - steps * batch * 300);
    one->session->set_state(one->inputs.h0, one->inputs.c0);
    one->x = std::make_unique<GuardedMemory>(one->inputs.x.size() * sizeof(float));
    one->y = std::make_unique<GuardedMemory>(static_cast<std::size_t>(steps * batch * 300) * sizeof(float));
    one->x->write(DType::fp32, one->inputs.x);
    all.push_back(std::move(one));
  }
  for (int round = 0; round < rounds; ++round) {
    for (const auto& one : all) {
      DeviceSequence sequence;
      sequence.steps = steps;
      sequence.x = one->x->pointer();
      sequence.y = one->y->pointer();
      sequence.stream = one->stream.get();
      on_device(*one->session).run(sequence);
    }
  }
  for (const auto& one : all) {
    on_device(*one->session).check();
    Output end{one->y->read(DType::fp32), one->inputs.h0, one->inputs.c0};
    one->session->get_state(end.h, end.c);
    const std::string other = difference(one->alone, end);
    if (!other.empty()) return {0, 0, other};
  }
  return {};
}

CaseResult refuse_nulls() {
  const auto session = cuda_session(pack_for(random_model({}), test_gpu(), 1), 1);
  std::string note;
  for (const bool no_steps : {true, false}) {
    try {
      DeviceSequence sequence;
      sequence.steps = no_steps ? 0 : 1;
      on_device(*session).run(sequence);
      note = "not refused";
    } catch (const Error& error) {
      if (error.code() != ErrorCode::invalid_argument) note = error.what();
    }
  }
  return {0, 0, note};
}

}  // namespace

void add_device_cases(std::vector<Case>& cases) {
  const auto spec = [](const Cell& cell, DType dtype, std::int64_t layers, Directions directions) {
    return ModelSpec{.cell = cell,
                     .dtype = dtype,
                     .input = 11,
                     .hidden = 77,
                     .layers = layers,
                     .directions = directions,
                     .density = 0.3};
  };
  struct Shape {
    ModelSpec spec;
    std::int64_t batch;
    Lengths lengths;
    Way way;
  };
  const Lengths whole = Lengths::all_steps, mixed = Lengths::mixed;
  for (const Shape& s : {Shape{spec(tanh_cell(), DType::fp16, 1, Directions::forward), 3, whole, {7, false}},
                         Shape{spec(gru_cell(), DType::bf16, 2, Directions::forward), 5, mixed, {}},
                         Shape{spec(lstm_cell(), DType::fp32, 1, Directions::both), 4, mixed, {0, true}},
                         Shape{spec(relu_cell(), DType::fp16, 2, Directions::both), 9, whole, {0, true}},
                         Shape{spec(lstm_cell(), DType::fp16, 3, Directions::reverse), 1, mixed, {}}}) {
    cases.push_back(
        {fmt::format("device memory, 33 steps, batch {}{}{}{}, {}", s.batch,
                     s.lengths == mixed ? ", lengths" : "", s.way.batch_first ? ", batch first" : "",
                     s.way.chunk > 0 ? ", chunks of 7" : "", to_string(s.spec)),
         [s] { return device_equals_host(s.spec, s.batch, s.lengths, s.way); }});
  }
  for (const ModelSpec& s : {spec(tanh_cell(), DType::fp16, 1, Directions::forward),
                             spec(relu_cell(), DType::fp32, 1, Directions::forward),
                             spec(lstm_cell(), DType::bf16, 2, Directions::forward)}) {
    cases.push_back({fmt::format("graph replayed 1000 times, 8 steps, batch 3, {}", to_string(s)),
                     [s] { return replay(s, 1000); }});
  }
  cases.push_back(
      {"4 threads with a stream each, small models side by side", [] { return concurrent(40, 4); }});
  cases.push_back({"4 threads with a stream each, models of all SMs", [] { return concurrent(1500, 4); }});
  cases.push_back({"4 sessions queued on 4 streams", queued});
  cases.push_back({"device memory: null pointers and no steps are refused", refuse_nulls});
}

}  // namespace sprnn::test
