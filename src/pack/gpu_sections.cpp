#include "pack/gpu_sections.hpp"

#include <algorithm>

namespace sprnn::gpu {

namespace {

using std::size_t;

// Every unit once, and -1 in the other places.
void check_map(std::string_view name, std::span<const std::int32_t> map, std::int64_t units) {
  std::vector<bool> seen(static_cast<size_t>(units), false);
  std::int64_t count = 0;
  for (size_t position = 0; position < map.size(); ++position) {
    const std::int32_t unit = map[position];
    if (unit == -1) continue;
    if (unit < 0 || unit >= units) refuse("{}[{}] is {}, expected -1 to {}", name, position, unit, units - 1);
    if (seen[static_cast<size_t>(unit)]) refuse("{}[{}]: unit {} is there twice", name, position, unit);
    seen[static_cast<size_t>(unit)] = true;
    ++count;
  }
  if (count != units) refuse("{} holds {} units, expected each of {} once", name, count, units);
}

template <class Bits>
void pack_values(const Matrix& w_ih, InputStorage storage, DType dtype, std::vector<Section>& sections) {
  if (storage == InputStorage::dense) {
    Bits* dense = section(sections, "w_ih.dense").as<Bits>();
    for (size_t i = 0; i < w_ih.values.size(); ++i)
      dense[i] = static_cast<Bits>(to_bits(dtype, w_ih.values[i]));
    return;
  }
  std::int64_t* row_begin = section(sections, "w_ih.row_begin").as<std::int64_t>();
  std::int32_t* columns = section(sections, "w_ih.columns").as<std::int32_t>();
  Bits* values = section(sections, "w_ih.values").as<Bits>();
  std::int64_t count = 0;
  for (std::int64_t row = 0; row < w_ih.rows; ++row) {
    row_begin[row] = count;
    for (std::int64_t column = 0; column < w_ih.cols; ++column) {
      const float value = w_ih.row(row)[column];
      if (!is_nonzero(value)) continue;
      columns[count] = static_cast<std::int32_t>(column);
      values[count++] = static_cast<Bits>(to_bits(dtype, value));
    }
  }
  row_begin[w_ih.rows] = count;
}

template <class Bits>
void unpack_values(const std::vector<Section>& sections, InputStorage storage, DType dtype, Matrix& w_ih) {
  if (storage == InputStorage::dense) {
    const Bits* dense = find_section(sections, "w_ih.dense").as<Bits>();
    for (size_t i = 0; i < w_ih.values.size(); ++i) w_ih.values[i] = from_bits(dtype, dense[i]);
    return;
  }
  const std::int64_t* row_begin = find_section(sections, "w_ih.row_begin").as<std::int64_t>();
  const std::int32_t* columns = find_section(sections, "w_ih.columns").as<std::int32_t>();
  const Bits* values = find_section(sections, "w_ih.values").as<Bits>();
  for (std::int64_t row = 0; row < w_ih.rows; ++row) {
    for (std::int64_t i = row_begin[row]; i < row_begin[row + 1]; ++i) {
      w_ih.row(row)[columns[i]] = from_bits(dtype, values[i]);
    }
  }
}

// Counts MatrixSummary::group_columns, row by row.
class GroupColumns {
 public:
  GroupColumns(std::int64_t rows_a_gate, std::int64_t columns)
      : rows_a_gate_(rows_a_gate), used_(static_cast<size_t>(columns), 0) {}

  // One for each column, to be set where the row has a non-zero.
  [[nodiscard]] std::uint8_t* begin_row(std::int64_t row) {
    if (row % rows_a_gate_ % cpu_group_rows == 0) end_group();
    return used_.data();
  }
  [[nodiscard]] std::int64_t total() {
    end_group();
    return total_;
  }

 private:
  void end_group() {
    total_ += std::count(used_.begin(), used_.end(), 1);
    std::fill(used_.begin(), used_.end(), 0);
  }

  std::int64_t rows_a_gate_, total_ = 0;
  std::vector<std::uint8_t> used_;
};

template <class Bits>
void check_values(const std::vector<Section>& sections, InputStorage storage, const MatrixSummary& w_ih,
                  DType dtype, GroupColumns& group) {
  const char* name = storage == InputStorage::dense ? "w_ih.dense" : "w_ih.values";
  const Section& values = find_section(sections, name);
  const Bits* bits = values.as<Bits>();
  std::uint32_t largest = 0;
  for (size_t i = 0; i < values.count<Bits>(); ++i) {
    if (!is_finite_bits(dtype, bits[i])) refuse("{}[{}]: weights must be finite", name, i);
    largest = std::max(largest, magnitude_bits(dtype, bits[i]));
  }
  check_large("w_ih", w_ih, dtype, largest);
  if (storage == InputStorage::dense) {
    for (size_t row = 0; row < w_ih.row_nonzeros.size(); ++row) {
      std::int32_t count = 0;
      const Bits* begin = bits + row * static_cast<size_t>(w_ih.cols);
      std::uint8_t* used = group.begin_row(static_cast<std::int64_t>(row));
      for (std::int64_t column = 0; column < w_ih.cols; ++column) count += begin[column] != 0 ? 1 : 0;
      for (std::int64_t column = 0; column < w_ih.cols; ++column) used[column] |= begin[column] != 0 ? 1 : 0;
      if (count == w_ih.row_nonzeros[row]) continue;
      refuse("{}: row {} has {} non-zeros, expected {}", name, row, count, w_ih.row_nonzeros[row]);
    }
    return;
  }
  const std::int64_t* row_begin = find_section(sections, "w_ih.row_begin").as<std::int64_t>();
  const std::int32_t* columns = find_section(sections, "w_ih.columns").as<std::int32_t>();
  std::int64_t expected = 0;
  for (size_t row = 0; row <= w_ih.row_nonzeros.size(); ++row) {
    if (row_begin[row] != expected)
      refuse("w_ih.row_begin[{}] is {}, expected {}", row, row_begin[row], expected);
    if (row == w_ih.row_nonzeros.size()) break;
    std::int64_t next_column = 0;
    std::uint8_t* used = group.begin_row(static_cast<std::int64_t>(row));
    for (const std::int64_t end = expected + w_ih.row_nonzeros[row]; expected < end; ++expected) {
      const std::int64_t column = columns[expected];
      if (column < next_column || column >= w_ih.cols) {
        refuse("w_ih.columns[{}] is {}, expected {} to {}", expected, column, next_column, w_ih.cols - 1);
      }
      if (bits[expected] == 0) refuse("w_ih.values[{}] is zero, expected a non-zero", expected);
      used[column] = 1;
      next_column = column + 1;
    }
  }
}

}  // namespace

const DirectionProblem& problem_of(const DirectionPlan& plan, const Problem& problem) {
  for (const DirectionProblem& direction : problem.directions) {
    if (direction.layer == plan.layer && direction.reverse == plan.reverse) return direction;
  }
  throw Error(ErrorCode::internal, fmt::format("a plan for layer {}, which the problem lacks", plan.layer));
}

std::vector<Section> make_sections(const std::vector<SectionSize>& sizes) {
  std::vector<Section> sections;
  for (const SectionSize& size : sizes) sections.emplace_back(size.name, static_cast<size_t>(size.bytes));
  return sections;
}

const Section& find_section(const std::vector<Section>& sections, std::string_view name) {
  for (const Section& section : sections) {
    if (section.name() == name) return section;
  }
  throw Error(ErrorCode::format, fmt::format("section '{}' is missing", name));
}

Section& section(std::vector<Section>& sections, std::string_view name) {
  return const_cast<Section&>(find_section(sections, name));
}

UnitMaps view_maps(const std::vector<Section>& sections, const Frame& frame) {
  const auto* const units = find_section(sections, "unit_map").as<std::int32_t>();
  return {units, frame.output ? find_section(sections, "output_map").as<std::int32_t>() : units};
}

void write_map(std::vector<Section>& sections, std::string_view name, const std::vector<std::int32_t>& map) {
  std::copy(map.begin(), map.end(), section(sections, name).as<std::int32_t>());
}

std::vector<std::int64_t> positions_of(std::span<const std::int32_t> map, std::int64_t units) {
  std::vector<std::int64_t> positions(static_cast<size_t>(units), -1);
  for (size_t position = 0; position < map.size(); ++position) {
    if (map[position] >= 0)
      positions[static_cast<size_t>(map[position])] = static_cast<std::int64_t>(position);
  }
  return positions;
}

void pack_input(const Matrix& w_ih, InputStorage storage, DType dtype, std::vector<Section>& sections) {
  if (dtype == DType::fp32) return pack_values<std::uint32_t>(w_ih, storage, dtype, sections);
  pack_values<std::uint16_t>(w_ih, storage, dtype, sections);
}

void unpack_input(const std::vector<Section>& sections, InputStorage storage, DType dtype, Matrix& w_ih) {
  if (dtype == DType::fp32) return unpack_values<std::uint32_t>(sections, storage, dtype, w_ih);
  unpack_values<std::uint16_t>(sections, storage, dtype, w_ih);
}

bool is_finite_bits(DType dtype, std::uint32_t bits) noexcept {
  const std::uint32_t exponent = dtype == DType::fp32   ? 0x7F800000U
                                 : dtype == DType::fp16 ? 0x7C00U
                                                        : 0x7F80U;
  return (bits & exponent) != exponent;
}

void check_large(std::string_view name, const MatrixSummary& summary, DType dtype, std::uint32_t largest) {
  const float magnitude = from_bits(dtype, largest);
  if (summary.large_weights == (magnitude > most_half_weight)) return;
  refuse("{}: large_weights is {}, expected {}: the largest magnitude is {}", name, summary.large_weights,
         !summary.large_weights, magnitude);
}

void check_sizes(const std::vector<Section>& sections, const std::vector<SectionSize>& expected) {
  if (sections.size() != expected.size())
    refuse("{} sections, expected {}", sections.size(), expected.size());
  for (size_t i = 0; i < sections.size(); ++i) {
    if (sections[i].name() != expected[i].name) {
      refuse("section {} is '{}', expected '{}'", i, sections[i].name(), expected[i].name);
    }
    if (sections[i].size() != static_cast<size_t>(expected[i].bytes)) {
      refuse("{}: {} bytes, expected {}", sections[i].name(), sections[i].size(), expected[i].bytes);
    }
  }
}

void check_maps(const std::vector<Section>& sections, const Frame& frame) {
  const UnitMaps maps = view_maps(sections, frame);
  check_map("unit_map", {maps.units, static_cast<size_t>(frame.positions())}, frame.units);
  if (!frame.output) return;
  check_map("output_map", {maps.outputs, static_cast<size_t>(frame.state.positions)}, frame.outputs);
}

void check_input(const std::vector<Section>& sections, InputStorage storage,
                 const DirectionProblem& direction, DType dtype) {
  const MatrixSummary& w_ih = direction.w_ih;
  GroupColumns columns(w_ih.rows / direction.cell.gates(), w_ih.cols);
  if (dtype == DType::fp32) {
    check_values<std::uint32_t>(sections, storage, w_ih, dtype, columns);
  } else {
    check_values<std::uint16_t>(sections, storage, w_ih, dtype, columns);
  }
  if (const std::int64_t found = columns.total(); found != w_ih.group_columns)
    refuse("w_ih: group_columns is {}, expected {}", w_ih.group_columns, found);
}

}  // namespace sprnn::gpu
