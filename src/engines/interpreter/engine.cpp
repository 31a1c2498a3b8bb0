#include "engines/interpreter/engine.hpp"

#include <fmt/format.h>

#include "engines/interpreter/direction_runner.hpp"
#include "sprnn/error.hpp"

namespace sprnn {

namespace {

// Nothing is gained by long tiles: the host projects the input step by step.
constexpr std::int64_t tile_steps = 32;

class InterpreterSession final : public LayeredSession {
 public:
  InterpreterSession(std::shared_ptr<const Packed> packed, int batch)
      : LayeredSession(std::move(packed), batch, tile_steps) {
    weights_changed();
  }
  [[nodiscard]] std::string_view engine() const noexcept override { return "interpreter"; }

 private:
  void weights_changed() override {
    std::vector<interpreter::DirectionRunner> runners;
    for (std::size_t i = 0; i < packed_->directions.size(); ++i) {
      runners.emplace_back(packed_->directions[i], packed_->plan.directions[i], packed_->plan.problem);
    }
    runners_ = std::move(runners);
  }
  void run_direction(std::size_t direction, const DirectionRun& run) override {
    runners_[direction].run(run, batch());
  }

  std::vector<interpreter::DirectionRunner> runners_;
};

class InterpreterEngine final : public Engine {
 public:
  [[nodiscard]] std::string_view name() const noexcept override { return "interpreter"; }

  [[nodiscard]] std::string refusal(const Plan& plan) const override {
    for (const DirectionPlan& direction : plan.directions) {
      if (!direction.is_gpu()) {
        return "runs what is planned for a GPU (pack with --target h100), this plan is for a CPU";
      }
    }
    for (const DirectionProblem& direction : plan.problem.directions) {
      if (!direction.cell.is_standard()) return fmt::format("has no {} cell", to_string(direction.cell));
      if (direction.peephole) return "has no lstm with peepholes";
    }
    return "";
  }

  [[nodiscard]] std::unique_ptr<Session> session(std::shared_ptr<const Packed> packed,
                                                 const SessionOptions& options) const override {
    check_options(options);
    if (packed == nullptr) {
      throw Error(ErrorCode::invalid_argument, "session: null, expected a packed model");
    }
    const std::string reason = refusal(packed->plan);
    if (!reason.empty()) throw Error(ErrorCode::unsupported, "engine interpreter: " + reason);
    return std::make_unique<InterpreterSession>(std::move(packed), options.batch);
  }
};

}  // namespace

const Engine& interpreter_engine() {
  static const InterpreterEngine engine;
  return engine;
}

}  // namespace sprnn
