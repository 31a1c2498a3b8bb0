#include "engines/cpu/engine.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "engines/cpu/session.hpp"
#include "engines/layered_session.hpp"
#include "sprnn/error.hpp"

namespace sprnn {

namespace {

const cpu::Kernels& find_kernels(const std::string& isa) {
  const std::vector<const cpu::Kernels*>& all = cpu::all_kernels();
  if (isa.empty()) return *all.front();
  for (const cpu::Kernels* kernels : all) {
    if (kernels->isa == isa) return *kernels;
  }
  throw Error(ErrorCode::invalid_argument,
              fmt::format("isa '{}': this processor has {}", isa, fmt::join(cpu_isas(), ", ")));
}

class CpuEngine final : public Engine {
 public:
  [[nodiscard]] std::string_view name() const noexcept override { return "cpu"; }

  [[nodiscard]] std::string refusal(const Plan& plan) const override {
    for (const DirectionPlan& direction : plan.directions) {
      if (!std::holds_alternative<CpuPlan>(direction.choice)) {
        return fmt::format("the plan is for {}, not for a cpu: pack it with --target cpu", plan.device.name);
      }
    }
    return "";
  }

  [[nodiscard]] std::unique_ptr<Session> session(std::shared_ptr<const Packed> packed,
                                                 const SessionOptions& options) const override {
    check_options(options);
    if (packed == nullptr) {
      throw Error(ErrorCode::invalid_argument, "session: null, expected a packed model");
    }
    if (const std::string reason = refusal(packed->plan); !reason.empty()) {
      throw Error(ErrorCode::unsupported, "engine cpu: " + reason);
    }
    return std::make_unique<cpu::CpuSession>(packed, options, find_kernels(options.isa));
  }
};

}  // namespace

const Engine& cpu_engine() {
  static const CpuEngine engine;
  return engine;
}

std::vector<std::string> cpu_isas() {
  std::vector<std::string> names;
  for (const cpu::Kernels* kernels : cpu::all_kernels()) names.emplace_back(kernels->isa);
  return names;
}

}  // namespace sprnn
