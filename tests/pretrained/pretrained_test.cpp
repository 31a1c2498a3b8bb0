// Trained layers, from the file to the output: what random weights cannot show.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "sprnn/sprnn.hpp"
#include "support/pretrained.hpp"

namespace sprnn {
namespace {

struct Layer {
  std::string file;
  std::string prefix;
  CellKind kind;
  std::int64_t size;  // of input and hidden state
};

std::vector<Layer> layers() {
  return {{"g2p_en", "encoder.", CellKind::gru, 256},
          {"g2p_en", "decoder.", CellKind::gru, 256},
          {"silero_vad", "lstm_cell.", CellKind::lstm, 128}};
}

class Pretrained : public testing::TestWithParam<Layer> {
 protected:
  void SetUp() override { SPRNN_NEEDS_PRETRAINED(GetParam().file); }

  static Model load() {
    ReadOptions options;
    options.prefix = GetParam().prefix;
    return read_model(load_checkpoint(test::pretrained_path(GetParam().file)), options);
  }
};

TEST_P(Pretrained, IsFoundInItsCheckpoint) {
  const auto modules = find_modules(load_checkpoint(test::pretrained_path(GetParam().file)));
  int found = 0;
  for (const ModuleInfo& module : modules) {
    if (module.prefix != GetParam().prefix) continue;
    ++found;
    EXPECT_EQ(module.problem, "");
    EXPECT_EQ(module.cell.kind, GetParam().kind);
    EXPECT_EQ(module.input_size, GetParam().size);
    EXPECT_EQ(module.hidden_size, GetParam().size);
    EXPECT_EQ(module.num_layers, 1);
    EXPECT_TRUE(module.bias);
  }
  EXPECT_EQ(found, 1);
}

TEST_P(Pretrained, EveryEngineAgreesWithTheReferenceAtEveryDensity) {
  for (const double density : {1.0, 0.3, 0.1}) {
    Model model = load();
    PruneOptions options;
    options.density = density;
    options.input_density = density;
    prune(model, options);
    for (const char* target : {"cpu", "h100"}) {
      const auto packed =
          std::make_shared<const Packed>(pack(model, make_plan(describe(model, 2), find_device(target))));
      EXPECT_EQ(unpack(*packed), model);
      for (const Engine* engine : engines()) {
        if (engine->name() == "reference" || !engine->refusal(packed->plan).empty()) continue;
        VerifyOptions run;
        run.engine = engine->name();
        run.batch = 2;
        run.steps = 64;
        const VerifyResult result = verify(packed, run);
        EXPECT_TRUE(result.passed) << engine->name() << " on " << target << ", density " << density << ": error "
                                   << result.rel_error << ", bound " << result.bound;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Layers, Pretrained, testing::ValuesIn(layers()), [](const auto& layer) {
  return layer.param.file + "_" + layer.param.prefix.substr(0, layer.param.prefix.size() - 1);
});

}  // namespace
}  // namespace sprnn
