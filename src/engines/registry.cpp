// The engines of this build.
#include <fmt/format.h>

#include <array>
#include <cstdlib>

#include "base/quote.hpp"
#include "engines/cpu/engine.hpp"
#include "engines/cuda/engine.hpp"
#include "engines/interpreter/engine.hpp"
#include "engines/reference/engine.hpp"
#include "engines/registry.hpp"
#include "sprnn/cuda.hpp"
#include "sprnn/engine.hpp"
#include "sprnn/error.hpp"

namespace sprnn {

namespace {

std::string names() {
  std::string all;
  for (const Engine* engine : engines()) all += fmt::format("{}, ", engine->name());
  return all + "auto";
}

const Engine& first_willing(const Plan& plan) {
  std::string refusals;
  for (const Engine* engine : engines()) {
    const std::string refusal = engine->refusal(plan);
    if (refusal.empty()) return *engine;
    refusals += fmt::format("; {}: {}", engine->name(), refusal);
  }
  throw Error(ErrorCode::unsupported, "no engine runs this plan" + refusals);
}

}  // namespace

std::span<const Engine* const> engines() noexcept {
  // The reference comes last: it runs everything, slowly.
  static const std::array<const Engine*, 4> all = {&cuda_engine(), &cpu_engine(), &interpreter_engine(),
                                                   &reference_engine()};
  return all;
}

std::string_view wanted_engine(std::string_view name) noexcept {
  if (name != "auto") return name;
  const char* forced = std::getenv("SPRNN_ENGINE");
  return forced == nullptr || *forced == '\0' ? name : forced;
}

std::string engine_label(std::string_view name) {
  const std::string_view wanted = wanted_engine(name);
  return fmt::format("{}{}", wanted == name ? "engine " : "SPRNN_ENGINE=", escaped(wanted));
}

const Engine& find_engine(std::string_view name, const Plan& plan) {
  const std::string_view wanted = wanted_engine(name);
  if (wanted == "auto") return first_willing(plan);
  for (const Engine* engine : engines()) {
    if (engine->name() != wanted) continue;
    const std::string refusal = engine->refusal(plan);
    if (!refusal.empty()) {
      const bool lacks_gpu = wanted == "cuda" && plan.device.is_gpu() && gpu_count() == 0;
      throw Error(lacks_gpu ? ErrorCode::device : ErrorCode::unsupported,
                  fmt::format("{}: {}", engine_label(name), refusal));
    }
    return *engine;
  }
  throw Error(ErrorCode::invalid_argument,
              fmt::format("{}: expected one of {}",
                          wanted == name ? "engine " + quote(name) : engine_label(name), names()));
}

}  // namespace sprnn
