// The C interface: handles round the C++ objects, exceptions turned into status codes.
#include <fmt/format.h>

#include <new>
#include <span>

#include "sprnn/sprnn.h"
#include "sprnn/sprnn.hpp"

struct sprnn_model {
  sprnn::Checkpoint checkpoint;
  std::string prefix;
  sprnn::Model model;
  std::string cell;
  std::vector<sprnn::MatrixReport> reports;
};

struct sprnn_packed {
  std::shared_ptr<const sprnn::Packed> packed;
  std::string cell;
};

struct sprnn_session {
  std::unique_ptr<sprnn::Session> session;
  std::string engine, isa;
};

namespace {

using sprnn::Error;
using sprnn::ErrorCode;

// The message is kept as text where memory allows, and as a literal where it does not.
thread_local std::string last_error_text;
thread_local const char* last_error = "";

int fail(ErrorCode code, const char* message) noexcept {
  try {
    last_error_text = message;
    last_error = last_error_text.c_str();
  } catch (...) {
    last_error = "out of memory, and no room for the message";
  }
  return static_cast<int>(code);
}

// Runs f; whatever it throws becomes a status and a message.
template <class F>
int guarded(F f) noexcept {
  try {
    f();
    return SPRNN_OK;
  } catch (const Error& error) {
    return fail(error.code(), error.what());
  } catch (const std::bad_alloc&) {
    return fail(ErrorCode::out_of_memory, "out of memory");
  } catch (const std::exception& error) {
    return fail(ErrorCode::internal, error.what());
  } catch (...) {
    return fail(ErrorCode::internal, "an exception of unknown type");
  }
}

// `pointer`, which must not be null.
template <class T>
T& required(T* pointer, const char* name) {
  if (pointer == nullptr) throw Error(ErrorCode::invalid_argument, fmt::format("{} is NULL", name));
  return *pointer;
}

// Runs make(), which returns an owning pointer, into *out; *out is NULL if that fails.
template <class T, class F>
int create(T** out, const char* name, F make) noexcept {
  if (out != nullptr) *out = nullptr;
  return guarded([&] {
    T*& place = required(out, name);  // before make() has something to lose
    place = make().release();
  });
}

std::span<const double> densities(const double* values, std::size_t count, const char* name) {
  if (count > 0) (void)required(values, name);
  return {values, count};
}

// A state array: may be null if it is empty.
template <class T>
std::span<T> state(T* values, std::size_t count, const char* name) {
  if (count > 0) (void)required(values, name);
  return {values, count};
}

sprnn_shape make_shape(const std::string& cell, sprnn::CellKind kind, sprnn::DType dtype, std::int64_t input,
                       std::int64_t hidden, std::int64_t projection, std::int64_t layers,
                       std::int64_t directions) {
  sprnn_shape shape{};
  shape.cell = cell.c_str();
  shape.dtype = sprnn::to_string(dtype).data();  // a literal
  shape.input_size = input;
  shape.hidden_size = hidden;
  shape.projection_size = projection;
  shape.state_size = projection > 0 ? projection : hidden;
  shape.num_layers = layers;
  shape.num_directions = directions;
  shape.output_size = directions * shape.state_size;
  shape.has_cell_state = kind == sprnn::CellKind::lstm ? 1 : 0;
  return shape;
}

std::unique_ptr<sprnn_packed> make_handle(sprnn::Packed packed) {
  auto handle = std::make_unique<sprnn_packed>();
  handle->cell = sprnn::to_string(packed.plan.problem.directions.front().cell);
  handle->packed = std::make_shared<const sprnn::Packed>(std::move(packed));
  return handle;
}

#define SPRNN_TEXT(x) #x
#define SPRNN_DOTTED(a, b, c) SPRNN_TEXT(a) "." SPRNN_TEXT(b) "." SPRNN_TEXT(c)

}  // namespace

const char* sprnn_status_name(int status) {
  switch (status) {
    case SPRNN_OK:
      return "ok";
    case SPRNN_INVALID_ARGUMENT:
      return "invalid argument";
    case SPRNN_FORMAT:
      return "bad format";
    case SPRNN_IO:
      return "input or output failed";
    case SPRNN_UNSUPPORTED:
      return "unsupported";
    case SPRNN_DEVICE:
      return "device error";
    case SPRNN_DEADLINE:
      return "deadline exceeded";
    case SPRNN_OUT_OF_MEMORY:
      return "out of memory";
    case SPRNN_INTERRUPTED:
      return "interrupted";
    case SPRNN_INTERNAL:
      return "internal error";
    default:
      return "unknown status";
  }
}

const char* sprnn_last_error(void) { return last_error; }

const char* sprnn_version(void) {
  return SPRNN_DOTTED(SPRNN_VERSION_MAJOR, SPRNN_VERSION_MINOR, SPRNN_VERSION_PATCH);
}

int sprnn_model_load(const char* path, const char* prefix, const char* cell, const char* dtype,
                     sprnn_model** model) {
  return create(model, "model", [&] {
    (void)required(path, "path");
    sprnn::ReadOptions options;
    if (prefix != nullptr) options.prefix = prefix;
    if (cell != nullptr) options.cell = sprnn::parse_cell(cell);
    if (dtype != nullptr) options.dtype = sprnn::parse_dtype(dtype);
    auto handle = std::make_unique<sprnn_model>();
    handle->checkpoint = sprnn::load_checkpoint(path);
    handle->model = sprnn::read_model(handle->checkpoint, options);
    handle->prefix = sprnn::find_module(handle->checkpoint, options.prefix).prefix;
    handle->cell = sprnn::to_string(handle->model.layers.front().directions.front().cell);
    return handle;
  });
}

int sprnn_model_save(const sprnn_model* model, const char* path) {
  return guarded([&] {
    (void)required(path, "path");
    sprnn::Checkpoint checkpoint = required(model, "model").checkpoint;
    sprnn::write_model(checkpoint, model->prefix, model->model);
    sprnn::save_checkpoint(checkpoint, path);
  });
}

int sprnn_model_shape(const sprnn_model* model, sprnn_shape* shape) {
  return guarded([&] {
    const sprnn::Model& m = required(model, "model").model;
    required(shape, "shape") =
        make_shape(model->cell, m.layers.front().directions.front().cell.kind, m.dtype, m.input_size,
                   m.hidden_size, m.projection_size, m.num_layers(), m.num_directions());
  });
}

void sprnn_model_destroy(sprnn_model* model) { delete model; }

int sprnn_model_prune(sprnn_model* model, const char* pattern, const double* density, size_t density_count,
                      const double* input_density, size_t input_density_count) {
  return guarded([&] {
    (void)required(model, "model");
    (void)required(pattern, "pattern");
    const auto recurrent = densities(density, density_count, "density");
    const auto input = densities(input_density, input_density_count, "input_density");
    sprnn::PruneOptions options;
    options.pattern = sprnn::parse_pattern(pattern);
    if (recurrent.size() == 1) {
      options.density = recurrent.front();
    } else {
      options.layer_density.assign(recurrent.begin(), recurrent.end());
    }
    if (input.size() == 1) {
      options.input_density = input.front();
    } else {
      options.layer_input_density.assign(input.begin(), input.end());
    }
    model->reports = sprnn::prune(model->model, options);
  });
}

int sprnn_model_prune_report(const sprnn_model* model, size_t index, sprnn_prune_report* report) {
  return guarded([&] {
    const auto& reports = required(model, "model").reports;
    (void)required(report, "report");
    if (index >= reports.size()) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("prune report {}: the latest pruning left {}", index, reports.size()));
    }
    const sprnn::MatrixReport& r = reports[index];
    *report = {r.name.c_str(), r.rows, r.cols, r.wanted, r.reached, r.min_row, r.max_row, r.norm_lost};
  });
}

int sprnn_pack(const sprnn_model* model, const char* target, int batch, sprnn_packed** packed) {
  return create(packed, "packed", [&] {
    const sprnn::Model& m = required(model, "model").model;
    if (batch < 1)
      throw Error(ErrorCode::invalid_argument, fmt::format("batch is {}: expected 1 or more", batch));
    const sprnn::Device device = sprnn::find_device(target == nullptr ? "cpu" : target);
    return make_handle(sprnn::pack(m, sprnn::make_plan(sprnn::describe(m, batch), device)));
  });
}

int sprnn_pack_like(const sprnn_model* model, const sprnn_packed* like, sprnn_packed** packed) {
  return create(packed, "packed", [&] {
    return make_handle(sprnn::pack(required(model, "model").model, required(like, "like").packed->plan));
  });
}

int sprnn_packed_save(const sprnn_packed* packed, const char* path) {
  return guarded([&] { sprnn::save_packed(*required(packed, "packed").packed, &required(path, "path")); });
}

int sprnn_packed_load(const char* path, sprnn_packed** packed) {
  return create(packed, "packed", [&] { return make_handle(sprnn::load_packed(&required(path, "path"))); });
}

int sprnn_packed_shape(const sprnn_packed* packed, sprnn_shape* shape) {
  return guarded([&] {
    const sprnn::Problem& p = required(packed, "packed").packed->plan.problem;
    const std::int64_t layers = p.directions.back().layer + 1;
    required(shape, "shape") =
        make_shape(packed->cell, p.directions.front().cell.kind, p.dtype, p.input_size, p.hidden_size,
                   p.projection_size, layers, std::ssize(p.directions) / layers);
  });
}

void sprnn_packed_destroy(sprnn_packed* packed) { delete packed; }

int sprnn_session_create(const sprnn_packed* packed, const char* engine, int batch, int threads,
                         const char* isa, sprnn_session** session) {
  return create(session, "session", [&] {
    const auto& weights = required(packed, "packed").packed;
    sprnn::SessionOptions options;
    options.batch = batch;
    options.threads = threads;
    if (isa != nullptr) options.isa = isa;
    auto handle = std::make_unique<sprnn_session>();
    handle->session =
        sprnn::find_engine(engine == nullptr ? "auto" : engine, weights->plan).session(weights, options);
    handle->engine = handle->session->engine();
    handle->isa = handle->session->isa();
    return handle;
  });
}

int sprnn_session_get_info(const sprnn_session* session, sprnn_session_info* info) {
  return guarded([&] {
    const sprnn::Session& s = *required(session, "session").session;
    required(info, "info") = {session->engine.c_str(), session->isa.c_str(), s.batch(), s.threads()};
  });
}

int sprnn_session_run(sprnn_session* session, int64_t steps, const float* x, float* y, const int64_t* lengths,
                      int batch_first) {
  return guarded([&] {
    sprnn::Sequence sequence;
    sequence.steps = steps;
    sequence.x = &required(x, "x");
    sequence.y = &required(y, "y");
    sequence.lengths = lengths;
    sequence.batch_first = batch_first != 0;
    required(session, "session").session->run(sequence);
  });
}

int sprnn_session_get_state(const sprnn_session* session, int entry, float* h, size_t h_count, float* c,
                            size_t c_count) {
  return guarded([&] {
    const sprnn::Session& s = *required(session, "session").session;
    const auto h_out = state(h, h_count, "h"), c_out = state(c, c_count, "c");
    if (entry == SPRNN_ALL_ENTRIES) {
      s.get_state(h_out, c_out);
    } else {
      s.get_state(entry, h_out, c_out);
    }
  });
}

int sprnn_session_set_state(sprnn_session* session, int entry, const float* h, size_t h_count, const float* c,
                            size_t c_count) {
  return guarded([&] {
    sprnn::Session& s = *required(session, "session").session;
    const auto h_in = state(h, h_count, "h"), c_in = state(c, c_count, "c");
    if (entry == SPRNN_ALL_ENTRIES) {
      s.set_state(h_in, c_in);
    } else {
      s.set_state(entry, h_in, c_in);
    }
  });
}

int sprnn_session_reset(sprnn_session* session, int entry) {
  return guarded([&] {
    sprnn::Session& s = *required(session, "session").session;
    if (entry == SPRNN_ALL_ENTRIES) {
      s.reset();
    } else {
      s.reset(entry);
    }
  });
}

int sprnn_session_set_weights(sprnn_session* session, const sprnn_packed* packed) {
  return guarded(
      [&] { required(session, "session").session->set_weights(required(packed, "packed").packed); });
}

void sprnn_session_destroy(sprnn_session* session) { delete session; }
