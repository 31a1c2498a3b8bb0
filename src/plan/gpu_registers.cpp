#include "plan/gpu_registers.hpp"

#include <cmath>

namespace sprnn::gpu {

namespace {

// A quad that is polled is 4 registers; the addresses at which its parts are staged stay between timesteps.
constexpr int polled_quad = 4;
constexpr double staged_part = 1.5;

constexpr int divide_up(int a, int b) { return (a + b - 1) / b; }

}  // namespace

int receiving_registers(const GpuPlan& plan, const Image& image, int units_a_cta, ExchangeWord word) {
  const int element = image.word_bytes / image.entries;
  const int batch = plan.group_batch;
  const int entries = units_a_cta * batch;  // of a CTA's slice
  const int entries_a_quad = 16 / element - (word == ExchangeWord::tag ? 1 : 0);
  const int polls = divide_up(plan.ctas * divide_up(entries, entries_a_quad), plan.warps * warp_lanes);
  // Entries that lie together in the image are stored together; where the image has the order of the
  // exchange, at one address, or at one for the slice's end.
  int parts = entries_a_quad;
  if (image.planes == 1 && image.entries == batch) {
    parts = word == ExchangeWord::stamp && entries % entries_a_quad == 0 ? 1 : 2;
  } else if (word == ExchangeWord::stamp) {
    int together = 8 / element;
    while (batch % together != 0 || image.entries % together != 0) together /= 2;
    parts = entries_a_quad / together;
  }
  return static_cast<int>(std::ceil(polls * (polled_quad + staged_part * parts)));
}

}  // namespace sprnn::gpu
