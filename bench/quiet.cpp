#include "bench/quiet.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <fstream>
#include <optional>
#include <string>
#include <thread>

namespace sprnn::bench {
namespace {

// Clock ticks that all cores together have been busy, by proc(5).
std::optional<double> busy_ticks() {
  std::ifstream file("/proc/stat");
  std::string word;
  double user = 0, nice = 0, system = 0, idle = 0, waiting = 0, interrupts = 0, soft = 0, stolen = 0;
  if (!(file >> word >> user >> nice >> system >> idle >> waiting >> interrupts >> soft >> stolen)) {
    return std::nullopt;
  }
  return user + nice + system + interrupts + soft + stolen;
}

}  // namespace

double load_of_others() {
  const std::optional<double> before = busy_ticks();
  const auto begin = std::chrono::steady_clock::now();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  const std::optional<double> after = busy_ticks();
  if (!before || !after) return 0.0;
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
  return (*after - *before) / (elapsed.count() * static_cast<double>(sysconf(_SC_CLK_TCK)));
}

std::vector<std::string> doubts(double load, const std::vector<PeerResult>& peers) {
  constexpr double most_load = 0.25;       // a tick more or less is 0.05 cores
  constexpr double most_difference = 0.1;  // METHOD.md
  std::vector<std::string> found;
  if (load > most_load) {
    found.push_back(
        fmt::format("other processes kept {:.1f} cores busy: run it again on a quiet machine", load));
  }
  for (const PeerResult& peer : peers) {
    if (!peer.refused.empty()) continue;
    const double ratio = peer.timing.us_per_step / peer.us_per_step_alone;
    if (std::abs(ratio - 1.0) > most_difference) {
      found.push_back(
          fmt::format("{} took {:.2f} us a step in the race and {:.2f} alone in a fresh process, which "
                      "should agree within "
                      "{:.0f} %: do not use the figures",
                      peer.name, peer.timing.us_per_step, peer.us_per_step_alone, 100 * most_difference));
    }
  }
  return found;
}

}  // namespace sprnn::bench
