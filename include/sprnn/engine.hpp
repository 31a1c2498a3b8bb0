// Engines run packed models; a session is one model being run, with its state.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sprnn/pack.hpp"

namespace sprnn {

struct SessionOptions {
  int batch = 1;  // sequences side by side, 1 to max_batch
  // 0 to 1024. 0: as many as affinity and the cgroup quota allow; engine cpu then lets those work that a
  // direction is large enough for, while a number that was asked for works, up to one for each 16 units.
  // Fewer work while others use the cores, where that is faster. The interpreter has one.
  int threads = 0;
  std::string isa{};  // cpu: "avx512", "avx2", "scalar"; empty: the best that the processor has
  int device = 0;     // cuda: which GPU
  // cuda: how long a timestep may wait for another CTA before the run is given up; 0: the environment
  // variable SPRNN_DEADLINE, or 2 s.
  double deadline_seconds = 0.0;
  // cuda: a directory that compile_code (cuda.hpp) has written; then its code runs and nothing is compiled.
  std::filesystem::path code_dir{};
};

// One call's worth of timesteps. The arrays belong to the caller and must not overlap. The session's
// state goes in as the state before the first step and comes out as the state after the last.
struct Sequence {
  std::int64_t steps = 0;  // T >= 1
  // [T, B, I], or [B, T, I] with batch_first; rounded to the model's dtype on reading, so that beyond fp16's
  // 65504 it counts as infinite, as h of set_state does.
  const float* x = nullptr;
  float* y = nullptr;                     // [T, B, D*R] or [B, T, D*R]; padded steps are written as zeros
  const std::int64_t* lengths = nullptr;  // [B], each in 1..T, or null: all T
  bool batch_first = false;
  // Asked every tenth of a second or so, on the caller's thread, by engines cpu and interpreter; false ends
  // the run with Error(interrupted). Layers then are at different timesteps: until the state of every batch
  // entry is set or reset, get_state (of that entry) and run are refused with Error(unsupported). So they are
  // after a run that engine cuda has given up (Error(deadline)).
  std::function<bool()> keep_going{};
};

// Not safe for concurrent calls; different sessions are independent. `run` of any engine but the
// reference allocates nothing, except that a model with a reverse direction grows its workspace to the
// longest sequence seen.
class Session {
 public:
  virtual ~Session() = default;
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  [[nodiscard]] virtual std::string_view engine() const noexcept = 0;
  [[nodiscard]] virtual std::string_view isa() const noexcept { return ""; }  // cpu only
  [[nodiscard]] virtual int threads() const noexcept { return 1; }
  // Of those the most that a direction is large enough to gain from; the others sleep.
  [[nodiscard]] virtual int threads_at_work() const noexcept { return threads(); }
  [[nodiscard]] int batch() const noexcept { return batch_; }
  [[nodiscard]] const Problem& problem() const noexcept { return problem_; }

  // Bidirectional models take whole sequences only: a second run without reset() or set_state() in
  // between is refused with Error(unsupported), since a chunk cannot know what comes after it. Other errors:
  // invalid_argument (steps, lengths, null arrays; nothing has run then), interrupted and unsupported as
  // Sequence::keep_going says, and of engine cuda deadline, device and out_of_memory.
  virtual void run(const Sequence& sequence) = 0;

  // State of all layers: h [L*D, B, R], c [L*D, B, H] (empty spans unless lstm), float. What is got is
  // rounded to the model's dtype; of what is set h is too, but not c, which a session keeps in fp32. Sizes
  // are checked: Error(invalid_argument). Engine cuda throws Error(device) where the GPU fails, and get_state
  // Error(deadline) where a run was given up and nothing has said so yet.
  virtual void get_state(std::span<float> h, std::span<float> c) const = 0;
  virtual void set_state(std::span<const float> h, std::span<const float> c) = 0;
  // One batch entry: h [L*D, R], c [L*D, H].
  virtual void get_state(int entry, std::span<float> h, std::span<float> c) const = 0;
  virtual void set_state(int entry, std::span<const float> h, std::span<const float> c) = 0;
  virtual void reset() = 0;           // zeros
  virtual void reset(int entry) = 0;  // zeros for one batch entry

  // Other weights under the same plan (same problem shapes and layouts), which the session shares; the state
  // is kept. Throws Error(invalid_argument) for null or another plan, of engine cuda Error(device) and
  // Error(out_of_memory); the session then keeps its old weights.
  virtual void set_weights(std::shared_ptr<const Packed> packed) = 0;

 protected:
  Session(const Problem& problem, int batch) : problem_(problem), batch_(batch) {}
  Problem problem_;
  int batch_;
};

class Engine {
 public:
  virtual ~Engine() = default;
  Engine() = default;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  [[nodiscard]] virtual std::string_view name()
      const noexcept = 0;  // "reference", "interpreter", "cpu", "cuda"
  // Empty if the engine can run this plan on this machine, else the reason, for people.
  [[nodiscard]] virtual std::string refusal(const Plan& plan) const = 0;
  // The session shares `packed`. Throws Error(unsupported) with the refusal, Error(invalid_argument) for bad
  // options or null, Error(out_of_memory) also where threads cannot be started, of engine cuda Error(device),
  // and for a code_dir Error(io) and Error(format).
  [[nodiscard]] virtual std::unique_ptr<Session> session(std::shared_ptr<const Packed> packed,
                                                         const SessionOptions& options) const = 0;
};

// The engines of this build, the preferred first; never destroyed. The environment variable SPRNN_ENGINE, if
// set, is what "auto" takes.
[[nodiscard]] std::span<const Engine* const> engines() noexcept;
// By name; "auto": the first without a refusal. Throws Error(unsupported) with the refusals, Error(device)
// for cuda where there is no GPU, Error(invalid_argument) for a name that no engine has.
[[nodiscard]] const Engine& find_engine(std::string_view name, const Plan& plan);

// What a model is planned for when nobody has said for what, so that find_engine(engine, plan) suits it.
struct Target {
  Device device;
  std::string reason;  // why it is not the GPU that this machine has; empty if it is, or has none
};
// cuda: the first GPU; interpreter: an h100; cpu and reference: this CPU; auto: the GPU if there is one that
// runs this problem's cells, else this CPU. Throws Error(device) where cuda has no GPU.
[[nodiscard]] Target choose_target(std::string_view engine, const Problem& problem);

// Instruction sets of the cpu engine on this processor, the best first: {"avx512", "avx2", "scalar"}.
[[nodiscard]] std::vector<std::string> cpu_isas();

}  // namespace sprnn
