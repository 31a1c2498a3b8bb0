// What the tests of the CPU engine share.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <vector>

#include "engines/cpu/engine.hpp"
#include "engines/reference/reference.hpp"
#include "sprnn/engine.hpp"
#include "sprnn/pack.hpp"
#include "support/random_model.hpp"

namespace sprnn::test {

inline constexpr std::array<CpuLayout, 4> all_layouts = {CpuLayout::dense, CpuLayout::columns,
                                                         CpuLayout::tile, CpuLayout::row};

// Packed with every matrix in one layout.
inline std::shared_ptr<const Packed> pack_as(const Model& model, int batch, CpuLayout layout) {
  PlanOptions options;
  options.cpu.w_ih = options.cpu.w_hh = layout;
  if (model.projection_size > 0) options.cpu.w_hr = layout;
  return std::make_shared<Packed>(pack(model, make_plan(describe(model, batch), this_cpu(), options)));
}

struct EngineOutput {
  std::vector<float> y, h, c;
  bool operator==(const EngineOutput& other) const {
    const auto same = [](const std::vector<float>& a, const std::vector<float>& b) {
      return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](float p, float q) {
               return to_bits(DType::fp32, p) == to_bits(DType::fp32, q);
             });
    };
    return same(y, other.y) && same(h, other.h) && same(c, other.c);
  }
};

// The sequence in chunks of `chunk` timesteps (0: whole).
inline EngineOutput run_engine(Session& session, const Model& model, const Inputs& in,
                               std::int64_t chunk = 0) {
  EngineOutput out;
  session.set_state(in.h0, in.c0);
  GuardedOutput y(static_cast<std::size_t>(in.steps * in.batch * model.output_size()));
  if (chunk == 0) chunk = in.steps;
  for (std::int64_t t = 0; t < in.steps; t += chunk) {
    Sequence sequence;
    sequence.steps = std::min(chunk, in.steps - t);
    sequence.x = in.x.data() + t * in.batch * model.input_size;
    sequence.y = y.data() + t * in.batch * model.output_size();
    sequence.lengths = in.lengths.empty() ? nullptr : in.lengths.data();
    session.run(sequence);
  }
  EXPECT_EQ(y.problem(), "");
  out.y.assign(y.values().begin(), y.values().end());
  out.h.resize(in.h0.size());
  out.c.resize(in.c0.size());
  session.get_state(out.h, out.c);
  return out;
}

inline EngineOutput run_engine(const std::shared_ptr<const Packed>& packed, const Model& model,
                               const Inputs& in, const std::string& isa, int threads,
                               std::int64_t chunk = 0) {
  SessionOptions options;
  options.batch = static_cast<int>(in.batch);
  options.threads = threads;
  options.isa = isa;
  return run_engine(*cpu_engine().session(packed, options), model, in, chunk);
}

inline reference::Output run_reference(const Model& model, const Inputs& in) {
  const std::vector<double> x = to_double(in.x);
  return reference::run(model, in.steps, in.batch, x.data(), in.lengths.empty() ? nullptr : in.lengths.data(),
                        {to_double(in.h0), to_double(in.c0)});
}

}  // namespace sprnn::test
