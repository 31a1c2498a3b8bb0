// make_checkpoint FOLDER: writes FOLDER/lstm.safetensors, a small two-layer LSTM beside another tensor.
#include <cstdio>
#include <exception>

#include "support/checkpoint_of.hpp"
#include "support/random_model.hpp"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  try {
    sprnn::test::ModelSpec spec;
    spec.cell = sprnn::lstm_cell();
    spec.input = 12;
    spec.hidden = 32;
    spec.layers = 2;
    sprnn::Checkpoint checkpoint = sprnn::test::checkpoint_of(sprnn::test::random_model(spec), "rnn.");
    checkpoint.tensors.push_back({"head.weight", "I64", {1}, std::vector<std::byte>(8, std::byte{7})});
    checkpoint.metadata["format"] = "pt";
    sprnn::save_checkpoint(checkpoint, std::filesystem::path(argv[1]) / "lstm.safetensors");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
