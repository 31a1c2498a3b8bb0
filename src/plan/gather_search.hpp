// The candidates of strategy gather, and fitting one of them to a device.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "plan/gather_layout.hpp"

namespace sprnn::gather {

// What distinguishes one candidate from another; everything else follows.
struct Candidate {
  int groups = 1;
  int ctas = 1;  // a group
  int group_batch = 1;
  int warps = 4;
  int lanes = 32;             // of a row of W_hh
  int projection_lanes = 32;  // of a row of W_hr
  [[nodiscard]] std::string text() const;
};

// Every candidate worth a look that the wishes allow; throws Error(unsupported) for a wish that no
// candidate can meet.
[[nodiscard]] std::vector<Candidate> candidates(const Problem& problem, const GpuDescription& gpu,
                                                const GpuWishes& wishes);

class Fitter {
 public:
  Fitter(const Problem& problem, const DirectionProblem& direction, const GpuDescription& gpu,
         const GpuWishes& wishes);

  // Fills `plan`, or says why the candidate does not fit the device; empty: it does.
  [[nodiscard]] std::string fit(const Candidate& candidate, bool in_cluster, GatherPlan& plan);

 private:
  [[nodiscard]] const std::vector<std::int32_t>& longest(bool projection, int ctas, int units_a_cta);
  [[nodiscard]] GatherMatrix matrix(bool projection, const Candidate& candidate, int offset_unit);
  [[nodiscard]] std::string choose_word(const Candidate& candidate, GatherPlan& plan) const;
  [[nodiscard]] std::string place_slots(GatherPlan& plan);

  const Problem& problem_;
  const DirectionProblem& direction_;
  const GpuDescription& gpu_;
  const GpuWishes& wishes_;
  // Balancing depends on the number of CTAs only.
  std::map<std::pair<bool, int>, std::vector<std::int32_t>> longest_;
};

}  // namespace sprnn::gather
