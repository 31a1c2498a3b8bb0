#include "bench/gpu.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "bench/race.hpp"
#include "plan/strategy.hpp"
#include "sprnn/error.hpp"

namespace sprnn::bench {
namespace {

using cuda::check;
using cuda::driver;

constexpr std::string_view input_part = "input projection";  // the one that does not recur

std::vector<std::byte> to_device_type(DType dtype, const std::vector<float>& values) {
  const std::size_t element = size_of(dtype);
  std::vector<std::byte> bytes(values.size() * element);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::uint32_t bits = to_bits(dtype, values[i]);
    std::memcpy(bytes.data() + i * element, &bits, element);
  }
  return bytes;
}

// Directions run one after the other, so the parts of all of them add up.
std::vector<PredictedPart> predicted_parts(const Plan& plan) {
  std::vector<PredictedPart> parts;
  for (const DirectionPlan& direction : plan.directions) {
    for (const CostPart& part : direction.cost) {
      const auto same = std::find_if(parts.begin(), parts.end(),
                                     [&](const PredictedPart& known) { return known.name == part.name; });
      if (same == parts.end()) {
        parts.push_back({part.name, part.microseconds, std::nullopt});
      } else {
        same->predicted_us += part.microseconds;
      }
    }
  }
  return parts;
}

void add_measured(std::vector<PredictedPart>& parts, const GpuResult& result, const Timing& layer) {
  PredictedPart recurrent{"recurrent", 0.0, result.recurrent_us_per_step}, whole{"whole layer", 0.0, {}};
  whole.measured_us = layer.slope_us_per_step;
  for (PredictedPart& part : parts) {
    whole.predicted_us += part.predicted_us;
    if (part.name != input_part) {
      recurrent.predicted_us += part.predicted_us;
    } else if (whole.measured_us) {
      part.measured_us = *whole.measured_us - result.recurrent_us_per_step;
    }
  }
  parts.push_back(std::move(recurrent));
  parts.push_back(std::move(whole));
}

}  // namespace

GpuContestant::GpuContestant(std::unique_ptr<Session> session, int device, const Workload& workload)
    : session_(dynamic_cast<CudaSession*>(session.get())), gpu_(cuda::gpu(device)), workload_(workload) {
  if (!session_) throw Error(ErrorCode::internal, "a race on the GPU: the session is not one of engine cuda");
  (void)session.release();
  const DType dtype = session_->problem().dtype;
  const cuda::Current current(*gpu_);
  x_ = cuda::upload<std::byte>(to_device_type(dtype, workload.x));
  y_ = cuda::Buffer(output_values() * size_of(dtype));
  check(driver().create_stream(&stream_, 1 /* does not wait for the default stream */), "cuStreamCreate");
  check(driver().create_event(&begin_, 0), "cuEventCreate");
  check(driver().create_event(&end_, 0), "cuEventCreate");
}

GpuContestant::~GpuContestant() {
  session_.reset();
  const cuda::Current current(*gpu_);
  x_ = cuda::Buffer();
  y_ = cuda::Buffer();
  for (const cuda::Event event : {begin_, end_}) {
    if (event != nullptr) driver().destroy_event(event);
  }
  if (stream_ != nullptr) driver().destroy_stream(stream_);
}

std::size_t GpuContestant::output_values() const {
  const Problem& problem = session_->problem();
  const std::int64_t state = problem.projection_size > 0 ? problem.projection_size : problem.hidden_size;
  const auto directions =
      std::count_if(problem.directions.begin(), problem.directions.end(),
                    [](const DirectionProblem& direction) { return direction.layer == 0; });
  return static_cast<std::size_t>(workload_.lengths.front() * workload_.batch * state * directions);
}

double GpuContestant::run(std::size_t length, std::size_t input_set) {
  const Problem& problem = session_->problem();
  const std::int64_t steps = workload_.lengths[length];
  const std::size_t offset = input_set * static_cast<std::size_t>(workload_.batch * problem.input_size);
  written_ =
      output_values() / static_cast<std::size_t>(workload_.lengths.front()) * static_cast<std::size_t>(steps);
  session_->reset();
  const cuda::Current current(*gpu_);
  check(driver().record_event(begin_, stream_), "cuEventRecord");
  DeviceSequence sequence;
  sequence.steps = steps;
  sequence.x = reinterpret_cast<const void*>(x_.get() + offset * size_of(problem.dtype));
  sequence.y = reinterpret_cast<void*>(y_.get());
  sequence.stream = stream_;
  session_->run(sequence);
  check(driver().record_event(end_, stream_), "cuEventRecord");
  session_->check();
  check(driver().synchronize_event(end_), "cuEventSynchronize");  // a moment behind what check() waits for
  float milliseconds = 0.0F;
  check(driver().elapsed_ms(&milliseconds, begin_, end_), "cuEventElapsedTime");
  return 1e3 * static_cast<double>(milliseconds);
}

std::vector<float> GpuContestant::output() {
  const DType dtype = session_->problem().dtype;
  const std::size_t element = size_of(dtype);
  std::vector<std::byte> bytes(written_ * element);
  const cuda::Current current(*gpu_);
  check(driver().to_host(bytes.data(), y_.get(), bytes.size(), stream_), "cuMemcpyDtoHAsync");
  check(driver().synchronize(stream_), "cuStreamSynchronize");
  std::vector<float> values(written_);
  for (std::size_t i = 0; i < written_; ++i) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, bytes.data() + i * element, element);
    values[i] = from_bits(dtype, bits);
  }
  return values;
}

GpuResult measure_gpu(GpuContestant& contestant, const Plan& plan, const Timing& layer, double first_call_us,
                      std::int64_t steps) {
  constexpr std::int64_t few = 256, many = 1280;
  constexpr int repeats = 9;
  CudaSession& session = contestant.session();
  std::vector<double> at_few, at_many;
  (void)session.time_recurrent(few);  // warms the clocks
  for (int i = 0; i < repeats; ++i) {
    at_few.push_back(session.time_recurrent(few));
    at_many.push_back(session.time_recurrent(many));
  }
  GpuResult result;
  result.gpu = contestant.gpu_name();
  const double short_us = median(std::move(at_few));
  result.recurrent_us_per_step = (median(std::move(at_many)) - short_us) / (many - few);
  result.recurrent_intercept_us = short_us - result.recurrent_us_per_step * few;
  result.first_call_us = first_call_us;
  result.repeated_call_us = layer.us_per_step * static_cast<double>(steps);
  for (const DirectionPlan& direction : plan.directions) {
    result.plan += fmt::format("{}{}", result.plan.empty() ? "" : "; then ", choice_text(direction));
  }
  if (plan.problem.batch == session.batch()) {
    result.parts = predicted_parts(plan);
    add_measured(result.parts, result, layer);
  }
  return result;
}

}  // namespace sprnn::bench
