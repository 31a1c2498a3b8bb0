// Real checkpoints, where they were fetched.
#include <gtest/gtest.h>

#include "base/atomic_file.hpp"
#include "sprnn/checkpoint.hpp"
#include "support/expect_error.hpp"
#include "support/pretrained.hpp"
#include "support/temporary_folder.hpp"

namespace sprnn {
namespace {

TEST(Pretrained, G2pEnHasTwoGrus) {
  SPRNN_NEEDS_PRETRAINED("g2p_en");
  const Checkpoint checkpoint = load_checkpoint(test::pretrained_path("g2p_en"));
  EXPECT_ERROR(read_model(checkpoint), ErrorCode::invalid_argument, "2 recurrent modules",
               "'encoder.' (gru, input 256, hidden 256, 1 layer, fp32)", "'decoder.'");
  const Model model = read_model(checkpoint, {"encoder", {}, {}});
  EXPECT_EQ(model.layers[0].directions[0].cell, gru_cell());
  EXPECT_EQ(model.hidden_size, 256);
  EXPECT_GT(model.layers[0].directions[0].w_hh.nonzeros(), 3 * 256 * 256 - 100);
}

TEST(Pretrained, SileroVadHasAnLstmCell) {
  SPRNN_NEEDS_PRETRAINED("silero_vad");
  const test::TemporaryFolder folder;
  const auto path = test::pretrained_path("silero_vad");
  Checkpoint checkpoint = load_checkpoint(path);
  const Model model = read_model(checkpoint);
  EXPECT_EQ(model.layers[0].directions[0].cell, lstm_cell());
  EXPECT_EQ(model.hidden_size, 128);
  write_model(checkpoint, "lstm_cell", model);
  save_checkpoint(checkpoint, folder / "x");
  EXPECT_EQ(read_file(folder / "x"), read_file(path));
}

}  // namespace
}  // namespace sprnn
