#include "gpu/run_model.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "sprnn/error.hpp"

namespace sprnn::test {

namespace {

std::optional<Device> only_planned_for;

// [T, B, width] as [B, T, width].
std::vector<float> batch_first(std::span<const float> values, std::size_t steps, std::size_t batch,
                               std::size_t width) {
  std::vector<float> to(values.size());
  for (std::size_t t = 0; t < steps; ++t) {
    for (std::size_t b = 0; b < batch; ++b) {
      std::copy_n(values.begin() + static_cast<std::ptrdiff_t>((t * batch + b) * width), width,
                  to.begin() + static_cast<std::ptrdiff_t>((b * steps + t) * width));
    }
  }
  return to;
}

void expect_equal(std::string& text, const char* name, const std::vector<float>& a,
                  const std::vector<float>& b) {
  if (!text.empty()) return;
  if (a.size() != b.size()) text = fmt::format("{} has {} and {} values", name, a.size(), b.size());
  for (std::size_t i = 0; i < a.size() && text.empty(); ++i) {
    const bool same = std::bit_cast<std::uint32_t>(a[i]) == std::bit_cast<std::uint32_t>(b[i]);
    // Which NaN a conversion makes of a NaN is not promised.
    if (!same && !(std::isnan(a[i]) && std::isnan(b[i]))) {
      text = fmt::format("{}[{}] is {} and {}", name, i, a[i], b[i]);
    }
  }
}

}  // namespace

void plan_only_for(Device device) { only_planned_for = std::move(device); }

Device test_gpu() { return only_planned_for ? *only_planned_for : find_gpu(0); }

std::unique_ptr<Session> cuda_session(const std::shared_ptr<const Packed>& packed, std::int64_t batch,
                                      double deadline_seconds) {
  if (only_planned_for) throw OnlyPlanned();
  SessionOptions options;
  options.batch = static_cast<int>(batch);
  options.deadline_seconds = deadline_seconds;
  return find_engine("cuda", packed->plan).session(packed, options);
}

CudaSession& on_device(Session& session) { return dynamic_cast<CudaSession&>(session); }

std::size_t output_width(const Problem& problem) {
  const std::size_t per_layer = problem.directions.size() > 1 && problem.directions[1].layer == 0 ? 2 : 1;
  return per_layer * static_cast<std::size_t>(problem.directions.front().w_hh.cols);
}

Output run_on_host(Session& session, const Inputs& inputs, const Way& way) {
  const std::size_t width = output_width(session.problem());
  const auto steps = static_cast<std::size_t>(inputs.steps), batch = static_cast<std::size_t>(inputs.batch),
             in = static_cast<std::size_t>(session.problem().input_size);
  std::vector<float> swapped;
  if (way.batch_first) swapped = batch_first(inputs.x, steps, batch, in);
  const std::vector<float>& x = way.batch_first ? swapped : inputs.x;
  session.set_state(inputs.h0, inputs.c0);
  GuardedOutput y(steps * batch * width);
  const std::int64_t chunk = way.chunk == 0 ? inputs.steps : way.chunk;
  for (std::int64_t begin = 0; begin < inputs.steps; begin += chunk) {
    Sequence sequence;
    sequence.steps = std::min(chunk, inputs.steps - begin);
    sequence.x = x.data() + static_cast<std::size_t>(begin) * batch * in;
    sequence.y = y.data() + static_cast<std::size_t>(begin) * batch * width;
    sequence.batch_first = way.batch_first;
    if (!inputs.lengths.empty()) sequence.lengths = inputs.lengths.data();
    session.run(sequence);
  }
  if (!y.problem().empty()) throw std::runtime_error(y.problem());
  Output output{{y.values().begin(), y.values().end()}, inputs.h0, inputs.c0};
  if (way.batch_first) output.y = batch_first(output.y, batch, steps, width);
  session.get_state(output.h, output.c);
  return output;
}

bool refuses_to_go_on(Session& session, const Inputs& inputs) {
  std::vector<float> y(static_cast<std::size_t>(inputs.batch) * output_width(session.problem()));
  try {
    session.run({1, inputs.x.data(), y.data()});
  } catch (const Error& error) {
    return error.code() == ErrorCode::unsupported;
  }
  return false;
}

Output run_on_device(Session& session, const Inputs& inputs, const Way& way, cuda::Stream stream) {
  const auto gpu = cuda::gpu(0);
  const cuda::Current current(*gpu);
  const DType dtype = session.problem().dtype;
  const std::size_t width = output_width(session.problem());
  const auto steps = static_cast<std::size_t>(inputs.steps), batch = static_cast<std::size_t>(inputs.batch),
             in = static_cast<std::size_t>(session.problem().input_size);
  GuardedMemory x(inputs.x.size() * size_of(dtype)), y(steps * batch * width * size_of(dtype)),
      lengths(inputs.lengths.size() * sizeof(std::int64_t));
  x.write(dtype, way.batch_first ? batch_first(inputs.x, steps, batch, in) : inputs.x);
  lengths.write(inputs.lengths.data(), inputs.lengths.size() * sizeof(std::int64_t));
  session.set_state(inputs.h0, inputs.c0);
  CudaSession& cuda_session = on_device(session);
  const std::int64_t chunk = way.chunk == 0 ? inputs.steps : way.chunk;
  for (std::int64_t begin = 0; begin < inputs.steps; begin += chunk) {
    const auto at = static_cast<cuda::DevicePointer>(begin) * batch * size_of(dtype);
    DeviceSequence sequence;
    sequence.steps = std::min(chunk, inputs.steps - begin);
    sequence.x = reinterpret_cast<void*>(x.get() + at * in);
    sequence.y = reinterpret_cast<void*>(y.get() + at * width);
    if (!inputs.lengths.empty()) sequence.lengths = static_cast<const std::int64_t*>(lengths.pointer());
    sequence.batch_first = way.batch_first;
    sequence.stream = stream;
    cuda_session.run(sequence);
  }
  cuda_session.check();
  (void)x.read();
  (void)lengths.read();
  Output output{y.read(dtype), inputs.h0, inputs.c0};
  if (way.batch_first) output.y = batch_first(output.y, batch, steps, width);
  session.get_state(output.h, output.c);
  return output;
}

CaseResult check_model(const Model& model, const Inputs& inputs, const Device& device,
                       const GpuWishes& wishes, const Way& way) {
  const auto packed = pack_for(model, device, static_cast<int>(inputs.batch), wishes);
  const auto session = cuda_session(packed, inputs.batch);
  const Output once = run_on_host(*session, inputs, way);
  const Output again = run_on_host(*session, inputs, way);
  const Errors errors = compare(model, inputs, once);
  const std::string other = difference(once, again);
  return {errors.error, errors.bound, other.empty() ? "" : "other bits when run again: " + other};
}

Device cramped_gpu(int sms, int registers, std::int64_t shared, std::int64_t l2) {
  GpuDescription gpu = tiny_gpu().gpu();
  gpu.l2_bytes = l2;
  gpu.sm_count = sms;
  gpu.max_registers_per_thread = registers;
  gpu.shared_bytes_per_block = gpu.shared_bytes_per_sm = shared;
  return {"cramped", gpu};
}

ModelSpec Wanted::sized(ModelSpec spec) const {
  if (device) spec.hidden = spec.cell.gates() == 1 ? 400 : 150;
  if (rests && streams) spec.hidden = spec.cell.gates() == 1 ? 2048 : 1500;  // more than has room on chip
  return rests ? spec : masked_for(*wishes.strategy, spec);
}

std::string to_string(const Wanted& wanted) {
  const std::string rest =
      wanted.rests ? fmt::format(" and a rest, {} a group", wanted.wishes.group_batch.value_or(0)) : "";
  return fmt::format("{}{}{}{}{}", to_string(*wanted.wishes.strategy), rest,
                     wanted.wishes.asks_late.value_or(false) ? ", asks late" : "",
                     wanted.wishes.row_parts.value_or(1) == 1         ? ""
                     : wanted.wishes.row_parts == wanted.wishes.warps ? ", whole rows"
                                                                      : ", row parts",
                     wanted.streams                             ? ", streamed weights"
                     : wanted.wishes.in_cluster.value_or(false) ? ", in a cluster"
                                                                : "");
}

const std::vector<Wanted>& mma_detours() {
  static const std::vector<Wanted> all = [] {
    const auto detour = [](GpuStrategy strategy, int batch, bool asks_late, int row_parts, bool streams) {
      const Device device =
          streams ? cramped_gpu(6, asks_late ? 192 : 176, 24576) : cramped_gpu(6, 255, 131072);
      const GpuWishes wishes{.strategy = strategy,
                             .groups = 1,
                             .ctas = row_parts > 2 ? 4 : 6,  // each warp has rows
                             .group_batch = batch,
                             .warps = 4,
                             .row_parts = row_parts,
                             .asks_late = asks_late,
                             .poll_wait_cycles = 0,  // else each session would first measure it
                             .in_cluster = false};
      return Wanted{wishes, device, streams};
    };
    constexpr GpuStrategy dense = GpuStrategy::dense_mma, sparse = GpuStrategy::sparse_mma;
    const auto rests = [&](Wanted wanted) {
      wanted.rests = true;
      if (!wanted.streams) return wanted;
      wanted.wishes.ctas = 68;
      wanted.device =
          wanted.wishes.group_batch > 2 ? cramped_gpu(68, 244, 45056) : cramped_gpu(68, 200, 14336);
      return wanted;
    };
    return std::vector{rests(detour(sparse, 7, false, 1, true)),  rests(detour(sparse, 2, false, 1, true)),
                       rests(detour(sparse, 3, false, 1, false)), rests(detour(sparse, 1, false, 1, false)),
                       detour(dense, 7, false, 1, true),          detour(dense, 3, false, 2, false),
                       detour(dense, 11, true, 1, false),         detour(dense, 11, true, 2, true),
                       detour(dense, 11, true, 1, true),          detour(sparse, 11, true, 1, true),
                       detour(sparse, 7, false, 1, true),         detour(sparse, 2, false, 2, false),
                       detour(sparse, 11, true, 1, false),        detour(sparse, 3, false, 4, false),
                       detour(dense, 3, false, 4, false)};
  }();
  return all;
}

std::vector<Wanted> mma_plans() {
  std::vector<Wanted> all{{{.strategy = GpuStrategy::dense_mma}},
                          {{.strategy = GpuStrategy::sparse_mma}},
                          {{.strategy = GpuStrategy::vector_mma}}};
  all.insert(all.end(), mma_detours().begin(), mma_detours().end());
  for (auto whole = mma_detours().end() - 2; whole != mma_detours().end(); ++whole) {
    all.push_back(*whole);
    all.back().wishes.in_cluster = true;
  }
  return all;
}

std::string lacking(const Plan& plan, const GpuWishes& wishes) {
  for (const DirectionPlan& direction : plan.directions) {
    const auto lacks = [](const auto& wish, const auto& found) { return wish && *wish != found; };
    if (lacks(wishes.stamps, direction.gpu().stamps)) return "stamps";
    if (lacks(wishes.fence, direction.gpu().fence)) return "fence";
    if (lacks(wishes.in_cluster, direction.gpu().in_cluster)) return "in_cluster";
    const auto* mma = std::get_if<MmaPlan>(&direction.choice);
    if (mma == nullptr) continue;
    if (lacks(wishes.asks_late, mma->asks_late)) return "asks_late";
    if (lacks(wishes.row_parts, mma->row_parts)) return "row_parts";
  }
  return "";
}

std::shared_ptr<const Packed> pack_for(const Model& model, std::int64_t batch, const Wanted& wanted) {
  auto packed =
      pack_for(model, wanted.device ? *wanted.device : test_gpu(), static_cast<int>(batch), wanted.wishes);
  std::string missing = lacking(packed->plan, wanted.wishes);
  if (wanted.streams && packed->directions[0].section("w_hh.l2").size() == 0) missing = "streamed weights";
  const auto* mma = std::get_if<MmaPlan>(&packed->plan.directions[0].choice);
  if (wanted.rests && (mma == nullptr || !mma->rest)) missing = "a rest";
  if (!missing.empty()) throw std::runtime_error("the case does not cover it: the plan lacks " + missing);
  return packed;
}

std::string difference(const Output& a, const Output& b) {
  std::string text;
  expect_equal(text, "y", a.y, b.y);
  expect_equal(text, "h", a.h, b.h);
  expect_equal(text, "c", a.c, b.c);
  return text;
}

GuardedMemory::GuardedMemory(std::size_t bytes) : bytes_(bytes), buffer_(bytes + 2 * guard_bytes) {
  poison();
}

void GuardedMemory::poison() {
  cuda::check(cuda::driver().set_bytes(buffer_.get(), 0xFF, buffer_.bytes(), nullptr), "cuMemsetD8Async");
  cuda::check(cuda::driver().synchronize(nullptr), "cuStreamSynchronize");
}

void GuardedMemory::write(const void* from, std::size_t bytes) {
  if (bytes == 0) return;
  cuda::check(cuda::driver().to_device(get(), from, bytes, nullptr), "cuMemcpyHtoDAsync");
  cuda::check(cuda::driver().synchronize(nullptr), "cuStreamSynchronize");
}

void GuardedMemory::write(DType dtype, std::span<const float> values) {
  if (dtype == DType::fp32) return write(values.data(), values.size_bytes());
  std::vector<std::uint16_t> bits(values.size());
  std::ranges::transform(values, bits.begin(),
                         [&](float value) { return static_cast<std::uint16_t>(to_bits(dtype, value)); });
  write(bits.data(), 2 * bits.size());
}

std::vector<std::byte> GuardedMemory::read() const {
  std::vector<std::byte> all(buffer_.bytes());
  cuda::check(cuda::driver().to_host(all.data(), buffer_.get(), all.size(), nullptr), "cuMemcpyDtoHAsync");
  cuda::check(cuda::driver().synchronize(nullptr), "cuStreamSynchronize");
  for (std::size_t i = 0; i < guard_bytes; ++i) {
    if (all[i] != std::byte{0xFF})
      throw std::runtime_error(
          fmt::format("device memory written {} bytes before the array", guard_bytes - i));
    if (all[guard_bytes + bytes_ + i] != std::byte{0xFF})
      throw std::runtime_error(fmt::format("device memory written {} bytes behind the array", i));
  }
  return {all.begin() + guard_bytes, all.begin() + static_cast<std::ptrdiff_t>(guard_bytes + bytes_)};
}

std::vector<float> GuardedMemory::read(DType dtype) const {
  const std::vector<std::byte> bytes = read();
  const std::size_t size = size_of(dtype);
  std::vector<float> values(bytes.size() / size);
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, bytes.data() + i * size, size);
    if (bits == (size == 4 ? 0xFFFFFFFFU : 0xFFFFU))
      throw std::runtime_error(fmt::format("element {} of y was not written", i));
    values[i] = from_bits(dtype, bits);
  }
  return values;
}

}  // namespace sprnn::test
