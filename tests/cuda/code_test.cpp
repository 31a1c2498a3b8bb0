// Compiled code: through the cache, and in a directory of its own. Needs NVRTC, but no GPU.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "engines/cuda/code_directory.hpp"
#include "engines/cuda/compiler.hpp"
#include "engines/cuda/kernel_cache.hpp"
#include "sprnn/cuda.hpp"
#include "sprnn/error.hpp"
#include "support/expect_error.hpp"
#include "support/random_model.hpp"
#include "support/temporary_folder.hpp"

namespace sprnn::cuda {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

Plan small_plan(const Cell& cell, std::int64_t hidden = 32) {
  test::ModelSpec spec;
  spec.cell = cell;
  spec.dtype = DType::fp16;
  spec.hidden = hidden;
  return make_plan(describe(test::random_model(spec), 2), find_device("h100"));
}

std::string read(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

void write(const fs::path& path, const std::string& content) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
}

TEST(SourceHash, DependsOnTheKernelAndThePlan) {
  const KernelRequest request = layer_kernel(kernel_shape(small_plan(gru_cell()), 0, 90));
  EXPECT_EQ(source_hash(request), source_hash(request));
  EXPECT_EQ(source_hash(request).size(), 64U);
  EXPECT_NE(source_hash(request), source_hash({"input.cu", request.plan_source}));
  EXPECT_NE(source_hash(request), source_hash({request.kernel, request.plan_source + "\n"}));
  EXPECT_NE(source_hash(request), source_hash(layer_kernel(kernel_shape(small_plan(lstm_cell()), 0, 90))));
}

TEST(KernelsOf, AreEachKernelOnce) {
  const auto count = [](GpuStrategy strategy, int capability) {
    const test::ModelSpec spec{.cell = gru_cell(), .dtype = DType::fp16};
    const Plan plan =
        make_plan(describe(test::random_model(spec), 1), find_device("h100"), {{}, {.strategy = strategy}});
    return kernels_of(plan, capability).size();
  };
  // Input, sides of the L2; stamped in a cluster, and through the L2 on a GPU without room for one; tagged.
  EXPECT_EQ(count(GpuStrategy::gather, 90), 5U);
  EXPECT_EQ(count(GpuStrategy::dense_mma, 90), 5U);  // the same: words that are counted carry any state
  EXPECT_EQ(count(GpuStrategy::dense_mma, 80), 4U);  // no clusters, so through the L2
  test::ModelSpec spec;
  spec.cell = gru_cell();
  spec.directions = test::Directions::both;
  EXPECT_EQ(kernels_of(make_plan(describe(test::random_model(spec), 1), find_device("h100")), 90).size(), 5U);
}

TEST(CompileCode, RefusesWhatEngineCudaDoesNotRun) {
  const test::TemporaryFolder folder;
  const Plan plan = make_plan(describe(test::random_model({}), 1), this_cpu());
  EXPECT_THROW((void)compile_code(plan, 90, folder.path() / "code"), Error);
  Cell clipped = lstm_cell();
  clipped.clip = 3.0F;
  EXPECT_THROW((void)compile_code(small_plan(clipped), 90, folder.path() / "code"), Error);
  Plan changed = make_plan(plan.problem, find_device("h100"), {{}, {.strategy = GpuStrategy::gather}});
  std::get<GatherPlan>(changed.directions[0].choice).w_hh.lanes = 0;
  EXPECT_ERROR(compile_code(changed, 90, folder.path() / "code"), ErrorCode::format, "w_hh.lanes is 0");
  EXPECT_FALSE(fs::exists(folder.path() / "code"));
}

class WithNvrtc : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = compiler_refusal(); !reason.empty()) GTEST_SKIP() << reason;
  }

  // Throws what the code directory throws for the plan's kernels.
  static void load_all(const fs::path& directory, const Plan& plan, int capability) {
    const CodeSource code = code_directory(directory);
    for (const KernelRequest& request : kernels_of(plan, capability)) (void)code(request, capability);
  }
  static void expect_refused(const fs::path& directory, const Plan& plan, int capability, ErrorCode code,
                             const std::string& named) {
    try {
      load_all(directory, plan, capability);
      ADD_FAILURE() << "expected an error that names " << named;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      EXPECT_THAT(error.what(), HasSubstr(named));
    }
  }

  test::TemporaryFolder folder_;
};

TEST_F(WithNvrtc, CompilesOnceForTheCache) {
  const fs::path directory = folder_.path() / "cache";
  setenv("SPRNN_CACHE_DIR", directory.c_str(), 1);
  const KernelRequest request = input_kernel(DType::fp16);
  const std::string cubin = compile_cached(request, 90);
  EXPECT_EQ(cubin, compile(request.kernel, request.plan_source, 90).cubin);
  ASSERT_EQ(std::distance(fs::directory_iterator(directory), {}), 1);
  const fs::path file = fs::directory_iterator(directory)->path();
  KernelCache(directory).store(file.stem(), "what the cache holds");
  EXPECT_EQ(compile_cached(request, 90), "what the cache holds");
  EXPECT_NE(compile_cached(request, 80), "what the cache holds");
  EXPECT_NE(compile_cached(input_kernel(DType::bf16), 90), "what the cache holds");
  write(file, read(file) + "tampered");
  EXPECT_EQ(compile_cached(request, 90), cubin);
  fs::permissions(directory, static_cast<fs::perms>(0777));
  write(file, "not ours");
  EXPECT_EQ(compile_cached(request, 90), cubin);
  EXPECT_EQ(read(file), "not ours");
}

TEST_F(WithNvrtc, ACodeDirectoryHasEveryKernelOfThePlan) {
  const Plan plan = small_plan(gru_cell());
  const fs::path directory = folder_.path() / "code";
  const std::vector<CompiledKernel> kernels = compile_code(plan, 90, directory);
  ASSERT_EQ(kernels.size(), kernels_of(plan, 90).size());
  const CodeSource code = code_directory(directory);
  for (std::size_t i = 0; i < kernels.size(); ++i) {
    const KernelRequest request = kernels_of(plan, 90)[i];
    EXPECT_EQ(code(request, 90), read(directory / kernels[i].cubin));
    EXPECT_GT(kernels[i].registers, 0);
    // A newer GPU gets PTX, an older one nothing.
    EXPECT_EQ(code(request, 103), read(directory / kernels[i].ptx));
    EXPECT_THAT(code(request, 103), HasSubstr(".target sm_90"));
  }
  expect_refused(directory, plan, 80, ErrorCode::unsupported, "sm_80");
  expect_refused(directory, small_plan(gru_cell(), 48), 90, ErrorCode::unsupported, "layer.cu");
  expect_refused(folder_.path() / "nowhere", plan, 90, ErrorCode::io, "nowhere");
  // Compiling anew replaces the files, to the same bits.
  const std::string manifest = read(directory / "manifest.json");
  compile_code(plan, 90, directory);
  EXPECT_EQ(read(directory / "manifest.json"), manifest);
}

TEST_F(WithNvrtc, ACodeDirectoryThatLiesIsRefused) {
  const Plan plan = small_plan(tanh_cell());
  const fs::path directory = folder_.path() / "code";
  const CompiledKernel kernel = compile_code(plan, 90, directory).back();
  const std::string good = read(directory / kernel.cubin), manifest = read(directory / "manifest.json");
  load_all(directory, plan, 90);
  for (const std::string& bad : {std::string(), good + "x", good.substr(0, good.size() / 2)}) {
    write(directory / kernel.cubin, bad);
    expect_refused(directory, plan, 90, ErrorCode::format, kernel.cubin);
  }
  fs::remove(directory / kernel.cubin);
  expect_refused(directory, plan, 90, ErrorCode::io, kernel.cubin);
  write(directory / kernel.cubin, good);
  load_all(directory, plan, 90);

  const auto edited = [&](auto&& edit) {
    auto json = nlohmann::json::parse(manifest);
    edit(json);
    write(directory / "manifest.json", json.dump());
    expect_refused(directory, plan, 90, ErrorCode::format, "manifest.json");
  };
  edited([](auto& json) { json["format"] = 2; });
  edited([](auto& json) { json.erase("kernels"); });
  edited([](auto& json) { json["kernels"] = 7; });
  edited([](auto& json) { json["kernels"][0]["compute_capability"] = "90"; });
  edited([](auto& json) { json["kernels"][0]["cubin"].erase("sha256"); });
  for (const char* name : {"../layer.cubin", "/etc/passwd", "", ".", "..", "a/b"}) {
    edited([&](auto& json) { json["kernels"][0]["cubin"]["file"] = name; });
  }
  write(directory / "manifest.json", "{");
  expect_refused(directory, plan, 90, ErrorCode::format, "manifest.json");
}

}  // namespace
}  // namespace sprnn::cuda
