// What a model is planned for when nobody has said for what.
#include <gtest/gtest.h>

#include <cstdlib>

#include "sprnn/cuda.hpp"
#include "sprnn/error.hpp"
#include "support/random_model.hpp"

namespace sprnn {
namespace {

// Sets SPRNN_ENGINE, and gives back what it was.
class Forced {
 public:
  explicit Forced(const char* engine) {
    if (const char* before = std::getenv("SPRNN_ENGINE")) before_ = before;
    setenv("SPRNN_ENGINE", engine, 1);
  }
  ~Forced() { setenv("SPRNN_ENGINE", before_.c_str(), 1); }
  Forced(const Forced&) = delete;
  Forced& operator=(const Forced&) = delete;

 private:
  std::string before_;  // empty counts as not set
};

Problem small_problem(const Cell& cell) {
  test::ModelSpec spec;
  spec.cell = cell;
  return describe(test::random_model(spec), 1);
}

TEST(ChooseTarget, IsWhatTheEngineWants) {
  const Problem problem = small_problem(gru_cell());
  EXPECT_EQ(choose_target("interpreter", problem).device.name, "h100");
  EXPECT_EQ(choose_target("cpu", problem).device, this_cpu());
  EXPECT_EQ(choose_target("reference", problem).device, this_cpu());
  const Forced forced("interpreter");
  EXPECT_EQ(choose_target("auto", problem).device.name, "h100");
  EXPECT_EQ(choose_target("cpu", problem).device, this_cpu());
}

TEST(ChooseTarget, SuitsTheEngineThatAutoTakes) {
  const Forced nothing("");
  Cell variant = lstm_cell();
  variant.clip = 3.0F;
  for (const Cell& cell : {tanh_cell(), relu_cell(), gru_cell(), lstm_cell(), variant}) {
    const Problem problem = small_problem(cell);
    const Target target = choose_target("auto", problem);
    const std::string_view engine = find_engine("auto", make_plan(problem, target.device)).name();
    EXPECT_EQ(engine, target.device.is_gpu() ? "cuda" : "cpu") << to_string(cell);
    EXPECT_TRUE(cell.is_standard() || !target.device.is_gpu()) << to_string(cell);
    // A GPU that is there is passed over with a reason only.
    EXPECT_EQ(target.reason.empty(), gpu_count() == 0 || target.device.is_gpu()) << target.reason;
  }
}

TEST(ChooseTarget, CudaIsRefusedWithoutAGpu) {
  if (gpu_count() > 0) {
    EXPECT_TRUE(choose_target("cuda", small_problem(gru_cell())).device.is_gpu());
    return;
  }
  try {
    (void)choose_target("cuda", small_problem(gru_cell()));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::device);
  }
}

TEST(FindDevice, LocalIsTheGpuOrTheCpu) {
  const Device local = find_device("local");
  if (gpu_count() == 0) {
    EXPECT_EQ(local, this_cpu());
  } else {
    EXPECT_TRUE(local.is_gpu());
  }
}

TEST(MakePlan, RefusesChoicesOfAGpuPlanForACpu) {
  const Problem problem = small_problem(gru_cell());
  EXPECT_THROW((void)make_plan(problem, this_cpu(), {{}, {.groups = 2}}), Error);
  EXPECT_EQ(make_plan(problem, this_cpu(), {{}, {}}), make_plan(problem, this_cpu()));
}

}  // namespace
}  // namespace sprnn
