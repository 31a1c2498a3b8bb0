// A partition in two dimensions: a thread block cluster splits the columns of its rows, so each CTA reads a
// part of the state only, and its CTAs add up partial sums over distributed shared memory. Does that make a
// timestep of a large batch faster?
//
// Predicted (LSTM 2304, batch 32, fp16, dense): 5.3 us a timestep with clusters of 4, of which the
// exchange 1.3, the product 2.8, the reduction 0.7 and the cells 0.3. The engine's kernel, where every CTA
// reads the whole state, takes 8.6 there, on the same GPU.
//
// Found (H200): it does where the weights are many, by a quarter: 6.6 at batch 32, 3.9 at batch 16
// (engine: 5.2). LSTM 1024 takes 2.6 (engine: 2.2). An H200 has room for 30 clusters of 4, not for the 32 of
// 72 units; 64 of 2 read twice the state each. lab/README.md has the parts, and what was tried.
//
// Exit status: 0 every result was right; 1 a result was wrong or never came; 2 no GPU that has room for the
// clusters.
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "../rung.hpp"
#include "kernels.cuh"

namespace {

constexpr int short_times = 256, long_times = 1280, checked_times = 16;
constexpr double error_bound = 2e-3;  // of the largest |y|
constexpr unsigned waits[] = {0, 300, 600, 900, 1200, 1600, 2000};

// Uniform in -1 .. 1, the same on both sides.
__host__ __device__ float random_value(std::uint64_t index) {
  std::uint64_t z = (index + 1) * 0x9E3779B97F4A7C15ULL;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return static_cast<float>(static_cast<int>(z >> 40) - (1 << 23)) / static_cast<float>(1 << 23);
}
constexpr std::uint64_t first_of_x = 1ULL << 40;

__global__ void fill_x(float* x, std::size_t size) {
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < size;
       i += std::size_t{gridDim.x} * blockDim.x)
    x[i] = random_value(first_of_x + i);
}

__global__ void count_differences(const unsigned short* a, const unsigned short* b, std::size_t size,
                                  unsigned* count) {
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < size;
       i += std::size_t{gridDim.x} * blockDim.x) {
    if (a[i] != b[i]) atomicAdd(count, 1U);
  }
}

template <class F>
void in_parallel(int size, const F& f) {
  const int threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  std::vector<std::thread> running;
  for (int i = 0; i < threads; ++i) {
    running.emplace_back([&, i] {
      for (int k = size * i / threads; k < size * (i + 1) / threads; ++k) f(k);
    });
  }
  for (std::thread& thread : running) thread.join();
}

// Rows unit-major, gate innermost, in the order i, f, g, o; rounded to fp16.
std::vector<__half> random_weights(int hidden) {
  std::vector<__half> weights(static_cast<std::size_t>(4) * hidden * hidden);
  const float scale = 1.0F / std::sqrt(static_cast<float>(hidden));
  in_parallel(4 * hidden, [&](int row) {
    for (int column = 0; column < hidden; ++column) {
      const std::size_t at = static_cast<std::size_t>(row) * hidden + column;
      weights[at] = __float2half_rn(scale * random_value(at));
    }
  });
  return weights;
}

// In the order in which lanes read them: see Run::weights. Lane 4 g + i has row g of the tile and columns 4 i
// .. of the step: any order of the columns is right if the state has the same.
template <class S>
std::vector<uint2> packed(const std::vector<__half>& weights) {
  constexpr std::size_t size = std::size_t{S::clusters} * S::ctas * S::steps * Weights<S>::stride;
  std::vector<uint2> result(size);
  in_parallel(S::clusters * S::ctas, [&](int cta) {
    for (int step = 0; step < S::steps; ++step) {
      for (int tile = 0; tile < S::n_tiles * S::column_warps; ++tile) {
        for (int lane = 0; lane < 32; ++lane) {
          const int row = cta / S::ctas * S::units * 4 + tile % S::n_tiles * 8 + lane / 4;
          const int source = cta % S::ctas * S::column_warps + tile / S::n_tiles;
          const int column = (source * S::steps + step) * column_step + lane % 4 * 4;
          const __half* const from = weights.data() + static_cast<std::size_t>(row) * S::hidden + column;
          const auto two = [&](int k) {
            return __half_as_ushort(from[k]) | static_cast<unsigned>(__half_as_ushort(from[k + 1])) << 16;
          };
          result[(static_cast<std::size_t>(cta) * S::steps + packed_step<S>(step)) * Weights<S>::stride +
                 tile * 32 + lane] = {two(0), two(2)};
        }
      }
    }
  });
  return result;
}

// y [time][batch][unit] in double precision, nothing rounded but the weights.
template <int hidden, int batch>
std::vector<double> reference(const std::vector<__half>& weights) {
  const auto sigmoid = [](double v) { return 1 / (1 + std::exp(-v)); };
  std::vector<double> y, h(hidden * batch), next(hidden * batch), c(hidden * batch);  // [unit][batch]
  for (int t = 0; t < checked_times; ++t) {
    in_parallel(hidden, [&](int unit) {
      double sums[4][batch];
      for (int gate = 0; gate < 4; ++gate) {
        for (int b = 0; b < batch; ++b) {
          const std::uint64_t at = (static_cast<std::uint64_t>(t) * batch + b) * hidden + unit;
          sums[gate][b] = random_value(first_of_x + 4 * at + gate);
        }
        const __half* const row = weights.data() + (static_cast<std::size_t>(unit) * 4 + gate) * hidden;
        for (int column = 0; column < hidden; ++column) {
          const double weight = __half2float(row[column]);
          for (int b = 0; b < batch; ++b) sums[gate][b] += weight * h[column * batch + b];
        }
      }
      for (int b = 0; b < batch; ++b) {
        double& cell = c[unit * batch + b];
        cell = sigmoid(sums[1][b]) * cell + sigmoid(sums[0][b]) * std::tanh(sums[2][b]);
        next[unit * batch + b] = sigmoid(sums[3][b]) * std::tanh(cell);
      }
    });
    h.swap(next);
    for (int b = 0; b < batch; ++b) {
      for (int unit = 0; unit < hidden; ++unit) y.push_back(h[unit * batch + b]);
    }
  }
  return y;
}

// The largest difference of y, taken so many values later, relative to the largest |y|.
double error_of(const std::vector<__half>& y, const std::vector<double>& right, std::size_t late_by) {
  double difference = 0, largest = 0;
  for (std::size_t i = 0; i + late_by < right.size(); ++i) {
    const double is = __half2float(y[i + late_by]);
    difference = std::isfinite(is) ? std::max(difference, std::fabs(is - right[i])) : INFINITY;
    largest = std::max(largest, std::fabs(right[i]));
    if (!std::isfinite(difference)) break;
  }
  return difference / largest;
}

// The arrays of one shape, and how it is run.
template <class S>
class Layer {
 public:
  explicit Layer(const std::vector<__half>& weights)
      : weights_(packed<S>(weights)),
        x_(static_cast<std::size_t>(long_times) * S::batch * S::hidden),
        y_(x_.size()),
        ring_(2 * S::ctas * S::quads) {
    fill_x<<<1024, 256>>>(reinterpret_cast<float*>(x_.data()), 4 * x_.size());
    check(cudaHostAlloc(&stuck_at_, sizeof(int), cudaHostAllocMapped), "cudaHostAlloc");
    *stuck_at_ = -1;
  }
  Layer(const Layer&) = delete;
  Layer& operator=(const Layer&) = delete;
  ~Layer() { cudaFreeHost(stuck_at_); }

  // How many clusters the GPU can have at once.
  int clusters_at_once() {
    prepare<all_parts>();
    int count = 0;
    Launch launch;
    launch.config.numAttrs = 1;  // the cluster
    check(cudaOccupancyMaxActiveClusters(&count, lstm<S, all_parts>, &launch.config),
          "cudaOccupancyMaxActiveClusters");
    return count;
  }

  template <unsigned parts>
  float milliseconds(int times, unsigned wait, unsigned short* y) {
    prepare<parts>();
    ring_.clear();
    Launch launch;
    const Run run{weights_.data(), x_.data(), y, ring_.data(), times, wait, stuck_at_};
    stopwatch_.start();
    check(cudaLaunchKernelEx(&launch.config, lstm<S, parts>, run), "cudaLaunchKernelEx");
    const cudaError_t status = stopwatch_.stop();
    if (*stuck_at_ >= 0)
      throw std::runtime_error("timestep " + std::to_string(*stuck_at_) + ": words or sums never came");
    check(status, "the kernel");
    return stopwatch_.milliseconds();
  }

  template <unsigned parts>
  double time(unsigned wait) {
    milliseconds<parts>(short_times, wait, y_.data());
    return microseconds_a_timestep(short_times, long_times,
                                   [&](int times) { return milliseconds<parts>(times, wait, y_.data()); });
  }

  std::vector<__half> first_of_y(unsigned wait) {
    milliseconds<all_parts>(checked_times, wait, y_.data());
    std::vector<__half> y(static_cast<std::size_t>(checked_times) * S::batch * S::hidden);
    check(cudaMemcpy(y.data(), y_.data(), y.size() * sizeof(__half), cudaMemcpyDeviceToHost), "y");
    return y;
  }

  // Values of y that two long runs, with different waits, have different.
  unsigned differences() {
    const DeviceArray<unsigned short> other(y_.size());
    DeviceArray<unsigned> count(1);
    count.clear();
    milliseconds<all_parts>(long_times, 0, y_.data());
    milliseconds<all_parts>(long_times, 900, other.data());
    count_differences<<<1024, 256>>>(y_.data(), other.data(), y_.size(), count.data());
    unsigned found = 0;
    check(cudaMemcpy(&found, count.data(), sizeof found, cudaMemcpyDeviceToHost), "count_differences");
    return found;
  }

 private:
  struct Launch {
    cudaLaunchAttribute attributes[2] = {};
    cudaLaunchConfig_t config = {};
    Launch() {
      attributes[0].id = cudaLaunchAttributeClusterDimension;
      attributes[0].val.clusterDim = {S::ctas, 1, 1};
      attributes[1].id = cudaLaunchAttributeCooperative;
      attributes[1].val.cooperative = 1;
      config.gridDim = S::clusters * S::ctas, config.blockDim = S::threads;
      config.dynamicSmemBytes = S::shared_bytes;
      config.attrs = attributes, config.numAttrs = 2;
    }
    Launch(const Launch&) = delete;
  };

  template <unsigned parts>
  static void prepare() {
    check(cudaFuncSetAttribute(lstm<S, parts>, cudaFuncAttributeMaxDynamicSharedMemorySize, S::shared_bytes),
          "shared memory");
  }

  DeviceArray<uint2> weights_;
  DeviceArray<float4> x_;
  DeviceArray<unsigned short> y_;
  DeviceArray<Quad> ring_;
  int* stuck_at_ = nullptr;
  Stopwatch stopwatch_;
};

template <unsigned parts, class S>
void print_times(Layer<S>& layer, const char* name) {
  std::printf("  %-46s", name);
  for (const unsigned wait : waits) std::printf(" %6.3f", layer.template time<parts>(wait));
  std::printf("\n");
  std::fflush(stdout);
}

enum Outcome { all_right = 0, wrong = 1, no_room = 2 };

// Prints the lines of one shape.
template <class S>
Outcome run_shape(const std::vector<__half>& weights) {
  Layer<S> layer(weights);
  cudaFuncAttributes kernel{};
  check(cudaFuncGetAttributes(&kernel, lstm<S, all_parts>), "cudaFuncGetAttributes");
  const int at_once = layer.clusters_at_once();
  std::printf("LSTM %d, batch %d: %d clusters of %d CTAs (room for %d)\n", S::hidden, S::batch, S::clusters,
              S::ctas, at_once);
  std::printf("  %d threads of %d registers, %d bytes spilled, %d bytes of shared memory\n", S::threads,
              kernel.numRegs, static_cast<int>(kernel.localSizeBytes), S::shared_bytes);
  std::printf("  steps of 16 columns: %d in registers, %d in shared memory, %d streamed\n", S::register_steps,
              S::shared_steps, S::stream_steps);
  if (at_once < S::clusters) {
    std::printf("  skipped: not all clusters find room at once\n");
    return no_room;
  }
  const std::vector<double> right = reference<S::hidden, S::batch>(weights);
  const std::vector<__half> y = layer.first_of_y(300);
  const double error = error_of(y, right, 0), of_another = error_of(y, right, S::batch * S::hidden);
  if (of_another < error_bound) throw std::runtime_error("the check takes one timestep for another");
  const unsigned differences = layer.differences();
  const bool is_right = error < error_bound && differences == 0;
  std::printf("  error %.1e of the largest |y| after %d timesteps (bound %.0e)\n", error, checked_times,
              error_bound);
  std::printf("  %u values of y differ between two runs of %d timesteps: %s\n", differences, long_times,
              is_right ? "right" : "WRONG");
  std::printf("  us a timestep; cycles to the first poll:       ");
  for (const unsigned wait : waits) std::printf(" %6u", wait);
  std::printf("\n");
  print_times<all_parts>(layer, "whole");
  if constexpr (S::stream_steps > 0)
    print_times<of_product | of_reduction>(layer, "streamed steps by weights in registers*");
  print_times<of_product | of_stream>(layer, "no sums sent, a barrier of the cluster*");
  print_times<of_reduction>(layer, "no product*");
  print_times<0>(layer, "neither: exchange and cells*");
  return is_right ? all_right : wrong;
}

int run() {
  const std::optional<cudaDeviceProp> device = gpu_with_clusters();
  if (!device) return 2;
  std::printf(
      "%s, %d SMs (*: leaves out a part, so its results are not those of the layer and not checked)\n",
      device->name, device->multiProcessorCount);
  const std::vector<__half> weights = random_weights(2304);
  const Outcome outcomes[] = {run_shape<Shape<2304, 36, 32, 2, 12, 2, 15, 12>>(weights),
                              run_shape<Shape<2304, 36, 16, 2, 12, 2, 19, 17>>(weights),
                              run_shape<Shape<1024, 16, 32, 2, 8, 2, 16, 0>>(random_weights(1024))};
  const auto any = [&](Outcome one) { return std::count(std::begin(outcomes), std::end(outcomes), one) > 0; };
  return any(wrong) ? wrong : any(all_right) ? all_right : no_room;
}

}  // namespace

int main() { return exit_status(run); }
