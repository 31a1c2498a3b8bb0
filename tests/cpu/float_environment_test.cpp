// Results do not depend on how the caller's thread rounds or whether it flushes subnormals.
#include <gtest/gtest.h>
#ifdef __SSE__
#include <xmmintrin.h>
#endif

#include <cfenv>
#include <thread>

#include "cpu/support.hpp"

namespace sprnn::test {
namespace {

// As torch.set_flush_denormal(True) and -ffast-math set it, and rounding upward.
void spoil_float_environment() {
  std::fesetround(FE_UPWARD);
#ifdef __SSE__
  constexpr unsigned flush_to_zero = 0x8000, denormals_are_zero = 0x40;
  _mm_setcsr(_mm_getcsr() | flush_to_zero | denormals_are_zero);
#endif
}

struct Case {
  std::string engine, isa;
  int threads = 1;
};

void run_in_a_spoiled_thread(DType dtype) {
  ModelSpec spec;
  spec.cell = lstm_cell();
  spec.dtype = dtype;
  spec.hidden = 70;
  spec.input = 20;
  spec.density = 0.3;
  const Model model = random_model(spec);
  Inputs in = random_inputs(model, 5, 3, 1);
  // Subnormal, and what becomes of it.
  const float small = dtype == DType::fp16 ? 1e-7F : 1e-38F;
  for (auto* values : {&in.x, &in.h0, &in.c0}) {
    for (float& value : *values) value *= small;
  }

  std::vector<Case> cases{{"reference", "", 2}, {"interpreter", "", 1}};
  for (const std::string& isa : cpu_isas()) {
    for (const int threads : {1, 3}) cases.push_back({"cpu", isa, threads});
  }
  for (const Case& each : cases) {
    SCOPED_TRACE(each.engine + " " + each.isa + " " + std::to_string(each.threads));
    const Device device = each.engine == "interpreter" ? find_device("h100") : this_cpu();
    const auto packed = std::make_shared<const Packed>(pack(model, make_plan(describe(model, 3), device)));
    const auto run = [&] {
      SessionOptions options;
      options.batch = 3;
      options.threads = each.threads;
      options.isa = each.isa;
      return run_engine(*find_engine(each.engine, packed->plan).session(packed, options), model, in);
    };
    const EngineOutput expected = run();
    EngineOutput found;
    bool kept = false;
    // A thread of its own: the session is made, its threads are started and it is run there.
    std::thread([&] {
      spoil_float_environment();
      found = run();
      kept = std::fegetround() == FE_UPWARD;
    }).join();
    EXPECT_TRUE(found == expected);
    EXPECT_TRUE(kept);
  }
}

TEST(FloatEnvironment, OfTheCallerChangesNothing) {
  for (const DType dtype : {DType::fp32, DType::fp16, DType::bf16}) {
    SCOPED_TRACE(to_string(dtype));
    run_in_a_spoiled_thread(dtype);
  }
}

}  // namespace
}  // namespace sprnn::test
