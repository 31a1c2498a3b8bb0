// A session as Python holds it: one thread at a time, interruptible, its arrays checked.
#pragma once

#include <nanobind/nanobind.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "arrays.hpp"
#include "model.hpp"
#include "sprnn/cuda.hpp"

namespace sprnn::python {

class PythonSession {
 public:
  PythonSession(const PackedModel& model, const std::string& engine, const SessionOptions& options);

  // x [T, B, I], or [B, T, I] with batch_first, or [T, I] for a batch of one; y likewise.
  nanobind::object call(nanobind::handle x, nanobind::handle lengths, bool batch_first, nanobind::handle out);
  // A whole sequence from h0 and c0 (0: zeros) to hn and cn, on memory of the session's GPU that the caller
  // vouches for, in the model's dtype, enqueued in a stream (sprnn/cuda.hpp).
  void run_device(std::int64_t steps, std::uintptr_t x, std::uintptr_t y, std::uintptr_t lengths,
                  bool batch_first, std::uintptr_t h0, std::uintptr_t c0, std::uintptr_t hn,
                  std::uintptr_t cn, std::uintptr_t stream);
  void check();
  void check_now();

  // A whole sequence from h0 and c0 (0: zeros) to hn and cn, on memory that the caller vouches for.
  void run_whole(std::int64_t steps, std::uintptr_t x, std::uintptr_t y, std::uintptr_t lengths,
                 bool batch_first, std::uintptr_t h0, std::uintptr_t c0, std::uintptr_t hn,
                 std::uintptr_t cn);

  // h, or (h, c) for an lstm; of all entries, or of one.
  [[nodiscard]] nanobind::object get_state(std::optional<int> entry);
  void set_state(nanobind::handle state, std::optional<int> entry);
  void reset(std::optional<int> entry);

  void set_weights(const PackedModel& model);

  [[nodiscard]] const Session& session() const noexcept { return *session_; }
  [[nodiscard]] const Plan& plan() const noexcept { return packed_->plan; }

 private:
  class Use;  // of the session by one call

  [[nodiscard]] Shape state_shape(std::optional<int> entry, bool cell) const;
  [[nodiscard]] bool is_lstm() const;
  void run(const Sequence& sequence);
  [[nodiscard]] CudaSession& on_gpu();

  std::shared_ptr<const Packed> packed_;
  std::unique_ptr<Session> session_;
  std::int64_t input_size_, output_size_, state_size_;
  bool streamable_ = true;
  std::atomic<bool> busy_ = false;
};

}  // namespace sprnn::python
