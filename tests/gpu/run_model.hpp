// Running a packed model on engine cuda, on host memory and on device memory; outputs are poisoned before
// and guarded on both sides. Throws std::runtime_error where a guard was hit or an output not written.
#pragma once

#include <memory>

#include "engines/cuda/gpu.hpp"
#include "gpu/case.hpp"
#include "interpreter/support.hpp"
#include "sprnn/cuda.hpp"

namespace sprnn::test {

struct Way {
  std::int64_t chunk = 0;  // steps a call; 0: all
  bool batch_first = false;
};

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

// Empty if a and b are the same bits, any NaN like any other; else where they differ first.
[[nodiscard]] std::string difference(const Output& a, const Output& b);

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
