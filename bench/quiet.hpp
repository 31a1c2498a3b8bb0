// Whether the machine is quiet enough for figures to mean something.
#pragma once

#include <string>
#include <vector>

#include "bench/bench.hpp"

namespace sprnn::bench {

// How many cores others keep busy, by /proc/stat over a fifth of a second in which this process sleeps; 0
// where that cannot be read.
[[nodiscard]] double load_of_others();

// For people: that others were at work, that a peer in the race was not as fast as alone.
[[nodiscard]] std::vector<std::string> doubts(double load, const std::vector<PeerResult>& peers);

}  // namespace sprnn::bench
