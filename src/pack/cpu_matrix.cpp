#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "pack/cpu_layout.hpp"
#include "plan/cpu_tile.hpp"
#include "sprnn/error.hpp"

namespace sprnn::cpu {

namespace {

template <class T>
Section section_of(const std::string& name, const std::vector<T>& values) {
  Section section(name, values.size() * sizeof(T));
  if (!values.empty()) std::memcpy(section.data(), values.data(), section.size());
  return section;
}

// Calls visit(group, first row, last row) for each group.
template <class Visit>
void for_each_group(const MatrixShape& shape, Visit visit) {
  for (std::int64_t group = 0; group < shape.groups(); ++group) {
    const std::int64_t gate = group / shape.groups_per_gate();
    const std::int64_t unit = group % shape.groups_per_gate() * cpu_group_rows;
    const std::int64_t first = gate * shape.units + unit;
    visit(group, first, first + std::min<std::int64_t>(cpu_group_rows, shape.units - unit));
  }
}

void pack_dense(const Matrix& matrix, const MatrixShape& shape, const std::string& name,
                std::vector<Section>& sections) {
  Section values(name + ".values",
                 static_cast<std::size_t>(shape.groups() * shape.cols * cpu_group_rows) * sizeof(float));
  for_each_group(shape, [&](std::int64_t group, std::int64_t first, std::int64_t last) {
    float* out = values.as<float>() + group * shape.cols * cpu_group_rows;
    for (std::int64_t r = first; r < last; ++r) {
      for (std::int64_t c = 0; c < shape.cols; ++c) out[c * cpu_group_rows + (r - first)] = matrix.row(r)[c];
    }
  });
  sections.push_back(std::move(values));
}

void pack_columns(const Matrix& matrix, const MatrixShape& shape, const std::string& name,
                  std::vector<Section>& sections) {
  std::vector<std::uint32_t> starts{0};
  std::vector<std::uint16_t> columns;
  std::vector<float> values;
  for_each_group(shape, [&](std::int64_t, std::int64_t first, std::int64_t last) {
    for (std::int64_t c = 0; c < shape.cols; ++c) {
      float lanes[cpu_group_rows] = {};
      bool used = false;
      for (std::int64_t r = first; r < last; ++r) {
        lanes[r - first] = matrix.row(r)[c];
        used = used || is_nonzero(matrix.row(r)[c]);
      }
      if (!used) continue;
      columns.push_back(static_cast<std::uint16_t>(c));
      values.insert(values.end(), lanes, lanes + cpu_group_rows);
    }
    columns.resize((columns.size() + column_step - 1) / column_step * column_step);
    values.resize(columns.size() * cpu_group_rows);
    starts.push_back(static_cast<std::uint32_t>(columns.size() / column_step));
  });
  sections.push_back(section_of(name + ".starts", starts));
  sections.push_back(section_of(name + ".columns", columns));
  sections.push_back(section_of(name + ".values", values));
}

void pack_tile(const Matrix& matrix, const MatrixShape& shape, const std::string& name,
               std::vector<Section>& sections) {
  std::vector<std::uint32_t> starts{0};
  std::vector<std::uint16_t> windows;
  std::vector<TileBlock> blocks;
  for_each_group(shape, [&](std::int64_t, std::int64_t first, std::int64_t last) {
    TileWalk walk(matrix, first, last);
    TileSlot slot;
    for (int k = 0; walk.step(slot); k = (k + 1) % tile_step) {
      if (k == 0) {
        blocks.emplace_back();
        windows.resize(windows.size() + tile_step);
      }
      windows[windows.size() - tile_step + static_cast<std::size_t>(k)] =
          static_cast<std::uint16_t>(slot.window / window_step);
      for (std::size_t lane = 0; lane < slot.column.size(); ++lane) {
        if (slot.column[lane] < 0) continue;
        const auto offset = static_cast<std::uint32_t>(slot.column[lane] - slot.window);
        blocks.back().offsets[lane] |= offset << (5 * k);
        blocks.back().values[k][lane] =
            matrix.row(first + static_cast<std::int64_t>(lane))[slot.column[lane]];
      }
    }
    starts.push_back(static_cast<std::uint32_t>(blocks.size()));
  });
  sections.push_back(section_of(name + ".starts", starts));
  sections.push_back(section_of(name + ".columns", windows));
  sections.push_back(section_of(name + ".blocks", blocks));
}

void pack_row(const Matrix& matrix, const std::string& name, std::vector<Section>& sections) {
  std::vector<std::uint32_t> starts{0};
  std::vector<std::uint16_t> columns;
  std::vector<float> values;
  for (std::int64_t r = 0; r < matrix.rows; ++r) {
    for (std::int64_t c = 0; c < matrix.cols; ++c) {
      if (!is_nonzero(matrix.row(r)[c])) continue;
      columns.push_back(static_cast<std::uint16_t>(c));
      values.push_back(matrix.row(r)[c]);
    }
    columns.resize((columns.size() + row_step - 1) / row_step * row_step);
    values.resize(columns.size());
    starts.push_back(static_cast<std::uint32_t>(columns.size() / row_step));
  }
  sections.push_back(section_of(name + ".starts", starts));
  sections.push_back(section_of(name + ".columns", columns));
  sections.push_back(section_of(name + ".values", values));
}

const Section& find(const std::vector<Section>& sections, const std::string& name, std::uint64_t bytes) {
  const auto section =
      std::find_if(sections.begin(), sections.end(), [&](const Section& s) { return s.name() == name; });
  if (section == sections.end()) throw Error(ErrorCode::format, fmt::format("section {} is missing", name));
  if (section->size() != bytes) {
    throw Error(ErrorCode::format,
                fmt::format("section {}: {} bytes, expected {}", name, section->size(), bytes));
  }
  return *section;
}

// `starts` of n lists: 0 first, never falling.
const std::uint32_t* find_starts(const std::vector<Section>& sections, const std::string& name,
                                 std::int64_t n) {
  const Section& section = find(sections, name, static_cast<std::uint64_t>(n + 1) * sizeof(std::uint32_t));
  const auto* starts = section.as<std::uint32_t>();
  for (std::int64_t i = 0; i <= n; ++i) {
    const std::uint32_t least = i == 0 ? 0 : starts[i - 1];
    if (starts[i] < least || (i == 0 && starts[0] != 0)) {
      throw Error(ErrorCode::format, fmt::format("section {}: [{}] is {}, expected {}{}", name, i, starts[i],
                                                 i == 0 ? "" : "at least ", least));
    }
  }
  return starts;
}

// Values as the model may hold them, and as many non-zeros a row as the plan's problem says.
class ValueCheck {
 public:
  ValueCheck(DType dtype, const std::string& name, const MatrixSummary& summary)
      : dtype_(dtype), name_(name), summary_(summary), nonzeros_(summary.row_nonzeros.size(), 0) {}
  void operator()(float value, std::int64_t row, std::int64_t column) {
    if (!is_nonzero(value)) return;
    ++nonzeros_[static_cast<std::size_t>(row)];
    if (!std::isfinite(value)) {
      fail(fmt::format("row {}, column {} is {}: weights must be finite", row, column, value));
    }
    if (dtype_ != DType::fp32 && round_to(dtype_, value) != value) {
      fail(fmt::format("row {}, column {} is {}, which {} cannot hold", row, column, value,
                       to_string(dtype_)));
    }
    largest_ = std::max(largest_, std::abs(value));
  }
  // What the layout tells beside: columns of a group that hold a non-zero, slots that hold one.
  void count_column(bool used) { columns_ += used ? 1 : 0; }
  void count_slot(bool used) { slots_ += used ? 1 : 0; }
  void finish(CpuLayout layout) const {
    for (std::size_t row = 0; row < nonzeros_.size(); ++row) {
      if (nonzeros_[row] != summary_.row_nonzeros[row])
        fail(fmt::format("row {} has {} non-zeros, the plan's problem says {}", row, nonzeros_[row],
                         summary_.row_nonzeros[row]));
    }
    const auto same = [&](const char* count, auto found, auto said) {
      if (found != said) fail(fmt::format("{} is {}, the plan's problem says {}", count, found, said));
    };
    if (layout == CpuLayout::dense || layout == CpuLayout::columns)
      same("group_columns", columns_, summary_.group_columns);
    same("large_weights", largest_ > most_half_weight, summary_.large_weights);
    if (layout == CpuLayout::tile) same("tile_slots", slots_, summary_.tile_slots);
  }
  [[noreturn]] void fail(const std::string& message) const {
    throw Error(ErrorCode::format, fmt::format("{}: {}", name_, message));
  }

 private:
  DType dtype_;
  std::string name_;
  const MatrixSummary& summary_;
  std::vector<std::int32_t> nonzeros_;
  std::int64_t columns_ = 0, slots_ = 0;
  float largest_ = 0.0F;  // magnitude
};

void validate_groups(const MatrixView& view, ValueCheck& check) {
  for_each_group(view.shape, [&](std::int64_t group, std::int64_t first, std::int64_t last) {
    const bool dense = view.layout == CpuLayout::dense;
    const std::int64_t begin =
        dense ? group * view.shape.cols : std::int64_t{view.starts[group]} * column_step;
    const std::int64_t end =
        dense ? begin + view.shape.cols : std::int64_t{view.starts[group + 1]} * column_step;
    std::int64_t previous = -1;
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t column = dense ? i - begin : view.columns[i];
      const bool padding = !dense && column == 0 && i > begin && i + column_step > end;
      if (!padding && (column <= previous || column >= view.shape.cols)) {
        check.fail(fmt::format("group {}: column {} after {}, expected ascending columns below {}", group,
                               column, previous, view.shape.cols));
      }
      if (padding)
        previous = view.shape.cols;  // nothing but padding may follow
      else
        previous = column;
      bool used = false;
      for (std::int64_t lane = 0; lane < cpu_group_rows; ++lane) {
        const float value = view.values[i * cpu_group_rows + lane];
        if ((padding || first + lane >= last) && is_nonzero(value)) {
          check.fail(fmt::format("group {}: {} in lane {} of column {}, which is padding: expected 0", group,
                                 value, lane, column));
        }
        check(value, first + lane, column);
        used = used || is_nonzero(value);
      }
      check.count_column(used);
    }
  });
}

void validate_tile(const MatrixView& view, ValueCheck& check) {
  for_each_group(view.shape, [&](std::int64_t group, std::int64_t first, std::int64_t last) {
    std::int64_t previous[cpu_group_rows];
    std::fill_n(previous, cpu_group_rows, -1);
    for (std::int64_t b = view.starts[group]; b < view.starts[group + 1]; ++b) {
      const TileBlock& block = view.blocks[b];
      for (std::int64_t k = 0; k < tile_step; ++k) {
        const std::int64_t window = std::int64_t{view.columns[b * tile_step + k]} * window_step;
        if (window >= view.shape.cols) {
          check.fail(fmt::format("block {}: slot {} reads from column {}, the matrix has {}", b, k, window,
                                 view.shape.cols));
        }
        bool used = false;
        for (std::int64_t lane = 0; lane < cpu_group_rows; ++lane) {
          const std::int64_t offset = block.offsets[lane] >> (5 * k) & 31U;
          const float value = block.values[k][lane];
          if (!is_nonzero(value)) {
            if (offset != 0) check.fail(fmt::format("block {}: padding of slot {} has an offset", b, k));
            continue;
          }
          const std::int64_t column = window + offset;
          if (first + lane >= last || column >= view.shape.cols || column <= previous[lane]) {
            check.fail(
                fmt::format("block {}: lane {} of slot {} is column {} after {}, expected ascending columns "
                            "below {} in {} lanes",
                            b, lane, k, column, previous[lane], view.shape.cols, last - first));
          }
          previous[lane] = column;
          check(value, first + lane, column);
          used = true;
        }
        check.count_slot(used);
      }
      for (const std::uint32_t offsets : block.offsets) {
        if (offsets >> 30 != 0) check.fail(fmt::format("block {}: unused bits of the offsets are set", b));
      }
    }
  });
}

void validate_row(const MatrixView& view, ValueCheck& check) {
  for (std::int64_t r = 0; r < view.shape.rows(); ++r) {
    const std::int64_t begin = std::int64_t{view.starts[r]} * row_step;
    const std::int64_t end = std::int64_t{view.starts[r + 1]} * row_step;
    std::int64_t previous = -1;
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t column = view.columns[i];
      if (!is_nonzero(view.values[i])) {
        if (column != 0 || i == begin || i + row_step <= end) {
          check.fail(
              fmt::format("row {}: padding at column {}, place {} of {}", r, column, i - begin, end - begin));
        }
        previous = view.shape.cols;  // nothing but padding may follow
        continue;
      }
      if (column <= previous || column >= view.shape.cols) {
        check.fail(fmt::format("row {}: column {} after {}, expected ascending columns below {}", r, column,
                               previous, view.shape.cols));
      }
      previous = column;
      check(view.values[i], r, column);
    }
  }
}

}  // namespace

void pack_matrix(const Matrix& matrix, const MatrixShape& shape, CpuLayout layout, const std::string& name,
                 std::vector<Section>& sections) {
  switch (layout) {
    case CpuLayout::none:
      return;
    case CpuLayout::dense:
      return pack_dense(matrix, shape, name, sections);
    case CpuLayout::columns:
      return pack_columns(matrix, shape, name, sections);
    case CpuLayout::tile:
      return pack_tile(matrix, shape, name, sections);
    case CpuLayout::row:
      return pack_row(matrix, name, sections);
  }
}

MatrixView view_matrix(const std::vector<Section>& sections, const MatrixShape& shape, CpuLayout layout,
                       const std::string& name) {
  MatrixView view{layout, shape, nullptr, nullptr, nullptr, nullptr};
  const auto array = [&](const char* part, std::uint64_t count, std::uint64_t size) -> const Section& {
    return find(sections, name + part, count * size);
  };
  switch (layout) {
    case CpuLayout::none:
      break;
    case CpuLayout::dense:
      view.values = array(".values", static_cast<std::uint64_t>(shape.groups() * shape.cols), 64).as<float>();
      break;
    case CpuLayout::columns: {
      view.starts = find_starts(sections, name + ".starts", shape.groups());
      const std::uint64_t count = std::uint64_t{view.starts[shape.groups()]} * column_step;
      view.columns = array(".columns", count, 2).as<std::uint16_t>();
      view.values = array(".values", count, 64).as<float>();
      break;
    }
    case CpuLayout::tile: {
      view.starts = find_starts(sections, name + ".starts", shape.groups());
      const std::uint64_t count = view.starts[shape.groups()];
      view.columns = array(".columns", count * tile_step, 2).as<std::uint16_t>();
      view.blocks = array(".blocks", count, sizeof(TileBlock)).as<TileBlock>();
      break;
    }
    case CpuLayout::row: {
      view.starts = find_starts(sections, name + ".starts", shape.rows());
      const std::uint64_t count = std::uint64_t{view.starts[shape.rows()]} * row_step;
      view.columns = array(".columns", count, 2).as<std::uint16_t>();
      view.values = array(".values", count, 4).as<float>();
      break;
    }
  }
  return view;
}

void validate_matrix(const MatrixView& view, DType dtype, const std::string& name,
                     const MatrixSummary& summary) {
  ValueCheck check(dtype, name, summary);
  switch (view.layout) {
    case CpuLayout::none:
      return;
    case CpuLayout::dense:
    case CpuLayout::columns:
      validate_groups(view, check);
      break;
    case CpuLayout::tile:
      validate_tile(view, check);
      break;
    case CpuLayout::row:
      validate_row(view, check);
      break;
  }
  check.finish(view.layout);
}

void unpack_matrix(const MatrixView& view, Matrix& matrix) {
  if (view.layout == CpuLayout::none) return;
  if (view.layout == CpuLayout::row) {
    for (std::int64_t r = 0; r < matrix.rows; ++r) {
      for (std::int64_t i = std::int64_t{view.starts[r]} * row_step;
           i < std::int64_t{view.starts[r + 1]} * row_step; ++i) {
        if (is_nonzero(view.values[i])) matrix.row(r)[view.columns[i]] = view.values[i];
      }
    }
    return;
  }
  for_each_group(view.shape, [&](std::int64_t group, std::int64_t first, std::int64_t last) {
    const auto put = [&](std::int64_t lane, std::int64_t column, float value) {
      if (first + lane < last && is_nonzero(value)) matrix.row(first + lane)[column] = value;
    };
    for (std::int64_t lane = 0; lane < cpu_group_rows; ++lane) {
      if (view.layout == CpuLayout::tile) {
        for (std::int64_t b = view.starts[group]; b < view.starts[group + 1]; ++b) {
          for (std::int64_t k = 0; k < tile_step; ++k) {
            put(lane,
                view.columns[b * tile_step + k] * window_step +
                    (view.blocks[b].offsets[lane] >> (5 * k) & 31U),
                view.blocks[b].values[k][lane]);
          }
        }
      } else if (view.layout == CpuLayout::columns) {
        for (std::int64_t i = std::int64_t{view.starts[group]} * column_step;
             i < std::int64_t{view.starts[group + 1]} * column_step; ++i) {
          put(lane, view.columns[i], view.values[i * cpu_group_rows + lane]);
        }
      } else {
        for (std::int64_t c = 0; c < view.shape.cols; ++c) {
          put(lane, c, view.values[(group * view.shape.cols + c) * cpu_group_rows + lane]);
        }
      }
    }
  });
}

std::int64_t stored_values(const MatrixView& view) {
  switch (view.layout) {
    case CpuLayout::none:
      return 0;
    case CpuLayout::dense:
      return view.shape.groups() * view.shape.cols * cpu_group_rows;
    case CpuLayout::columns:
      return std::int64_t{view.starts[view.shape.groups()]} * column_step * cpu_group_rows;
    case CpuLayout::tile:
      return std::int64_t{view.starts[view.shape.groups()]} * tile_step * cpu_group_rows;
    case CpuLayout::row:
      return std::int64_t{view.starts[view.shape.rows()]} * row_step;
  }
  return 0;
}

}  // namespace sprnn::cpu
