// The exchange of h alone, without a product: what the two sides of the L2 cost, what placing groups saves.
//
// Predicted:
// - A line has one home, so a relaxed load is fast from one half of the SMs and slow from the other.
// - A ring at home on its group's side, or copied to both sides, saves the way across.
//
// Found (H100 80GB HBM3):
// - An atomic goes to the line's home, 300 cycles near, 500 far. A relaxed load takes 290 wherever the home
//   is: a copy on its own side serves it. Lines are at home on one side in runs of 4 KiB.
// - One hop (a store, then a poll that sees it): 470 to 560 cycles on one side, 680 to 730 across, whatever
//   the line's home. So groups must be placed; lines matter little: 9 KiB 0.65 -> 0.54 us a step.
// - A group too large for one side gains from two copies, 18 KiB 0.85 -> 0.80 us (0.94 -> 0.73 if no words
//   are compared), and nothing in the whole kernel (../README.md).
//
// Exit status: 0 every word was right; 1 a word was wrong or never came; 2 no GPU, or no two sides of its L2.
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

#include "../rung.hpp"
#include "kernels.cuh"

namespace {

constexpr int short_steps = 256;
constexpr int long_steps = 1280;
constexpr int exclusive_bytes = 150 * 1024;  // of shared memory: one CTA an SM

template <class... Parameters>
void make_exclusive(void (*kernel)(Parameters...)) {
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, exclusive_bytes),
        "one CTA an SM needs 150 KiB of shared memory");
}

// What is known of the GPU, and what has been found wrong so far.
struct Lab {
  explicit Lab(int sms) : sm_count(sms), pool(line_count * line_words), wrong(1) {}

  [[nodiscard]] std::vector<int> sms_of(int side) const {
    std::vector<int> found;
    for (const int sm : sm_ids) {
      if (side_of_sm[static_cast<std::size_t>(sm)] == side) found.push_back(sm);
    }
    return found;
  }

  [[nodiscard]] std::vector<int> lines_of(int side) const {
    std::vector<int> found;
    for (int line = 0; line < line_count; ++line) {
      if (side_of_line[static_cast<std::size_t>(line)] == side) found.push_back(line);
    }
    return found;
  }

  unsigned* line(int index) const { return reinterpret_cast<unsigned*>(pool.data() + index * line_words); }

  int sm_count;
  DeviceArray<Word> pool;
  DeviceArray<unsigned> wrong;
  std::vector<int> sm_ids, side_of_sm, side_of_line;
};

struct Latencies {
  std::vector<unsigned> sm_of_cta, cycles;  // cycles[cta][line]
};

template <bool atomic>
Latencies latencies(Lab& lab) {
  const auto sms = static_cast<std::size_t>(lab.sm_count);
  DeviceArray<unsigned> cycles(sms * line_count), sm_of(sms);
  make_exclusive(probe<atomic>);
  for (int warm_up = 1; warm_up >= 0; --warm_up) {
    probe<atomic><<<lab.sm_count, 32, exclusive_bytes>>>(lab.line(0), cycles.data(), sm_of.data());
  }
  return {sm_of.host(), cycles.host()};
}

// Mean cycles of the lines of each side, seen from one CTA.
std::vector<double> mean_by_side(const Lab& lab, const Latencies& of, std::size_t cta) {
  std::vector<double> sum(2), lines(2);
  for (std::size_t line = 0; line < line_count; ++line) {
    const auto side = static_cast<std::size_t>(lab.side_of_line[line]);
    sum[side] += of.cycles[cta * line_count + line];
    lines[side] += 1;
  }
  return {sum[0] / lines[0], sum[1] / lines[1]};
}

// Lines and SMs that an atomic says are near CTA 0 are side 0. False: no two sides.
bool find_sides(Lab& lab, const Latencies& atomics) {
  std::vector<unsigned> sorted(atomics.cycles.begin(), atomics.cycles.begin() + line_count);
  std::sort(sorted.begin(), sorted.end());
  const unsigned near = sorted[line_count / 10], far = sorted[line_count - line_count / 10];
  if (far < 1.25 * near) return false;
  for (std::size_t line = 0; line < line_count; ++line) {
    lab.side_of_line.push_back(2 * atomics.cycles[line] > near + far ? 1 : 0);
  }
  lab.sm_ids.assign(atomics.sm_of_cta.begin(), atomics.sm_of_cta.end());
  lab.side_of_sm.assign(1 + *std::max_element(atomics.sm_of_cta.begin(), atomics.sm_of_cta.end()), 0);
  for (std::size_t cta = 0; cta < lab.sm_ids.size(); ++cta) {
    const std::vector<double> mean = mean_by_side(lab, atomics, cta);
    lab.side_of_sm[atomics.sm_of_cta[cta]] = mean[1] < mean[0] ? 1 : 0;
  }
  std::sort(lab.sm_ids.begin(), lab.sm_ids.end());
  return !lab.sms_of(0).empty() && !lab.sms_of(1).empty();
}

void print_latencies(const Lab& lab, const Latencies& of, const char* name) {
  double near = 0, far = 0;
  for (std::size_t cta = 0; cta < of.sm_of_cta.size(); ++cta) {
    const std::vector<double> mean = mean_by_side(lab, of, cta);
    const int side = lab.side_of_sm[of.sm_of_cta[cta]];
    near += mean[side == 0 ? 0 : 1] / lab.sm_count;
    far += mean[side == 0 ? 1 : 0] / lab.sm_count;
  }
  std::printf("%-13s home on the SM's side %3.0f cycles, on the other %3.0f\n", name, near, far);
}

void print_runs(const Lab& lab) {
  int changes = 0, aligned = 0;
  for (std::size_t line = 1; line < line_count; ++line) {
    if (lab.side_of_line[line] == lab.side_of_line[line - 1]) continue;
    ++changes;
    aligned += line * line_bytes % 4096 == 0 ? 1 : 0;
  }
  std::printf("%zu SMs on one side, %zu on the other; %d changes of side in %d KiB, %d of them at 4 KiB\n",
              lab.sms_of(0).size(), lab.sms_of(1).size(), changes, line_count * line_bytes / 1024, aligned);
}

unsigned newly_wrong(Lab& lab) {
  const unsigned found = lab.wrong.host()[0];
  lab.wrong.clear();
  return found;
}

// One SM of side 0 with every other one.
unsigned print_hops(Lab& lab) {
  make_exclusive(hop);
  DeviceArray<unsigned> cycles(1);
  const int a = lab.sms_of(0)[0];
  unsigned wrong = 0;
  for (int side = 0; side < 2; ++side) {
    for (int home = 0; home < 2; ++home) {
      const std::vector<int> lines = lab.lines_of(home);
      std::vector<double> hops;
      for (const int b : lab.sms_of(side)) {
        if (b == a) continue;
        lab.pool.clear();
        hop<<<lab.sm_count, 32, exclusive_bytes>>>(lab.line(lines.at(0)), lab.line(lines.at(64)),
                                                   static_cast<unsigned>(a), static_cast<unsigned>(b),
                                                   cycles.data(), lab.wrong.data());
        hops.push_back(cycles.host()[0] / (2.0 * hop_rounds));
        wrong += newly_wrong(lab);
      }
      std::sort(hops.begin(), hops.end());
      std::printf("one hop between SMs of %s, lines at home on %s: %.0f to %.0f cycles, median %.0f\n",
                  side == 0 ? "one side" : "two sides", home == 0 ? "the first's side" : "the other side",
                  hops.front(), hops.back(), hops[hops.size() / 2]);
    }
  }
  return wrong;
}

enum class Placement { anywhere, groups, groups_and_lines };

// Groups on sides: the first half of the groups on side 0.
std::vector<int> roles(const Lab& lab, int groups, int ctas, Placement placement) {
  std::vector<int> role(lab.side_of_sm.size(), -1);
  const auto assign = [&](const std::vector<int>& sms, int first, int count) {
    if (static_cast<int>(sms.size()) < count) throw std::runtime_error("too few SMs on a side");
    for (int i = 0; i < count; ++i) role.at(static_cast<std::size_t>(sms[i])) = first + i;
  };
  const int half = groups / 2 * ctas;
  if (placement == Placement::anywhere) {
    assign(lab.sm_ids, 0, groups * ctas);
  } else {
    assign(lab.sms_of(0), 0, half);
    assign(lab.sms_of(1), half, groups * ctas - half);
  }
  return role;
}

std::vector<int> ring_lines(const Lab& lab, int groups, int lines_a_slot, int copies, Placement placement) {
  std::vector<int> pool[2] = {lab.lines_of(0), lab.lines_of(1)}, table;
  std::size_t next[2] = {0, 0};
  int any = 0;
  for (int copy = 0; copy < copies; ++copy) {
    for (int slot = 0; slot < 2; ++slot) {
      for (int group = 0; group < groups; ++group) {
        for (int line = 0; line < lines_a_slot; ++line) {
          const int side = copies == 2 ? copy : 2 * group / groups;
          const bool placed = copies == 2 || placement == Placement::groups_and_lines;
          table.push_back(placed ? pool[side].at(next[side]++) : any++);
        }
      }
    }
  }
  return table;
}

// Microseconds a step over the waits; returns how many threads saw a wrong word.
template <int threads, int ctas, int quads_a_cta, int copies>
unsigned print_exchange(Lab& lab, int groups, Placement placement, const char* name) {
  constexpr int lines_a_slot = (2 * ctas * quads_a_cta + line_words - 1) / line_words;
  const auto kernel = exchange<threads, ctas, quads_a_cta, copies>;
  make_exclusive(kernel);
  const DeviceArray<int> lines(ring_lines(lab, groups, lines_a_slot, copies, placement)),
      sides(lab.side_of_sm), role_of_sm(roles(lab, groups, ctas, placement));
  Stopwatch stopwatch;
  const auto milliseconds = [&](int steps, int wait, bool spoil) {
    lab.pool.clear();
    Exchange x{lab.pool.data(), lines.data(),    role_of_sm.data(), sides.data(), groups, steps, wait,
               spoil,           lab.wrong.data()};
    void* arguments[] = {&x};
    stopwatch.start();
    check(cudaLaunchCooperativeKernel(reinterpret_cast<const void*>(kernel), dim3(lab.sm_count),
                                      dim3(threads), arguments, exclusive_bytes, nullptr),
          "cudaLaunchCooperativeKernel");
    check(stopwatch.stop(), "the exchange (a trap: a word never came)");
    return stopwatch.milliseconds();
  };

  milliseconds(2, 0, true);
  if (newly_wrong(lab) == 0)
    throw std::runtime_error("the check did not see the wrong word that it was given");
  std::printf("%-46s", name);
  for (int wait = 0; wait <= 600; wait += 100) {
    std::printf(" %5.3f", microseconds_a_timestep(short_steps, long_steps, [&](int steps) {
                  return milliseconds(steps, wait, false);
                }));
  }
  const unsigned wrong = newly_wrong(lab);
  std::printf("  %s\n", wrong == 0 ? "right" : "WRONG");
  return wrong;
}

unsigned print_exchanges(Lab& lab) {
  std::printf("the exchange, us a step, wait before the first poll:%s\n",
              "   0   100   200   300   400   500   600 cycles");
  unsigned wrong = 0;
  wrong += print_exchange<384, 64, 9, 1>(lab, 2, Placement::anywhere, " 9 KiB, 2 x 64 CTAs, anywhere");
  wrong += print_exchange<384, 64, 9, 1>(lab, 2, Placement::groups, " 9 KiB, 2 x 64 CTAs, a side each");
  wrong += print_exchange<384, 64, 9, 1>(lab, 2, Placement::groups_and_lines,
                                         " 9 KiB, 2 x 64 CTAs, a side each, lines too");
  wrong += print_exchange<512, 128, 9, 1>(lab, 1, Placement::anywhere, "18 KiB, 1 x 128 CTAs, one ring");
  wrong += print_exchange<512, 128, 9, 2>(lab, 1, Placement::anywhere,
                                          "18 KiB, 1 x 128 CTAs, a copy on each side");
  return wrong;
}

int run() {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::printf("no CUDA device here: nothing was run\n");
    return 2;
  }
  cudaDeviceProp device{};
  check(cudaGetDeviceProperties(&device, 0), "cudaGetDeviceProperties");
  std::printf("%s, %d SMs\n", device.name, device.multiProcessorCount);
  Lab lab(device.multiProcessorCount);
  const Latencies atomics = latencies<true>(lab);
  if (!find_sides(lab, atomics)) {
    std::printf("atomics to all lines take about as long: no two sides of the L2, nothing to compare\n");
    return 2;
  }
  print_runs(lab);
  print_latencies(lab, atomics, "atomic:");
  print_latencies(lab, latencies<false>(lab), "relaxed load:");
  unsigned wrong = print_hops(lab);
  wrong += print_exchanges(lab);
  std::printf("%u threads saw a wrong word\n", wrong);
  return wrong == 0 ? 0 : 1;
}

}  // namespace

int main() { return exit_status(run); }
