// The packed bytes: exact round trips, and a refusal for each kind of hostile section.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include "cpu/support.hpp"
#include "pack/cpu_layout.hpp"
#include "sprnn/error.hpp"

namespace sprnn::test {
namespace {

TEST(Layout, RoundTripIsExact) {
  const std::pair<std::int64_t, std::int64_t> shapes[] = {{1, 1},   {3, 5},   {16, 16},
                                                          {17, 31}, {33, 65}, {61, 128}};
  for (const auto& [hidden, input] : shapes) {
    for (const double density : {0.0, 0.02, 0.3, 1.0}) {
      for (const Mask mask : {Mask::uniform, Mask::skewed_rows, Mask::one_full_row}) {
        ModelSpec spec;
        spec.cell = lstm_cell();
        spec.hidden = hidden;
        spec.input = input;
        spec.density = density;
        spec.mask = mask;
        spec.projection = hidden > 2 ? hidden / 2 : 0;
        Model model = random_model(spec);
        Direction& direction = model.layers[0].directions[0];
        direction.w_hh.values[0] = -0.0F;
        direction.w_ih.values.back() = std::numeric_limits<float>::denorm_min();
        for (const CpuLayout layout : all_layouts) {
          const auto packed = pack_as(model, 1, layout);
          validate(*packed);
          const Model back = unpack(*packed);
          EXPECT_EQ(back, model) << to_string(spec) << ", " << to_string(layout);
          EXPECT_TRUE(std::signbit(back.layers[0].directions[0].w_hh.values[0]));
        }
      }
    }
  }
}

TEST(Layout, ReportCountsWhatIsStored) {
  ModelSpec spec;
  spec.hidden = 64;
  spec.input = 64;
  spec.density = 1.0;
  const auto packed = pack_as(random_model(spec), 1, CpuLayout::dense);
  const std::vector<PackFigure> figures = pack_report(*packed, 0);
  ASSERT_FALSE(figures.empty());
  EXPECT_EQ(figures[0].value, 64 * 64 * 4);
  EXPECT_EQ(figures[1].value, 1.0);
}

// One damage to the sections of a packed model that must be refused.
struct Damage {
  const char* name;
  CpuLayout layout;
  std::function<void(PackedDirection&)> apply;
};

template <class T>
std::function<void(PackedDirection&)> set(const char* section, std::size_t at, T value) {
  return [=](PackedDirection& d) { d.section(section).as<T>()[at] = value; };
}

std::function<void(PackedDirection&)> resize(const char* section, int bytes) {
  return [=](PackedDirection& d) {
    Section& old = d.section(section);
    Section changed(section, old.size() + static_cast<std::size_t>(bytes));
    std::memcpy(changed.data(), old.data(), std::min(old.size(), changed.size()));
    old = changed;
  };
}

std::vector<Damage> damages() {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::vector<Damage> all;
  for (const CpuLayout layout : all_layouts) {
    const bool tile = layout == CpuLayout::tile;
    const char* values = tile ? "w_hh.blocks" : "w_hh.values";
    all.push_back({"values too short", layout, resize(values, -4)});
    all.push_back({"values too long", layout, resize(values, 64)});
    all.push_back({"no section", layout, [](PackedDirection& d) { d.sections.pop_back(); }});
    all.push_back(
        {"an extra section", layout, [](PackedDirection& d) { d.sections.emplace_back("more", 4U); }});
    all.push_back({"a NaN", layout, set<float>(values, tile ? 16 : 0, nan)});
    if (layout == CpuLayout::dense) {
      all.push_back({"a value in an empty lane", layout, set<float>(values, 21 * 16 + 5, 1.0F)});
      continue;
    }
    all.push_back({"starts too short", layout, resize("w_hh.starts", -4)});
    all.push_back({"columns too long", layout, resize("w_hh.columns", 2)});
    all.push_back({"first start", layout, set<std::uint32_t>("w_hh.starts", 0, 1)});
    all.push_back({"falling starts", layout, set<std::uint32_t>("w_hh.starts", 1, 0xFFFFFFFF)});
    all.push_back({"column out of range", layout, set<std::uint16_t>("w_hh.columns", 1, tile ? 2 : 21)});
    all.push_back({"huge column", layout, set<std::uint16_t>("w_hh.columns", 0, 0xFFFF)});
    if (!tile) all.push_back({"columns that fall", layout, set<std::uint16_t>("w_hh.columns", 2, 0)});
    if (layout == CpuLayout::columns) {
      all.push_back({"a value in padding", layout, set<float>(values, 23 * 16, 1.0F)});
    }
    if (layout == CpuLayout::row) {
      all.push_back({"a zero inside a row", layout, set<float>(values, 3, 0.0F)});
      all.push_back({"a value in padding", layout, set<float>(values, 23, 1.0F)});
      all.push_back({"a column in padding", layout, set<std::uint16_t>("w_hh.columns", 23, 7)});
    }
    if (tile) {
      all.push_back({"unused bits", layout, set<std::uint32_t>(values, 0, 0xC0000000)});
      all.push_back({"an offset beyond the matrix", layout, set<std::uint32_t>(values, 0, 31)});
      all.push_back({"a repeated column", layout, set<std::uint32_t>(values, 0, 0)});
      all.push_back({"a zero with an offset", layout, set<float>(values, 32, 0.0F)});
    }
  }
  return all;
}

TEST(Layout, HostileSectionsAreRefused) {
  ModelSpec spec;
  spec.hidden = 21;  // a second group of 5 rows; 21 columns: padded to 24 in both `columns` and `row`
  spec.input = 4;
  spec.density = 1.0;
  const Model model = random_model(spec);
  for (const Damage& damage : damages()) {
    Packed packed = *pack_as(model, 1, damage.layout);
    validate(packed);
    damage.apply(packed.directions[0]);
    try {
      validate(packed);
      ADD_FAILURE() << to_string(damage.layout) << ": " << damage.name << " was not refused";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::format) << damage.name << ": " << error.what();
    }
  }
}

// Whatever bytes are changed: refused, or a valid pack of some other weights that runs.
TEST(Layout, RandomDamageNeverCrashes) {
  ModelSpec spec;
  spec.hidden = 21;
  spec.input = 40;
  spec.density = 0.3;
  const Model model = random_model(spec);
  const Inputs in = random_inputs(model, 2, 1, 3);
  Random random(99);
  for (const CpuLayout layout : all_layouts) {
    const auto whole = pack_as(model, 1, layout);
    int refused = 0;
    for (int i = 0; i < 400; ++i) {
      auto packed = std::make_shared<Packed>(*whole);
      auto& sections = packed->directions[0].sections;
      Section& section = sections[static_cast<std::size_t>(
          random.integer(0, static_cast<std::int64_t>(sections.size()) - 1))];
      const std::int64_t at = random.integer(0, static_cast<std::int64_t>(section.size()) - 1);
      section.data()[at] ^= static_cast<std::byte>(random.integer(1, 255));
      try {
        validate(*packed);
      } catch (const Error&) {
        ++refused;
        continue;
      }
      (void)run_engine(packed, model, in, "", 1);
      EXPECT_EQ(unpack(*packed).layers.size(), 1U);
    }
    EXPECT_GT(refused, 0) << to_string(layout);
  }
}

}  // namespace
}  // namespace sprnn::test
