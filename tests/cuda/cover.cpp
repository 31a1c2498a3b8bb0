#include "cuda/cover.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

namespace sprnn::test {

namespace {

constexpr std::array<std::int64_t, 10> sizes = {1, 7, 48, 250, 1024, 2304, 4096, 6000, 10000, 16384};
constexpr std::array batches = {1, 2, 3, 4, 8, 12, 16, 32, 64};
constexpr std::array densities = {0.01, 0.05, 0.1, 0.3, 0.7};
constexpr std::array dtypes = {DType::fp32, DType::fp16, DType::bf16};
constexpr std::array lanes = {0, 1, 4, 16};  // 0: the planner's choice
constexpr std::array warps = {0, 4, 8, 12, 16};
constexpr std::array masks = {Mask::uniform, Mask::skewed_rows};
constexpr std::array projected_shares = {0.33, 0.1, 0.5};  // R / H, by turns
constexpr int lstm_with_projection = 4;

// A row holds the index of a value for each of these, problems first.
enum Factor {
  cell,
  dtype,
  batch,
  density,
  size,
  architecture,
  stamps,
  wide,
  fence,
  opaque,
  bank,
  lane,
  warp,
  group,
  wait,
  word,
  mask,
  factors
};
constexpr int triple_factors = density + 1;
constexpr std::array<int, factors> values = {5,
                                             dtypes.size(),
                                             batches.size(),
                                             densities.size(),
                                             sizes.size(),
                                             3,
                                             2,
                                             2,
                                             2,
                                             3,
                                             2,
                                             lanes.size(),
                                             warps.size(),
                                             2,
                                             2,
                                             2,
                                             masks.size()};
using Row = std::array<int, factors>;

// What must meet: every pair of factors, and every three of cell, type, batch and density.
std::vector<std::vector<int>> meetings() {
  std::vector<std::vector<int>> all;
  for (int a = 0; a < factors; ++a) {
    for (int b = a + 1; b < factors; ++b) {
      all.push_back({a, b});
      for (int c = b + 1; c < triple_factors; ++c) all.push_back({a, b, c});
    }
  }
  return all;
}

std::vector<int> met(const Row& row, std::size_t meeting, const std::vector<int>& of) {
  std::vector<int> found{static_cast<int>(meeting)};
  for (const int factor : of) found.push_back(row[static_cast<std::size_t>(factor)]);
  return found;
}

// Greedy: a row begins with what is missing, and of some random fillings takes the one that meets most.
std::vector<Row> covering_rows() {
  constexpr int fillings = 12;
  const std::vector<std::vector<int>> wanted = meetings();
  std::set<std::vector<int>> missing;
  for (std::size_t m = 0; m < wanted.size(); ++m) {
    std::vector<int> at(wanted[m].size(), 0);
    for (bool more = true; more;) {
      std::vector<int> one{static_cast<int>(m)};
      one.insert(one.end(), at.begin(), at.end());
      missing.insert(one);
      more = false;
      for (std::size_t i = 0; i < at.size() && !more; ++i) {
        more = ++at[i] < values[static_cast<std::size_t>(wanted[m][i])];
        if (!more) at[i] = 0;
      }
    }
  }
  Random random(20261122);
  std::vector<Row> rows;
  while (!missing.empty()) {
    // Of the largest meetings first: they determine how many rows there will be.
    const std::vector<int> first = *std::prev(missing.end());
    Row best{};
    int most = 0;
    for (int i = 0; i < fillings; ++i) {
      Row row;
      for (std::size_t f = 0; f < factors; ++f) row[f] = static_cast<int>(random.integer(0, values[f] - 1));
      const std::vector<int>& of = wanted[static_cast<std::size_t>(first[0])];
      for (std::size_t k = 0; k < of.size(); ++k) row[static_cast<std::size_t>(of[k])] = first[k + 1];
      int gain = 0;
      for (std::size_t m = 0; m < wanted.size(); ++m)
        gain += static_cast<int>(missing.count(met(row, m, wanted[m])));
      if (gain > most) best = row, most = gain;
    }
    for (std::size_t m = 0; m < wanted.size(); ++m) missing.erase(met(best, m, wanted[m]));
    rows.push_back(best);
  }
  return rows;
}

CoverCase make_case(const Row& row, std::uint64_t seed) {
  CoverCase c;
  c.spec.cell = standard_cells()[static_cast<std::size_t>(std::min(row[cell], lstm_with_projection - 1))];
  c.spec.dtype = dtypes[static_cast<std::size_t>(row[dtype])];
  c.spec.hidden = sizes[static_cast<std::size_t>(row[size])];
  if (row[cell] == lstm_with_projection && c.spec.hidden > 1)
    c.spec.projection = static_cast<std::int64_t>(
        std::ceil(projected_shares[seed % projected_shares.size()] * static_cast<double>(c.spec.hidden)));
  c.spec.density = densities[static_cast<std::size_t>(row[density])];
  c.spec.mask = masks[static_cast<std::size_t>(row[mask])];
  c.spec.seed = seed;
  c.batch = batches[static_cast<std::size_t>(row[batch])];
  c.architecture = row[architecture];
  c.device = c.architecture == 0 ? "a100" : "h100";
  c.wishes.strategy = GpuStrategy::gather;
  if (row[stamps] == 1) c.wishes.stamps = false;
  if (row[wide] == 1) c.wishes.wide_loads = false;
  if (row[fence] == 1) c.wishes.fence = true;
  if (row[opaque] > 0) c.wishes.opaque_pairs = row[opaque] == 1;
  if (row[bank] == 1) c.wishes.bank_order = false;
  if (row[lane] > 0) c.wishes.lanes = lanes[static_cast<std::size_t>(row[lane])];
  if (row[warp] > 0) c.wishes.warps = warps[static_cast<std::size_t>(row[warp])];
  if (row[group] == 1) c.wishes.groups = 1;
  if (row[wait] == 1) c.wishes.poll_wait_cycles = 0;
  c.tagged = row[word] == 1;
  if (seed % 2 == 0) c.wishes.in_cluster = false;
  return c;
}

}  // namespace

std::string to_string(const CoverCase& c) {
  std::vector<std::string> wishes;
  const auto wish = [&](std::string_view name, const auto& value) {
    if (value) wishes.push_back(fmt::format("{}={:d}", name, *value));
  };
  if (c.wishes.strategy) wishes.emplace_back(to_string(*c.wishes.strategy));
  wish("stamps", c.wishes.stamps);
  wish("wide_loads", c.wishes.wide_loads);
  wish("fence", c.wishes.fence);
  wish("opaque_pairs", c.wishes.opaque_pairs);
  wish("bank_order", c.wishes.bank_order);
  wish("row_parts", c.wishes.row_parts);
  wish("asks_late", c.wishes.asks_late);
  wish("lanes", c.wishes.lanes);
  wish("warps", c.wishes.warps);
  wish("groups", c.wishes.groups);
  wish("ctas", c.wishes.ctas);
  wish("in_cluster", c.wishes.in_cluster);
  wish("group_batch", c.wishes.group_batch);
  wish("poll_wait_cycles", c.wishes.poll_wait_cycles);
  return fmt::format("{}; batch {}, {}, wishes [{}]{}", to_string(c.spec), c.batch, c.device,
                     fmt::join(wishes, " "), c.tagged ? ", tagged" : "");
}

std::vector<CoverCase> cover() {
  std::vector<CoverCase> cases;
  for (const Row& row : covering_rows()) cases.push_back(make_case(row, cases.size() + 1));
  return cases;
}

namespace {

CoverCase draw_mma_case(std::uint64_t seed, const std::vector<GpuStrategy>& strategies) {
  Random random(seed);
  const auto one_of = [&](auto... choices) {
    const std::common_type_t<decltype(choices)...> all[] = {choices...};
    return all[random.integer(0, sizeof...(choices) - 1)];
  };
  CoverCase c;
  c.spec.cell = standard_cells()[static_cast<std::size_t>(random.integer(0, 3))];
  c.spec.dtype = one_of(DType::fp16, DType::bf16);
  c.spec.hidden = one_of(7, 48, 250, 1024, 1500, 2304, 2560, 4096, 6000);
  c.spec.density = one_of(0.01, 0.1, 0.3);
  c.spec.seed = seed;
  c.batch = one_of(1, 2, 3, 4, 8, 16, 32);
  c.architecture = static_cast<int>(random.integer(0, 2));
  c.device = c.architecture == 0 ? "a100" : "h100";
  c.wishes.strategy = strategies[static_cast<std::size_t>(
      random.integer(0, static_cast<std::int64_t>(strategies.size()) - 1))];
  if (random.chance(0.25)) c.wishes.stamps = false;
  if (random.chance(0.5)) c.wishes.warps = one_of(4, 8, 12, 16);
  if (random.chance(0.3)) c.wishes.groups = 1;
  if (random.chance(0.3)) c.wishes.group_batch = std::min(static_cast<int>(c.batch), one_of(4, 8, 16));
  c.tagged = random.chance(0.3);
  if (c.wishes.strategy != GpuStrategy::vector_mma) {
    if (random.chance(0.3)) c.wishes.row_parts = 2;
    if (c.batch > 8 && c.wishes.group_batch.value_or(16) > 8 && random.chance(0.6)) c.wishes.asks_late = true;
    if (c.wishes.asks_late) c.wishes.groups = 1;
  }
  if (c.spec.hidden <= 1024 && random.chance(0.4)) c.wishes.ctas = one_of(4, 8, 16);
  if (random.chance(0.3)) c.wishes.in_cluster = false;
  return c;
}

}  // namespace

std::vector<CoverCase> mma_cover() {
  constexpr std::uint64_t draws = 120, whole_rows = 40, sparse = 80, seed_of_sparse = 1000, rests = 80,
                          seed_of_rests = 2000;
  std::vector<CoverCase> cases;
  for (std::uint64_t seed = 1; seed <= draws; ++seed)
    cases.push_back(draw_mma_case(seed, {GpuStrategy::dense_mma, GpuStrategy::vector_mma}));
  for (std::uint64_t seed = 1; seed <= sparse; ++seed) {
    cases.push_back(draw_mma_case(seed_of_sparse + seed, {GpuStrategy::sparse_mma}));
    cases.back().spec.mask = Mask::two_of_four;
  }
  for (std::uint64_t seed = 1; seed <= rests; ++seed) {
    CoverCase& c = cases.emplace_back(draw_mma_case(seed_of_rests + seed, {GpuStrategy::sparse_mma}));
    c.wishes.row_parts = std::nullopt;
    c.wishes.asks_late = std::nullopt;
    if (c.wishes.group_batch) c.wishes.group_batch = std::min(*c.wishes.group_batch, 8);
  }
  for (std::uint64_t seed = 1; seed <= whole_rows; ++seed) {
    Random random(draws + seed);
    CoverCase c;
    c.spec.cell = standard_cells()[seed % 4];
    c.spec.dtype = random.chance(0.5) ? DType::fp16 : DType::bf16;
    c.spec.hidden = random.integer(16, c.spec.cell.gates() == 1 ? 1000 : 512);
    c.spec.density = 0.1;
    c.spec.mask = Mask::two_of_four;
    c.spec.seed = seed;
    c.batch = static_cast<int>(random.integer(1, 8));
    c.architecture = seed % 8 == 0 ? 0 : static_cast<int>(random.integer(1, 2));
    c.device = c.architecture == 0 ? "a100" : "h100";
    const int warps = random.chance(0.3) ? 12 : random.chance(0.5) ? 8 : 4;
    c.wishes = {.strategy = seed % 3 == 0 ? GpuStrategy::sparse_mma : GpuStrategy::dense_mma,
                .groups = 1,
                .group_batch = static_cast<int>(c.batch),
                .warps = warps,
                .row_parts = warps,
                .fence = random.chance(0.2),
                .in_cluster = c.architecture > 0 && seed % 5 != 0};
    cases.push_back(c);
  }
  return cases;
}

std::vector<CoverCase> full_matrix() {
  const std::vector<Row> switches = covering_rows();
  std::vector<CoverCase> cases;
  Row row{};
  for (row[cell] = 0; row[cell] < values[cell]; ++row[cell]) {
    for (row[dtype] = 0; row[dtype] < values[dtype]; ++row[dtype]) {
      for (row[batch] = 0; row[batch] < values[batch]; ++row[batch]) {
        for (row[density] = 0; row[density] < values[density]; ++row[density]) {
          for (row[size] = 0; row[size] < values[size]; ++row[size]) {
            for (row[architecture] = 0; row[architecture] < values[architecture]; ++row[architecture]) {
              const Row& turn = switches[cases.size() % switches.size()];
              std::copy(turn.begin() + stamps, turn.end(), row.begin() + stamps);
              cases.push_back(make_case(row, cases.size() + 1));
            }
          }
        }
      }
    }
  }
  return cases;
}

}  // namespace sprnn::test
