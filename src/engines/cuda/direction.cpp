#include "engines/cuda/direction.hpp"

#include "engines/cuda/sum_places.hpp"
#include "pack/mma_view.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace sprnn::cuda {

namespace {

Buffer upload_section(const PackedDirection& packed, const std::string& name) {
  const Section& section = packed.section(name);
  return upload(section.data(), section.size());
}

// The ring's words, then control words.
constexpr std::size_t control_bytes(int groups) {
  return sizeof(std::uint32_t) * (control_words + 2 * static_cast<std::size_t>(groups));
}

// A tile of timesteps was planned for the plan's batch; a session of more sequences takes fewer steps at a
// time.
KernelShape shape_for(const Packed& packed, std::size_t direction, int compute_capability, int batch) {
  KernelShape shape = kernel_shape(packed.plan, direction, compute_capability);
  const std::int64_t samples = std::int64_t{shape.plan.tile_steps} * packed.plan.problem.batch;
  shape.plan.tile_steps =
      static_cast<int>(std::clamp<std::int64_t>(samples / batch, 1, shape.plan.tile_steps));
  return shape;
}

}  // namespace

GpuDirection::GpuDirection(const Packed& packed, std::size_t direction, const Gpu& gpu,
                           const CodeSource& code, int batch)
    : gpu_(gpu),
      code_(code),
      batch_(batch),
      reverse_(packed.plan.directions[direction].reverse),
      poll_wait_(std::max(0, packed.plan.directions[direction].gpu().poll_wait_cycles)),
      shape_(shape_for(packed, direction, gpu.description().compute_capability, batch)),
      input_(packed.directions[direction], shape_, packed.plan.problem.directions[direction],
             std::int64_t{batch} * shape_.plan.tile_steps),
      kernel_(make_kernel(shape_)),
      groups_(shape_.plan.groups) {
  make_room_for_clusters();
  const PackedDirection& weights = packed.directions[direction];
  const auto matrix = [&](const std::string& name, const SumPlaces& places) {
    return Matrix{upload_section(weights, name + ".registers"), upload_section(weights, name + ".shared"),
                  upload_section(weights, name + ".l2"), upload<std::int32_t>(places.of_group),
                  upload<std::uint32_t>(places.of_row)};
  };
  if (const auto* plan = std::get_if<GatherPlan>(&packed.plan.directions[direction].choice)) {
    const gather::View view = gather::make_view(weights.sections, *plan, packed.plan.problem,
                                                packed.plan.problem.directions[direction]);
    hh_ = matrix("w_hh", sum_places(view.w_hh));
    if (view.w_hr) hr_ = matrix("w_hr", sum_places(*view.w_hr));
  } else {
    hh_ = matrix("w_hh", {});  // the sums of fragments lie where their rows are
    const mma::View view =
        mma::make_view(weights.sections, std::get<MmaPlan>(packed.plan.directions[direction].choice),
                       packed.plan.problem, packed.plan.problem.directions[direction]);
    if (view.rest) rest_ = matrix(view.layout.rest->name, sum_places(*view.rest));
  }
  unit_map_ = upload_section(weights, "unit_map");
  if (shape_.frame.output) output_map_ = upload_section(weights, "output_map");
  const std::int32_t* const outputs = gpu::view_maps(weights.sections, shape_.frame).outputs;
  std::vector<std::int32_t> position(static_cast<std::size_t>(shape_.frame.outputs));
  for (std::int32_t p = 0; p < shape_.frame.state.positions; ++p) {
    if (outputs[p] >= 0) position[static_cast<std::size_t>(outputs[p])] = p;
  }
  position_ = upload<std::int32_t>(position);
  if (shape_.cell.kind == CellKind::gru) {
    const auto units = static_cast<std::size_t>(shape_.frame.units);
    const std::vector<float> zeros(units);
    n_bias_ = upload<float>(weights.b_hh.empty() ? std::span<const float>(zeros)
                                                 : std::span<const float>(weights.b_hh).subspan(2 * units));
  }
}

Kernel GpuDirection::make_kernel(const KernelShape& shape) const {
  return Kernel(code_(layer_kernel(shape), gpu_.description().compute_capability), "run_layer",
                shared_bytes(shape, gpu_.description()));
}

std::size_t GpuDirection::projection_bytes() const noexcept {
  return sizeof(float) * static_cast<std::size_t>(projection_columns(shape_)) *
         static_cast<std::size_t>(batch_) * static_cast<std::size_t>(shape_.plan.tile_steps);
}

void GpuDirection::make_room_for_clusters() {
  if (!in_cluster(shape_)) return;
  const int clusters = kernel_.most_clusters(static_cast<unsigned>(shape_.plan.ctas),
                                             static_cast<unsigned>(shape_.frame.threads));
  if (clusters > 0) {
    groups_ = std::min(groups_, clusters);
  } else {  // none so large, as of a part of a GPU: as on one that has no clusters
    shape_.plan.in_cluster = false;
    kernel_ = make_kernel(shape_);
  }
}

int GpuDirection::groups_of_pass(int first_entry) const noexcept {
  const int left = (batch_ - first_entry + shape_.plan.group_batch - 1) / shape_.plan.group_batch;
  return std::min(groups_, left);
}

std::size_t GpuDirection::ring_bytes_of(const KernelShape& shape, int groups) const noexcept {
  std::int64_t quads = in_cluster(shape) ? 0 : exchange_quads(shape.frame.outputs_a_cta, shape.h_word, shape);
  if (shape.frame.output) quads += exchange_quads(shape.frame.units_a_cta, ExchangeWord::stamp, shape);
  return static_cast<std::size_t>(2 * groups * quads * 16) + control_bytes(groups);
}

std::size_t GpuDirection::ring_bytes() const noexcept {
  const KernelShape& most =
      takes_any_state() ? shape_ : unbounded(shape_);  // tags take more room than stamps
  return ring_bytes_of(most, groups_of_pass(0));
}

bool GpuDirection::exchanges_initial_state() const noexcept { return holds_state(shape_); }

bool GpuDirection::is_relu() const noexcept { return shape_.cell == relu_cell(); }

// kernels/input.cu asks the same of a state on the device.
bool GpuDirection::is_stampable(float h) const noexcept {
  return is_relu() ? !std::signbit(h) : std::abs(h) < 2.0F;
}

void GpuDirection::prepare_unbounded() {
  if (takes_any_state() || unbounded_kernel_) return;
  unbounded_shape_ = unbounded(shape_);
  unbounded_kernel_.emplace(make_kernel(*unbounded_shape_));
}

std::string GpuDirection::tuning_key() const {
  return fmt::format("{} of {} on {}", source_hash(layer_kernel(shape_)), batch_,
                     static_cast<const void*>(&gpu_));
}

void GpuDirection::project(const InputKernels& kernels, const TileRun& tile,
                           const LaunchContext& context) const {
  input_.run(kernels, tile.x, tile.nonfinite, tile.steps * batch_, context.projection, context.stream);
}

void GpuDirection::run(const TileRun& tile, const LaunchContext& context, StateRange range,
                       DevicePointer unbounded) const {
  if (takes_any_state()) range = StateRange::stampable;
  Arguments arguments;
  arguments.hh = hh_.arrays();
  arguments.hr = hr_.arrays();
  arguments.rest = rest_.arrays();
  arguments.unit_map = unit_map_.get();
  arguments.output_map = shape_.frame.output ? output_map_.get() : unit_map_.get();
  arguments.position = position_.get();
  arguments.projection = context.projection;
  arguments.n_bias = n_bias_.get();
  arguments.lengths = tile.lengths;
  arguments.h = tile.h;
  arguments.c = tile.c;
  arguments.y = tile.y;
  arguments.y_time = tile.y_time;
  arguments.y_batch = tile.y_batch;
  arguments.ring = context.ring;
  arguments.status = context.status;
  arguments.poll_wait = poll_wait_;
  arguments.limit = context.limit;
  arguments.rendezvous_limit = context.rendezvous_limit;
  arguments.time_begin = tile.time_begin;
  arguments.steps = static_cast<std::int32_t>(tile.steps);
  arguments.batch = batch_;
  arguments.reverse = reverse_;
  arguments.hidden = static_cast<std::int32_t>(shape_.frame.units);
  arguments.outputs = static_cast<std::int32_t>(shape_.frame.outputs);
  if (range == StateRange::on_device) arguments.unbounded = unbounded;
  if (range != StateRange::any) launch(shape_, kernel_, arguments, context);
  arguments.for_unbounded = 1;
  if (range != StateRange::stampable) launch(*unbounded_shape_, *unbounded_kernel_, arguments, context);
}

void GpuDirection::launch(const KernelShape& shape, const Kernel& kernel, Arguments arguments,
                          const LaunchContext& context) const {
  for (int first = 0; first < batch_; first += groups_ * shape.plan.group_batch) {
    const int groups = groups_of_pass(first);
    const std::size_t bytes = ring_bytes_of(shape, groups);
    arguments.first_entry = first;
    arguments.control = context.ring + bytes - control_bytes(groups);
    // exchange: clear
    check(driver().set_bytes(context.ring, 0, bytes, context.stream), "cuMemsetD8Async");
    const int ctas = shape.frame.ctas;
    const bool clustered = in_cluster(shape);
    const Placement placement = clustered ? unplaced(groups, ctas) : place(context.sides->sms, groups, ctas);
    arguments.roles = placement.roles;
    arguments.near_roles = placement.near_roles;
    arguments.side_of_sm = placement.placed ? context.sides->side_of_sm.get() : DevicePointer{0};
    kernel.launch_cooperative(context.stream, static_cast<unsigned>(placement.blocks),
                              clustered ? static_cast<unsigned>(ctas) : 0U,
                              static_cast<unsigned>(shape.frame.threads), arguments);
  }
}

}  // namespace sprnn::cuda
