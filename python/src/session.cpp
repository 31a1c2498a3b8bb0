#include "session.hpp"

#include <fmt/format.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <vector>

#include "bindings.hpp"
#include "errors.hpp"

namespace nb = nanobind;
using nb::literals::operator""_a;

namespace sprnn::python {

// Two calls at once, from two threads, are an error.
class PythonSession::Use {
 public:
  explicit Use(std::atomic<bool>& busy) : busy_(busy) {
    if (busy_.exchange(true)) {
      throw BusyError(
          "this session is in use by another thread: a session serves one thread at a time; make one for "
          "each "
          "thread (they can share a model from pack())");
    }
  }
  ~Use() { busy_ = false; }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;

 private:
  std::atomic<bool>& busy_;
};

PythonSession::PythonSession(const PackedModel& model, const std::string& engine,
                             const SessionOptions& options)
    : packed_(model.packed) {
  session_ = find_engine(engine, plan()).session(packed_, options);
  const Problem& problem = plan().problem;
  const std::int64_t directions = problem.directions.size() > 1 && problem.directions[1].layer == 0 ? 2 : 1;
  input_size_ = problem.input_size;
  state_size_ = problem.projection_size > 0 ? problem.projection_size : problem.hidden_size;
  output_size_ = directions * state_size_;
  streamable_ = std::none_of(problem.directions.begin(), problem.directions.end(),
                             [](const DirectionProblem& direction) { return direction.reverse; });
}

// ---- Running

nb::object PythonSession::call(nb::handle x, nb::handle lengths, bool batch_first, nb::handle out) {
  const Use use(busy_);
  const FloatInput input(x, "x");
  const Array& array = input.array();
  const std::int64_t batch = session_->batch();
  const bool single = array.ndim() == 2 && batch == 1;
  const std::size_t time_axis = batch_first && !single ? 1 : 0;
  const auto extent = [&](std::size_t axis) { return static_cast<std::int64_t>(array.shape(axis)); };
  if (!(single || (array.ndim() == 3 && extent(1 - time_axis) == batch)) ||
      extent(array.ndim() - 1) != input_size_) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("x has shape {}: expected [{}, {}] ({}, input size){}", to_text(shape_of(array)),
                            batch_first ? fmt::format("{}, T", batch) : fmt::format("T, {}", batch),
                            input_size_, batch_first ? "batch, timesteps" : "timesteps, batch",
                            batch == 1 ? fmt::format(" or [T, {}]", input_size_) : ""));
  }
  Sequence sequence;
  sequence.steps = extent(time_axis);
  sequence.x = input.data();
  sequence.batch_first = batch_first && !single;

  std::vector<std::int64_t> all_lengths;
  if (!lengths.is_none()) {
    all_lengths = read_integers(lengths, "lengths");
    if (std::ssize(all_lengths) != batch) {
      throw Error(
          ErrorCode::invalid_argument,
          fmt::format("lengths has {} values: expected {}, one a sequence", all_lengths.size(), batch));
    }
    sequence.lengths = all_lengths.data();
  }

  Shape shape = shape_of(array);
  shape.back() = output_size_;
  nb::object y = nb::borrow(out);
  if (out.is_none()) {
    NewArray made = new_array(shape);
    y = std::move(made.object);
    sequence.y = made.data;
  } else {
    sequence.y = writable_floats(out, "out", shape);
    const float* const y_end = sequence.y + sequence.steps * batch * output_size_;
    if (sequence.x < y_end && sequence.y < sequence.x + input.size())
      throw Error(ErrorCode::invalid_argument, "out overlaps x: expected memory of its own");
  }
  run(sequence);
  return y;
}

CudaSession& PythonSession::on_gpu() {
  auto* const session = dynamic_cast<CudaSession*>(session_.get());
  if (session == nullptr) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("this session is of engine {}: expected engine cuda", session_->engine()));
  }
  return *session;
}

void PythonSession::run_device(std::int64_t steps, std::uintptr_t x, std::uintptr_t y, std::uintptr_t lengths,
                               bool batch_first, std::uintptr_t h0, std::uintptr_t c0, std::uintptr_t hn,
                               std::uintptr_t cn, std::uintptr_t stream) {
  const Use use(busy_);
  DeviceSequence sequence;
  sequence.steps = steps;
  sequence.x = reinterpret_cast<const void*>(x);
  sequence.y = reinterpret_cast<void*>(y);
  sequence.lengths = reinterpret_cast<const std::int64_t*>(lengths);
  sequence.batch_first = batch_first;
  sequence.h0 = reinterpret_cast<const void*>(h0);
  sequence.c0 = reinterpret_cast<const void*>(c0);
  sequence.from_zero = h0 == 0;
  sequence.hn = reinterpret_cast<void*>(hn);
  sequence.cn = reinterpret_cast<void*>(cn);
  sequence.stream = reinterpret_cast<void*>(stream);
  const nb::gil_scoped_release released;
  on_gpu().run(sequence);
}

void PythonSession::check() {
  const Use use(busy_);
  const nb::gil_scoped_release released;
  on_gpu().check();
}

void PythonSession::check_now() {
  const Use use(busy_);
  on_gpu().check_now();
}

void PythonSession::run_whole(std::int64_t steps, std::uintptr_t x, std::uintptr_t y, std::uintptr_t lengths,
                              bool batch_first, std::uintptr_t h0, std::uintptr_t c0, std::uintptr_t hn,
                              std::uintptr_t cn) {
  const Use use(busy_);
  const auto size = static_cast<std::size_t>(std::ssize(plan().problem.directions) * session_->batch());
  const std::size_t h_size = size * static_cast<std::size_t>(state_size_);
  const std::size_t c_size = is_lstm() ? size * static_cast<std::size_t>(plan().problem.hidden_size) : 0;
  const auto floats = [](std::uintptr_t address) { return reinterpret_cast<float*>(address); };
  if (h0 == 0) {
    session_->reset();
  } else {
    session_->set_state(std::span<const float>(floats(h0), h_size),
                        std::span<const float>(floats(c0), c_size));
  }
  Sequence sequence;
  sequence.steps = steps;
  sequence.x = floats(x);
  sequence.y = floats(y);
  sequence.lengths = reinterpret_cast<const std::int64_t*>(lengths);
  sequence.batch_first = batch_first;
  run(sequence);
  session_->get_state(std::span<float>(floats(hn), h_size), std::span<float>(floats(cn), c_size));
}

// Without the interpreter's lock. A long sequence runs in parts, between which a Ctrl-C is heard; parts give
// the same bits as the whole.
void PythonSession::run(const Sequence& sequence) {
  const bool in_parts =
      streamable_ && sequence.lengths == nullptr && (!sequence.batch_first || session_->batch() == 1);
  constexpr std::chrono::milliseconds patience{100};
  Sequence part = sequence;
  if (!in_parts) {
    part.keep_going = [] {
      const nb::gil_scoped_acquire held;
      return PyErr_CheckSignals() == 0;
    };
  }
  std::int64_t most = 256;  // timesteps a part
  for (std::int64_t done = 0;;) {
    part.steps = in_parts ? std::min(most, sequence.steps - done) : sequence.steps;
    part.x = sequence.x + done * session_->batch() * input_size_;
    part.y = sequence.y + done * session_->batch() * output_size_;
    const auto begin = std::chrono::steady_clock::now();
    try {
      const nb::gil_scoped_release released;
      session_->run(part);
    } catch (const Error& error) {
      if (error.code() == ErrorCode::interrupted && PyErr_Occurred() != nullptr) throw nb::python_error();
      throw;
    }
    done += part.steps;
    if (done >= sequence.steps) return;
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
    if (std::chrono::steady_clock::now() - begin < patience / 2) most *= 2;
  }
}

// ---- State

bool PythonSession::is_lstm() const { return plan().problem.directions.front().cell.kind == CellKind::lstm; }

Shape PythonSession::state_shape(std::optional<int> entry, bool cell) const {
  const std::int64_t width = cell ? plan().problem.hidden_size : state_size_;
  const std::int64_t directions = std::ssize(plan().problem.directions);
  return entry ? Shape{directions, width} : Shape{directions, session_->batch(), width};
}

nb::object PythonSession::get_state(std::optional<int> entry) {
  const Use use(busy_);
  const auto floats = [](const Shape& shape, float* data) {
    std::size_t size = 1;
    for (const std::int64_t extent : shape) size *= static_cast<std::size_t>(extent);
    return std::span<float>(data, size);
  };
  const Shape h_shape = state_shape(entry, false), c_shape = state_shape(entry, true);
  const NewArray h = new_array(h_shape);
  NewArray c{nb::none(), nullptr};
  if (is_lstm()) c = new_array(c_shape);
  const std::span<float> h_span = floats(h_shape, h.data);
  const std::span<float> c_span = is_lstm() ? floats(c_shape, c.data) : std::span<float>();
  if (entry) {
    session_->get_state(*entry, h_span, c_span);
  } else {
    session_->get_state(h_span, c_span);
  }
  return is_lstm() ? nb::object(nb::make_tuple(h.object, c.object)) : h.object;
}

void PythonSession::set_state(nb::handle state, std::optional<int> entry) {
  const Use use(busy_);
  const auto read = [&](nb::handle object, const char* name, bool cell) {
    FloatInput input(object, name);
    const Shape found = shape_of(input.array()), expected = state_shape(entry, cell);
    if (found != expected) {
      throw Error(
          ErrorCode::invalid_argument,
          fmt::format("{} has shape {}: expected {} (layers x directions, {}{})", name, to_text(found),
                      to_text(expected), entry ? "" : "batch, ", cell ? "hidden size" : "width of h"));
    }
    return input;
  };
  const auto span = [](const FloatInput& input) {
    return std::span<const float>(input.data(), input.size());
  };
  if (!is_lstm()) {
    if (nb::isinstance<nb::tuple>(state))
      throw ArgumentTypeError("state is a tuple: expected the array h, since only an lstm has a c");
    const FloatInput h = read(state, "state", false);
    entry ? session_->set_state(*entry, span(h), {}) : session_->set_state(span(h), {});
    return;
  }
  if (!(nb::isinstance<nb::tuple>(state) || nb::isinstance<nb::list>(state)) || nb::len(state) != 2)
    throw ArgumentTypeError("state of an lstm: expected the pair (h, c) of arrays");
  const FloatInput h = read(state[0], "h", false), c = read(state[1], "c", true);
  entry ? session_->set_state(*entry, span(h), span(c)) : session_->set_state(span(h), span(c));
}

void PythonSession::reset(std::optional<int> entry) {
  const Use use(busy_);
  entry ? session_->reset(*entry) : session_->reset();
}

void PythonSession::set_weights(const PackedModel& model) {
  const Use use(busy_);
  const nb::gil_scoped_release released;
  session_->set_weights(model.packed);
  packed_ = model.packed;
}

namespace {

// A digest of the 4-byte words at these addresses, which the caller vouches for: tells weights that were
// changed behind the back of whoever counts their versions.
std::uint64_t digest(const nb::ndarray<const std::uint64_t, nb::ndim<1>, nb::c_contig>& addresses) {
  std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a, a word at a time
  for (std::size_t i = 0; i < addresses.shape(0); ++i) {
    std::uint32_t word = 0;
    std::memcpy(&word, reinterpret_cast<const void*>(addresses(i)), sizeof word);
    hash = (hash ^ word) * 0x100000001b3;
  }
  return hash;
}

}  // namespace

void bind_session(nb::module_& module) {
  module.def("_digest", &digest, "addresses"_a);
  nb::class_<PythonSession>(module, "Session")
      .def(
          "__init__",
          [](PythonSession* self, const PackedModel& model, const std::string& engine, int batch, int threads,
             const std::string& isa, int device, double deadline_seconds) {
            new (self) PythonSession(model, engine, {batch, threads, isa, device, deadline_seconds});
          },
          "packed"_a, "engine"_a, "batch"_a, "threads"_a, "isa"_a, "device"_a, "deadline_seconds"_a)
      .def("__call__", &PythonSession::call, "x"_a.none(), "lengths"_a.none() = nb::none(),
           "batch_first"_a = false, "out"_a.none() = nb::none(),
           "Runs the timesteps of x from the session's state: see the class.")
      .def("_run_device", &PythonSession::run_device, "steps"_a, "x"_a, "y"_a, "lengths"_a, "batch_first"_a,
           "h0"_a, "c0"_a, "hn"_a, "cn"_a, "stream"_a)
      .def("check", &PythonSession::check,
           "Engine cuda: waits for the runs that are under way, and raises if one of them failed.")
      .def("_check_now", &PythonSession::check_now)
      .def("_run_whole", &PythonSession::run_whole, "steps"_a, "x"_a, "y"_a, "lengths"_a, "batch_first"_a,
           "h0"_a, "c0"_a, "hn"_a, "cn"_a)
      .def("get_state", &PythonSession::get_state, "entry"_a.none() = nb::none(),
           "h [layers * directions, B, width], or (h, c) for an lstm; without the axis of the batch for one "
           "entry.")
      .def("set_state", &PythonSession::set_state, "state"_a.none(), "entry"_a.none() = nb::none(),
           "Replaces the state of all entries or of one; shapes as get_state gives them.")
      .def("reset", &PythonSession::reset, "entry"_a.none() = nb::none(),
           "Zeros the state of all entries or of one.")
      .def("_set_packed", &PythonSession::set_weights, "packed"_a)
      .def_prop_ro("_plan", [](const PythonSession& s) { return s.plan(); })
      .def_prop_ro("engine", [](const PythonSession& s) { return std::string(s.session().engine()); })
      .def_prop_ro("isa", [](const PythonSession& s) { return std::string(s.session().isa()); })
      .def_prop_ro("threads", [](const PythonSession& s) { return s.session().threads(); })
      .def_prop_ro(
          "threads_at_work", [](const PythonSession& s) { return s.session().threads_at_work(); },
          "Of those the most that a layer is large enough for; the others sleep.")
      .def_prop_ro("batch", [](const PythonSession& s) { return s.session().batch(); });
}

}  // namespace sprnn::python
