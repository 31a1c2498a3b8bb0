// What a strategy supplies to the common code of plan and pack. There are three: cpu, gather and mma.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "sprnn/pack.hpp"
#include "sprnn/plan.hpp"

namespace sprnn {

// Of whatever strategy was chosen: one line.
[[nodiscard]] std::string choice_text(const DirectionPlan& plan);

namespace cpu {

[[nodiscard]] DirectionPlan plan(const Problem& problem, const DirectionProblem& direction,
                                 const Device& device, const CpuWishes& wishes);
// Throws Error(format) that names the field, unless the choice is one for the direction: what pack and all
// that follows rely on. `problem` has been checked.
void check(const CpuPlan& plan, const Problem& problem, const DirectionProblem& direction);
// Sets packed_bytes and workspace_bytes, which follow from the choice; of packed_bytes an estimate.
void set_bytes(DirectionPlan& plan, const Problem& problem, const DirectionProblem& direction,
               const CpuDescription& cpu);
// Sections of the matrices that are not `none`. The plan has been checked, here and below.
[[nodiscard]] std::vector<Section> pack(const Direction& weights, const DirectionPlan& plan,
                                        const Problem& problem);
// Throws Error(format): everything the engine relies on. `problem` has been validated.
void validate(const std::vector<Section>& sections, const DirectionPlan& plan, const Problem& problem);
// Fills w_ih, w_hh and w_hr of `weights`. Sections have been validated.
void unpack(const std::vector<Section>& sections, const DirectionPlan& plan, const Problem& problem,
            Direction& weights);
[[nodiscard]] std::vector<PackFigure> report(const std::vector<Section>& sections, const DirectionPlan& plan,
                                             const Problem& problem);
void to_json(nlohmann::json& json, const CpuPlan& plan);
void from_json(const nlohmann::json& json, CpuPlan& plan);  // throws Error(format)
[[nodiscard]] std::string to_text(const CpuPlan& plan);     // one line
// One line on how many of the device's threads work on a direction, empty if all.
[[nodiscard]] std::string threads_text(const Plan& plan, std::size_t direction);

}  // namespace cpu

namespace gather {

// The same, for GatherPlan.
[[nodiscard]] DirectionPlan plan(const Problem& problem, const DirectionProblem& direction,
                                 const Device& device, const GpuWishes& wishes);
void check(const GatherPlan& plan, const Problem& problem, const DirectionProblem& direction);
void set_bytes(DirectionPlan& plan, const Problem& problem, const DirectionProblem& direction);  // both exact
[[nodiscard]] std::vector<Section> pack(const Direction& weights, const DirectionPlan& plan,
                                        const Problem& problem);
void validate(const std::vector<Section>& sections, const DirectionPlan& plan, const Problem& problem);
void unpack(const std::vector<Section>& sections, const DirectionPlan& plan, const Problem& problem,
            Direction& weights);
[[nodiscard]] std::vector<PackFigure> report(const std::vector<Section>& sections, const DirectionPlan& plan,
                                             const Problem& problem);
void to_json(nlohmann::json& json, const GatherPlan& plan);
void from_json(const nlohmann::json& json, GatherPlan& plan);
[[nodiscard]] std::string to_text(const GatherPlan& plan);

}  // namespace gather

namespace mma {

// The same, for MmaPlan: of dense-mma, sparse-mma or vector-mma.
[[nodiscard]] DirectionPlan plan(const Problem& problem, const DirectionProblem& direction,
                                 const Device& device, const GpuWishes& wishes, GpuStrategy strategy);
void check(const MmaPlan& plan, const Problem& problem, const DirectionProblem& direction);
void set_bytes(DirectionPlan& plan, const Problem& problem, const DirectionProblem& direction);
[[nodiscard]] std::vector<Section> pack(const Direction& weights, const DirectionPlan& plan,
                                        const Problem& problem);
void validate(const std::vector<Section>& sections, const DirectionPlan& plan, const Problem& problem);
void unpack(const std::vector<Section>& sections, const DirectionPlan& plan, const Problem& problem,
            Direction& weights);
[[nodiscard]] std::vector<PackFigure> report(const std::vector<Section>& sections, const DirectionPlan& plan,
                                             const Problem& problem);
void to_json(nlohmann::json& json, const MmaPlan& plan);
void from_json(const nlohmann::json& json, MmaPlan& plan);
[[nodiscard]] std::string to_text(const MmaPlan& plan);

}  // namespace mma

}  // namespace sprnn
