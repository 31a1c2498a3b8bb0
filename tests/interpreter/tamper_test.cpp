// Whatever is changed in packed bytes either changes the output or is refused.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "interpreter/support.hpp"
#include "pack/gather_view.hpp"
#include "pack/mma_view.hpp"
#include "sprnn/error.hpp"
#include "support/sanitizers.hpp"

namespace sprnn::test {
namespace {

struct Case {
  ModelSpec spec;
  Device device;
  Model model;
  Inputs inputs;
  Inputs longer;  // where a few steps round a change of a tiny weight away
  std::shared_ptr<const Packed> packed;
  Output expected;
  Output longer_expected;

  Case(const ModelSpec& s, const Device& d, const GpuWishes& wishes = {}) : spec(s), device(d) {
    model = random_model(spec);
    // No weight so small that rounding h hides it.
    Direction& direction = model.layers[0].directions[0];
    for (Matrix* matrix : {&direction.w_ih, &direction.w_hh, &direction.w_hr}) {
      for (float& w : matrix->values) {
        if (w != 0.0F) w = round_to(spec.dtype, w + std::copysign(0.05F, w));
      }
    }
    inputs = random_inputs(model, 3, 2, 11);
    longer = random_inputs(model, 60, 4, 12);
    packed = pack_for(model, device, 2, wishes);
    expected = interpret(packed, inputs);
    longer_expected = interpret(packed, longer);
  }
};

// So little of everything that pairs lie in registers, in shared memory and in L2.
Device cramped_gpu() {
  GpuDescription gpu;
  gpu.sm_count = 2;
  gpu.max_registers_per_thread = 72;
  gpu.shared_bytes_per_block = gpu.shared_bytes_per_sm = 6144;
  return {"cramped", gpu};
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const DType dtype : {DType::fp16, DType::bf16, DType::fp32}) {
    all.emplace_back(ModelSpec{.cell = gru_cell(), .dtype = dtype, .input = 6, .hidden = 40, .density = 0.6},
                     cramped_gpu(),
                     GpuWishes{.strategy = GpuStrategy::gather,
                               .groups = 2,
                               .ctas = 1,
                               .warps = 4,
                               .lanes = 1,
                               .w_ih = InputStorage::csr});
    const ModelSpec projected{
        .cell = lstm_cell(), .dtype = dtype, .input = 6, .hidden = 19, .projection = 11, .density = 0.6};
    all.emplace_back(projected, tiny_gpu(), GpuWishes{.w_ih = InputStorage::dense});
  }
  return all;
}

// Of the strategies on tensor cores: 5 tiles of rows, so a half word is to spare, and more steps than columns
// need.
std::vector<Case> mma_cases() {
  std::vector<Case> all;
  for (const GpuStrategy strategy :
       {GpuStrategy::dense_mma, GpuStrategy::sparse_mma, GpuStrategy::vector_mma}) {
    const ModelSpec spec = masked_for(
        strategy, {.cell = lstm_cell(), .dtype = DType::fp16, .input = 6, .hidden = 77, .density = 0.2});
    all.emplace_back(
        spec, tiny_gpu(),
        GpuWishes{.strategy = strategy,
                  .ctas = 4,
                  .warps = 4,
                  .row_parts = strategy == GpuStrategy::vector_mma ? std::nullopt : std::optional(1),
                  .w_ih = InputStorage::csr});
  }
  // Of a mask of any kind sparse-mma gathers what is beyond two of four.
  all.emplace_back(
      ModelSpec{.cell = gru_cell(), .dtype = DType::fp16, .input = 6, .hidden = 77, .density = 0.4},
      tiny_gpu(),
      GpuWishes{.strategy = GpuStrategy::sparse_mma, .ctas = 4, .warps = 4, .w_ih = InputStorage::csr});
  return all;
}

std::vector<Case> all_cases() {
  std::vector<Case> all = cases();
  for (Case& c : mma_cases()) all.push_back(std::move(c));
  return all;
}

TEST(Tamper, TheCasesUseEveryPlace) {
  for (const Case& c : cases()) {
    if (c.device.name != "cramped") continue;
    for (const char* place : {"registers", "shared", "l2"}) {
      EXPECT_GT(gpu::find_section(c.packed->directions[0].sections, fmt::format("w_hh.{}", place)).size(), 0U)
          << place << ", " << to_string(c.spec);
    }
  }
}

enum class Outcome { refused, changed, same };

Outcome outcome(const Case& c, const std::function<void(std::vector<Section>&)>& change) {
  auto changed = std::make_shared<Packed>(*c.packed);
  change(changed->directions[0].sections);
  try {
    validate(*changed);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::format) << error.what();
    return Outcome::refused;
  }
  const bool same =
      interpret(changed, c.inputs) == c.expected && interpret(changed, c.longer) == c.longer_expected;
  return same ? Outcome::same : Outcome::changed;
}

Section& section(std::vector<Section>& sections, std::string_view name) {
  return const_cast<Section&>(gpu::find_section(sections, name));
}

// Flips a bit of a byte every few, from the first of each section to its last, the low bits of values aside,
// which rounding may hide: offsets, map entries and row bounds, and the sign and exponent of values. Of large
// sections some places_a_section bytes.
TEST(Tamper, BitsOfEverySection) {
  constexpr std::size_t places_a_section = sanitized ? 100 : 200;
  for (const Case& c : all_cases()) {
    SCOPED_TRACE(to_string(c.spec));
    std::map<std::string, std::array<int, 2>> counts;  // refused, changed
    Random random(3);
    for (const Section& original : c.packed->directions[0].sections) {
      const std::string& name = original.name();
      const bool pairs = name.ends_with(".registers") || name.ends_with(".shared") || name.ends_with(".l2");
      const bool wide = c.spec.dtype == DType::fp32;
      const bool halves = std::holds_alternative<MmaPlan>(c.packed->plan.directions[0].choice);
      const auto stride =
          static_cast<std::int64_t>(std::max<std::size_t>(7, 2 * original.size() / places_a_section));
      for (std::size_t byte = 0; byte < original.size();
           byte += static_cast<std::size_t>(random.integer(1, stride))) {
        // Little-endian: a value's highest byte holds its sign and exponent.
        const bool value_low_byte =
            (pairs && halves && byte % 2 == 0) || (pairs && !wide && byte % 4 == 0) ||
            (pairs && wide && byte % 4 < 3) ||
            (name.starts_with("w_ih.") && name != "w_ih.columns" && name != "w_ih.row_begin" &&
             byte % size_of(c.spec.dtype) != size_of(c.spec.dtype) - 1);
        if (value_low_byte) continue;
        const int bit = static_cast<int>(random.integer(pairs || name.starts_with("w_ih.") ? 2 : 0, 7));
        const Outcome result = outcome(c, [&](std::vector<Section>& sections) {
          section(sections, name).data()[byte] ^= std::byte{1} << bit;
        });
        EXPECT_NE(result, Outcome::same) << name << " byte " << byte << " bit " << bit;
        if (result == Outcome::refused) ++counts[name][0];
        if (result == Outcome::changed) ++counts[name][1];
      }
    }
    for (const auto& [name, count] : counts) EXPECT_GT(count[0] + count[1], 0) << name;
    int changed = 0;
    for (const char* place : {"w_hh.registers", "w_hh.shared", "w_hh.l2"}) changed += counts[place][1];
    EXPECT_GT(changed, 0) << "some flips of values or offsets must pass validation";
  }
}

// The first pair of some row, and a place in another row, as (pass, row group, lane, slot).
struct Found {
  int cta = 0, pass = 0, thread = 0, slot = 0;
  gather::Pair pair;
  std::int64_t row = 0;
};

std::vector<Found> find_pairs(const Case& c) {
  const DirectionPlan& plan = c.packed->plan.directions[0];
  const gather::View view =
      gather::make_view(c.packed->directions[0].sections, std::get<GatherPlan>(plan.choice),
                        c.packed->plan.problem, c.packed->plan.problem.directions[0]);
  std::vector<Found> all;
  view.w_hh.for_each_pair([&](int cta, int pass, int group, int lane, int slot, gather::Pair pair) {
    if (pair.value == 0) return;
    all.push_back({cta, pass, group * view.w_hh.layout.lanes + lane, slot, pair,
                   view.w_hh.row(cta, view.w_hh.local_row(cta, pass, group))});
  });
  return all;
}

void put(const Case& c, std::vector<Section>& sections, const Found& at, gather::Pair pair) {
  const DirectionPlan& plan = c.packed->plan.directions[0];
  const gather::Layout layout = gather::make_layout(std::get<GatherPlan>(plan.choice), c.packed->plan.problem,
                                                    c.packed->plan.problem.directions[0]);
  const gather::Slot slot = layout.w_hh.slot(at.pass, at.slot);
  Section& to = section(sections, fmt::format("w_hh.{}", gather::to_string(slot.place)));
  layout.w_hh.store(to.as<std::uint32_t>() + at.cta * layout.w_hh.block_words(slot.place), slot, at.thread,
                    pair);
}

// Two pairs of different rows change places: another lane, or another slot.
TEST(Tamper, PairsInAnotherLaneOrSlot) {
  for (const Case& c : cases()) {
    SCOPED_TRACE(to_string(c.spec));
    const std::vector<Found> pairs = find_pairs(c);
    int lanes = 0, slots = 0;
    for (std::size_t i = 1; i < pairs.size(); ++i) {
      const Found& a = pairs[i - 1];
      for (std::size_t j = i; j < std::min(pairs.size(), i + 40); ++j) {
        const Found& b = pairs[j];
        if (a.row == b.row || a.cta != b.cta) continue;
        ++(a.thread == b.thread ? slots : lanes);
        const Outcome result = outcome(c, [&](std::vector<Section>& sections) {
          put(c, sections, a, b.pair);
          put(c, sections, b, a.pair);
        });
        EXPECT_NE(result, Outcome::same) << "row " << a.row << " and row " << b.row;
        break;
      }
    }
    EXPECT_GT(lanes + slots, 0);
  }
}

template <class T>
void swap_entries(std::vector<Section>& sections, std::string_view name, std::size_t i, std::size_t j) {
  T* entries = section(sections, name).as<T>();
  std::swap(entries[i], entries[j]);
}

// Maps stay permutations when two of their entries change places: the output must show it.
TEST(Tamper, PermutedMaps) {
  for (const Case& c : all_cases()) {
    SCOPED_TRACE(to_string(c.spec));
    for (const char* name : {"unit_map", "output_map", "w_hh.row_map", "w_hr.row_map"}) {
      for (const Section& original : c.packed->directions[0].sections) {
        if (original.name() != name) continue;
        const auto* entries = original.as<std::int32_t>();
        for (std::size_t i = 1; i < original.count<std::int32_t>(); ++i) {
          if (entries[i] == entries[i - 1]) continue;
          EXPECT_NE(outcome(c, [&](auto& sections) { swap_entries<std::int32_t>(sections, name, i - 1, i); }),
                    Outcome::same)
              << name << "[" << i << "]";
        }
      }
    }
  }
}

// Sections missing, doubled, of other names and sizes.
TEST(Tamper, SectionsThatAreNotThePlans) {
  for (const Case& c : all_cases()) {
    for (std::size_t i = 0; i < c.packed->directions[0].sections.size(); ++i) {
      const auto expect_refused = [&](const std::function<void(std::vector<Section>&)>& change) {
        EXPECT_EQ(outcome(c, change), Outcome::refused) << i;
      };
      expect_refused(
          [&](auto& sections) { sections.erase(sections.begin() + static_cast<std::ptrdiff_t>(i)); });
      expect_refused([&](auto& sections) { sections.push_back(sections[i]); });
      expect_refused([&](auto& sections) { sections[i] = Section("w_xx", sections[i].size()); });
      expect_refused(
          [&](auto& sections) { sections[i] = Section(sections[i].name(), sections[i].size() + 64); });
      expect_refused([&](auto& sections) {
        if (sections[i].size() > 0)
          sections[i] = Section(sections[i].name(), 0);
        else
          sections.clear();
      });
    }
  }
}

// Two columns of a fragment change places, and a column becomes another.
TEST(Tamper, ColumnsOfFragments) {
  const Case c = mma_cases()[2];
  const DirectionPlan& plan = c.packed->plan.directions[0];
  const mma::View view = mma::make_view(c.packed->directions[0].sections, std::get<MmaPlan>(plan.choice),
                                        c.packed->plan.problem, c.packed->plan.problem.directions[0]);
  const mma::MatrixLayout& layout = view.layout.w_hh;
  int changed = 0;
  view.for_each_fragment([&](mma::Fragment at) {
    const auto halves = [&](std::vector<Section>& sections) {
      return section(sections, fmt::format("w_hh.{}", gpu::to_string(layout.place_of(at.step))))
          .as<std::uint16_t>();
    };
    const auto put = [&](std::vector<Section>& sections, int k, std::int64_t position) {
      for (const int lane : {k, k + 16})
        halves(sections)[layout.column_half(at, lane)] = static_cast<std::uint16_t>(position);
    };
    const std::int64_t first = view.position(at, 0), second = view.position(at, 1);
    const Outcome swapped = outcome(c, [&](std::vector<Section>& sections) {
      put(sections, 0, second);
      put(sections, 1, first);
    });
    if (swapped == Outcome::changed) ++changed;
    // Two columns of zeros are refused in each other's place; two of the matrix multiply other weights.
    EXPECT_NE(swapped, Outcome::same);
    EXPECT_EQ(outcome(c, [&](auto& sections) { put(sections, 0, second); }), Outcome::refused);
    EXPECT_EQ(outcome(c, [&](auto& sections) { halves(sections)[layout.column_half(at, 16)] ^= 1; }),
              Outcome::refused);
  });
  EXPECT_GT(changed, 0);
}

// Which of four neighbours weights are of, and what is to spare beside it: every bit.
TEST(Tamper, PairsOfFragments) {
  const Case c = mma_cases()[1];
  const DirectionPlan& plan = c.packed->plan.directions[0];
  const mma::View view = mma::make_view(c.packed->directions[0].sections, std::get<MmaPlan>(plan.choice),
                                        c.packed->plan.problem, c.packed->plan.problem.directions[0]);
  const mma::MatrixLayout& layout = view.layout.w_hh;
  ASSERT_TRUE(layout.sparse);
  EXPECT_EQ(layout.tiles_a_warp() % 2, 1) << "no half of the lanes to spare";
  int changed = 0;
  Random random(1);
  view.for_each_fragment([&](mma::Fragment at) {
    const int r = static_cast<int>(random.integer(0, 15)), g = static_cast<int>(random.integer(0, 7));
    const bool last = at.tile + 1 == layout.tiles;
    const auto flip = [&](std::int64_t half, int bit) {
      return outcome(c, [&](std::vector<Section>& sections) {
        section(sections, fmt::format("w_hh.{}", gpu::to_string(layout.place_of(at.step))))
            .as<std::uint16_t>()[half] ^= static_cast<std::uint16_t>(1 << bit);
      });
    };
    for (int bit = 0; bit < 4; ++bit) {
      const Outcome flipped = flip(layout.pair_half(at, r, g), mma::MatrixLayout::pair_shift(g) + bit);
      EXPECT_NE(flipped, Outcome::same) << r << " " << g << " " << bit;
      if (flipped == Outcome::changed) ++changed;
      if (last) {
        EXPECT_EQ(flip(layout.pair_half(at, r, g) + 4, bit), Outcome::refused);
      }
    }
  });
  EXPECT_GT(changed, 0);
}

// Every number of the plan, a little and a lot more or less: nothing may crash, and what is not refused must
// run like the plan that it says it is.
TEST(Tamper, EveryNumberOfThePlan) {
  for (const Case& c : all_cases()) {
    SCOPED_TRACE(to_string(c.spec));
    const nlohmann::json plan = nlohmann::json::parse(to_json(c.packed->plan));
    const nlohmann::json flat = plan.at("directions").at(0).at("choice").flatten();
    int refused = 0, ran = 0;
    for (const auto& [path, value] : flat.items()) {
      if (!value.is_number_integer()) continue;
      const auto old = value.get<std::int64_t>();
      for (const std::int64_t fresh : {old + 1, old - 1, old * 2, old + 4, std::int64_t{0}, std::int64_t{-1},
                                       std::int64_t{1} << 31, std::int64_t{1} << 62}) {
        if (fresh == old) continue;
        nlohmann::json lying = plan;
        lying["directions"][0]["choice"][nlohmann::json::json_pointer(path)] = fresh;
        auto changed = std::make_shared<Packed>(*c.packed);
        try {
          changed->plan = plan_from_json(lying.dump());
          validate(*changed);
        } catch (const Error& error) {
          EXPECT_EQ(error.code(), ErrorCode::format) << path << " = " << fresh << ": " << error.what();
          ++refused;
          continue;
        }
        ++ran;
        const Errors errors = compare(c.model, c.inputs, interpret(changed, c.inputs));
        EXPECT_LE(errors.error, errors.bound) << path << " = " << fresh;
      }
    }
    EXPECT_GT(refused, 100);
    EXPECT_GT(ran, 0);
  }
}

}  // namespace
}  // namespace sprnn::test
