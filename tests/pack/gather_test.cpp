// Packing for strategy gather: round trips, the bank-aware order, what the plan reserved.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>

#include "pack/gather_order.hpp"
#include "pack/gather_view.hpp"
#include "plan/gather_balance.hpp"
#include "sprnn/error.hpp"
#include "support/random_model.hpp"
#include "support/sanitizers.hpp"

namespace sprnn::test {
namespace {

constexpr DType dtypes[] = {DType::fp32, DType::fp16, DType::bf16};

Packed pack_for(const Model& model, std::string_view device, int batch, const GpuWishes& wishes = {}) {
  return pack(model, make_plan(describe(model, batch), find_device(device), {{}, wishes}));
}

double figure(const Packed& packed, const std::string& name) {
  for (const PackFigure& f : pack_report(packed, 0)) {
    if (f.name == name) return f.value;
  }
  ADD_FAILURE() << "no figure " << name;
  return 0.0;
}

// Bit for bit: operator== on floats would take -0.0 for 0.0.
bool same_bits(const Matrix& a, const Matrix& b) {
  return a.rows == b.rows && a.cols == b.cols &&
         std::equal(a.values.begin(), a.values.end(), b.values.begin(), b.values.end(), [](float x, float y) {
           return std::bit_cast<std::uint32_t>(x) == std::bit_cast<std::uint32_t>(y);
         });
}

void expect_round_trip(const Model& model, const Packed& packed) {
  validate(packed);
  const Model back = unpack(packed);
  EXPECT_EQ(back, model);
  for (std::size_t l = 0; l < model.layers.size(); ++l) {
    for (std::size_t d = 0; d < model.layers[l].directions.size(); ++d) {
      const Direction& a = model.layers[l].directions[d];
      const Direction& b = back.layers[l].directions[d];
      EXPECT_TRUE(same_bits(a.w_ih, b.w_ih) && same_bits(a.w_hh, b.w_hh) && same_bits(a.w_hr, b.w_hr));
    }
  }
}

TEST(RoundTrip, RandomShapesMasksAndWishes) {
  for (int seed = 1; seed <= scaled(120); ++seed) {
    Random random(seed);
    const auto one_of = [&](auto... choices) {
      const std::common_type_t<decltype(choices)...> all[] = {choices...};
      return all[random.integer(0, sizeof...(choices) - 1)];
    };
    ModelSpec spec;
    spec.seed = seed;
    spec.cell = standard_cells()[static_cast<std::size_t>(random.integer(0, 3))];
    spec.dtype = dtypes[random.integer(0, 2)];
    spec.hidden = one_of(1, 2, 3, 7, 31, 32, 61, 100, 127, 257, 331);
    spec.input = one_of(1, 3, 17);
    spec.density = one_of(0.0, 0.01, 0.1, 0.3, 0.7, 1.0);
    spec.mask = one_of(Mask::uniform, Mask::skewed_rows, Mask::empty_rows, Mask::one_full_row, Mask::bands);
    spec.directions = one_of(Directions::forward, Directions::both);
    if (spec.cell.kind == CellKind::lstm && spec.hidden > 1 && random.chance(0.5)) {
      spec.projection = random.integer(1, spec.hidden - 1);
    }
    GpuWishes wishes;
    wishes.bank_order = random.chance(0.7);
    wishes.wide_loads = random.chance(0.7);
    wishes.w_ih = one_of(InputStorage::dense, InputStorage::csr);
    if (random.chance(0.5)) wishes.lanes = one_of(1, 2, 4, 8, 16, 32);
    const int batch = one_of(1, 2, 3, 4, 8, 16, 32);
    SCOPED_TRACE(fmt::format("{}, batch {}", to_string(spec), batch));
    const Model model = random_model(spec);
    expect_round_trip(model, pack_for(model, one_of("h100", "a100"), batch, wishes));
  }
}

TEST(RoundTrip, Large) {
  const struct {
    Cell cell;
    DType dtype;
    std::int64_t hidden;
    double density;
    int batch;
  } cases[] = {{tanh_cell(), DType::fp16, 5632, 0.02, 4},
               {tanh_cell(), DType::fp32, 5632, 0.003, 8},
               {lstm_cell(), DType::bf16, 2304, 0.02, 1}};
  for (const auto& c : cases) {
    const ModelSpec spec{
        .cell = c.cell, .dtype = c.dtype, .input = 4, .hidden = c.hidden, .density = c.density};
    SCOPED_TRACE(to_string(spec));
    const Model model = random_model(spec);
    expect_round_trip(model, pack_for(model, "h100", c.batch));
  }
}

TEST(RoundTrip, EveryBitPatternOfAWeight) {
  for (const DType dtype : dtypes) {
    Model model = random_model({.dtype = dtype, .input = 3, .hidden = 128, .density = 0.5});
    Random random(9);
    for (Matrix* matrix : {&model.layers[0].directions[0].w_hh, &model.layers[0].directions[0].w_ih}) {
      for (float& value : matrix->values) {
        if (value == 0.0F) continue;
        do {
          value = from_bits(
              dtype, static_cast<std::uint32_t>(random.bits()) & (dtype == DType::fp32 ? ~0U : 0xFFFFU));
        } while (!std::isfinite(value));
      }
      matrix->values[0] = -0.0F;
      matrix->values[1] = from_bits(dtype, 1);  // the least subnormal
      matrix->values[2] = -from_bits(dtype, 1);
    }
    expect_round_trip(model, pack_for(model, "h100", 4));
    expect_round_trip(model, pack_for(model, "h100", 4, {.w_ih = InputStorage::csr}));
  }
}

TEST(Order, EveryPairOnceAndPaddingWithoutConflicts) {
  for (const int word : {2, 4, 8, 16}) {
    for (const int lanes : {1, 2, 4, 8, 16, 32}) {
      for (const int slots : {1, 3, 9}) {
        SCOPED_TRACE(fmt::format("{}-byte words, {} lanes, {} slots", word, lanes, slots));
        const gather::Image image = gather::make_image(200, word, word / 2, DType::fp16);
        Random random(static_cast<std::uint64_t>(word * lanes * slots));
        std::vector<std::vector<gather::Entry>> rows(static_cast<std::size_t>(32 / lanes));
        std::multimap<std::int64_t, std::size_t> expected;  // address, row
        for (std::size_t g = 0; g < rows.size(); ++g) {
          const std::int64_t most = std::min<std::int64_t>(200, lanes * slots);
          const std::int64_t count = random.integer(0, most);
          for (std::int64_t i = 0; i < count; ++i) {
            rows[g].push_back({(i * 200 / count) * word, 1});
            expected.emplace(rows[g].back().address, g);
          }
        }
        for (const bool bank_order : {false, true}) {
          const auto table = gather::arrange(rows, lanes, slots, image, bank_order);
          std::multimap<std::int64_t, std::size_t> found;
          for (std::size_t i = 0; i < table.size(); ++i) {
            if (table[i].value != 0) {
              found.emplace(table[i].address, i % 32 / static_cast<std::size_t>(lanes));
            } else {
              EXPECT_GE(table[i].address, image.zeros);
              EXPECT_LT(table[i].address, image.plane_bytes);
            }
          }
          EXPECT_TRUE(std::is_permutation(found.begin(), found.end(), expected.begin(), expected.end()));
        }
      }
    }
  }
}

// Where no bank class has more pairs in a phase than there are slots, Koenig's theorem promises an order
// without any conflict; it must be found.
TEST(Order, NoConflictWhereNoneIsNeeded) {
  for (const int word : {4, 8, 16}) {
    for (const int lanes : {1, 4, 32}) {
      const gather::Image image = gather::make_image(1024, word, word / 2, DType::fp16);
      const int phase = image.phase_lanes(), classes = image.bank_classes(), slots = 20;
      Random random(static_cast<std::uint64_t>(word + lanes));
      std::vector<std::vector<gather::Entry>> rows(static_cast<std::size_t>(32 / lanes));
      // Slot by slot a random permutation of the classes over a phase's lanes: an order exists.
      for (int s = 0; s < slots; ++s) {
        for (int first = 0; first < 32; first += phase) {
          std::vector<int> permutation(static_cast<std::size_t>(classes));
          for (int c = 0; c < classes; ++c) permutation[static_cast<std::size_t>(c)] = c;
          for (std::size_t c = permutation.size(); c > 1; --c) {
            std::swap(permutation[c - 1],
                      permutation[static_cast<std::size_t>(random.integer(0, static_cast<int>(c) - 1))]);
          }
          for (int lane = 0; lane < phase; ++lane) {
            const std::int64_t position = s * classes + permutation[static_cast<std::size_t>(lane)];
            rows[static_cast<std::size_t>((first + lane) / lanes)].push_back({position * word, 1});
          }
        }
      }
      const auto table = gather::arrange(rows, lanes, slots, image, true);
      for (int s = 0; s < slots; ++s) {
        std::vector<std::int64_t> addresses;
        for (int lane = 0; lane < 32; ++lane)
          addresses.push_back(table[static_cast<std::size_t>(s * 32 + lane)].address);
        EXPECT_EQ(gather::wavefronts(addresses, image), 32 / phase)
            << word << " bytes, " << lanes << " lanes, slot " << s;
      }
    }
  }
}

TEST(Order, WavefrontsCountDistinctWordsOfABank) {
  const gather::Image image = gather::make_image(256, 4, 2, DType::fp16);
  std::vector<std::int64_t> addresses(32);
  for (int lane = 0; lane < 32; ++lane) addresses[static_cast<std::size_t>(lane)] = lane * 4;
  EXPECT_EQ(gather::wavefronts(addresses, image), 1);
  std::fill(addresses.begin(), addresses.end(), 8);
  EXPECT_EQ(gather::wavefronts(addresses, image), 1) << "lanes that read one word share it";
  for (int lane = 0; lane < 32; ++lane) addresses[static_cast<std::size_t>(lane)] = lane % 4 * 128;
  EXPECT_EQ(gather::wavefronts(addresses, image), 4);
}

TEST(Report, BankOrderSavesWavefronts) {
  for (const int batch : {1, 2, 4, 8}) {
    const Model model = random_model({.dtype = DType::fp16, .input = 4, .hidden = 1024, .density = 0.2});
    const GpuWishes wishes{.strategy = GpuStrategy::gather, .groups = 1, .group_batch = batch};
    const Packed packed = pack_for(model, "h100", batch, wishes);
    const double best = figure(packed, "w_hh wavefronts a load, at best");
    const double before = figure(packed, "w_hh wavefronts a load, in column order");
    const double after = figure(packed, "w_hh wavefronts a load, as packed");
    EXPECT_GE(after, best);
    // A pass cannot cost less than its fullest bank class, which for few slots a lane is well above the mean.
    EXPECT_LT(after, 1.6 * best) << "batch " << batch;
    EXPECT_LT(after, 0.65 * before) << "batch " << batch;
    GpuWishes unordered = wishes;
    unordered.bank_order = false;
    EXPECT_DOUBLE_EQ(
        figure(pack_for(model, "h100", batch, unordered), "w_hh wavefronts a load, as packed"),
        figure(pack_for(model, "h100", batch, unordered), "w_hh wavefronts a load, in column order"));
  }
}

TEST(Report, BalanceAndPadding) {
  const Model even = random_model({.dtype = DType::fp16, .input = 4, .hidden = 1024, .density = 0.3});
  const GpuWishes gather{.strategy = GpuStrategy::gather};
  const Packed packed = pack_for(even, "h100", 4, gather);
  EXPECT_LT(figure(packed, "w_hh balance between CTAs, most / mean non-zeros"), 1.05);
  EXPECT_LT(figure(packed, "w_hh padding"), 35.0);
  EXPECT_GT(figure(packed, "w_hh slots a lane, registers"), 0.0);
  const Model skewed = random_model(
      {.dtype = DType::fp16, .input = 4, .hidden = 1024, .density = 0.2, .mask = Mask::skewed_rows});
  EXPECT_LT(figure(pack_for(skewed, "h100", 4, gather), "w_hh balance between CTAs, most / mean non-zeros"),
            1.3);
}

TEST(Balance, CapsUnitsAndPlacesEachOnce) {
  Random random(4);
  for (const int gates : {1, 3, 4}) {
    for (const int units : {1, 5, 97, 512}) {
      for (const int ctas : {1, 3, 66, 132}) {
        const int cap = (units + ctas - 1) / ctas;
        std::vector<std::int32_t> rows(static_cast<std::size_t>(gates * units));
        for (std::int32_t& row : rows) row = static_cast<std::int32_t>(random.integer(0, 500));
        const std::vector<std::int32_t> map = gather::assign_units(rows, gates, ctas, cap);
        ASSERT_EQ(map.size(), static_cast<std::size_t>(ctas * cap));
        std::vector<int> seen(static_cast<std::size_t>(units), 0);
        for (const std::int32_t unit : map) {
          if (unit >= 0) ++seen[static_cast<std::size_t>(unit)];
        }
        EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), units) << gates << " gates, " << ctas << " CTAs";
        EXPECT_EQ(gather::assign_units(rows, gates, ctas, cap), map);
      }
    }
  }
}

TEST(Pack, WeightsThatThePlanHasNoRoomForAreRefused) {
  const Model sparse = random_model({.dtype = DType::fp16, .hidden = 64, .density = 0.1, .seed = 1});
  const Model dense = random_model({.dtype = DType::fp16, .hidden = 64, .density = 0.9, .seed = 2});
  const Plan plan =
      make_plan(describe(sparse, 2), find_device("h100"), {{}, {.strategy = GpuStrategy::gather}});
  try {
    (void)pack(dense, plan);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    EXPECT_NE(std::string(error.what()).find("room for"), std::string::npos) << error.what();
  }
  // Fewer non-zeros than planned fit.
  const Plan roomy = make_plan(describe(dense, 2), find_device("h100"));
  expect_round_trip(sparse, pack(sparse, roomy));
}

}  // namespace
}  // namespace sprnn::test
