// The kernel compiles for whatever is planned, within the registers that the plan gave it, and the packed
// bytes of the same plans run in the interpreter. No GPU is needed.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>

#include "cuda/cover.hpp"
#include "engines/cuda/compiler.hpp"
#include "engines/cuda/kernel_code.hpp"
#include "engines/cuda/nvrtc.hpp"
#include "engines/cuda/plan_source.hpp"
#include "interpreter/support.hpp"
#include "plan/gpu_search.hpp"
#include "plan/strategy.hpp"
#include "sprnn/error.hpp"
#include "support/sanitizers.hpp"

namespace sprnn::test {
namespace {

// CTest runs the parts side by side.
constexpr std::size_t parts = 16;

// The kernel's least, Hopper, and the newest that the installed NVRTC knows.
const std::array<int, 3>& architectures() {
  static const std::array<int, 3> all = [] {
    const cuda::Nvrtc nvrtc;
    int (*count)(int*) = nullptr;
    int (*list)(int*) = nullptr;
    nvrtc.library.find(count, "nvrtcGetNumSupportedArchs");
    nvrtc.library.find(list, "nvrtcGetSupportedArchs");
    int n = 0;
    count(&n);
    std::vector<int> known(static_cast<std::size_t>(n));
    list(known.data());
    return std::array<int, 3>{80, 90, *std::max_element(known.begin(), known.end())};
  }();
  return all;
}

// As many non-zeros a row as a random mask of the kind would have, without drawing it: the plan knows no
// more.
MatrixSummary summary(std::int64_t rows, std::int64_t cols, double density, Mask mask, std::uint64_t seed) {
  MatrixSummary matrix;
  matrix.rows = rows;
  matrix.cols = cols;
  Random random(seed);
  const auto width = static_cast<double>(cols);
  const double mean = density * width, deviation = std::sqrt(mean * (1.0 - density));
  for (std::int64_t row = 0; row < rows; ++row) {
    const double drawn = mask == Mask::skewed_rows ? 4.0 * mean * std::pow(random.uniform(), 3)
                                                   : mean + deviation * random.uniform(-3.0, 3.0);
    matrix.row_nonzeros.push_back(static_cast<std::int32_t>(std::clamp(drawn, 0.0, width)));
  }
  return matrix;
}

// Of a random mask: of four columns three have a weight, or all.
void add_rests(MatrixSummary& matrix, double density) {
  const double d = density;
  const double mean = (4 * d * d * d * (1 - d) + 2 * d * d * d * d) / 4 * static_cast<double>(matrix.cols);
  Random random(4);
  matrix.most_of_four = 4;
  for (const std::int32_t nonzeros : matrix.row_nonzeros) {
    const double drawn = mean + std::sqrt(mean) * random.uniform(-3.0, 3.0);
    matrix.row_rests.push_back(static_cast<std::int32_t>(std::clamp<double>(drawn, 0.0, nonzeros)));
  }
}

Problem problem_of(const CoverCase& c) {
  const ModelSpec& spec = c.spec;
  Problem problem;
  problem.dtype = spec.dtype;
  problem.batch = c.batch;
  problem.input_size = spec.input;
  problem.hidden_size = spec.hidden;
  problem.projection_size = spec.projection;
  DirectionProblem direction;
  direction.cell = spec.cell;
  direction.bias = spec.bias;
  const std::int64_t rows = spec.cell.gates() * spec.hidden;
  direction.w_ih = summary(rows, spec.input, spec.density, spec.mask, 1);
  direction.w_hh =
      summary(rows, spec.projection > 0 ? spec.projection : spec.hidden, spec.density, spec.mask, 2);
  // What units share of the columns lies between the density of one row and that of all.
  const int block = mma_sharing_units(spec.cell.gates());
  const double shared = std::min(1.0, spec.density * 1.5);
  direction.w_hh.shared_columns.assign(
      static_cast<std::size_t>((spec.hidden + block - 1) / block),
      static_cast<std::int32_t>(shared * static_cast<double>(direction.w_hh.cols)));
  if (c.wishes.strategy == GpuStrategy::sparse_mma) {
    direction.w_hh.most_of_four = 2;
    if (spec.mask != Mask::two_of_four) add_rests(direction.w_hh, spec.density);
  }
  if (spec.projection > 0) direction.w_hr = summary(spec.projection, spec.hidden, spec.density, spec.mask, 3);
  problem.directions.push_back(direction);
  return problem;
}

const std::vector<CoverCase>& cases() {
  static const std::vector<CoverCase> all = [] {
    const char* which = std::getenv("SPRNN_COVER");
    return which != nullptr && std::string_view(which) == "full" ? full_matrix() : cover();
  }();
  return all;
}

Plan plan_as_wished(const CoverCase& c) {
  Device device = find_device(c.device);
  std::get<GpuDescription>(device.description).compute_capability =
      architectures()[static_cast<std::size_t>(c.architecture)];
  return make_plan(problem_of(c), device, {{}, c.wishes});
}

void expect_compiles(const CoverCase& c, const Plan& plan) {
  const int capability = architectures()[static_cast<std::size_t>(c.architecture)];
  SCOPED_TRACE(fmt::format("{}, sm_{}", to_string(c), capability));
  cuda::KernelShape shape = cuda::kernel_shape(plan, 0, capability);
  if (c.tagged) shape = cuda::unbounded(shape);
  SCOPED_TRACE(choice_text(plan.directions[0]));
  const RegisterBudget& planned = shape.plan.registers;
  EXPECT_LE(cuda::shared_map(shape).end, shape.plan.shared.total() + gpu::reserved_shared_bytes);
  const cuda::Compiled compiled = cuda::compile("layer.cu", cuda::plan_source(shape), capability);
  EXPECT_GT(compiled.registers, 0);
  EXPECT_LE(compiled.registers, planned.working + planned.weights);
  EXPECT_EQ(compiled.spill_bytes, 0);
  EXPECT_EQ(compiled.stack_bytes, 0);
}

class MmaCover : public testing::TestWithParam<std::size_t> {};
constexpr std::size_t mma_parts = 4;
INSTANTIATE_TEST_SUITE_P(Parts, MmaCover, testing::Range(std::size_t{0}, mma_parts));

class Cover : public testing::TestWithParam<std::size_t> {};
INSTANTIATE_TEST_SUITE_P(Parts, Cover, testing::Range(std::size_t{0}, parts));

TEST_P(Cover, Compiles) {
  if (sanitized) GTEST_SKIP() << "the release build compiles the kernels: a sanitizer sees nothing of NVRTC";
  try {
    (void)architectures();
  } catch (const Error& error) {
    GTEST_SKIP() << error.what();
  }
  std::size_t compiled = 0, otherwise = 0;
  for (std::size_t i = GetParam(); i < cases().size(); i += parts, ++compiled) {
    CoverCase c = cases()[i];
    try {
      expect_compiles(c, plan_as_wished(c));
    } catch (const Error& error) {
      // Where the wishes leave no plan, as 16 lanes a row of the largest layers may, the planner chooses.
      EXPECT_EQ(error.code(), ErrorCode::unsupported) << error.what();
      c.wishes.lanes = c.wishes.warps = std::nullopt;
      expect_compiles(c, plan_as_wished(c));
      ++otherwise;
    }
  }
  EXPECT_GT(compiled, 10U);
  EXPECT_LT(otherwise, compiled / 2);
}

TEST(SideKernels, CompileWithoutSpills) {
  if (sanitized) GTEST_SKIP() << "the release build compiles the kernels: a sanitizer sees nothing of NVRTC";
  if (const std::string reason = cuda::compiler_refusal(); !reason.empty()) GTEST_SKIP() << reason;
  std::vector<cuda::KernelRequest> requests{cuda::sides_kernel()};
  for (const DType dtype : {DType::fp32, DType::fp16, DType::bf16})
    requests.push_back(cuda::input_kernel(dtype));
  for (const cuda::KernelRequest& request : requests) {
    for (const int capability : architectures()) {
      SCOPED_TRACE(fmt::format("{}, sm_{}", request.kernel, capability));
      const cuda::Compiled compiled = cuda::compile(request.kernel, request.plan_source, capability);
      EXPECT_GT(compiled.registers, 0);
      EXPECT_EQ(compiled.spill_bytes, 0);
      EXPECT_EQ(compiled.stack_bytes, 0);
    }
  }
}

TEST_P(MmaCover, Compiles) {
  if (sanitized) GTEST_SKIP() << "the release build compiles the kernels: a sanitizer sees nothing of NVRTC";
  if (const std::string reason = cuda::compiler_refusal(); !reason.empty()) GTEST_SKIP() << reason;
  const std::vector<CoverCase> all = mma_cover();
  std::size_t planned = 0;
  for (std::size_t i = GetParam(); i < all.size(); i += mma_parts) {
    SCOPED_TRACE(to_string(all[i]));
    try {
      expect_compiles(all[i], plan_as_wished(all[i]));
      ++planned;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::unsupported)
          << error.what();  // too large, with so many warps or groups
    }
  }
  EXPECT_GT(planned, all.size() / mma_parts / 2);
}

// Models so small that the interpreter walks their bytes in no time.
TEST_P(Cover, RunsInTheInterpreter) {
  constexpr std::int64_t most_hidden = 250;
  constexpr std::int64_t steps = 5;
  std::size_t ran = 0;
  for (std::size_t i = GetParam(); i < cases().size(); i += parts) {
    const CoverCase& c = cases()[i];
    if (c.spec.hidden > most_hidden) continue;
    SCOPED_TRACE(to_string(c));
    const Model model = random_model(c.spec);
    const Inputs inputs =
        random_inputs(model, steps, c.batch, c.spec.seed, i % 2 == 0 ? Lengths::mixed : Lengths::all_steps);
    const auto packed = pack_for(model, find_device(c.device), c.batch, c.wishes);
    const Errors errors = compare(model, inputs, interpret(packed, inputs));
    EXPECT_LE(errors.error, errors.bound);
    ++ran;
  }
  EXPECT_GT(ran, 0U);
}

}  // namespace
}  // namespace sprnn::test
