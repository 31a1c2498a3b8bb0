// The .sprnn container: round trips, and files that lie.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "base/quote.hpp"
#include "sprnn/engine.hpp"
#include "sprnn/error.hpp"
#include "support/random_model.hpp"
#include "support/sanitizers.hpp"

namespace sprnn {
namespace {

using nlohmann::json;
using Bytes = std::vector<std::byte>;

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "sprnn-file-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  [[nodiscard]] std::filesystem::path operator/(const char* name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

Bytes read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto* begin = reinterpret_cast<const std::byte*>(text.data());
  return {begin, begin + text.size()};
}

Bytes file_of(const Packed& packed) {
  const TemporaryFolder folder;
  save_packed(packed, folder / "model.sprnn");
  return read(folder / "model.sprnn");
}

Packed packed_lstm(const char* target) {
  test::ModelSpec spec{
      .cell = lstm_cell(), .dtype = DType::fp16, .input = 20, .hidden = 35, .projection = 9, .layers = 2};
  spec.directions = test::Directions::both;
  spec.peephole = target == std::string("cpu");
  spec.density = 0.3;
  spec.seed = 21;
  const Model model = test::random_model(spec);
  GpuWishes wishes;
  if (target != std::string("cpu")) wishes.ctas = 4;
  return pack(model, make_plan(describe(model, 2), find_device(target), {{}, wishes}));
}

// A file taken apart and put together again: its header as JSON, the rest as bytes.
struct Parts {
  json header;
  Bytes sections;

  explicit Parts(const Bytes& bytes) {
    std::uint64_t length = 0;
    std::memcpy(&length, bytes.data() + 16, 8);
    const auto* text = reinterpret_cast<const char*>(bytes.data() + 24);
    header = json::parse(text, text + length);
    sections.assign(bytes.begin() + static_cast<std::ptrdiff_t>((24 + length + 63) / 64 * 64), bytes.end());
    begin.assign(bytes.begin(), bytes.begin() + 16);
  }
  [[nodiscard]] Bytes whole() const {
    const std::string text = header.dump();
    const std::uint64_t length = text.size();
    Bytes bytes = begin;
    const auto append = [&](const void* data, std::size_t size) {
      const auto* from = static_cast<const std::byte*>(data);
      bytes.insert(bytes.end(), from, from + size);
    };
    append(&length, 8);
    append(text.data(), text.size());
    bytes.resize((bytes.size() + 63) / 64 * 64);
    append(sections.data(), sections.size());
    return bytes;
  }

 private:
  Bytes begin;
};

// What parsing says: "" if it accepts. Any other exception than Error(format) fails the test.
std::string refusal(const Bytes& bytes) {
  try {
    (void)parse_packed(bytes, "model.sprnn");
    return "";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::format) << error.what();
    const std::string_view message = error.what();
    EXPECT_EQ(utf8_length(message), message.size()) << quote(message);
    return error.what();
  }
}

class File : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Targets, File, testing::Values("cpu", "h100"),
                         [](const auto& each) { return std::string(each.param); });

TEST_P(File, RoundTrips) {
  const Packed packed = packed_lstm(GetParam());
  const Bytes bytes = file_of(packed);
  const Packed again = parse_packed(bytes, "model.sprnn");
  EXPECT_EQ(again.plan, packed.plan);
  EXPECT_EQ(unpack(again), unpack(packed));
  EXPECT_EQ(file_of(again), bytes);
}

TEST_P(File, RunsAtAnyBatch) {
  const auto packed = std::make_shared<const Packed>(packed_lstm(GetParam()));
  const Model model = unpack(*packed);
  for (const int batch : {1, 3, 17}) {
    const auto session = find_engine("auto", packed->plan).session(packed, {.batch = batch, .threads = 1});
    const test::Inputs in = test::random_inputs(model, 3, batch, 5);
    test::GuardedOutput y(static_cast<std::size_t>(3 * batch * model.output_size()));
    session->run({3, in.x.data(), y.data()});
    EXPECT_EQ(y.problem(), "");
  }
}

TEST_P(File, CutShortAnywhereIsRefused) {
  const Bytes bytes = file_of(packed_lstm(GetParam()));
  for (std::size_t length = 0; length < bytes.size(); length += 1 + bytes.size() / test::scaled(997)) {
    EXPECT_NE(refusal({bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(length)}), "") << length;
  }
}

TEST_P(File, OneByteLongerIsRefused) {
  Bytes bytes = file_of(packed_lstm(GetParam()));
  bytes.push_back(std::byte{0});
  EXPECT_THAT(refusal(bytes), testing::HasSubstr("after the last section"));
}

// Whatever byte is changed: refused, or another model, or (spaces, the device's name, costs) the same one;
// and what is accepted runs.
TEST_P(File, ChangedBytesAreRefusedOrRun) {
  const Bytes bytes = file_of(packed_lstm(GetParam()));
  test::Random random(7);
  for (int i = 0; i < test::scaled(400); ++i) {
    Bytes changed = bytes;
    const auto at = static_cast<std::size_t>(random.integer(0, std::ssize(bytes) - 1));
    changed[at] ^= static_cast<std::byte>(1 << random.integer(0, 7));
    if (!refusal(changed).empty()) continue;
    const auto packed = std::make_shared<const Packed>(parse_packed(changed, "changed"));
    const Model model = unpack(*packed);
    const auto session = find_engine("auto", packed->plan).session(packed, {.batch = 2, .threads = 1});
    const std::vector<float> x(static_cast<std::size_t>(2 * model.input_size), 0.25F);
    std::vector<float> y(static_cast<std::size_t>(2 * model.output_size()));
    session->run({1, x.data(), y.data()});
  }
}

TEST_P(File, BeginningsThatAreNotOursAreNamed) {
  const Bytes good = file_of(packed_lstm(GetParam()));
  Bytes bytes = good;
  bytes[0] = std::byte{'P'};
  EXPECT_THAT(refusal(bytes), testing::HasSubstr("not a .sprnn file"));
  bytes = good;
  bytes[8] = std::byte{2};
  EXPECT_THAT(refusal(bytes), testing::HasSubstr("format version 2"));
  bytes = good;
  bytes[12] = std::byte{1};
  EXPECT_THAT(refusal(bytes), testing::HasSubstr("reserved"));
  bytes = good;
  std::memset(&bytes[16], 0xFF, 8);
  EXPECT_THAT(refusal(bytes), testing::HasSubstr("cut short; pack the checkpoint again"));
  bytes = good;
  bytes[24] = std::byte{'x'};
  EXPECT_THAT(refusal(bytes), testing::HasSubstr("header"));
}

TEST_P(File, HeadersThatLieAreRefused) {
  const Bytes good = file_of(packed_lstm(GetParam()));
  const Parts parts(good);
  ASSERT_EQ(refusal(parts.whole()), "");
  std::vector<std::pair<std::string, json>> lies = {
      {"/plan/problem/hidden_size", 36},
      {"/plan/problem/hidden_size", -35},
      {"/plan/problem/hidden_size", 1e300},
      {"/plan/problem/hidden_size", std::uint64_t{1} << 63},
      {"/plan/problem/hidden_size", "35"},
      {"/plan/problem/input_size", 0},
      {"/plan/problem/projection_size", 35},
      {"/plan/problem/batch", 0},
      {"/plan/problem/dtype", "fp8"},
      {"/plan/problem/directions", json::array()},
      {"/plan/problem/directions/0/layer", 1},
      {"/plan/problem/directions/1/reverse", false},
      {"/plan/problem/directions/0/cell/kind", "gru"},
      {"/plan/problem/directions/0/cell/activations", json::array()},
      {"/plan/problem/directions/0/bias", false},
      {"/plan/problem/directions/0/peephole", std::string(GetParam()) != "cpu"},
      {"/plan/problem/directions/0/weight_hh/rows", 139},
      {"/plan/problem/directions/0/weight_hh/row_nonzeros", json::array({1, 2})},
      {"/plan/problem/directions/0/weight_hh/row_nonzeros/0", 1000},
      {"/plan/problem/directions/0/weight_hh/row_nonzeros/0", -1},
      {"/plan/problem/directions/0/weight_hh/row_nonzeros/3", 9},
      {"/plan/problem/directions/0/weight_ih/row_nonzeros/3", 1},
      {"/plan/directions", json::array()},
      {"/plan/directions/0/strategy", "magic"},
      {"/plan/directions/0/choice", json::object()},
      {"/plan/directions/0/layer", 1},
      {"/plan/device", json::object()},
      {"/sections", json::array()},
      {"/sections/0", json::array()},
      {"/sections/0/0/name", "w_xx"},
      {"/sections/0/0/bytes", 1},
      {"/sections/0/0/bytes", std::uint64_t{1} << 62},
      {"/sections/0/0/bytes", -1},
  };
  if (GetParam() == std::string("h100")) {
    lies.emplace_back("/plan/device/sm_count", 1);
    lies.emplace_back("/plan/device/shared_bytes_per_block", 100);
  }
  for (const auto& [where, what] : lies) {
    Parts lying = parts;
    lying.header.at(json::json_pointer(where)) = what;
    EXPECT_NE(refusal(lying.whole()), "") << where << " = " << what.dump();
  }
}

TEST(File, DeepNestingIsRefused) {
  const std::string header = R"({"plan": )" + std::string(1000000, '[');
  const std::uint64_t length = header.size();
  Bytes bytes = file_of(packed_lstm("cpu"));
  bytes.resize(16);
  bytes.insert(bytes.end(), reinterpret_cast<const std::byte*>(&length),
               reinterpret_cast<const std::byte*>(&length + 1));
  const auto* text = reinterpret_cast<const std::byte*>(header.data());
  bytes.insert(bytes.end(), text, text + length);
  EXPECT_THAT(refusal(bytes), testing::HasSubstr("header"));
  // Well-formed nesting is refused as well, for what it is.
  std::string closed = R"({"plan": )" + std::string(1000000, '[') + std::string(1000000, ']') + "}";
  const std::uint64_t closed_length = closed.size();
  std::memcpy(bytes.data() + 16, &closed_length, sizeof closed_length);
  bytes.resize(24);
  text = reinterpret_cast<const std::byte*>(closed.data());
  bytes.insert(bytes.end(), text, text + closed_length);
  EXPECT_NE(refusal(bytes), "");
}

TEST(File, IsToldByItsFirstBytes) {
  const TemporaryFolder folder;
  save_packed(packed_lstm("cpu"), folder / "a");
  std::ofstream(folder / "b") << "\x93SPRN";
  EXPECT_TRUE(is_packed_file(folder / "a"));
  EXPECT_FALSE(is_packed_file(folder / "b"));
  EXPECT_THROW((void)is_packed_file(folder / "missing"), Error);
}

TEST(File, AnUnwritablePathLeavesNothing) {
  const TemporaryFolder folder;
  EXPECT_THROW(save_packed(packed_lstm("cpu"), folder / "no/such/folder.sprnn"), Error);
  EXPECT_TRUE(std::filesystem::is_empty(folder / ""));
}

// dump() and copies of such a document overflow the stack.
TEST(HostileFile, DeepJsonIsRefused) {
  const std::string deep = std::string(1'000'000, '[') + std::string(1'000'000, ']');
  for (const std::string& header :
       {deep, R"({"plan":{"device":)" + deep + "}}",
        R"({"plan":{"device":{"name":"cpu","kind":"cpu","threads":)" + deep + "}}}"}) {
    Bytes bytes(24 + header.size());
    const std::uint64_t length = header.size();
    const Bytes begin = file_of(packed_lstm("cpu"));
    std::memcpy(bytes.data(), begin.data(), 16);
    std::memcpy(bytes.data() + 16, &length, 8);
    std::memcpy(bytes.data() + 24, header.data(), header.size());
    EXPECT_THAT(refusal(bytes), testing::HasSubstr("nests deeper"));
  }
}

// A bound below zero makes std::clamp undefined.
TEST(HostileFile, CellsOutOfRangeAreRefused) {
  Parts parts(file_of(packed_lstm("cpu")));
  json& cell = parts.header["plan"]["problem"]["directions"][0]["cell"];
  const json good = cell;
  for (const json& clip : {json(-1.0), json(0.0), json(1e300)}) {
    cell["clip"] = clip;
    EXPECT_THAT(refusal(parts.whole()), testing::HasSubstr("clip")) << clip;
  }
  cell = good;
  cell["activations"][1]["alpha"] = 1e300;
  EXPECT_THAT(refusal(parts.whole()), testing::HasSubstr("alpha"));
}

// Every field of the header is part of the model or follows from others, but for the device that the plan was
// made for, what was said of candidates, the counts that only a planner asks for, within what the rows'
// non-zeros leave room for, and choices of a GPU's plan, which the engine takes as they are.
TEST_P(File, EveryFieldOfTheHeaderIsHeldAgainstTheOthers) {
  Parts parts(file_of(packed_lstm(GetParam())));
  const json good = parts.header;
  std::set<std::string> accepted;
  const json flat = good.flatten();
  for (const auto& [path, value] : flat.items()) {
    // Of a long list, such as the rows' non-zeros, the first few and every sixteenth: they are alike.
    const std::string last = path.substr(path.rfind('/') + 1);
    const bool is_listed = !last.empty() && last.find_first_not_of("0123456789") == std::string::npos;
    if (is_listed && std::stoi(last) > 3 && std::stoi(last) % 16 != 0) continue;
    json& changed = parts.header[json::json_pointer(path)];
    if (value.is_number_integer()) {
      changed = value.get<std::int64_t>() + 1;
    } else if (value.is_number()) {
      changed = value.get<double>() * 1.5 + 1.0;
    } else if (value.is_string()) {
      changed = value.get<std::string>() + "x";
    } else if (value.is_boolean()) {
      changed = !value.get<bool>();
    } else {
      changed = 1;  // of an empty list
    }
    if (refusal(parts.whole()).empty()) accepted.insert(path);
    parts.header = good;
  }
  for (const std::string& path : accepted) {
    EXPECT_THAT(path,
                testing::ContainsRegex("^/plan/device/|/rejected/|/part$|/cell/|/choice/|/group_columns$|"
                                       "/tile_slots$|/shared_columns/|/most_of_four$|/row_rests/"));
    if (GetParam() == std::string("cpu")) {
      EXPECT_THAT(path, testing::Not(testing::HasSubstr("/choice/")));
    } else {
      EXPECT_THAT(path, testing::Not(testing::ContainsRegex("/weight_ih/group_columns$")));
    }
  }
}

TEST_P(File, DerivedFieldsThatLieAreNamed) {
  Parts parts(file_of(packed_lstm(GetParam())));
  const json good = parts.header;
  for (const auto& [path, name] :
       {std::pair("/plan/state_bytes", "'/state_bytes' is '7', expected "),
        std::pair("/plan/directions/0/us_per_step", "'/directions/0/us_per_step' is '7', expected "),
        std::pair("/plan/directions/0/packed_bytes", "direction 0: packed_bytes is 7, expected "),
        std::pair("/plan/directions/0/workspace_bytes", "direction 0: workspace_bytes is 7, expected ")}) {
    parts.header[json::json_pointer(path)] = 7;
    EXPECT_THAT(refusal(parts.whole()), testing::HasSubstr(name));
    parts.header = good;
  }
}

// Of a lie that is kept up where packed_bytes follow from it, as those of a CPU do.
std::string refusal_of_consistent(Parts& parts, std::size_t direction) {
  std::string message = refusal(parts.whole());
  const std::string_view expected = ", expected ";
  if (message.find("packed_bytes is ") == std::string::npos) return message;
  parts.header["plan"]["directions"][direction]["packed_bytes"] =
      std::stoll(message.substr(message.find(expected) + expected.size()));
  return refusal(parts.whole());
}

// Of what only a planner asks for: whatever the layout, the rows' non-zeros leave little room.
TEST_P(File, CountsThatTheRowsLeaveNoRoomForAreNamed) {
  Parts parts(file_of(packed_lstm(GetParam())));
  const json good = parts.header;
  const json::json_pointer direction("/plan/problem/directions/2");
  const auto refused = [&](const std::string& field, const json& value) {
    parts.header[direction / json::json_pointer(field)] = value;
    std::string message = refusal_of_consistent(parts, 2);
    parts.header = good;
    return message;
  };
  using testing::ContainsRegex;
  using testing::HasSubstr;
  for (const char* name : {"weight_ih", "weight_hh", "weight_hr"}) {
    const std::string matrix = std::string("/") + name;
    for (const char* count : {"group_columns", "tile_slots"}) {
      // Or what the layout tells.
      for (const int lie : {0, 1})
        EXPECT_THAT(refused(matrix + "/" + count, lie), ContainsRegex(std::string(count) + " is .*, "));
    }
    const json& summary = good[direction][name];
    EXPECT_THAT(refused(matrix + "/tile_slots", summary["rows"].get<int>() * summary["cols"].get<int>()),
                HasSubstr("tile_slots is "));
  }
  EXPECT_THAT(refused("/weight_hh/shared_columns/0", 0), HasSubstr("weight_hh_l1: shared_columns[0] is 0, "));
  EXPECT_THAT(refused("/weight_hh/shared_columns/0", 9),
              testing::AnyOf("", HasSubstr("shared_columns[0] is")));
  EXPECT_THAT(refused("/weight_hh/most_of_four", 0), HasSubstr("weight_hh_l1: most_of_four is 0, expected"));
  EXPECT_THAT(refused("/weight_hh/most_of_four", 2), HasSubstr("most_of_four is 2"));
  EXPECT_THAT(refused("/weight_hh/row_rests", json::array_t(140, 0)), ContainsRegex("row_rests.* 0, "));
  EXPECT_THAT(refused("/weight_hh/row_rests/0", 8), HasSubstr("row_rests[0] is 8, expected 0 to "));
  EXPECT_THAT(refused("/weight_ih/most_of_four", 4),
              HasSubstr("weight_ih_l1: shared_columns, most_of_four and"));
  parts.header[direction]["weight_hh"].erase("shared_columns");
  EXPECT_THAT(refusal(parts.whole()), HasSubstr("weight_hh_l1: shared_columns are missing"));
  parts.header = good;
  parts.header[direction]["weight_hh"].erase("most_of_four");
  EXPECT_THAT(refusal(parts.whole()), HasSubstr("weight_hh_l1: most_of_four is missing"));
}

// Whether four products may be summed in half precision depends on it.
TEST(HostileFile, WhetherAWeightIsLargeIsHeldAgainstTheWeights) {
  const test::ModelSpec spec{
      .cell = gru_cell(), .dtype = DType::fp16, .input = 30, .hidden = 40, .density = 0.4};
  const auto parts_of = [](const Model& model, std::optional<GpuStrategy> strategy) {
    const PlanOptions options{{}, {.strategy = strategy}};
    return Parts(
        file_of(pack(model, make_plan(describe(model, 1), find_device(strategy ? "h100" : "cpu"), options))));
  };
  for (const std::optional<GpuStrategy> strategy :
       {std::optional<GpuStrategy>(), std::optional(GpuStrategy::gather),
        std::optional(GpuStrategy::dense_mma), std::optional(GpuStrategy::sparse_mma),
        std::optional(GpuStrategy::vector_mma)}) {
    SCOPED_TRACE(strategy ? to_string(*strategy) : "cpu");
    for (const char* name : {"weight_ih", "weight_hh"}) {
      Model model = test::random_model(spec);
      Parts parts = parts_of(model, strategy);
      const auto summary = [&]() -> json& { return parts.header["plan"]["problem"]["directions"][0][name]; };
      EXPECT_FALSE(summary().contains("large_weights"));
      summary()["large_weights"] = true;
      EXPECT_THAT(refusal(parts.whole()),
                  testing::ContainsRegex("large_weights is |half_sums is 1, expected 0"));
      summary()["large_weights"] = false;
      EXPECT_THAT(refusal(parts.whole()),
                  testing::HasSubstr("large_weights' is 'false', expected no such field"));

      Direction& direction = model.layers[0].directions[0];
      Matrix& matrix = name == std::string("weight_ih") ? direction.w_ih : direction.w_hh;
      *std::find_if(matrix.values.begin(), matrix.values.end(), is_nonzero) = -8200.0F;
      parts = parts_of(model, strategy);
      EXPECT_EQ(summary().at("large_weights"), true);
      EXPECT_EQ(refusal(parts.whole()), "");
      summary().erase("large_weights");
      EXPECT_THAT(refusal(parts.whole()), testing::HasSubstr("large_weights is "));
    }
  }
}

// What a layout tells by itself is held against it, and not only within bounds.
TEST(HostileFile, CountsThatALayoutTellsAreExact) {
  const test::ModelSpec spec{
      .cell = gru_cell(), .dtype = DType::fp16, .input = 30, .hidden = 40, .density = 0.4};
  const auto refused = [](const test::ModelSpec& of, const char* target, const PlanOptions& options,
                          const std::string& field) {
    const Model model = test::random_model(of);
    Parts parts(file_of(pack(model, make_plan(describe(model, 1), find_device(target), options))));
    EXPECT_EQ(refusal(parts.whole()), "");
    json& count = parts.header["plan"]["problem"]["directions"][0][json::json_pointer(field)];
    count = count.get<int>() - 1;
    return refusal_of_consistent(parts, 0);
  };
  using testing::HasSubstr;
  for (const CpuLayout layout : {CpuLayout::dense, CpuLayout::columns}) {
    EXPECT_THAT(refused(spec, "cpu", {{layout, {}, {}}, {}}, "/weight_ih/group_columns"),
                HasSubstr("w_ih: group_columns is "));
  }
  EXPECT_THAT(refused(spec, "cpu", {{{}, CpuLayout::tile, {}}, {}}, "/weight_hh/tile_slots"),
              HasSubstr("w_hh: tile_slots is "));
  for (const InputStorage storage : {InputStorage::dense, InputStorage::csr}) {
    EXPECT_THAT(refused(spec, "h100", {{}, {.w_ih = storage}}, "/weight_ih/group_columns"),
                HasSubstr("w_ih: group_columns is "));
  }
  EXPECT_THAT(
      refused(spec, "h100", {{}, {.strategy = GpuStrategy::vector_mma}}, "/weight_hh/shared_columns/3"),
      HasSubstr("w_hh: shared_columns[3] is "));

  test::ModelSpec pairs = spec;
  pairs.mask = test::Mask::two_of_four;
  const Model model = test::random_model(pairs);
  Parts parts(file_of(pack(model, make_plan(describe(model, 1), find_device("h100"),
                                            {{}, {.strategy = GpuStrategy::sparse_mma}}))));
  json& summary = parts.header["plan"]["problem"]["directions"][0]["weight_hh"];
  summary["most_of_four"] = 3;
  summary["row_rests"] = json::array_t(120, 1);
  EXPECT_THAT(refusal(parts.whole()), HasSubstr("w_hh: the problem has row_rests, expected none"));
}

TEST_P(File, UnknownAndMissingFieldsAreNamed) {
  Parts parts(file_of(packed_lstm(GetParam())));
  const json good = parts.header;
  for (const std::string at : {"", "/plan", "/plan/device", "/plan/problem", "/plan/problem/directions/0",
                               "/plan/problem/directions/0/weight_hh", "/plan/directions/0",
                               "/plan/directions/0/choice", "/sections/0/0"}) {
    parts.header[json::json_pointer(at)]["more"] = "text";
    EXPECT_THAT(refusal(parts.whole()), testing::AllOf(testing::HasSubstr("more"),
                                                       testing::ContainsRegex("no such field|unknown key")))
        << at;
    parts.header = good;
  }
  parts.header["plan"].erase("state_bytes");
  EXPECT_THAT(refusal(parts.whole()), testing::HasSubstr("'/state_bytes' is missing, expected "));
  EXPECT_THAT(refusal(parts.whole()), testing::EndsWith("; pack the checkpoint again"));
  // Biases come after the matrices.
  parts.header = good;
  std::swap(parts.header["sections"][0].front(), parts.header["sections"][0].back());
  EXPECT_NE(refusal(parts.whole()), "");
}

// Weights under the plan of others: the counts and sizes are those of these weights.
TEST_P(File, RoundTripsUnderThePlanOfOtherWeights) {
  test::ModelSpec spec{.cell = gru_cell(), .dtype = DType::fp16, .hidden = 40, .density = 0.3};
  const Plan plan = make_plan(describe(test::random_model(spec), 1), find_device(GetParam()));
  spec.seed = 9;
  spec.density = 0.25;
  const Model other = test::random_model(spec);
  try {
    const Packed packed = pack(other, plan);
    EXPECT_EQ(unpack(parse_packed(file_of(packed), "other.sprnn")), other);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported) << error.what();  // a gather plan may lack room
  }
}

// A plan that was edited by hand is refused, not packed into something else.
TEST(EditedPlan, IsRefusedByPack) {
  test::ModelSpec spec{.cell = gru_cell(), .dtype = DType::fp16, .hidden = 40};
  const Model model = test::random_model(spec);
  const auto refused = [&](std::string_view target, const auto& edit) {
    PlanOptions options;
    if (target != "cpu") options.gpu.strategy = GpuStrategy::gather;
    json plan = json::parse(to_json(make_plan(describe(model, 1), find_device(target), options)));
    edit(plan["directions"][0]["choice"]);
    try {
      (void)pack(model, plan_from_json(plan.dump()));
      return false;
    } catch (const Error& error) {
      return error.code() == ErrorCode::format;
    }
  };
  EXPECT_TRUE(refused("cpu", [](json& choice) { choice["w_hh"] = "none"; }));
  EXPECT_TRUE(refused("cpu", [](json& choice) { choice["w_hr"] = "row"; }));
  EXPECT_TRUE(refused("h100", [](json& choice) { choice["w_hh"]["units_a_cta"] = 1; }));
  EXPECT_TRUE(refused("h100", [](json& choice) { choice["ctas"] = 2; }));
  EXPECT_TRUE(refused("h100", [](json& choice) { choice["w_hh"]["passes"].clear(); }));
}

std::string refusal_by_pack(const Model& model, const json& plan) {
  try {
    (void)pack(model, plan_from_json(plan.dump()));
    return "not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::format) << error.what();
    return error.what();
  }
}

TEST(EditedPlan, OfAClusterIsRefusedByPack) {
  test::ModelSpec spec{.cell = gru_cell(), .dtype = DType::fp16, .hidden = 200};
  const Model model = test::random_model(spec);
  const auto refused = [&](const GpuWishes& wishes, const std::string& field, const json& value) {
    json plan = json::parse(to_json(make_plan(describe(model, 2), find_device("h100"), {{}, wishes})));
    plan["directions"][0]["choice"].at(json::json_pointer(field)) = value;
    return refusal_by_pack(model, plan);
  };
  using testing::HasSubstr;
  const GpuWishes cluster{.groups = 1, .ctas = 4, .in_cluster = true};
  const GpuWishes many{.groups = 1, .ctas = 25}, barrier{.groups = 1, .ctas = 4, .stamps = false};
  EXPECT_THAT(refused(cluster, "/shared/ring", 0), HasSubstr("shared.ring is 0, expected"));
  EXPECT_THAT(refused(cluster, "/in_cluster", false), HasSubstr("expected 0"));
  EXPECT_THAT(refused(cluster, "/stamps", false), HasSubstr("in_cluster is 1, expected 0 without stamps"));
  EXPECT_THAT(refused(cluster, "/exchange_word", "tag"),
              HasSubstr("exchange_word is 1, expected 0, a stamp"));
  EXPECT_THAT(refused(many, "/in_cluster", true),
              HasSubstr("in_cluster is 1, expected 0 with more than 16 CTAs"));
  EXPECT_THAT(refused(barrier, "/in_cluster", true), HasSubstr("in_cluster is 1, expected 0 without stamps"));
}

TEST(EditedPlan, OfDenseMmaIsRefusedByPack) {
  test::ModelSpec spec{.cell = gru_cell(), .dtype = DType::fp16, .hidden = 200};
  const Model model = test::random_model(spec);
  const auto refused = [&](int batch, std::optional<bool> asks_late, std::string_view field,
                           const json& value) {
    const GpuWishes wishes{
        .strategy = GpuStrategy::dense_mma, .groups = 1, .warps = 4, .row_parts = 1, .asks_late = asks_late};
    json plan = json::parse(to_json(make_plan(describe(model, batch), find_device("h100"), {{}, wishes})));
    plan["directions"][0]["choice"][field] = value;
    return refusal_by_pack(model, plan);
  };
  using testing::HasSubstr;
  EXPECT_THAT(refused(4, {}, "row_parts", 0), HasSubstr("row_parts is 0, expected 1 to 2"));
  EXPECT_THAT(refused(4, {}, "row_parts", 3), HasSubstr("row_parts is 3, expected 1 to 2"));
  EXPECT_THAT(refused(4, {}, "row_parts", 2),
              HasSubstr("steps is 4, expected enough for 200 units in 2 warps"));
  EXPECT_THAT(refused(4, {}, "row_parts", 4), HasSubstr("steps is 4, expected enough for"));
  EXPECT_THAT(refused(4, {}, "kept_steps", 1), HasSubstr("kept_steps is 1, expected 0 to 0"));
  EXPECT_THAT(refused(4, {}, "asks_late", true), HasSubstr("asks_late is 1, expected 0"));
  EXPECT_THAT(refused(4, {}, "asks_late", "no"), HasSubstr("expected true or false"));
  EXPECT_THAT(refused(9, true, "steps", json{1, 3, 0}), HasSubstr("steps.registers is 1, expected 0"));
  EXPECT_THAT(refused(9, true, "steps", json{0, 3, 1}),
              HasSubstr("steps.shared is 3, expected a multiple of 2"));
}

}  // namespace
}  // namespace sprnn
