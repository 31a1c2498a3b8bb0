// The pretrained models that scripts/fetch_models.sh fetches: "g2p_en" (GRU encoder and decoder, 256) and
// "silero_vad" (LSTM cell, 128). A test that needs one skips, with the reason, where it could not be had.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

namespace sprnn::test {

inline std::filesystem::path pretrained_path(const std::string& name) {
  return std::filesystem::path(SPRNN_PRETRAINED_MODELS) / (name + ".safetensors");
}

}  // namespace sprnn::test

// In a test's body: SPRNN_NEEDS_PRETRAINED("g2p_en");
#define SPRNN_NEEDS_PRETRAINED(name)                                  \
  if (!std::filesystem::exists(::sprnn::test::pretrained_path(name))) \
  GTEST_SKIP() << "the pretrained model " << (name) << " was not fetched (no network?): run `make models`"
