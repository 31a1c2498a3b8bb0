// The container: what the Python library wrote, and what we write.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>

#include "base/atomic_file.hpp"
#include "model/safetensors.hpp"
#include "sprnn/checkpoint.hpp"
#include "support/expect_error.hpp"
#include "support/temporary_folder.hpp"

namespace sprnn {
namespace {

using test::TemporaryFolder;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

const std::filesystem::path data_folder = MODEL_TEST_DATA;

StoredTensor bytes_tensor(const std::string& name, std::size_t size = 4) {
  return {name, "U8", {static_cast<std::int64_t>(size)}, std::vector<std::byte>(size, std::byte{7})};
}

TEST(Safetensors, ReadsWhatTheLibraryWrote) {
  const Checkpoint checkpoint = load_checkpoint(data_folder / "library.safetensors");
  EXPECT_THAT(checkpoint.metadata, ElementsAre(Pair("format", "pt")));
  ASSERT_EQ(checkpoint.tensors.size(), 14U);

  const StoredTensor* weight = checkpoint.find("encoder.rnn.weight_ih_l0");
  ASSERT_NE(weight, nullptr);
  EXPECT_EQ(weight->dtype, "F32");
  EXPECT_THAT(weight->shape, ElementsAre(16, 3));
  EXPECT_EQ(weight->data.size(), 16U * 3 * 4);

  const StoredTensor* steps = checkpoint.find("steps");
  ASSERT_NE(steps, nullptr);
  EXPECT_EQ(steps->dtype, "I64");
  EXPECT_THAT(steps->shape, IsEmpty());
  EXPECT_EQ(steps->data.front(), std::byte{7});

  const StoredTensor* nothing = checkpoint.find("nothing");
  ASSERT_NE(nothing, nullptr);
  EXPECT_THAT(nothing->shape, ElementsAre(0, 3));
  EXPECT_THAT(nothing->data, IsEmpty());

  EXPECT_NE(checkpoint.find("\u00e9\u4e2d \"quoted\" \\ /"), nullptr);
  EXPECT_EQ(checkpoint.find("none"), nullptr);
}

TEST(Safetensors, SavesAnUnchangedFileByteForByte) {
  const TemporaryFolder folder;
  for (const char* name : {"library.safetensors", "bfloat16.safetensors"}) {
    const std::filesystem::path copy = folder / name;
    save_checkpoint(load_checkpoint(data_folder / name), copy);
    EXPECT_EQ(read_file(copy), read_file(data_folder / name)) << name;
  }
}

// A pipe does not say how long it is, a file does: two ways to the same checkpoint.
TEST(Safetensors, ReadsAPipeLikeAFile) {
  const std::vector<std::byte> bytes = read_file(data_folder / "library.safetensors");
  std::array<int, 2> ends{};
  ASSERT_EQ(pipe(ends.data()), 0);
  ASSERT_EQ(write(ends[1], bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  close(ends[1]);
  const Checkpoint checkpoint = load_checkpoint("/dev/fd/" + std::to_string(ends[0]));
  close(ends[0]);
  const Checkpoint expected = load_checkpoint(data_folder / "library.safetensors");
  EXPECT_EQ(checkpoint.tensors, expected.tensors);
  EXPECT_EQ(checkpoint.metadata, expected.metadata);
}

TEST(Safetensors, SavesOverItsOwnInput) {
  const TemporaryFolder folder;
  const std::filesystem::path path = folder / "model.safetensors";
  std::filesystem::copy_file(data_folder / "library.safetensors", path);
  Checkpoint checkpoint = load_checkpoint(path);
  checkpoint.tensors.push_back(bytes_tensor("more"));
  save_checkpoint(checkpoint, path);
  const Checkpoint again = load_checkpoint(path);
  EXPECT_EQ(again.tensors, checkpoint.tensors);
  EXPECT_EQ(again.metadata, checkpoint.metadata);
  EXPECT_THAT(folder.names(), ElementsAre("model.safetensors"));
}

TEST(Safetensors, KeepsOrderMetadataAndStrangeNames) {
  const TemporaryFolder folder;
  Checkpoint checkpoint;
  checkpoint.metadata = {{"", "empty key"}, {"line\nbreak", "\"\\\t"}, {"z", ""}};
  for (const std::string name : {"z", "a", "", "with \"quotes\" \\ and \x01", "\u4e2d"}) {
    checkpoint.tensors.push_back(bytes_tensor(name, name.size()));
  }
  save_checkpoint(checkpoint, folder / "x");
  const Checkpoint again = load_checkpoint(folder / "x");
  EXPECT_EQ(again.tensors, checkpoint.tensors);
  EXPECT_EQ(again.metadata, checkpoint.metadata);
}

TEST(Safetensors, SavesAnEmptyCheckpoint) {
  const TemporaryFolder folder;
  save_checkpoint({}, folder / "x");
  EXPECT_EQ(std::filesystem::file_size(folder / "x"), 16U);
  EXPECT_THAT(load_checkpoint(folder / "x").tensors, IsEmpty());
}

TEST(Safetensors, RefusesToSaveWhatAFileCannotHold) {
  const TemporaryFolder folder;
  const auto save = [&](std::vector<StoredTensor> tensors) {
    save_checkpoint({std::move(tensors), {}}, folder / "x");
  };
  EXPECT_ERROR(save({bytes_tensor("a"), bytes_tensor("a")}), ErrorCode::invalid_argument, "x'",
               "'a' is taken");
  EXPECT_ERROR(save({bytes_tensor("__metadata__")}), ErrorCode::invalid_argument, "'__metadata__' is taken");
  EXPECT_ERROR(save({bytes_tensor("\xff")}), ErrorCode::invalid_argument, "not UTF-8");
  EXPECT_ERROR(save({{"a", "F32", {3}, std::vector<std::byte>(8)}}), ErrorCode::invalid_argument, "'a'",
               "[3]", "needs 12 bytes, has 8");
  EXPECT_ERROR(save({{"a", "F32", {-1}, {}}}), ErrorCode::invalid_argument, "negative");
  EXPECT_THAT(folder.names(), IsEmpty());
}

TEST(Safetensors, ReportsWhereItCannotWrite) {
  const TemporaryFolder folder;
  EXPECT_ERROR(save_checkpoint({}, folder.path() / "none" / "x"), ErrorCode::io, "none/x'", "No such file");
  EXPECT_ERROR(save_checkpoint({}, "/dev/full"), ErrorCode::io, "'/dev/full'", "No space left");
  EXPECT_ERROR(load_checkpoint(folder / "none"), ErrorCode::io, "none'", "No such file");
  EXPECT_ERROR(load_checkpoint(folder.path()), ErrorCode::io, "Is a directory");
}

// A header of 640 bytes begins with 80 02, as a pickle does.
TEST(Safetensors, TakesNoHeaderForAPickle) {
  std::string json = R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})";
  json.resize(640, ' ');
  std::vector<std::byte> bytes = {std::byte{0x80}, std::byte{0x02}};
  bytes.resize(8);
  for (const char c : json) bytes.push_back(static_cast<std::byte>(c));
  bytes.push_back(std::byte{5});
  EXPECT_EQ(parse_checkpoint(bytes, "x").tensors.size(), 1U);
  bytes.pop_back();
  EXPECT_ERROR(parse_checkpoint(bytes, "x"), ErrorCode::format, "past the end of the data");
}

// As a length, the first bytes of such an archive fit into one that is large enough.
TEST(Safetensors, KnowsALargeZipWithoutFlags) {
  std::vector<std::byte> bytes(70'000'000);
  for (const std::size_t i : {0U, 1U, 2U, 3U}) bytes[i] = static_cast<std::byte>("PK\3\4"[i]);
  EXPECT_ERROR(parse_checkpoint(bytes, "x"), ErrorCode::format, "torch.save");
}

// Names quadratic code would feel: under a second is plenty, minutes would be a fault.
TEST(Safetensors, ReadsManyTensors) {
  Checkpoint checkpoint;
  for (int i = 0; i < 50'000; ++i) {
    checkpoint.tensors.push_back({std::to_string(i) + ".weight_ih_l0", "F32", {0, 0}, {}});
  }
  const std::string header = safetensors::format_header(checkpoint);
  const auto* begin = reinterpret_cast<const std::byte*>(header.data());
  EXPECT_EQ(parse_checkpoint({begin, begin + header.size()}, "x").tensors, checkpoint.tensors);
  EXPECT_EQ(find_modules(checkpoint).size(), 50'000U);
}

}  // namespace
}  // namespace sprnn
