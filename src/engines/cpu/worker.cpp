#include "engines/cpu/worker.hpp"

#include <algorithm>

namespace sprnn::cpu {

namespace {

std::int64_t groups_of(std::int64_t values) { return round_up(values, cpu_group_rows) / cpu_group_rows; }

// Groups of the recurrent product that are multiplied in one call: the dense kernel wants four together.
constexpr std::int64_t chunk_groups = 4;

// A single sample is read by rows even by the layout `row`: its values are gathered.
bool wants_columns(const MatrixView& reader, std::int64_t samples) {
  return reader.layout == CpuLayout::row && samples > 1;
}

}  // namespace

Worker::Worker(CpuSession& session, const DirectionData& data, const Shares& shares, const DirectionRun& run,
               int worker)
    : session_(session),
      kernels_(session.kernels_),
      data_(data),
      run_(run),
      workers_(shares.workers),
      worker_(worker),
      batch_(session.batch()),
      padded_(round_up(data.units, cpu_group_rows)),
      pre_stride_(row_stride(data.blocks * padded_)),
      begin_(shares.unit_groups[static_cast<std::size_t>(worker)]),
      end_(shares.unit_groups[static_cast<std::size_t>(worker) + 1]),
      state_begin_(data.projected() ? shares.state_groups[static_cast<std::size_t>(worker)] : begin_),
      state_end_(data.projected() ? shares.state_groups[static_cast<std::size_t>(worker) + 1] : end_),
      x_{&session.x_, data.inputs, 0, false},
      h_{&session.h_[0], data.state, batch_, false} {}

void Worker::run() noexcept {
  load_state();
  for (std::int64_t first = run_.begin; first < run_.end; first += session_.tile_steps_) {
    const std::int64_t steps = std::min(session_.tile_steps_, run_.end - first);
    stage(first, steps);
    project(steps);
    for (std::int64_t s = 0; s < steps; ++s) step(first, s);
  }
  store_state();
}

void Worker::arrive(bool strict) {
  session_.team_.arrive(worker_, strict);
  pending_ = true;
}

bool Worker::wait() {
  pending_ = false;
  return session_.team_.wait(worker_);
}

std::int64_t Worker::time_of(std::int64_t step, std::int64_t b) const {
  if (!data_.reverse || !active(step, b)) return step;
  return (run_.lengths == nullptr ? run_.steps : run_.lengths[b]) - 1 - step;
}

void Worker::load_state() {
  const std::int64_t first = state_begin_ * cpu_group_rows;
  const std::int64_t last = std::min(state_end_ * cpu_group_rows, data_.state);
  Exchange& h = session_.h_[parity_];
  const std::int64_t stride = row_stride(data_.state);
  bool strict = false;
  for (std::int64_t b = 0; b < batch_ && first < last; ++b) {
    strict |= kernels_.round(run_.h + b * data_.state + first, h.rows.data() + b * stride + first,
                             last - first, DType::fp32);
  }
  finish(h, data_.w_hh, data_.state, batch_, first, last);
  if (run_.c != nullptr) {
    const std::int64_t unit = begin_ * cpu_group_rows;
    const std::int64_t count = std::min(end_ * cpu_group_rows, data_.units) - unit;
    for (std::int64_t b = 0; b < batch_; ++b) {
      std::copy_n(run_.c + b * data_.units + unit, count,
                  session_.c_.data() + b * row_stride(data_.units) + unit);
    }
  }
  arrive(strict);
}

void Worker::store_state() {
  const std::int64_t first = state_begin_ * cpu_group_rows;
  const std::int64_t last = std::min(state_end_ * cpu_group_rows, data_.state);
  const Exchange& h = session_.h_[parity_];
  for (std::int64_t b = 0; b < batch_ && first < last; ++b) {
    std::copy_n(h.rows.data() + b * row_stride(data_.state) + first, last - first,
                run_.h + b * data_.state + first);
  }
  if (run_.c == nullptr) return;
  const std::int64_t unit = begin_ * cpu_group_rows;
  const std::int64_t count = std::min(end_ * cpu_group_rows, data_.units) - unit;
  for (std::int64_t b = 0; b < batch_; ++b) {
    std::copy_n(session_.c_.data() + b * row_stride(data_.units) + unit, count,
                run_.c + b * data_.units + unit);
  }
}

void Worker::stage(std::int64_t first, std::int64_t steps) {
  // Others may still be projecting from x_: what they publish next says that they are done.
  h_.strict = wait();
  std::vector<const float*>& sources = session_.sources_[static_cast<std::size_t>(worker_)];
  const std::int64_t samples = steps * batch_;
  for (std::int64_t q = 0; q < samples; ++q) {
    const std::int64_t step = first + q / batch_;
    const std::int64_t b = q % batch_;
    sources[static_cast<std::size_t>(q)] =
        active(step, b) ? run_.x + time_of(step, b) * run_.x_time + b * run_.x_batch : nullptr;
  }
  const std::int64_t groups = groups_of(data_.inputs);
  const std::int64_t begin = groups * worker_ / workers_ * cpu_group_rows;
  const std::int64_t end = std::min(groups * (worker_ + 1) / workers_ * cpu_group_rows, data_.inputs);
  bool strict = false;
  for (std::int64_t q = 0; q < samples && begin < end; ++q) {
    const float* from = sources[static_cast<std::size_t>(q)];
    float* to = session_.x_.rows.data() + q * row_stride(data_.inputs) + begin;
    if (from == nullptr) {
      std::fill_n(to, end - begin, 0.0F);
    } else {
      strict |= kernels_.round(from + begin, to, end - begin, session_.problem().dtype);
    }
    // What lies beyond may be left from a wider layer.
    if (end == data_.inputs) std::fill_n(to + (end - begin), row_stride(end) - end, 0.0F);
  }
  finish(session_.x_, data_.w_ih, data_.inputs, samples, begin, end);
  arrive(strict);
  x_.samples = samples;
  x_.strict = wait();
}

void Worker::project(std::int64_t) {
  for (std::int64_t gate = 0; gate < data_.cell->gates(); ++gate) {
    const std::int64_t group = gate * padded_ / cpu_group_rows;
    const std::int64_t at = gate * padded_ + begin_ * cpu_group_rows;
    multiply(data_.w_ih, x_, group + begin_, group + end_, data_.bias.data() + at, 0,
             session_.pre_.data() + at, pre_stride_);
  }
}

void Worker::step(std::int64_t first, std::int64_t s) {
  if (pending_) h_.strict = wait();
  h_.values = &session_.h_[parity_];
  pre_ = session_.pre_.data() + s * batch_ * pre_stride_;
  const Cell& cell = *data_.cell;
  // n's product needs r first where the reset comes before it.
  const std::int64_t gates = cell.reset_before_product ? 2 : cell.gates();
  const std::int64_t chunks = (end_ - begin_ + chunk_groups - 1) / chunk_groups;
  for (std::int64_t i = 0; i < gates * chunks; ++i) {
    // Every other step goes backwards: what the last one read last is still in the cache, even when all
    // of it is larger (a fifth faster at twice the size).
    const std::int64_t at = parity_ == 0 ? i : gates * chunks - 1 - i;
    const std::int64_t gate = at / chunks;
    const std::int64_t first_group = begin_ + at % chunks * chunk_groups;
    const std::int64_t last_group = std::min(first_group + chunk_groups, end_);
    const bool apart = data_.separate_n() && gate == 2;
    const std::int64_t group = gate * padded_ / cpu_group_rows;
    float* pre = pre_ + gate * padded_ + first_group * cpu_group_rows;
    float* out = apart ? pre + padded_ : pre;
    const float* add = apart ? data_.bias.data() + 3 * padded_ + first_group * cpu_group_rows : pre;
    multiply(data_.w_hh, h_, group + first_group, group + last_group, add, apart ? 0 : pre_stride_, out,
             pre_stride_);
  }
  parity_ ^= 1;
  if (cell.reset_before_product) {
    update_with_reset(first + s, pre_);
  } else if (data_.projected()) {
    update_projected(first + s);
  } else {
    update(first + s);
  }
  write_output(first + s);
}

UpdateArgs Worker::update_args(std::int64_t step) const {
  UpdateArgs args;
  args.cell = data_.cell;
  args.peephole = data_.peephole;
  args.units = data_.units;
  args.begin = begin_;
  args.end = end_;
  args.batch = batch_;
  args.pre = pre_;
  args.pre_stride = pre_stride_;
  args.gate_stride = padded_;
  args.h_in = session_.h_[parity_ ^ 1].rows.data();
  args.h_out = session_.h_[parity_].rows.data();
  args.h_stride = row_stride(data_.units);
  args.c = session_.c_.data();
  args.c_stride = row_stride(data_.units);
  args.dtype = session_.problem().dtype;
  args.lengths = run_.lengths;
  args.step = step;
  return args;
}

void Worker::update(std::int64_t step) {
  const UpdateArgs args = update_args(step);
  const bool strict = data_.standard ? kernels_.update(args) : update_any(args);
  finish(session_.h_[parity_], data_.w_hh, data_.state, batch_, begin_ * cpu_group_rows,
         std::min(end_ * cpu_group_rows, data_.units));
  arrive(strict);
}

void Worker::update_with_reset(std::int64_t step, float* pre) {
  UpdateArgs args = update_args(step);
  args.h_out = session_.inner_.rows.data();
  const bool strict = reset_hidden(args);
  finish(session_.inner_, data_.w_hh, data_.units, batch_, begin_ * cpu_group_rows,
         std::min(end_ * cpu_group_rows, data_.units));
  arrive(strict);
  const Published inner{&session_.inner_, data_.units, batch_, wait()};
  const std::int64_t group = 2 * padded_ / cpu_group_rows;
  float* n = pre + 2 * padded_ + begin_ * cpu_group_rows;
  multiply(data_.w_hh, inner, group + begin_, group + end_, n, pre_stride_, n, pre_stride_);
  update(step);
}

void Worker::update_projected(std::int64_t step) {
  UpdateArgs args = update_args(step);
  args.h_in = args.h_out = session_.inner_.rows.data();
  args.dtype = DType::fp32;
  const bool strict = data_.standard ? kernels_.update(args) : update_any(args);
  finish(session_.inner_, data_.w_hr, data_.units, batch_, begin_ * cpu_group_rows,
         std::min(end_ * cpu_group_rows, data_.units));
  arrive(strict);
  const Published inner{&session_.inner_, data_.units, batch_, wait()};

  const std::int64_t stride = row_stride(data_.state);
  const std::int64_t first = state_begin_ * cpu_group_rows;
  const std::int64_t last = std::min(state_end_ * cpu_group_rows, data_.state);
  Exchange& next = session_.h_[parity_];
  bool unbounded = false;
  if (first < last) {
    multiply(data_.w_hr, inner, state_begin_, state_end_, nullptr, 0, next.rows.data() + first, stride);
    for (std::int64_t b = 0; b < batch_; ++b) {
      float* to = next.rows.data() + b * stride + first;
      const float* from = active(step, b) ? to : session_.h_[parity_ ^ 1].rows.data() + b * stride + first;
      unbounded |= kernels_.round(from, to, last - first, session_.problem().dtype);
    }
    finish(next, data_.w_hh, data_.state, batch_, first, last);
  }
  arrive(unbounded);
}

void Worker::write_output(std::int64_t step) {
  const std::int64_t first = state_begin_ * cpu_group_rows;
  const std::int64_t last = std::min(state_end_ * cpu_group_rows, data_.state);
  if (first >= last) return;
  for (std::int64_t b = 0; b < batch_; ++b) {
    float* y = run_.y + time_of(step, b) * run_.y_time + b * run_.y_batch + first;
    if (active(step, b)) {
      std::copy_n(session_.h_[parity_].rows.data() + b * row_stride(data_.state) + first, last - first, y);
    } else {
      std::fill_n(y, last - first, 0.0F);
    }
  }
}

void Worker::multiply(const MatrixView& matrix, const Published& x, std::int64_t group_begin,
                      std::int64_t group_end, const float* add, std::int64_t add_stride, float* out,
                      std::int64_t out_stride) const {
  ProductArgs args;
  args.matrix = &matrix;
  args.group_begin = group_begin;
  args.group_end = group_end;
  args.x_by_columns = wants_columns(matrix, x.samples);
  args.x = args.x_by_columns ? x.values->columns.data() : x.values->rows.data();
  args.x_stride = args.x_by_columns ? column_stride(x.samples) : row_stride(x.width);
  args.samples = x.samples;
  args.add = add;
  args.add_stride = add_stride;
  args.out = out;
  args.out_stride = out_stride;
  if (x.strict) {
    multiply_strictly(args);
  } else {
    kernels_.multiply(args);
  }
}

void Worker::finish(Exchange& values, const MatrixView& reader, std::int64_t width, std::int64_t samples,
                    std::int64_t begin, std::int64_t end) const {
  if (!wants_columns(reader, samples) || begin >= end) return;
  const std::int64_t stride = column_stride(samples);
  kernels_.transpose(values.rows.data() + begin, row_stride(width), samples, end - begin,
                     values.columns.data() + begin * stride, stride);
}

}  // namespace sprnn::cpu
