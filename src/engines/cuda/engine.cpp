#include "engines/cuda/engine.hpp"

#include <fmt/format.h>

#include "engines/cuda/compiler.hpp"
#include "engines/cuda/session.hpp"
#include "engines/layered_session.hpp"
#include "plan/gpu_search.hpp"
#include "sprnn/error.hpp"

namespace sprnn {

namespace {

class CudaEngine final : public Engine {
 public:
  [[nodiscard]] std::string_view name() const noexcept override { return "cuda"; }

  [[nodiscard]] std::string refusal(const Plan& plan) const override { return refusal_on(plan, 0); }

  [[nodiscard]] std::unique_ptr<Session> session(std::shared_ptr<const Packed> packed,
                                                 const SessionOptions& options) const override {
    check_options(options);
    if (packed == nullptr) throw Error(ErrorCode::invalid_argument, "session: null, expected a packed model");
    if (const std::string reason = refusal_on(packed->plan, options.device); !reason.empty()) {
      throw Error(ErrorCode::unsupported, "engine cuda: " + reason);
    }
    return std::make_unique<cuda::GpuSession>(std::move(packed), options);
  }

 private:
  static std::string refusal_on(const Plan& plan, int device) {
    for (const DirectionPlan& direction : plan.directions) {
      if (!direction.is_gpu()) {
        return fmt::format("the plan is for {}, not for a GPU: pack it with --target local or h100",
                           plan.device.name);
      }
    }
    if (std::string missing = cuda::missing_cell(plan.problem); !missing.empty()) return missing;
    try {
      return misfit(plan, *cuda::gpu(device));
    } catch (const Error& error) {
      return error.what();
    }
  }

  // What of a plan does not fit the GPU at hand, which may not be the one that it was made for.
  static std::string misfit(const Plan& plan, const cuda::Gpu& gpu) {
    const GpuDescription& here = gpu.description();
    for (std::size_t d = 0; d < plan.directions.size(); ++d) {
      const GpuPlan& planned = plan.directions[d].gpu();
      const auto needs = [&](std::int64_t needed, std::int64_t available, std::string_view what) {
        if (needed <= available) return std::string();
        return fmt::format("the plan, made for {}, needs {} {}, {} has {}: pack it again with --target local",
                           plan.device.name, needed, what, gpu.name(), available);
      };
      const std::int64_t threads = std::int64_t{planned.warps} * gpu::warp_lanes;
      for (const std::string& reason :
           {needs(std::int64_t{planned.groups} * planned.ctas, here.sm_count, "SMs"),
            needs(planned.shared.total() + gpu::reserved_shared_bytes, here.shared_bytes_per_block,
                  "bytes of shared memory a CTA"),
            needs(threads * (planned.registers.working + planned.registers.weights), here.registers_per_sm,
                  "registers a CTA")}) {
        if (!reason.empty()) return reason;
      }
    }
    return "";
  }
};

}  // namespace

const Engine& cuda_engine() {
  static const CudaEngine engine;
  return engine;
}

std::string cuda_lacks(const Problem& problem) {
  if (std::string missing = cuda::missing_cell(problem); !missing.empty()) return missing;
  return cuda::compiler_refusal();
}

int gpu_count() { return cuda::gpu_count(); }

Device find_gpu(int ordinal) {
  const auto gpu = cuda::gpu(ordinal);
  return {gpu->name(), gpu->description()};
}

}  // namespace sprnn
