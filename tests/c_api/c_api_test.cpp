// What the C interface does with errors, and that it computes what the C++ interface does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <thread>

#include "sprnn/sprnn.h"
#include "sprnn/sprnn.hpp"
#include "support/checkpoint_of.hpp"
#include "support/random_model.hpp"
#include "support/temporary_folder.hpp"

namespace sprnn {
namespace {

using testing::HasSubstr;

static_assert(SPRNN_INVALID_ARGUMENT == static_cast<int>(ErrorCode::invalid_argument));
static_assert(SPRNN_FORMAT == static_cast<int>(ErrorCode::format));
static_assert(SPRNN_IO == static_cast<int>(ErrorCode::io));
static_assert(SPRNN_UNSUPPORTED == static_cast<int>(ErrorCode::unsupported));
static_assert(SPRNN_DEVICE == static_cast<int>(ErrorCode::device));
static_assert(SPRNN_DEADLINE == static_cast<int>(ErrorCode::deadline));
static_assert(SPRNN_OUT_OF_MEMORY == static_cast<int>(ErrorCode::out_of_memory));
static_assert(SPRNN_INTERRUPTED == static_cast<int>(ErrorCode::interrupted));
static_assert(SPRNN_INTERNAL == static_cast<int>(ErrorCode::internal));

// A folder of its own, with a checkpoint of two modules in it, and handles made of the first.
class CApi : public testing::Test {
 protected:
  void SetUp() override {
    test::ModelSpec spec;
    spec.cell = gru_cell();
    spec.layers = 2;
    first_ = test::random_model(spec);
    Checkpoint checkpoint = test::checkpoint_of(first_, "first.");
    spec.cell = lstm_cell();
    spec.directions = test::Directions::both;
    test::append(checkpoint, "second.", test::random_model(spec));
    save_checkpoint(checkpoint, file("model.safetensors"));
    ASSERT_EQ(sprnn_model_load(file("model.safetensors").c_str(), "first.", nullptr, nullptr, &model_),
              SPRNN_OK)
        << sprnn_last_error();
    ASSERT_EQ(sprnn_pack(model_, nullptr, 2, &packed_), SPRNN_OK) << sprnn_last_error();
    ASSERT_EQ(sprnn_session_create(packed_, nullptr, 2, 1, nullptr, &session_), SPRNN_OK)
        << sprnn_last_error();
  }
  void TearDown() override {
    sprnn_session_destroy(session_);
    sprnn_packed_destroy(packed_);
    sprnn_model_destroy(model_);
  }
  [[nodiscard]] std::string file(const std::string& name) const { return (folder_ / name).string(); }

  test::TemporaryFolder folder_;
  Model first_;
  sprnn_model* model_ = nullptr;
  sprnn_packed* packed_ = nullptr;
  sprnn_session* session_ = nullptr;
};

// The status, and that the message names what is wrong.
#define EXPECT_FAILS(call, status, text)              \
  do {                                                \
    EXPECT_EQ(call, status) << sprnn_last_error();    \
    EXPECT_THAT(sprnn_last_error(), HasSubstr(text)); \
  } while (0)

TEST_F(CApi, refuses_null_by_the_argument_s_name) {
  sprnn_model* model = model_;
  sprnn_packed* packed = packed_;
  sprnn_session* session = session_;
  sprnn_shape shape;
  sprnn_prune_report report;
  sprnn_session_info info;
  float value[1024] = {};
  const std::string path = file("model.safetensors");
  EXPECT_FAILS(sprnn_model_load(nullptr, nullptr, nullptr, nullptr, &model), SPRNN_INVALID_ARGUMENT, "path");
  EXPECT_EQ(model, nullptr);
  EXPECT_FAILS(sprnn_model_load(path.c_str(), "first.", nullptr, nullptr, nullptr), SPRNN_INVALID_ARGUMENT,
               "model");
  EXPECT_FAILS(sprnn_model_save(nullptr, path.c_str()), SPRNN_INVALID_ARGUMENT, "model");
  EXPECT_FAILS(sprnn_model_save(model_, nullptr), SPRNN_INVALID_ARGUMENT, "path");
  EXPECT_FAILS(sprnn_model_shape(nullptr, &shape), SPRNN_INVALID_ARGUMENT, "model");
  EXPECT_FAILS(sprnn_model_shape(model_, nullptr), SPRNN_INVALID_ARGUMENT, "shape");
  EXPECT_FAILS(sprnn_model_prune(nullptr, "row", nullptr, 0, nullptr, 0), SPRNN_INVALID_ARGUMENT, "model");
  EXPECT_FAILS(sprnn_model_prune(model_, nullptr, nullptr, 0, nullptr, 0), SPRNN_INVALID_ARGUMENT, "pattern");
  EXPECT_FAILS(sprnn_model_prune(model_, "row", nullptr, 1, nullptr, 0), SPRNN_INVALID_ARGUMENT, "density");
  EXPECT_FAILS(sprnn_model_prune(model_, "row", nullptr, 0, nullptr, 1), SPRNN_INVALID_ARGUMENT,
               "input_density");
  EXPECT_FAILS(sprnn_model_prune_report(nullptr, 0, &report), SPRNN_INVALID_ARGUMENT, "model");
  EXPECT_FAILS(sprnn_model_prune_report(model_, 0, nullptr), SPRNN_INVALID_ARGUMENT, "report");
  EXPECT_FAILS(sprnn_pack(nullptr, "cpu", 1, &packed), SPRNN_INVALID_ARGUMENT, "model");
  EXPECT_EQ(packed, nullptr);
  EXPECT_FAILS(sprnn_pack(model_, "cpu", 1, nullptr), SPRNN_INVALID_ARGUMENT, "packed");
  EXPECT_FAILS(sprnn_pack_like(nullptr, packed_, &packed), SPRNN_INVALID_ARGUMENT, "model");
  EXPECT_FAILS(sprnn_pack_like(model_, nullptr, &packed), SPRNN_INVALID_ARGUMENT, "like");
  EXPECT_FAILS(sprnn_pack_like(model_, packed_, nullptr), SPRNN_INVALID_ARGUMENT, "packed");
  EXPECT_FAILS(sprnn_packed_save(nullptr, path.c_str()), SPRNN_INVALID_ARGUMENT, "packed");
  EXPECT_FAILS(sprnn_packed_save(packed_, nullptr), SPRNN_INVALID_ARGUMENT, "path");
  EXPECT_FAILS(sprnn_packed_load(nullptr, &packed), SPRNN_INVALID_ARGUMENT, "path");
  EXPECT_FAILS(sprnn_packed_load(path.c_str(), nullptr), SPRNN_INVALID_ARGUMENT, "packed");
  EXPECT_FAILS(sprnn_packed_shape(nullptr, &shape), SPRNN_INVALID_ARGUMENT, "packed");
  EXPECT_FAILS(sprnn_packed_shape(packed_, nullptr), SPRNN_INVALID_ARGUMENT, "shape");
  EXPECT_FAILS(sprnn_session_create(nullptr, nullptr, 1, 1, nullptr, &session), SPRNN_INVALID_ARGUMENT,
               "packed");
  EXPECT_EQ(session, nullptr);
  EXPECT_FAILS(sprnn_session_create(packed_, nullptr, 1, 1, nullptr, nullptr), SPRNN_INVALID_ARGUMENT,
               "session");
  EXPECT_FAILS(sprnn_session_get_info(nullptr, &info), SPRNN_INVALID_ARGUMENT, "session");
  EXPECT_FAILS(sprnn_session_get_info(session_, nullptr), SPRNN_INVALID_ARGUMENT, "info");
  EXPECT_FAILS(sprnn_session_run(nullptr, 1, value, value, nullptr, 0), SPRNN_INVALID_ARGUMENT, "session");
  EXPECT_FAILS(sprnn_session_run(session_, 1, nullptr, value, nullptr, 0), SPRNN_INVALID_ARGUMENT,
               "x is NULL");
  EXPECT_FAILS(sprnn_session_run(session_, 1, value, nullptr, nullptr, 0), SPRNN_INVALID_ARGUMENT,
               "y is NULL");
  EXPECT_FAILS(sprnn_session_get_state(nullptr, -1, value, 1, nullptr, 0), SPRNN_INVALID_ARGUMENT, "session");
  EXPECT_FAILS(sprnn_session_get_state(session_, -1, nullptr, 64, nullptr, 0), SPRNN_INVALID_ARGUMENT,
               "h is NULL");
  EXPECT_FAILS(sprnn_session_set_state(nullptr, -1, value, 1, nullptr, 0), SPRNN_INVALID_ARGUMENT, "session");
  EXPECT_FAILS(sprnn_session_set_state(session_, -1, value, 64, nullptr, 1), SPRNN_INVALID_ARGUMENT,
               "c is NULL");
  EXPECT_FAILS(sprnn_session_reset(nullptr, -1), SPRNN_INVALID_ARGUMENT, "session");
  EXPECT_FAILS(sprnn_session_set_weights(nullptr, packed_), SPRNN_INVALID_ARGUMENT, "session");
  EXPECT_FAILS(sprnn_session_set_weights(session_, nullptr), SPRNN_INVALID_ARGUMENT, "packed");
  sprnn_model_destroy(nullptr);
  sprnn_packed_destroy(nullptr);
  sprnn_session_destroy(nullptr);
}

TEST_F(CApi, turns_what_is_thrown_into_a_status_and_a_message) {
  const std::string path = file("model.safetensors");
  sprnn_model* model = nullptr;
  sprnn_packed* packed = nullptr;
  sprnn_session* session = nullptr;
  const double too_much = 1.5, nan = std::numeric_limits<double>::quiet_NaN(), three[] = {0.5, 0.5, 0.5};
  EXPECT_FAILS(sprnn_model_load(file("absent").c_str(), nullptr, nullptr, nullptr, &model), SPRNN_IO,
               "absent");
  EXPECT_FAILS(sprnn_model_load(path.c_str(), nullptr, nullptr, nullptr, &model), SPRNN_INVALID_ARGUMENT,
               "second.");
  EXPECT_FAILS(sprnn_model_load(path.c_str(), "third.", nullptr, nullptr, &model), SPRNN_INVALID_ARGUMENT,
               "third.");
  EXPECT_FAILS(sprnn_model_load(path.c_str(), "first.", "rwkv", nullptr, &model), SPRNN_INVALID_ARGUMENT,
               "rwkv");
  EXPECT_FAILS(sprnn_model_load(path.c_str(), "first.", nullptr, "int8", &model), SPRNN_INVALID_ARGUMENT,
               "int8");
  std::ofstream(file("text")) << "neither a checkpoint nor a packed model";
  EXPECT_FAILS(sprnn_model_load(file("text").c_str(), nullptr, nullptr, nullptr, &model), SPRNN_FORMAT,
               "text");
  EXPECT_FAILS(sprnn_model_save(model_, file("no/such/folder").c_str()), SPRNN_IO, "folder");
  EXPECT_FAILS(sprnn_model_prune(model_, "rows", nullptr, 0, nullptr, 0), SPRNN_INVALID_ARGUMENT, "rows");
  EXPECT_FAILS(sprnn_model_prune(model_, "row", &too_much, 1, nullptr, 0), SPRNN_INVALID_ARGUMENT, "1.5");
  EXPECT_FAILS(sprnn_model_prune(model_, "row", &nan, 1, nullptr, 0), SPRNN_INVALID_ARGUMENT, "nan");
  EXPECT_FAILS(sprnn_model_prune(model_, "row", three, 3, nullptr, 0), SPRNN_INVALID_ARGUMENT, "3 values");
  EXPECT_NE(sprnn_pack(model_, "abacus", 1, &packed), SPRNN_OK);
  EXPECT_THAT(sprnn_last_error(), HasSubstr("abacus"));
  EXPECT_FAILS(sprnn_pack(model_, "cpu", 0, &packed), SPRNN_INVALID_ARGUMENT, "batch");
  EXPECT_FAILS(sprnn_packed_save(packed_, file("no/such/folder").c_str()), SPRNN_IO, "folder");
  EXPECT_FAILS(sprnn_packed_load(file("absent").c_str(), &packed), SPRNN_IO, "absent");
  EXPECT_FAILS(sprnn_packed_load(path.c_str(), &packed), SPRNN_FORMAT, "model.safetensors");
  EXPECT_FAILS(sprnn_session_create(packed_, "abacus", 1, 1, nullptr, &session), SPRNN_INVALID_ARGUMENT,
               "abacus");
  EXPECT_FAILS(sprnn_session_create(packed_, nullptr, 0, 1, nullptr, &session), SPRNN_INVALID_ARGUMENT,
               "batch");
  float x[64] = {}, y[64] = {}, h[64] = {};
  const std::int64_t lengths[] = {1, 2};
  EXPECT_FAILS(sprnn_session_run(session_, 0, x, y, nullptr, 0), SPRNN_INVALID_ARGUMENT, "0");
  EXPECT_FAILS(sprnn_session_run(session_, 1, x, y, lengths, 0), SPRNN_INVALID_ARGUMENT, "length");
  EXPECT_FAILS(sprnn_session_get_state(session_, -1, h, 63, nullptr, 0), SPRNN_INVALID_ARGUMENT, "63");
  EXPECT_FAILS(sprnn_session_get_state(session_, 2, h, 32, nullptr, 0), SPRNN_INVALID_ARGUMENT, "2");
  EXPECT_FAILS(sprnn_session_reset(session_, -2), SPRNN_INVALID_ARGUMENT, "-2");
  EXPECT_EQ(model, nullptr);
  EXPECT_EQ(packed, nullptr);
  EXPECT_EQ(session, nullptr);
}

// Of x, of y, or of their bytes there would be more than an index counts.
TEST_F(CApi, refuses_more_timesteps_than_memory_could_hold) {
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
  float x[64] = {}, y[64] = {};
  for (const char* engine : {"cpu", "reference"}) {
    sprnn_session* session = nullptr;
    ASSERT_EQ(sprnn_session_create(packed_, engine, 2, 1, nullptr, &session), SPRNN_OK) << sprnn_last_error();
    for (const std::int64_t steps : {most, most / 16, most / 32, most / 32 / 4})
      EXPECT_FAILS(sprnn_session_run(session, steps, x, y, nullptr, 0), SPRNN_INVALID_ARGUMENT, "at most");
    sprnn_session_destroy(session);
  }
}

TEST_F(CApi, keeps_the_last_error_of_each_thread_apart) {
  sprnn_shape shape;
  EXPECT_EQ(sprnn_model_shape(nullptr, &shape), SPRNN_INVALID_ARGUMENT);
  std::string before = "not read", after = "not read";
  std::thread([&] {
    before = sprnn_last_error();
    (void)sprnn_packed_shape(nullptr, &shape);
    after = sprnn_last_error();
  }).join();
  EXPECT_EQ(before, "");
  EXPECT_EQ(after, "packed is NULL");
  EXPECT_STREQ(sprnn_last_error(), "model is NULL");
  EXPECT_EQ(sprnn_model_shape(model_, &shape), SPRNN_OK);
  EXPECT_STREQ(sprnn_last_error(), "model is NULL");  // a success leaves it
}

TEST_F(CApi, gives_the_bits_of_the_cpp_interface) {
  const double density = 0.3;
  ASSERT_EQ(sprnn_model_prune(model_, "unit:2x1", &density, 1, nullptr, 0), SPRNN_OK) << sprnn_last_error();
  sprnn_packed* packed = nullptr;
  sprnn_session* session = nullptr;
  ASSERT_EQ(sprnn_pack(model_, "cpu", 2, &packed), SPRNN_OK) << sprnn_last_error();
  ASSERT_EQ(sprnn_session_create(packed, "auto", 2, 1, nullptr, &session), SPRNN_OK) << sprnn_last_error();
  const test::Inputs inputs = test::random_inputs(first_, 7, 2, 5);
  std::vector<float> y(static_cast<std::size_t>(7 * 2 * first_.output_size())), expected(y.size());
  ASSERT_EQ(sprnn_session_run(session, 7, inputs.x.data(), y.data(), nullptr, 0), SPRNN_OK)
      << sprnn_last_error();

  (void)prune(first_, {.pattern = parse_pattern("unit:2x1"), .density = 0.3});
  const Plan plan = make_plan(describe(first_, 2), this_cpu());
  SessionOptions options;
  options.batch = 2;
  options.threads = 1;
  const auto other =
      find_engine("auto", plan).session(std::make_shared<const Packed>(pack(first_, plan)), options);
  Sequence sequence;
  sequence.steps = 7;
  sequence.x = inputs.x.data();
  sequence.y = expected.data();
  other->run(sequence);
  EXPECT_EQ(y, expected);
  sprnn_session_destroy(session);
  sprnn_packed_destroy(packed);
}

TEST_F(CApi, does_not_save_weights_that_the_files_dtype_cannot_hold) {
  test::ModelSpec spec;
  spec.cell = gru_cell();
  spec.dtype = DType::fp16;
  Model half = test::random_model(spec);
  half.layers[0].directions[0].w_hh.values[0] = 65504.0F;  // the greatest of fp16; bf16 rounds it to 65536
  const std::string path = file("half.safetensors");
  save_checkpoint(test::checkpoint_of(half), path);
  sprnn_model* model = nullptr;
  ASSERT_EQ(sprnn_model_load(path.c_str(), nullptr, nullptr, "bf16", &model), SPRNN_OK) << sprnn_last_error();
  EXPECT_FAILS(
      sprnn_model_save(model, path.c_str()), SPRNN_INVALID_ARGUMENT,
      "'weight_hh_l0'[0, 0] is 65536, which the file's F16 cannot hold; read the model in the file's");
  sprnn_model_destroy(model);
}

TEST_F(CApi, saves_the_chosen_module_and_leaves_the_rest) {
  const double density = 0.0;
  ASSERT_EQ(sprnn_model_prune(model_, "unstructured", &density, 1, nullptr, 0), SPRNN_OK);
  const Checkpoint before = load_checkpoint(file("model.safetensors"));
  ASSERT_EQ(sprnn_model_save(model_, file("model.safetensors").c_str()), SPRNN_OK) << sprnn_last_error();
  const Checkpoint after = load_checkpoint(file("model.safetensors"));
  ASSERT_EQ(after.tensors.size(), before.tensors.size());
  for (std::size_t i = 0; i < before.tensors.size(); ++i) {
    const bool pruned = before.tensors[i].name.starts_with("first.weight_hh");
    EXPECT_EQ(after.tensors[i] == before.tensors[i], !pruned) << before.tensors[i].name;
  }
}

TEST_F(CApi, knows_the_shape_of_a_bidirectional_lstm_and_refuses_chunks_of_it) {
  sprnn_model* second = nullptr;
  sprnn_packed* packed = nullptr;
  sprnn_session* session = nullptr;
  ASSERT_EQ(sprnn_model_load(file("model.safetensors").c_str(), "second.", nullptr, "fp16", &second),
            SPRNN_OK)
      << sprnn_last_error();
  ASSERT_EQ(sprnn_pack(second, "cpu", 1, &packed), SPRNN_OK) << sprnn_last_error();
  sprnn_shape of_model, of_packed;
  ASSERT_EQ(sprnn_model_shape(second, &of_model), SPRNN_OK);
  ASSERT_EQ(sprnn_packed_shape(packed, &of_packed), SPRNN_OK);
  for (const sprnn_shape& shape : {of_model, of_packed}) {
    EXPECT_STREQ(shape.cell, "lstm");
    EXPECT_STREQ(shape.dtype, "fp16");
    EXPECT_EQ(shape.input_size, 8);
    EXPECT_EQ(shape.hidden_size, 16);
    EXPECT_EQ(shape.state_size, 16);
    EXPECT_EQ(shape.num_layers, 2);
    EXPECT_EQ(shape.num_directions, 2);
    EXPECT_EQ(shape.output_size, 32);
    EXPECT_EQ(shape.has_cell_state, 1);
  }
  ASSERT_EQ(sprnn_session_create(packed, nullptr, 1, 1, nullptr, &session), SPRNN_OK) << sprnn_last_error();
  std::vector<float> x(16), y(64);
  EXPECT_EQ(sprnn_session_run(session, 2, x.data(), y.data(), nullptr, 0), SPRNN_OK) << sprnn_last_error();
  EXPECT_EQ(sprnn_session_run(session, 2, x.data(), y.data(), nullptr, 0), SPRNN_UNSUPPORTED);
  EXPECT_EQ(sprnn_session_reset(session, SPRNN_ALL_ENTRIES), SPRNN_OK);
  EXPECT_EQ(sprnn_session_run(session, 2, x.data(), y.data(), nullptr, 0), SPRNN_OK) << sprnn_last_error();
  sprnn_session_destroy(session);
  sprnn_packed_destroy(packed);
  sprnn_model_destroy(second);
}

}  // namespace
}  // namespace sprnn
