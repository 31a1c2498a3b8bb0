// Running a packed model on engine cuda, on host memory and on device memory; outputs are poisoned before
// and guarded on both sides. Throws std::runtime_error where a guard was hit or an output not written.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engines/cuda/gpu.hpp"
#include "gpu/case.hpp"
#include "interpreter/support.hpp"
#include "sprnn/cuda.hpp"

namespace sprnn::test {

struct Way {
  std::int64_t chunk = 0;  // steps a call; 0: all
  bool batch_first = false;
};

// What cuda_session throws once plan_only_for() was called: all that a case plans and packs is then known to
// work.
struct OnlyPlanned {};
void plan_only_for(Device device);
// The GPU that is planned for: the one that is here, or the one of plan_only_for.
[[nodiscard]] Device test_gpu();

[[nodiscard]] std::unique_ptr<Session> cuda_session(const std::shared_ptr<const Packed>& packed,
                                                    std::int64_t batch, double deadline_seconds = 0.0);
[[nodiscard]] CudaSession& on_device(Session& session);

// From the inputs' initial state; y is [T, B, D*R] whatever the way.
[[nodiscard]] Output run_on_host(Session& session, const Inputs& inputs, const Way& way = {});
[[nodiscard]] Output run_on_device(Session& session, const Inputs& inputs, const Way& way = {},
                                   cuda::Stream stream = nullptr);

[[nodiscard]] std::size_t output_width(const Problem& problem);  // D*R

// Twice on host memory for the same bits, and against the float64 reference.
[[nodiscard]] CaseResult check_model(const Model& model, const Inputs& inputs, const Device& device,
                                     const GpuWishes& wishes = {}, const Way& way = {});

// A GPU with so little on chip that a small layer has weights in registers, in shared memory and in L2.
[[nodiscard]] Device cramped_gpu(int sms, int registers, std::int64_t shared,
                                 std::int64_t l2 = GpuDescription{}.l2_bytes);

// The plan that a case is about.
struct Wanted {
  GpuWishes wishes = {};
  std::optional<Device> device = std::nullopt;  // that is planned for, else the GPU that is here
  bool streams = false;                         // weights
  bool rests = false;                           // sparse-mma of a mask of any kind: it gathers the rest
  [[nodiscard]] std::int64_t batch(std::int64_t otherwise) const {
    return wishes.group_batch.value_or(otherwise);
  }
  [[nodiscard]] ModelSpec sized(ModelSpec spec) const;  // so large that there is such a plan
};
[[nodiscard]] std::string to_string(const Wanted& wanted);
// dense-mma and sparse-mma as large layers need them, for small ones: weights are streamed, state is asked
// for late, rows have parts.
[[nodiscard]] const std::vector<Wanted>& mma_detours();
[[nodiscard]] std::vector<Wanted> mma_plans();  // the three strategies as they come, then the detours
// What of the wishes the plan lacks; empty: nothing.
[[nodiscard]] std::string lacking(const Plan& plan, const GpuWishes& wishes);
// Throws std::runtime_error where the plan is another than is wanted.
[[nodiscard]] std::shared_ptr<const Packed> pack_for(const Model& model, std::int64_t batch,
                                                     const Wanted& wanted);

// Empty if a and b are the same bits, any NaN like any other; else where they differ first.
[[nodiscard]] std::string difference(const Output& a, const Output& b);

// Of a session whose last run was given up: whether it wants a state before the next.
[[nodiscard]] bool refuses_to_go_on(Session& session, const Inputs& inputs);

// A stream of the current GPU that does not wait for the default one.
class OwnStream {
 public:
  OwnStream() { cuda::check(cuda::driver().create_stream(&stream_, 1), "cuStreamCreate"); }
  ~OwnStream() { cuda::driver().destroy_stream(stream_); }
  OwnStream(const OwnStream&) = delete;
  OwnStream& operator=(const OwnStream&) = delete;
  [[nodiscard]] cuda::Stream get() const { return stream_; }

 private:
  cuda::Stream stream_ = nullptr;
};

// Device memory between two guard bands, all bits of it set: a NaN in fp16, bf16 and fp32 that no kernel
// makes.
class GuardedMemory {
 public:
  explicit GuardedMemory(std::size_t bytes);
  [[nodiscard]] cuda::DevicePointer get() const { return buffer_.get() + guard_bytes; }
  [[nodiscard]] void* pointer() const { return reinterpret_cast<void*>(get()); }
  void write(const void* from, std::size_t bytes);
  void write(DType dtype, std::span<const float> values);
  void poison();
  // Throws if a guard was hit.
  [[nodiscard]] std::vector<std::byte> read() const;
  // Of an array that must have been written whole.
  [[nodiscard]] std::vector<float> read(DType dtype) const;

 private:
  static constexpr std::size_t guard_bytes = 4096;
  std::size_t bytes_;
  cuda::Buffer buffer_;
};

}  // namespace sprnn::test
