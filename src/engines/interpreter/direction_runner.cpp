#include "engines/interpreter/direction_runner.hpp"

#include <cmath>

#include "engines/interpreter/gather_product.hpp"
#include "engines/interpreter/mma_product.hpp"

namespace sprnn::interpreter {

namespace {

float sigmoid(float x) { return 1.0F / (1.0F + std::exp(-x)); }

bool is_valid(const DirectionRun& run, std::int64_t t, int entry) {
  return run.lengths == nullptr || t < run.lengths[entry];
}

}  // namespace

DirectionRunner::DirectionRunner(const PackedDirection& packed, const DirectionPlan& plan,
                                 const Problem& problem)
    : packed_(packed),
      cell_(gpu::problem_of(plan, problem).cell),
      reverse_(plan.reverse),
      dtype_(problem.dtype),
      group_batch_(plan.gpu().group_batch),
      frame_(gpu::make_frame(plan, problem, gpu::problem_of(plan, problem))),
      maps_(gpu::view_maps(packed.sections, frame_)),
      input_(packed.sections, plan.gpu(), problem, gpu::problem_of(plan, problem)),
      h_(frame_.state, dtype_) {
  const DirectionProblem& direction = gpu::problem_of(plan, problem);
  if (const auto* mma = std::get_if<MmaPlan>(&plan.choice)) {
    product_ = std::make_unique<MmaProduct>(mma::make_view(packed.sections, *mma, problem, direction), dtype_,
                                            group_batch_);
    return;
  }
  const gather::View view =
      gather::make_view(packed.sections, std::get<GatherPlan>(plan.choice), problem, direction);
  product_ = std::make_unique<GatherProduct>(view.w_hh, dtype_, group_batch_);
  if (!view.w_hr) return;
  projection_ = std::make_unique<GatherProduct>(*view.w_hr, dtype_, group_batch_);
  output_.emplace(*frame_.output, dtype_);
}

void DirectionRunner::run(const DirectionRun& run, int batch) {
  for (int first = 0; first < batch; first += group_batch_) {
    run_group(run, first, std::min(group_batch_, batch - first));
  }
}

void DirectionRunner::run_group(const DirectionRun& run, int first_entry, int entries) {
  const std::int64_t positions = frame_.state.positions;
  // With fewer entries than the plan's group batch, the others stay zero and are never looked at.
  h_.clear();
  const auto for_each_state = [&](auto&& visit) {
    for (std::int64_t position = 0; position < positions; ++position) {
      const std::int32_t unit = maps_.outputs[position];
      for (int b = 0; unit >= 0 && b < entries; ++b) {
        visit(h_.at(position, b), run.h[(first_entry + b) * frame_.outputs + unit]);
      }
    }
  };
  for_each_state([](float& image, float& state) { image = state; });
  for (std::int64_t i = run.begin; i < run.end; ++i) {
    step(run, reverse_ ? run.steps - 1 - i : i, first_entry, entries);
  }
  for_each_state([](float& image, float& state) { state = image; });
}

void DirectionRunner::step(const DirectionRun& run, std::int64_t t, int first_entry, int entries) {
  input_.run(run.x + t * run.x_time + first_entry * run.x_batch, run.x_batch, entries);
  bool bounded = true;
  for (std::int64_t position = 0; position < frame_.state.positions; ++position) {
    for (int b = 0; b < entries; ++b) bounded = bounded && std::abs(h_.at(position, b)) < 2.0F;
  }
  product_->run(h_, entries, bounded);
  update_cells(run, t, first_entry, entries);
  if (projection_) project(run, t, first_entry, entries);
}

// Every CTA its own units; what they give is h, or what the projection reads.
void DirectionRunner::update_cells(const DirectionRun& run, std::int64_t t, int first_entry, int entries) {
  StateImage& out = output_ ? *output_ : h_;
  for (int cta = 0; cta < frame_.ctas; ++cta) {
    for (int local = 0; local < frame_.units_a_cta; ++local) {
      const std::int64_t position = std::int64_t{cta} * frame_.units_a_cta + local;
      const std::int32_t unit = maps_.units[position];
      for (int b = 0; unit >= 0 && b < entries; ++b) {
        const int entry = first_entry + b;
        float& h = out.at(position, b);
        if (is_valid(run, t, entry)) {
          float* c = run.c == nullptr ? nullptr : run.c + entry * frame_.units + unit;
          h = round_to(dtype_, update_unit(cta, local, unit, b, h, c));
        }
        if (!output_) run.y[t * run.y_time + entry * run.y_batch + unit] = is_valid(run, t, entry) ? h : 0.0F;
      }
    }
  }
}

float DirectionRunner::update_unit(int cta, int local_unit, std::int64_t unit, int entry, float h,
                                   float* c) const {
  const bool bias = !packed_.b_ih.empty();
  const auto input = [&](int gate) {
    const std::int64_t row = gate * frame_.units + unit;
    return input_.at(row, entry) + (bias ? packed_.b_ih[static_cast<std::size_t>(row)] : 0.0F);
  };
  const auto recurrent = [&](int gate) {
    const std::int64_t row = gate * frame_.units + unit;
    return product_->sums(cta, local_unit * frame_.gates + gate)[entry] +
           (bias ? packed_.b_hh[static_cast<std::size_t>(row)] : 0.0F);
  };
  switch (cell_.kind) {
    case CellKind::gru: {
      const float r = sigmoid(input(0) + recurrent(0));
      const float z = sigmoid(input(1) + recurrent(1));
      const float n = std::tanh(input(2) + r * recurrent(2));
      return (1.0F - z) * n + z * h;
    }
    case CellKind::lstm: {
      const float i = sigmoid(input(0) + recurrent(0));
      const float f = sigmoid(input(1) + recurrent(1));
      const float g = std::tanh(input(2) + recurrent(2));
      const float o = sigmoid(input(3) + recurrent(3));
      *c = f * *c + i * g;
      return o * std::tanh(*c);
    }
    default: {
      const float x = input(0) + recurrent(0);
      // relu keeps NaN, as the comparison the other way round would not.
      return cell_.activations[0].kind == ActivationKind::tanh ? std::tanh(x) : (x < 0.0F ? 0.0F : x);
    }
  }
}

// The second exchange of a timestep: h = W_hr output.
void DirectionRunner::project(const DirectionRun& run, std::int64_t t, int first_entry, int entries) {
  projection_->run(*output_, entries, true);
  for (int cta = 0; cta < frame_.ctas; ++cta) {
    for (int local = 0; local < frame_.outputs_a_cta; ++local) {
      const std::int64_t position = std::int64_t{cta} * frame_.outputs_a_cta + local;
      const std::int32_t unit = maps_.outputs[position];
      for (int b = 0; unit >= 0 && b < entries; ++b) {
        const int entry = first_entry + b;
        const bool valid = is_valid(run, t, entry);
        float& h = h_.at(position, b);
        if (valid) h = round_to(dtype_, projection_->sums(cta, local)[b]);
        run.y[t * run.y_time + entry * run.y_batch + unit] = valid ? h : 0.0F;
      }
    }
  }
}

}  // namespace sprnn::interpreter
