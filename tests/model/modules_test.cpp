// Recurrent modules in checkpoints: found, read, written back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "sprnn/checkpoint.hpp"
#include "support/expect_error.hpp"
#include "support/random_model.hpp"

namespace sprnn {
namespace {

using test::Directions;
using test::ModelSpec;
using test::random_model;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr const char* stored_names[] = {"F32", "F16", "BF16"};

StoredTensor stored(const std::string& name, std::vector<std::int64_t> shape,
                    const std::vector<float>& values, DType dtype = DType::fp32) {
  StoredTensor tensor{name, stored_names[static_cast<int>(dtype)], std::move(shape), {}};
  for (const float value : values) {
    const std::uint32_t bits = to_bits(dtype, value);
    for (std::size_t b = 0; b < size_of(dtype); ++b)
      tensor.data.push_back(static_cast<std::byte>(bits >> (8 * b)));
  }
  return tensor;
}

// The model under PyTorch's names; `is_cell` leaves out the layer.
void store(Checkpoint& checkpoint, const Model& model, const std::string& prefix, bool is_cell = false) {
  for (std::int64_t l = 0; l < model.num_layers(); ++l) {
    for (const Direction& d : model.layers[static_cast<std::size_t>(l)].directions) {
      const std::string suffix = is_cell ? "" : parameter_suffix(l, d.reverse);
      const auto add = [&](const char* name, std::vector<std::int64_t> shape,
                           const std::vector<float>& values) {
        if (values.empty()) return;
        checkpoint.tensors.push_back(stored(prefix + name + suffix, std::move(shape), values, model.dtype));
      };
      add("weight_ih", {d.w_ih.rows, d.w_ih.cols}, d.w_ih.values);
      add("weight_hh", {d.w_hh.rows, d.w_hh.cols}, d.w_hh.values);
      add("bias_ih", {d.w_hh.rows}, d.b_ih);
      add("bias_hh", {d.w_hh.rows}, d.b_hh);
      add("weight_hr", {d.w_hr.rows, d.w_hr.cols}, d.w_hr.values);
    }
  }
}

ModelSpec small(const Cell& cell) {
  ModelSpec spec;
  spec.cell = cell;
  spec.input = 3;
  spec.hidden = 4;
  return spec;
}

Checkpoint checkpoint_of(const Model& model, const std::string& prefix = "", bool is_cell = false) {
  Checkpoint checkpoint;
  store(checkpoint, model, prefix, is_cell);
  return checkpoint;
}

StoredTensor& tensor(Checkpoint& checkpoint, std::string_view name) {
  return const_cast<StoredTensor&>(*checkpoint.find(name));
}

void remove(Checkpoint& checkpoint, std::string_view name) {
  std::erase_if(checkpoint.tensors, [&](const StoredTensor& t) { return t.name == name; });
}

// Makes `name` the pair that torch.nn.utils.prune stores; the original keeps junk where the mask is 0.
void split_by_mask(Checkpoint& checkpoint, const std::string& name, const std::string& mask_dtype) {
  StoredTensor& original = tensor(checkpoint, name);
  StoredTensor mask{name + "_mask", mask_dtype, original.shape, {}};
  for (std::size_t i = 0; i < original.data.size() / 4; ++i) {
    float value = 0.0F;
    std::memcpy(&value, &original.data[4 * i], 4);
    const bool keep = value != 0.0F;
    if (mask_dtype == "F32") {
      const auto bits = std::bit_cast<std::array<std::byte, 4>>(keep ? 1.0F : 0.0F);
      mask.data.insert(mask.data.end(), bits.begin(), bits.end());
    } else {
      mask.data.push_back(keep ? std::byte{1} : std::byte{0});
    }
    const float junk = i % 2 == 0 ? -3.0F : std::numeric_limits<float>::quiet_NaN();
    if (!keep) std::memcpy(&original.data[4 * i], &junk, 4);
  }
  original.name += "_orig";
  checkpoint.tensors.insert(checkpoint.tensors.begin(), std::move(mask));
}

std::string problem_of(const Checkpoint& checkpoint) {
  const std::vector<ModuleInfo> modules = find_modules(checkpoint);
  return modules.size() == 1 ? modules[0].problem : "there is not one module";
}

TEST(Modules, ReadsEveryShape) {
  for (const Cell& cell : {tanh_cell(), gru_cell(), lstm_cell()}) {
    for (const std::int64_t layers : {1, 3}) {
      for (const Directions directions : {Directions::forward, Directions::both}) {
        for (const bool bias : {false, true}) {
          for (const std::int64_t projection : {0, 2}) {
            for (const DType dtype : {DType::fp32, DType::fp16, DType::bf16}) {
              if (projection > 0 && cell.kind != CellKind::lstm) continue;
              ModelSpec spec = small(cell);
              spec.layers = layers;
              spec.directions = directions;
              spec.bias = bias;
              spec.projection = projection;
              spec.dtype = dtype;
              const Model model = random_model(spec);
              const Checkpoint checkpoint = checkpoint_of(model, "a.b.");
              EXPECT_EQ(read_model(checkpoint), model) << test::to_string(spec);
              const std::vector<ModuleInfo> modules = find_modules(checkpoint);
              ASSERT_THAT(modules, SizeIs(1));
              EXPECT_EQ(modules[0].problem, "");
              EXPECT_EQ(modules[0].prefix, "a.b.");
              EXPECT_EQ(modules[0].cell, cell);
              EXPECT_EQ(modules[0].dtype, dtype);
              EXPECT_EQ(modules[0].input_size, 3);
              EXPECT_EQ(modules[0].hidden_size, 4);
              EXPECT_EQ(modules[0].projection_size, projection);
              EXPECT_EQ(modules[0].num_layers, layers);
              EXPECT_EQ(modules[0].bidirectional, directions == Directions::both);
              EXPECT_EQ(modules[0].bias, bias);
            }
          }
        }
      }
    }
  }
}

TEST(Modules, ReadsWhatTheLibraryWrote) {
  const Checkpoint library = load_checkpoint(std::filesystem::path(MODEL_TEST_DATA) / "library.safetensors");
  const Model lstm = read_model(library);
  EXPECT_EQ(lstm.layers[0].directions[1].w_hh.values[5], -27.0F / 16.0F);  // data/make.py's ramp
  const Checkpoint brain = load_checkpoint(std::filesystem::path(MODEL_TEST_DATA) / "bfloat16.safetensors");
  const Model gru = read_model(brain);
  EXPECT_EQ(gru.dtype, DType::bf16);
  EXPECT_THAT(gru.layers[0].directions[0].b_hh,
              ElementsAre(-2.0F, -31.0F / 16, -30.0F / 16, -29.0F / 16, -28.0F / 16, -27.0F / 16));
}

TEST(Modules, ReadsCellClasses) {
  const Model model = random_model(small(gru_cell()));
  const Checkpoint checkpoint = checkpoint_of(model, "cell.", true);
  EXPECT_NE(checkpoint.find("cell.weight_hh"), nullptr);
  EXPECT_EQ(read_model(checkpoint), model);
}

TEST(Modules, TakesTheCellThatIsAsked) {
  const Checkpoint checkpoint = checkpoint_of(random_model(small(tanh_cell())), "rnn.");
  EXPECT_EQ(read_model(checkpoint).layers[0].directions[0].cell, tanh_cell());
  EXPECT_EQ(read_model(checkpoint, {{}, relu_cell(), {}}).layers[0].directions[0].cell, relu_cell());
  EXPECT_ERROR(read_model(checkpoint, {{}, lstm_cell(), {}}), ErrorCode::invalid_argument, "lstm", "'rnn.'",
               "4 times the hidden size", "rnn");
}

TEST(Modules, ConvertsToTheDtypeThatIsAsked) {
  Checkpoint checkpoint = checkpoint_of(random_model(small(gru_cell())));
  EXPECT_EQ(read_model(checkpoint, {{}, {}, DType::fp16}), convert(read_model(checkpoint), DType::fp16));
  const float large = 70000.0F;
  std::memcpy(&tensor(checkpoint, "weight_hh_l0").data[4], &large, 4);
  EXPECT_ERROR(read_model(checkpoint, {{}, {}, DType::fp16}), ErrorCode::invalid_argument, "weight_hh_l0[1]",
               "70000");
}

TEST(Modules, ChoosesByPrefix) {
  Checkpoint checkpoint;
  const Model gru = random_model(small(gru_cell()));
  ModelSpec spec = small(lstm_cell());
  spec.layers = 2;
  spec.directions = Directions::both;
  spec.projection = 2;
  const Model lstm = random_model(spec);
  store(checkpoint, gru, "encoder.");
  store(checkpoint, lstm, "decoder.rnn.");
  EXPECT_ERROR(read_model(checkpoint), ErrorCode::invalid_argument, "2 recurrent modules",
               "'encoder.' (gru, input 3, hidden 4, 1 layer, fp32)",
               "'decoder.rnn.' (lstm, input 3, hidden 4, projection 2, 2 layers, bidirectional, fp32)");
  EXPECT_EQ(read_model(checkpoint, {"encoder.", {}, {}}), gru);
  EXPECT_EQ(read_model(checkpoint, {"decoder.rnn", {}, {}}), lstm);
  EXPECT_ERROR(read_model(checkpoint, {"decoder", {}, {}}), ErrorCode::invalid_argument, "prefix 'decoder'",
               "'encoder.'", "'decoder.rnn.'");
  EXPECT_ERROR(read_model(checkpoint, {"", {}, {}}), ErrorCode::invalid_argument, "prefix ''");
}

TEST(Modules, AnEmptyPrefixIsTheRoot) {
  Checkpoint checkpoint;
  const Model root = random_model(small(gru_cell()));
  store(checkpoint, root, "");
  store(checkpoint, random_model(small(lstm_cell())), "other.");
  EXPECT_EQ(read_model(checkpoint, {"", {}, {}}), root);
}

TEST(Modules, SaysWhenThereIsNone) {
  Checkpoint checkpoint;
  checkpoint.tensors.push_back(stored("linear.weight", {1}, {1.0F}));
  EXPECT_THAT(find_modules(checkpoint), IsEmpty());
  EXPECT_ERROR(read_model(checkpoint), ErrorCode::format, "no recurrent module among the 1 tensors",
               "weight_hh_l0");
}

TEST(Modules, IgnoresNamesThatOnlyLookAlike) {
  Checkpoint checkpoint;
  for (const char* name :
       {"weight_ih_l", "weight_ih_l01", "weight_ih_l-1", "weight_ih_l+1", "weight_ih_l99999",
        "weight_ih_l0_backward", "my_weight_ih_l0", "weight_ih_l0.x", "weight_hr", "weight_ih_reverse"}) {
    checkpoint.tensors.push_back(stored(name, {1}, {1.0F}));
  }
  EXPECT_THAT(find_modules(checkpoint), IsEmpty());
}

TEST(Modules, ReadsPrunedPairs) {
  for (const char* mask_dtype : {"F32", "BOOL", "U8"}) {
    ModelSpec spec = small(lstm_cell());
    spec.density = 0.5;
    const Model model = random_model(spec);
    Checkpoint checkpoint = checkpoint_of(model, "rnn.");
    split_by_mask(checkpoint, "rnn.weight_hh_l0", mask_dtype);
    split_by_mask(checkpoint, "rnn.bias_ih_l0", mask_dtype);
    const Model read = read_model(checkpoint);
    EXPECT_EQ(read, model) << mask_dtype;
    for (const float value : read.layers[0].directions[0].w_hh.values) {
      EXPECT_FALSE(value == 0.0F && std::signbit(value)) << "a masked entry is +0.0";
    }
  }
}

TEST(Modules, WritesPrunedPairsAsOneTensor) {
  ModelSpec spec = small(lstm_cell());
  spec.density = 0.5;
  const Model model = random_model(spec);
  const Checkpoint plain = checkpoint_of(model, "rnn.");
  Checkpoint checkpoint = plain;
  split_by_mask(checkpoint, "rnn.weight_hh_l0", "F32");
  write_model(checkpoint, "rnn.", model);
  EXPECT_EQ(checkpoint.tensors, plain.tensors);
}

TEST(Modules, RefusesPairsThatDoNotFit) {
  const Checkpoint plain = checkpoint_of(random_model(small(gru_cell())));
  Checkpoint pair = plain;
  split_by_mask(pair, "weight_hh_l0", "F32");

  Checkpoint broken = pair;
  remove(broken, "weight_hh_l0_mask");
  EXPECT_THAT(problem_of(broken), HasSubstr("'weight_hh_l0_mask' is missing"));
  broken = pair;
  remove(broken, "weight_hh_l0_orig");
  EXPECT_THAT(problem_of(broken), HasSubstr("'weight_hh_l0_orig' is missing"));
  broken = pair;
  broken.tensors.push_back(*plain.find("weight_hh_l0"));
  EXPECT_THAT(problem_of(broken), HasSubstr("'weight_hh_l0' is there as one tensor and as '_orig'"));
  broken = pair;
  tensor(broken, "weight_hh_l0_mask").shape = {4, 12};
  EXPECT_THAT(problem_of(broken), HasSubstr("'weight_hh_l0_mask' has shape [4, 12], expected [12, 4]"));
  broken = pair;
  tensor(broken, "weight_hh_l0_mask").dtype = "U32";
  EXPECT_THAT(problem_of(broken), HasSubstr("'weight_hh_l0_mask' has dtype 'U32'"));
  broken = pair;
  tensor(broken, "weight_hh_l0_mask").data[4 * 6] = std::byte{1};
  EXPECT_ERROR(read_model(broken), ErrorCode::format, "'weight_hh_l0_mask'[1, 2]", "neither 0 nor 1");
}

TEST(Modules, ListsWhatIsWrong) {
  const Checkpoint lstm = checkpoint_of(random_model(small(lstm_cell())), "m.");
  const auto problem = [&](auto change) {
    Checkpoint checkpoint = lstm;
    change(checkpoint);
    const std::string text = problem_of(checkpoint);
    EXPECT_ERROR(read_model(checkpoint), ErrorCode::format, "module 'm.' cannot be read", text);
    return text;
  };
  EXPECT_THAT(problem([](Checkpoint& c) { remove(c, "m.weight_hh_l0"); }),
              HasSubstr("'m.weight_hh_l0' is missing"));
  EXPECT_THAT(problem([](Checkpoint& c) { remove(c, "m.bias_hh_l0"); }),
              HasSubstr("'m.bias_hh_l0' is missing"));
  EXPECT_THAT(problem([](Checkpoint& c) { tensor(c, "m.weight_ih_l0").name = "m.weight_ih_l1"; }),
              HasSubstr("'m.weight_ih_l0' is missing"));
  EXPECT_THAT(problem([](Checkpoint& c) {
                tensor(c, "m.weight_hh_l0").shape = {8, 8};
              }),
              HasSubstr("'m.weight_ih_l0' has shape [16, 3], expected [8, 3]"));
  EXPECT_THAT(problem([](Checkpoint& c) { tensor(c, "m.weight_hh_l0").shape = {64}; }),
              HasSubstr("'m.weight_hh_l0' has shape [64], expected a matrix"));
  EXPECT_THAT(
      problem([](Checkpoint& c) {
        tensor(c, "m.weight_hh_l0").shape = {32, 2};
      }),
      HasSubstr("'m.weight_hh_l0' has shape [32, 2]; rows must be 1 (rnn), 3 (gru) or 4 (lstm) times"));
  EXPECT_THAT(problem([](Checkpoint& c) {
                tensor(c, "m.weight_ih_l0").shape = {12, 4};
              }),
              HasSubstr("'m.weight_ih_l0' has shape [12, 4], expected [16, 4]"));
  EXPECT_THAT(problem([](Checkpoint& c) { tensor(c, "m.bias_ih_l0") = stored("m.bias_ih_l0", {0}, {}); }),
              HasSubstr("'m.bias_ih_l0' has shape [0], expected a vector"));
  EXPECT_THAT(problem([](Checkpoint& c) {
                tensor(c, "m.bias_ih_l0") = {"m.bias_ih_l0", "BF16", {16}, std::vector<std::byte>(32)};
              }),
              HasSubstr("'m.bias_ih_l0' has dtype 'BF16'"));
  EXPECT_THAT(problem([](Checkpoint& c) {
                c.tensors.push_back(stored("m.weight_ih", {1, 1}, {1.0F}));
              }),
              HasSubstr("both names"));
  EXPECT_THAT(problem([](Checkpoint& c) {
                c.tensors.push_back(stored("m.weight_hr_l0", {4, 4}, std::vector<float>(16)));
              }),
              HasSubstr("'m.weight_hr_l0' has shape [4, 4]; a projection must be smaller"));
  EXPECT_THAT(problem([](Checkpoint& c) {
                c.tensors.push_back(stored("m.weight_hr_l0", {4, 5}, std::vector<float>(20)));
              }),
              HasSubstr("expected 4 times the 5 columns of 'm.weight_hr_l0'"));
}

TEST(Modules, RefusesDoubleSayingHowToConvert) {
  const Checkpoint checkpoint =
      load_checkpoint(std::filesystem::path(FUZZ_CORPUS) / "safetensors" / "good_double.safetensors");
  EXPECT_ERROR(read_model(checkpoint), ErrorCode::format, "dtype 'F64', expected F32, F16 or BF16",
               "{k: v.float() if v.is_floating_point()");
}

TEST(Modules, NamesAWeightThatIsNotFinite) {
  for (const float value :
       {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    Checkpoint checkpoint = checkpoint_of(random_model(small(gru_cell())), "enc.");
    std::memcpy(&tensor(checkpoint, "enc.weight_hh_l0").data[4 * 9], &value, 4);
    EXPECT_ERROR(read_model(checkpoint), ErrorCode::format, "'enc.weight_hh_l0'[2, 1] is", "must be finite");
  }
}

TEST(Modules, WritesBackBitForBit) {
  for (const DType dtype : {DType::fp32, DType::fp16, DType::bf16}) {
    ModelSpec spec = small(lstm_cell());
    spec.dtype = dtype;
    spec.directions = Directions::both;
    spec.layers = 2;
    const Model model = random_model(spec);
    Checkpoint checkpoint;
    checkpoint.metadata["format"] = "pt";
    checkpoint.tensors.push_back({"other", "I64", {1}, std::vector<std::byte>(8, std::byte{3})});
    store(checkpoint, model, "rnn.");
    checkpoint.tensors.push_back(stored("nan", {1}, {std::numeric_limits<float>::signaling_NaN()}));
    const Checkpoint before = checkpoint;
    write_model(checkpoint, "rnn", model);
    EXPECT_EQ(checkpoint.tensors, before.tensors);

    Model changed = model;
    changed.layers[1].directions[1].w_hh.values[3] = 0.0F;
    changed.layers[0].directions[0].w_ih.values[0] = -0.0F;
    write_model(checkpoint, "rnn.", changed);
    const Model again = read_model(checkpoint);
    EXPECT_EQ(again, changed);
    EXPECT_TRUE(std::signbit(again.layers[0].directions[0].w_ih.values[0]));
    EXPECT_EQ(*checkpoint.find("other"), *before.find("other"));
    EXPECT_EQ(*checkpoint.find("nan"), *before.find("nan"));
    EXPECT_EQ(checkpoint.metadata, before.metadata);
  }
}

TEST(Modules, WritesAConvertedModelInTheFilesDtype) {
  Checkpoint checkpoint = checkpoint_of(random_model(small(gru_cell())));
  const Model rounded = read_model(checkpoint, {{}, {}, DType::bf16});
  write_model(checkpoint, "", rounded);
  EXPECT_EQ(checkpoint.find("weight_hh_l0")->dtype, "F32");
  EXPECT_EQ(convert(read_model(checkpoint), DType::bf16), rounded);
}

TEST(Modules, RefusesAWeightThatTheFileCannotHold) {
  ModelSpec spec = small(gru_cell());
  spec.dtype = DType::bf16;
  Checkpoint checkpoint = checkpoint_of(random_model(spec), "m.");
  const Checkpoint before = checkpoint;
  Model model = read_model(checkpoint);
  model.dtype = DType::fp32;
  model.layers[0].directions[0].w_hh.values[5] = 0.1F;
  EXPECT_ERROR(write_model(checkpoint, "m.", model), ErrorCode::invalid_argument,
               "'m.weight_hh_l0'[1, 1] is 0.1", "BF16 cannot hold; read the model in the file's dtype");
  EXPECT_EQ(checkpoint.tensors, before.tensors);
}

TEST(Modules, RefusesAModelThatIsNotTheModules) {
  Checkpoint checkpoint = checkpoint_of(random_model(small(gru_cell())), "m.");
  const auto refuse = [&](auto change, std::string_view what) {
    ModelSpec spec = small(gru_cell());
    change(spec);
    EXPECT_ERROR(write_model(checkpoint, "m.", random_model(spec)), ErrorCode::invalid_argument, "'m.'",
                 what);
  };
  refuse([](ModelSpec& s) { s.cell = lstm_cell(); }, "the cell is lstm, the module's is gru");
  refuse([](ModelSpec& s) { s.hidden = 5; }, "the hidden size is 5, the module's is 4");
  refuse([](ModelSpec& s) { s.input = 9; }, "the input size is 9, the module's is 3");
  refuse([](ModelSpec& s) { s.layers = 2; }, "the number of layers is 2, the module's is 1");
  refuse([](ModelSpec& s) { s.directions = Directions::both; },
         "the number of directions is 2, the module's is 1");
  refuse([](ModelSpec& s) { s.directions = Directions::reverse; }, "running in reverse");
  refuse([](ModelSpec& s) { s.bias = false; }, "having biases is false, the module's is true");
  EXPECT_ERROR(write_model(checkpoint, "n.", random_model(small(gru_cell()))), ErrorCode::invalid_argument,
               "prefix 'n.'", "'m.'");
}

}  // namespace
}  // namespace sprnn
