// What engine cuda has beyond an Engine: sessions that run on device memory, in a stream, inside a CUDA
// graph.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "sprnn/engine.hpp"

namespace sprnn {

// As Sequence, but in memory of the session's GPU and in the model's own dtype. The arrays belong to the
// caller, must not overlap, and must live until the stream has passed the call; those of a captured call as
// long as its graph.
struct DeviceSequence {
  std::int64_t steps = 0;                 // T >= 1
  const void* x = nullptr;                // [T, B, I], or [B, T, I] with batch_first
  void* y = nullptr;                      // [T, B, D*R] or [B, T, D*R]
  const std::int64_t* lengths = nullptr;  // device memory, [B], each in 1..T (not checked), or null: all T
  bool batch_first = false;
  void* stream = nullptr;  // a CUstream (cudaStream_t); null: the default stream

  // The state before the first timestep, read when the stream gets there: h0 [L*D, B, R] and, for an lstm, c0
  // [L*D, B, H]. Null: the session's own goes on, or zeros with `from_zero`.
  const void* h0 = nullptr;
  const void* c0 = nullptr;
  bool from_zero = false;
  // Where the state after the last timestep goes, of the same shapes; null: nowhere. It is the session's own
  // state afterwards in any case, whose c is then more precise than cn.
  void* hn = nullptr;
  void* cn = nullptr;
};

// What a session of engine cuda is: dynamic_cast<CudaSession*>(&session).
class CudaSession : public Session {
 public:
  using Session::run;
  // Enqueues the run and returns; it allocates nothing (but see Session), synchronises nothing, and may be
  // captured in a CUDA graph. Runs follow each other in the order of the calls, whatever their streams; that
  // a graph's replays do is up to the caller. The first run of a gru with h0, or of a reverse direction with
  // h0 and lengths, loads a second kernel, for states that no stamp can carry: the device then chooses. (A
  // captured run without h0 keeps the kernel that suited the session's state.)
  //
  // A graph that was captured goes on running the weights of its capture after set_weights, which the session
  // keeps for it.
  //
  // A run that was given up fills hn, cn and the rest of y with NaN, as do those after it until a check has
  // reported it.
  virtual void run(const DeviceSequence& sequence) = 0;
  // Waits for the session's last run, or a graph's last replay of it; throws Error(deadline) or Error(device)
  // if a run since the last check failed; so does get_state. Each failure is reported once, and by that the
  // state becomes unusable, also one that was set before the report. Then the session can be used again:
  // reset or set its state, or give one with the next run; until then others are refused with
  // Error(unsupported), but for replays of a graph.
  virtual void check() = 0;
  // The same of what has failed by now, without waiting for what has not.
  virtual void check_now() = 0;
  // Microseconds that the recurrent kernels of all layers and directions take for `steps` timesteps by the
  // GPU's clock, the input projections left out: for benchmarks. The state is reset.
  virtual double time_recurrent(std::int64_t steps) = 0;

 protected:
  using Session::Session;
};

// One kernel that compile_code has written, as the compiler reports it.
struct CompiledKernel {
  std::string cubin, ptx;  // names of files in the directory
  int registers = 0;       // a thread
  int stack_bytes = 0, spill_bytes = 0;
};

// For machines without NVRTC: compiles every kernel of a GPU plan for one architecture (compute capability:
// 80, 90, ...) and writes cubins, PTX and manifest.json, which has the SHA-256 of each, to a directory, made
// if there is none. Files of the same names are replaced. Needs no GPU. Throws Error(unsupported) for a plan
// of a CPU, Error(format) for one whose fields do not agree, Error(device) without NVRTC, Error(io).
// SessionOptions::code_dir runs it: on its architecture the cubins, on a newer one the PTX.
std::vector<CompiledKernel> compile_code(const Plan& plan, int compute_capability,
                                         const std::filesystem::path& directory);

// GPUs of this machine, 0 without a driver; the description of one, its name as the driver gives it. Throws
// Error(device).
[[nodiscard]] int gpu_count();
[[nodiscard]] Device find_gpu(int ordinal);

}  // namespace sprnn
