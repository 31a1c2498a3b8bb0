// What of the race on a GPU needs none: its cases, which configuration counts, and its reports.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "bench/race_ready.hpp"
#include "bench/race_report.hpp"
#include "bench/race_result.hpp"
#include "bench/shapes.hpp"
#include "support/temporary_folder.hpp"

namespace sprnn::bench {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

TEST(Shapes, ACaseIsReadInTheWordsOfTheCommandLine) {
  const RaceCase one =
      parse_case("--cell gru --hidden 2560 --batch 4 --density 0.1 --pattern unit:4x1 --seed 7");
  EXPECT_EQ(one.layer.cell, gru_cell());
  EXPECT_EQ(one.layer.hidden_size, 2560);
  EXPECT_EQ(one.layer.dtype, DType::fp16);
  EXPECT_EQ(one.layer.pattern, parse_pattern("unit:4x1"));
  EXPECT_DOUBLE_EQ(one.layer.density, 0.1);
  EXPECT_EQ(one.batch, 4);
  EXPECT_EQ(one.seed, 7U);
  EXPECT_TRUE(one.peers);
  EXPECT_FALSE(one.whole_layer);
  EXPECT_EQ(one.wishes, GpuWishes{});
  const RaceCase ablated = parse_case(
      "--cell tanh --hidden 8 --batch 1 --density 1 --no-stamps --no-wide-loads --no-bank-order --no-peers");
  EXPECT_EQ(ablated.wishes.stamps, false);
  EXPECT_EQ(ablated.wishes.wide_loads, false);
  EXPECT_EQ(ablated.wishes.bank_order, false);
  EXPECT_FALSE(ablated.peers);
  const RaceCase planned = parse_case(
      "--cell tanh --hidden 8 --batch 1 --density 1 --strategy dense-mma --groups 2 --warps 12 --lanes 4");
  EXPECT_EQ(planned.wishes.strategy, GpuStrategy::dense_mma);
  EXPECT_EQ(planned.wishes.groups, 2);
  EXPECT_EQ(planned.wishes.warps, 12);
  EXPECT_EQ(planned.wishes.lanes, 4);
}

TEST(Shapes, AWrongCaseIsRefusedWithItsWords) {
  for (const char* line :
       {"--cell gru --hidden 2560 --batch 4", "--cell gru --hidden 0 --batch 4 --density 0.1",
        "--cell elman --hidden 8 --batch 4 --density 0.1", "--cell gru --hidden 8 --batch 4 --density 1.5",
        "--cell gru --hidden 8 --batch 4 --density 0.1 --depth 3",
        "--cell gru --hidden 8 --batch 4 --density 0.1 --strategy wgmma"}) {
    EXPECT_THROW((void)parse_case(line), Error) << line;
  }
}

TEST(Shapes, AFileHasComments) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "shapes.txt";
  std::ofstream(path) << "# a comment\n\n  --cell tanh --hidden 8 --batch 1 --density 1 \n"
                         "--cell relu --hidden 8 --batch 1 --density 1\n";
  const std::vector<RaceCase> cases = read_cases(path);
  ASSERT_EQ(cases.size(), 2U);
  EXPECT_EQ(cases[0].text, "--cell tanh --hidden 8 --batch 1 --density 1");
  std::ofstream(path, std::ios::app) << "--cell tanh\n";
  try {
    (void)read_cases(path);
    FAIL() << "a case without a size was read";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr(":5:"));
  }
}

TEST(Shapes, TheListsOfTheRaceCanBeRead) {
  std::size_t lists = 0;
  for (const auto& list :
       std::filesystem::directory_iterator(std::filesystem::path(SPRNN_BENCH_FOLDER) / "shapes")) {
    if (!list.path().filename().string().starts_with("gpu")) continue;
    EXPECT_FALSE(read_cases(list.path()).empty()) << list.path();
    ++lists;
  }
  EXPECT_GT(lists, 10U);
}

TEST(Shapes, PartsTakeEveryCaseOnce) {
  std::vector<RaceCase> cases(7);
  for (std::size_t i = 0; i < cases.size(); ++i) cases[i].text = fmt::format("{}", i);
  std::vector<std::string> seen;
  for (const char* part : {"1/3", "2/3", "3/3"}) {
    for (const RaceCase& one : part_of(cases, parse_part(part))) seen.push_back(one.text);
  }
  EXPECT_THAT(seen, ElementsAre("0", "3", "6", "1", "4", "2", "5"));
  for (const char* wrong : {"", "1", "0/2", "3/2", "1/2/3", "a/b", "1/"})
    EXPECT_THROW((void)parse_part(wrong), Error) << wrong;
}

TEST(Ready, TheRecurrentPartAloneHasOneIdentityAGate) {
  const RaceCase entered = parse_case("--cell gru --hidden 16 --batch 2 --density 0.25");
  const ReadyCase ready = make_ready(entered, find_device("h100"));
  const Direction& direction = ready.model.layers.at(0).directions.at(0);
  ASSERT_EQ(direction.w_ih.rows, 3 * 16);
  ASSERT_EQ(direction.w_ih.cols, 16);
  for (std::int64_t r = 0; r < direction.w_ih.rows; ++r) {
    for (std::int64_t c = 0; c < direction.w_ih.cols; ++c)
      EXPECT_EQ(direction.w_ih.row(r)[c], r % 16 == c ? 1.0F : 0.0F) << r << ", " << c;
  }
  EXPECT_EQ(direction.w_hh.nonzeros(), 3 * 16 * 16 / 4);
  EXPECT_EQ(unpack(*ready.packed), ready.model);
  EXPECT_THAT(ready.workload.lengths, ElementsAre(many_steps, few_steps, short_steps));
  EXPECT_EQ(ready.checked_steps, short_steps);
  EXPECT_EQ(ready.reference.size(), 64U * 2U * 16U);
}

TEST(Ready, AWholeLayerIsPrunedInBothMatrices) {
  const Model model = race_model(parse_case("--cell tanh --hidden 32 --batch 1 --density 0.5 --whole-layer"));
  const Direction& direction = model.layers.at(0).directions.at(0);
  EXPECT_EQ(direction.w_ih.nonzeros(), 32 * 32 / 2);
  EXPECT_EQ(direction.w_hh.nonzeros(), 32 * 32 / 2);
}

Attempt attempt(const std::string& name, double tried, std::optional<double> slope = {}) {
  Attempt one;
  one.name = name;
  one.tried_us_per_step = tried;
  if (slope) {
    one.timing = Timing{};
    one.timing->slope_us_per_step = slope;
    one.timing->intercept_us = 10.0;
  }
  return one;
}

TEST(Choice, FinalistsAreTheFastestThatRan) {
  Attempt refused = attempt("refused", 0.0);
  refused.refused = "not supported";
  const std::vector<Attempt> attempts{attempt("slow", 9.0), refused,           attempt("a", 5.1),
                                      attempt("b", 5.0),    attempt("c", 5.2), attempt("d", 5.3)};
  EXPECT_THAT(finalists(attempts, 3, 1.25), ElementsAre(3, 2, 4));
  EXPECT_THAT(finalists(attempts, 9, 1.03), ElementsAre(3, 2));
  EXPECT_THAT(finalists(std::vector<Attempt>{refused}, 3, 1.25), ElementsAre());
}

TEST(Choice, TheBestOfThePeersFinalistsCounts) {
  // What was fastest beforehand, on few steps, need not have the least slope.
  const Rival rival{"peer", "1", {attempt("a", 3.0, 2.9), attempt("b", 3.1, 2.5), attempt("c", 2.0)}};
  ASSERT_NE(best_attempt(rival), nullptr);
  EXPECT_EQ(best_attempt(rival)->name, "b");
  EXPECT_EQ(best_attempt({"peer", "1", {attempt("c", 2.0)}}), nullptr);
}

RaceResult result_of(const std::string& line, double ours, double theirs) {
  RaceResult result;
  result.entered = parse_case(line);
  result.recurrent.slope_us_per_step = ours;
  result.recurrent.intercept_us = 20.0;
  result.layer.slope_us_per_step = ours + 0.1;
  result.layer.intercept_us = 30.0;
  result.rel_error = 5e-4;
  Attempt refused = attempt("PERSIST_STATIC fp16, eager", 0.0);
  refused.refused = "cudnnRNNForward: CUDNN_STATUS_NOT_SUPPORTED";
  result.rivals = {{"cuDNN", "9", {refused, attempt("STANDARD fp16, graph", theirs, theirs)}},
                   {"cuSPARSE + cell kernel", "12", {refused}}};
  return result;
}

TEST(Report, SaysWhoIsFasterWhoRefusesAndWhatIsLost) {
  const std::string won = "--cell lstm --hidden 1024 --batch 4 --density 0.1";
  const std::string lost = "--cell tanh --hidden 256 --batch 32 --density 0.5";
  const test::TemporaryFolder folder;
  const auto stem = folder.path() / "new" / "race";
  {
    RaceReport report(stem, {{"gpu", "G"}, {"date", "today"}});
    report.add(to_json(result_of(won, 1.0, 2.5)));
    report.add(to_json(result_of(lost, 4.0, 3.0)));
  }
  // A second part goes on where the first ended, and replaces what it runs again.
  RaceReport report(stem, {{"gpu", "G"}, {"date", "tomorrow"}});
  report.add(to_json(result_of(won, 1.0, 3.5)));
  report.add_failure(parse_case("--cell gru --hidden 8 --batch 1 --density 1"), "no memory");
  std::ifstream file(stem.string() + ".json");
  const Json json = Json::parse(file);
  EXPECT_EQ(json, report.json());
  ASSERT_EQ(json.at("cases").size(), 3U);
  EXPECT_EQ(json.at("cases")[0].at("run"), 1);
  EXPECT_EQ(json.at("cases")[1].at("run"), 0);
  EXPECT_DOUBLE_EQ(json.at("cases")[0].at("rivals")[0].at("us_per_step"), 3.5);

  const std::string text = to_markdown(json);
  EXPECT_THAT(text,
              HasSubstr("| `" + won + "` | 1.00 | 3.50 | refused | 3.50 | cuDNN: STANDARD fp16, graph |"));
  EXPECT_THAT(text, HasSubstr("- `" + lost + "`: 4.00 to 3.00 of cuDNN"));
  EXPECT_THAT(text, Not(HasSubstr("- `" + won + "`")));
  EXPECT_THAT(text, HasSubstr("CUDNN_STATUS_NOT_SUPPORTED (2 cases)"));
  EXPECT_THAT(text, HasSubstr("no memory"));
}

TEST(Report, AWholeLayerCountsWithItsProjection) {
  const std::string line = "--cell lstm --hidden 1024 --batch 4 --density 0.1";
  EXPECT_DOUBLE_EQ(to_json(result_of(line, 1.0, 2.5)).at("us_per_step"), 1.0);
  EXPECT_DOUBLE_EQ(to_json(result_of(line, 1.0, 2.5)).at("call_us_per_step"), 1.1);
  EXPECT_DOUBLE_EQ(to_json(result_of(line + " --whole-layer", 1.0, 2.5)).at("us_per_step"), 1.1);
}

TEST(Report, AnotherFileIsNotOverwritten) {
  const test::TemporaryFolder folder;
  std::ofstream(folder.path() / "race.json") << "[1, 2]";
  EXPECT_THROW(RaceReport(folder.path() / "race", {}), Error);
}

}  // namespace
}  // namespace sprnn::bench
