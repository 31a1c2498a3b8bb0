// Trained layers, from the file to the output: what random weights cannot show.
#include <gtest/gtest.h>

#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "sprnn/sprnn.hpp"
#include "support/pretrained.hpp"

namespace sprnn {
namespace {

struct Layer {
  std::string file;
  std::string prefix;

  friend std::ostream& operator<<(std::ostream& out, const Layer& layer) {
    return out << layer.file << ' ' << layer.prefix;
  }
};

std::vector<Layer> layers() {
  return {{"g2p_en", "encoder."}, {"g2p_en", "decoder."}, {"silero_vad", "lstm_cell."}};
}

class Pretrained : public testing::TestWithParam<Layer> {
 protected:
  void SetUp() override { SPRNN_NEEDS_PRETRAINED(GetParam().file); }

  static Model load() {
    const Checkpoint checkpoint = load_checkpoint(test::pretrained_path(GetParam().file));
    return read_model(checkpoint, {GetParam().prefix, {}, {}});
  }
};

TEST_P(Pretrained, EveryEngineAgreesWithTheReferenceAtEveryDensity) {
  for (const double density : {1.0, 0.1}) {
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
        run.steps = 16;
        const VerifyResult result = verify(packed, run);
        EXPECT_TRUE(result.passed) << engine->name() << " on " << target << ", density " << density
                                   << ": error " << result.rel_error << ", bound " << result.bound;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Layers, Pretrained, testing::ValuesIn(layers()), [](const auto& layer) {
  return layer.param.file + "_" + layer.param.prefix.substr(0, layer.param.prefix.size() - 1);
});

}  // namespace
}  // namespace sprnn
