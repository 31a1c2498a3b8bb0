#include "sprnn/npy.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "base/atomic_file.hpp"
#include "support/expect_error.hpp"
#include "support/temporary_folder.hpp"

namespace sprnn {
namespace {

using test::TemporaryFolder;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

const std::filesystem::path data_folder = MODEL_TEST_DATA;
const std::filesystem::path corpus = std::filesystem::path(FUZZ_CORPUS) / "npy";

// As data/make.py's ramp.
std::vector<float> ramp(int count) {
  std::vector<float> values;
  for (int i = 0; i < count; ++i) values.push_back(static_cast<float>(i % 64 - 32) / 16.0F);
  return values;
}

TEST(Npy, ReadsTheFloatsThatNumpyWrote) {
  const FloatArray half = load_npy_floats(data_folder / "float16.npy");
  EXPECT_THAT(half.shape, ElementsAre(3, 2));
  EXPECT_EQ(half.values, ramp(6));
  const FloatArray single = load_npy_floats(data_folder / "float32.npy");
  EXPECT_THAT(single.shape, ElementsAre(2, 3, 4));
  EXPECT_EQ(single.values, ramp(24));
  const FloatArray twice = load_npy_floats(data_folder / "float64.npy");
  EXPECT_THAT(twice.shape, ElementsAre(5));
  EXPECT_EQ(twice.values, ramp(5));
}

TEST(Npy, ReadsTheIntegersThatNumpyWrote) {
  const IntArray narrow = load_npy_ints(data_folder / "int32.npy");
  EXPECT_THAT(narrow.shape, ElementsAre(6));
  EXPECT_THAT(narrow.values, ElementsAre(-2, -1, 0, 1, 2, 3));
  const IntArray wide = load_npy_ints(data_folder / "int64.npy");
  EXPECT_THAT(wide.shape, ElementsAre(2, 3));
  EXPECT_EQ(wide.values, narrow.values);
}

TEST(Npy, ReadsEveryVersionRankAndSize) {
  EXPECT_EQ(load_npy_floats(data_folder / "version_2.npy").values, ramp(6));
  EXPECT_EQ(load_npy_floats(data_folder / "version_3.npy").values, ramp(6));
  const FloatArray scalar = load_npy_floats(data_folder / "scalar.npy");
  EXPECT_THAT(scalar.shape, IsEmpty());
  EXPECT_THAT(scalar.values, ElementsAre(0.5F));
  const FloatArray empty = load_npy_floats(data_folder / "empty.npy");
  EXPECT_THAT(empty.shape, ElementsAre(0, 5));
  EXPECT_THAT(empty.values, IsEmpty());
  EXPECT_EQ(load_npy_floats(corpus / "good_python_2.npy").values.size(), 6U);
}

TEST(Npy, KeepsSignedZeroSubnormalsAndInfinity) {
  const FloatArray half = load_npy_floats(corpus / "good_float16.npy");
  EXPECT_THAT(half.values, ElementsAre(1.0F, 0.0F, 65504.0F));
  EXPECT_TRUE(std::signbit(half.values[1]));
  const FloatArray single = load_npy_floats(corpus / "good_float32.npy");
  EXPECT_EQ(std::bit_cast<std::uint32_t>(single.values[4]), 71362U);  // 1e-40
  EXPECT_TRUE(std::isinf(single.values[5]));
  const FloatArray twice = load_npy_floats(corpus / "good_float64.npy");
  EXPECT_THAT(twice.values, ElementsAre(0.1F, -std::numeric_limits<float>::infinity()));
}

TEST(Npy, ReadsTheRangeOfIntegers) {
  EXPECT_THAT(load_npy_ints(corpus / "good_int32.npy").values, ElementsAre(1, -1, 2147483647));
  EXPECT_THAT(load_npy_ints(corpus / "good_int64.npy").values,
              ElementsAre(std::numeric_limits<std::int64_t>::min(), 5));
}

TEST(Npy, SaysHowToMendAFile) {
  EXPECT_ERROR(load_npy_floats(data_folder / "fortran.npy"), ErrorCode::format, "fortran.npy'",
               "Fortran order", "np.ascontiguousarray(x)");
  EXPECT_ERROR(load_npy_floats(data_folder / "big_endian.npy"), ErrorCode::format, "big_endian.npy'",
               "big-endian (>f4)", "x.astype('<f4')");
  EXPECT_ERROR(load_npy_floats(data_folder / "int32.npy"), ErrorCode::format, "int32.npy'", "'<i4'",
               "expected float16, float32 or float64", "x.astype('<f4')");
  EXPECT_ERROR(load_npy_ints(data_folder / "float32.npy"), ErrorCode::format, "'<f4'",
               "expected int32 or int64", "x.astype('<i8')");
  EXPECT_ERROR(load_npy_floats("/dev/null/x.npy"), ErrorCode::io, "'/dev/null/x.npy'");
}

TEST(Npy, SavesWhatItReads) {
  const TemporaryFolder folder;
  for (const std::vector<std::int64_t>& shape :
       {std::vector<std::int64_t>{}, {1}, {6}, {2, 3}, {3, 0, 2}, {1, 1, 1, 1, 1, 1, 1, 1, 6}}) {
    FloatArray array{shape, {}};
    std::size_t count = 1;
    for (const std::int64_t dimension : shape) count *= static_cast<std::size_t>(dimension);
    array.values = ramp(static_cast<int>(count));
    save_npy(array, folder / "x.npy");
    const FloatArray again = load_npy_floats(folder / "x.npy");
    EXPECT_EQ(again.shape, array.shape);
    EXPECT_EQ(again.values, array.values);
    EXPECT_EQ((std::filesystem::file_size(folder / "x.npy") - count * sizeof(float)) % 64, 0U);
  }
  EXPECT_THAT(folder.names(), ElementsAre("x.npy"));
}

TEST(Npy, SavesNumpysVeryBytes) {
  const TemporaryFolder folder;
  for (const char* name : {"float32.npy", "scalar.npy", "empty.npy"}) {
    save_npy(load_npy_floats(data_folder / name), folder / name);
    EXPECT_EQ(read_file(folder / name), read_file(data_folder / name)) << name;
  }
}

TEST(Npy, RefusesToSaveALyingShape) {
  const TemporaryFolder folder;
  const auto save = [&](std::vector<std::int64_t> shape) {
    save_npy({std::move(shape), ramp(6)}, folder / "x");
  };
  EXPECT_ERROR(save({7}), ErrorCode::invalid_argument, "x'", "(7)", "6 values");
  EXPECT_ERROR(save({-2, -3}), ErrorCode::invalid_argument, "(-2, -3)");
  EXPECT_ERROR(save({std::int64_t{1} << 62, 4}), ErrorCode::invalid_argument, "6 values");
  EXPECT_THAT(folder.names(), IsEmpty());
}

}  // namespace
}  // namespace sprnn
