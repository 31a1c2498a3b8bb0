// One direction of one layer through all timesteps, group of CTAs by group: what the kernel's time loop does.
#pragma once

#include <memory>
#include <optional>

#include "engines/interpreter/input_projection.hpp"
#include "engines/interpreter/recurrent_product.hpp"
#include "engines/layered_session.hpp"

namespace sprnn::interpreter {

class DirectionRunner {
 public:
  // `packed` must outlive the runner.
  DirectionRunner(const PackedDirection& packed, const DirectionPlan& plan, const Problem& problem);

  // Group after group of the batch, pass after pass: they do not depend on each other.
  void run(const DirectionRun& run, int batch);

 private:
  void run_group(const DirectionRun& run, int first_entry, int entries);
  void step(const DirectionRun& run, std::int64_t t, int first_entry, int entries);
  void update_cells(const DirectionRun& run, std::int64_t t, int first_entry, int entries);
  [[nodiscard]] float update_unit(int cta, int local_unit, std::int64_t unit, int entry, float h,
                                  float* c) const;
  void project(const DirectionRun& run, std::int64_t t, int first_entry, int entries);

  const PackedDirection& packed_;
  Cell cell_;
  bool reverse_;
  DType dtype_;
  int group_batch_;
  gpu::Frame frame_;
  gpu::UnitMaps maps_;
  InputProjection input_;
  std::unique_ptr<RecurrentProduct> product_;
  StateImage h_;
  std::unique_ptr<RecurrentProduct> projection_;  // null: none
  std::optional<StateImage> output_;              // o tanh(c), before the projection
};

}  // namespace sprnn::interpreter
