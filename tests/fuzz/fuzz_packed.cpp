// .sprnn files: whatever the bytes, parsing gives a validated model or Error(format), and a validated
// model runs and unpacks without a fault.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "sprnn/engine.hpp"
#include "sprnn/error.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sprnn;
  const auto* begin = reinterpret_cast<const std::byte*>(data);
  std::shared_ptr<const Packed> packed;
  try {
    packed = std::make_shared<const Packed>(parse_packed({begin, begin + size}, "fuzz"));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::format) throw;
    return 0;
  }
  // A small file may describe huge, nearly empty matrices; running those is slow, not wrong.
  const Problem& problem = packed->plan.problem;
  if (problem.hidden_size > 256 || problem.input_size > 256 || problem.directions.size() > 8) return 0;
  const Model model = unpack(*packed);
  const std::vector<float> x(static_cast<std::size_t>(2 * 2 * model.input_size), 0.5F);
  std::vector<float> y(static_cast<std::size_t>(2 * 2 * model.output_size()));
  for (const Engine* engine : engines()) {
    if (!engine->refusal(packed->plan).empty()) continue;
    engine->session(packed, {.batch = 2, .threads = 1})->run({2, x.data(), y.data()});
  }
  return 0;
}
