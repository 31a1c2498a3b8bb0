#include "engines/cuda/placement.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>

namespace sprnn::cuda {

namespace {

// Lines are at home on one side in runs of 4 KiB (H100).
constexpr std::int32_t line_stride_words = 1024;
constexpr std::int32_t line_count = 64;
// Far lines take 490 cycles instead of 300 on an H100; those of one side differ by 50.
constexpr double clear_gap = 1.25;
constexpr double least_share = 0.2;

// Two means of one SM's cycles; true: the line is far. Empty if they are not clearly two kinds.
std::vector<bool> far_lines(std::span<const std::uint32_t> cycles) {
  double near = *std::min_element(cycles.begin(), cycles.end());
  double far = *std::max_element(cycles.begin(), cycles.end());
  std::vector<bool> is_far(cycles.size());
  for (int round = 0; round < 20; ++round) {
    double sum[2] = {}, count[2] = {};
    for (std::size_t i = 0; i < cycles.size(); ++i) {
      is_far[i] = std::abs(cycles[i] - far) < std::abs(cycles[i] - near);
      sum[is_far[i]] += cycles[i];
      count[is_far[i]] += 1;
    }
    if (std::min(count[0], count[1]) < least_share * static_cast<double>(cycles.size())) return {};
    near = sum[0] / count[0];
    far = sum[1] / count[1];
  }
  return far > clear_gap * near ? is_far : std::vector<bool>();
}

L2Sides measure(const Gpu& gpu, const CodeSource& code) {
  const GpuDescription& description = gpu.description();
  const auto sms = static_cast<std::size_t>(description.sm_count);
  // More than half of the shared memory: one CTA an SM.
  const Kernel time_lines(code(sides_kernel(), description.compute_capability), "time_lines",
                          description.shared_bytes_per_sm / 2 + 1024);
  const Buffer lines(std::size_t{line_stride_words} * line_count * sizeof(std::uint32_t));
  const Buffer cycles_of(sms * line_count * sizeof(std::uint32_t)), sm_of((sms + 1) * sizeof(std::uint32_t));
  check(driver().set_bytes(lines.get(), 0, lines.bytes(), nullptr), "cuMemsetD8Async");
  time_lines.launch(nullptr, static_cast<unsigned>(sms), 32U, lines.get(), line_stride_words, line_count,
                    cycles_of.get(), sm_of.get());
  std::vector<std::uint32_t> cycles(sms * line_count), sm(sms + 1);
  check(driver().to_host(cycles.data(), cycles_of.get(), cycles_of.bytes(), nullptr), "cuMemcpyDtoHAsync");
  check(driver().to_host(sm.data(), sm_of.get(), sm_of.bytes(), nullptr), "cuMemcpyDtoHAsync");
  check(driver().synchronize(nullptr), "cuStreamSynchronize");

  L2Sides sides;
  const std::vector<std::uint8_t> found = sides_of(cycles, line_count);
  // Where other work held an SM, another one has run two CTAs: all SMs have an entry, those not seen side 0.
  std::vector<std::uint8_t> side_of_sm(sm.back(), 0);
  for (std::size_t i = 0; i < found.size(); ++i) side_of_sm[sm[i]] = found[i];
  for (const std::uint8_t side : found) ++sides.sms[side];
  if (found.empty()) sides.sms = {description.sm_count, 0};
  if (sides.two()) sides.side_of_sm = upload<std::uint8_t>(side_of_sm);
  return sides;
}

}  // namespace

std::vector<std::uint8_t> sides_of(std::span<const std::uint32_t> cycles, std::size_t lines) {
  const std::vector<bool> is_far = far_lines(cycles.first(lines));
  if (is_far.empty()) return {};
  std::vector<std::uint8_t> sides;
  for (std::size_t begin = 0; begin < cycles.size(); begin += lines) {
    double sum[2] = {}, count[2] = {};
    for (std::size_t i = 0; i < lines; ++i) {
      sum[is_far[i]] += cycles[begin + i];
      count[is_far[i]] += 1;
    }
    const double first = sum[0] / count[0], second = sum[1] / count[1];
    if (std::max(first, second) < clear_gap * std::min(first, second)) return {};
    sides.push_back(second < first);
  }
  return sides;
}

std::shared_ptr<const L2Sides> l2_sides(const Gpu& gpu, const CodeSource& code) {
  static std::mutex mutex;
  static std::map<const Gpu*, std::shared_ptr<const L2Sides>> all;
  const std::lock_guard lock(mutex);
  std::shared_ptr<const L2Sides>& found = all[&gpu];
  if (!found) found = std::make_shared<L2Sides>(measure(gpu, code));
  return found;
}

Placement place(const std::array<int, 2>& sms, int groups, int ctas) {
  const int roles = groups * ctas, all = sms[0] + sms[1];
  if (sms[1] > 0 && 2 * roles > all) {
    for (int near = 0; near <= groups; ++near) {
      if (near * ctas <= sms[0] && (groups - near) * ctas <= sms[1]) return {all, roles, near * ctas, true};
    }
  }
  return unplaced(groups, ctas);
}

}  // namespace sprnn::cuda
