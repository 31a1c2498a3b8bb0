// Weights without their zeros: can the product of an LSTM whose weights are 30 % unstructured non-zeros keep
// all of them on chip, and make dense operands of mma.m16n8k16 in registers just before each product? On
// 2026-11-29 the engine streamed 12 of 18 steps of dense weights from L2 every timestep there (LSTM 2304,
// batch 32, fp16), in rolled loops.
// Three ways:
//
// 1. A bit for each word, two weights of a row: 51 % of the words are stored, and loaded where the bit is
// set.
//
// 2. The same, but a dot product of bytes counts the words before each: no address waits for the last one.
//
// 3. A bit for each weight: 42 % of the words, with halves of fragments padded to whole words. A table of 16
// entries says where a word's weights are, and a PRMT brings them to their places.
//
// Each lane has a stream of its own, so any place of it is in the lane's bank. Beside them dense steps: four
// in registers, and what room is left. `dense, more on chip` is a control: dense weights, unrolled as the
// bitmaps are, with the same registers and the same room, for the sums take half of what they took in the
// engine.
//
// Predicted, microseconds a timestep of the product with its sums, without exchange and cells: dense 6.7,
// dense with more on chip 5.2, the bitmaps 4.0, 3.8 and 4.3. From, for each of the bitmaps: 16.8, 18.7
// and 22.3 instructions a fragment of bitmap (4 of them products), 4.2, 4.2 and 8.25 wavefronts of shared
// memory, so 1.4, 1.5 and 1.5 us to issue; 1.2, 1.2 and 2.1 us of shared memory; 1.2 us of tensor cores,
// of 13.4 cycles a fragment; sums 0.7 us, after the rest; and 17 MB of state from L2 at 5.5 TB/s, 3.1 us,
// which bounds all of them. Dense weights are 28.5 or 16.6 MB more.
//
// Found (NVIDIA H200, 2026-11-30): 5.68, 4.42, 5.02, 4.54 and 4.99. The bitmaps gain what their room gains,
// and dense weights with as much room are faster: products alone, with their sums, take 3.3, products and
// state 4.1, so there is nothing left for a bitmap to hide behind. ../README.md has all parts.
//
// Exit status: 0 every result was right; 1 one was wrong; 2 no GPU, and all that the host checks was right.
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "../rung.hpp"
#include "kernels.cuh"

namespace {

constexpr int checked_row_step = 7;  // has no factor with the 80 rows of a CTA in common
constexpr int short_times = 400, long_times = 2000;
constexpr double error_bound = 1e-3;  // of the sum of |weight| |state|

// Bits of a random number of this index.
u64 random_bits(u64 index) {
  u64 z = (index + 1) * 0x9E3779B97F4A7C15ULL;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}
float in_one(u64 bits) {
  return static_cast<float>(bits >> 40) / static_cast<float>(1 << 23) - 1;
}  // -1 .. 1

// fp16, row by row; none behind the last row.
std::vector<__half> random_weights(double density) {
  std::vector<__half> weights(static_cast<std::size_t>(ctas) * cta_rows * hidden);
  const u64 below = static_cast<u64>(density * 0x1p32);
  for (std::size_t i = 0; i < static_cast<std::size_t>(rows) * hidden; ++i) {
    if (random_bits(2 * i) >> 32 < below)
      weights[i] = __float2half_rn(0.05F * in_one(random_bits(2 * i + 1)));
  }
  return weights;
}
// [buffer][batch entry][unit]
std::vector<__half> random_state() {
  std::vector<__half> state(2 * batch * hidden);
  for (std::size_t i = 0; i < state.size(); ++i)
    state[i] = __float2half_rn(in_one(random_bits((1ULL << 40) + i)));
  return state;
}
u32 pair_of(const __half* from) {
  return __half_as_ushort(from[0]) | static_cast<u32>(__half_as_ushort(from[1])) << 16;
}

// Where lanes have operands A, B and D of mma.m16n8k16. Any order of a step's columns is right if A and B
// have the same: a lane has four neighbouring ones, as the words of the engine's exchange do.
int row_of(int tile, int lane, int word) { return 16 * tile + lane / 4 + 8 * (word % 2); }
int column_of(int warp, int step, int lane, int word) {
  return (warp * steps + step) * 16 + lane % 4 * 4 + word / 2 * 2;
}
int row_of_sum(int i, int part) { return 16 * (i / 32 / planes) + i % 32 / 4 + 8 * (part / 2); }
int entry_of_sum(int i, int part) { return 8 * (i / 32 % planes) + i % 4 * 2 + part % 2; }

std::size_t fragment_at(int cta, int step, int tile, int thread) {
  return 4 * (((static_cast<std::size_t>(cta) * steps + step) * tiles + tile) * threads + thread);
}
// All fragments, dense, four words each: [cta][step][tile][thread].
std::vector<u32> all_fragments(const std::vector<__half>& weights) {
  std::vector<u32> words(fragment_at(ctas, 0, 0, 0));
  for (std::size_t i = 0; i < words.size(); ++i) {
    const int word = i % 4, thread = i / 4 % threads, tile = i / 4 / threads % tiles;
    const int step = i / 4 / threads / tiles % steps, cta = static_cast<int>(i / 4 / threads / tiles / steps);
    const int row = cta * cta_rows + row_of(tile, thread % 32, word);
    words[i] = pair_of(
        &weights[static_cast<std::size_t>(row) * hidden + column_of(thread / 32, step, thread % 32, word)]);
  }
  return words;
}
// Both states, in the order of `state_quads`.
std::vector<u32> packed_state(const std::vector<__half>& state) {
  std::vector<u32> words(2 * 4 * state_quads);
  for (std::size_t i = 0; i < words.size(); ++i) {
    const int word = i % 4, lane = i / 4 % 32, plane = i / 4 / 32 % planes,
              turn = i / 4 / 32 / planes % turns;
    const int warp = i / 4 / 32 / planes / turns % warps, buffer = i / 4 / state_quads;
    const int column = column_of(warp, 2 * turn + word / 2, lane, word % 2 * 2);
    words[i] = pair_of(&state[(buffer * batch + 8 * plane + lane / 4) * hidden + column]);
  }
  return words;
}

// What a plan's kernel reads: see Run.
struct Packed {
  std::vector<u32> registers, shared, l2;
  std::vector<int> streams;
  int shared_words;
};
// A lane's words of fragment `f` of the bitmap, into its masks, a word every `threads`, and its stream.
template <Format format>
void store(const u32* words, int f, u32* masks, std::vector<u32>& stream) {
  if constexpr (format != of_weights_alone) {
    for (int k = 0; k < 4; ++k) {
      if (words[k] == 0) continue;
      masks[f / tiles * threads] |= bit_of_word<format>(f % tiles, k);
      stream.push_back(words[k]);
    }
  } else {
    for (int i = 0; i < 2; ++i) {
      const auto weight = [&](int k) { return words[2 * i + k / 2] >> 16 * (k % 2) & 0xFFFF; };
      u32 mask = 0, stored[2] = {};
      for (int k = 0; k < 4; ++k) mask |= (weight(k) != 0 ? 1u : 0u) << k;
      for (int k = 0; k < 4; ++k) {
        const int place = place_of_weight(mask, k);
        if (weight(k) != 0) stored[place / 2] |= weight(k) << 16 * (place % 2);
      }
      masks[f / 4 * threads] |= mask << (f % 4 * 8 + 4 * i);
      stream.insert(stream.end(), stored, stored + (half_of_mask(mask).first >> 16) / 128);
    }
  }
}

template <class P>
Packed packed(const std::vector<u32>& fragments) {
  const auto some = [&](std::vector<u32>& to, int cta, int first, int count) {
    const u32* const all = fragments.data();
    to.insert(to.end(), all + fragment_at(cta, first, 0, 0), all + fragment_at(cta, first + count, 0, 0));
  };
  constexpr int first_bitmap = P::registers + P::shared;
  Packed all;
  std::vector<std::vector<u32>> shared(ctas);
  for (int cta = 0; cta < ctas; ++cta) {
    some(all.registers, cta, 0, P::registers);
    some(shared[cta], cta, P::registers, P::shared);
    some(all.l2, cta, first_bitmap + P::bitmap, P::l2);
    std::vector<u32> masks(P::mask_words * threads), streams;
    for (int warp = 0; warp < warps; ++warp) {
      std::vector<u32> of_lane[32];
      std::size_t longest = 0;
      for (int lane = 0; lane < 32; ++lane) {
        const int thread = 32 * warp + lane;
        for (int f = 0; f < P::bitmap * tiles; ++f) {
          store<P::format>(&fragments[fragment_at(cta, first_bitmap + f / tiles, f % tiles, thread)], f,
                           &masks[thread], of_lane[lane]);
        }
        longest = std::max(longest, of_lane[lane].size());
      }
      all.streams.push_back(static_cast<int>(streams.size()));
      for (std::size_t i = 0; i < longest * 32; ++i)
        streams.push_back(i / 32 < of_lane[i % 32].size() ? of_lane[i % 32][i / 32] : 0);
    }
    if (P::format == of_weights_alone)
      streams.resize(streams.size() + 32);  // a half without weights reads there
    shared[cta].insert(shared[cta].end(), masks.begin(), masks.end());
    shared[cta].insert(shared[cta].end(), streams.begin(), streams.end());
  }
  std::size_t most = 0;
  for (const auto& one : shared) most = std::max(most, one.size());
  for (auto& one : shared) {
    one.resize(most);
    all.shared.insert(all.shared.end(), one.begin(), one.end());
  }
  all.shared_words = static_cast<int>(most);
  return all;
}
template <class P>
int shared_bytes(const Packed& weights) {
  return 16 * P::sum_buffers * warp_sums + 4 * weights.shared_words;
}

// As the kernel expands them: throws unless every fragment is as it was.
template <class P>
void check_bitmap(const Packed& weights, const std::vector<u32>& fragments) {
  for (int cta = 0; cta < ctas; ++cta) {
    const u32* const masks = &weights.shared[static_cast<std::size_t>(cta) * weights.shared_words] +
                             P::shared * tiles * threads * 4;
    const u32* const streams = masks + P::mask_words * threads;
    for (int thread = 0; thread < threads; ++thread) {
      const u32* place = streams + weights.streams[cta * warps + thread / 32] + thread % 32;
      for (int f = 0; f < P::bitmap * tiles; ++f) {
        const u32* const right =
            &fragments[fragment_at(cta, P::registers + P::shared + f / tiles, f % tiles, thread)];
        u32 words[4];
        const auto mask = [&](int word) { return masks[word * threads + thread]; };
        if constexpr (P::format == of_weights_alone) {
          for (int i = 0; i < 2; ++i) {
            const Half half = half_of_mask(mask(f / 4) >> (f % 4 * 8 + 4 * i) & 15);
            words[2 * i] = permuted(place[0], half.first);
            words[2 * i + 1] = permuted(place[(half.second >> 16) / 4], half.second);
            place += (half.first >> 16) / 4;
          }
        } else {
          for (int k = 0; k < 4; ++k) {
            const bool is_stored = (mask(f / tiles) & bit_of_word<P::format>(f % tiles, k)) != 0;
            words[k] = is_stored ? *place : 0;
            place += is_stored ? 32 : 0;
          }
        }
        if (!std::equal(words, words + 4, right))
          throw std::runtime_error("a fragment is not what its mask and its words make");
      }
    }
  }
}

struct Right {
  double sum = 0, magnitude = 0;  // of |weight| |state|
};
Right reference(const std::vector<__half>& weights, const std::vector<__half>& state, int row, int entry) {
  Right right;
  for (int column = 0; column < hidden; ++column) {
    const double w = __half2float(weights[static_cast<std::size_t>(row) * hidden + column]);
    const double h = __half2float(state[entry * hidden + column]);
    right.sum += w * h, right.magnitude += std::fabs(w * h);
  }
  return right;
}
double half_of(u32 word, int half) { return __half2float(__ushort_as_half(word >> 16 * half & 0xFFFF)); }

// The sum that a CTA's fragments and the packed state make, by the places that mma.m16n8k16 has for its
// operands: column k of A is in word k / 8 * 2 of lanes with lane % 4 == k % 8 / 2.
double sum_of_fragments(const std::vector<u32>& fragments, const std::vector<u32>& state, int cta, int i,
                        int part) {
  const int tile = i / 32 / planes, plane = i / 32 % planes, lane = i % 32;
  double sum = 0;
  for (int warp = 0; warp < warps; ++warp) {
    for (int step = 0; step < steps; ++step) {
      for (int k = 0; k < 16; ++k) {
        const int a_lane = lane / 4 * 4 + k % 8 / 2, b_lane = (lane % 4 * 2 + part % 2) * 4 + k % 8 / 2;
        const u32 a = fragments[fragment_at(cta, step, tile, 32 * warp + a_lane) + part / 2 + k / 8 * 2];
        const u32 b =
            state[4 * (((warp * turns + step / 2) * planes + plane) * 32 + b_lane) + step % 2 * 2 + k / 8];
        sum += half_of(a, k % 2) * half_of(b, k % 2);
      }
    }
  }
  return sum;
}

std::vector<uint4> quads(const std::vector<u32>& words) {
  std::vector<uint4> result(std::max<std::size_t>(1, words.size() / 4));
  for (std::size_t i = 0; i < words.size() / 4; ++i)
    result[i] = {words[4 * i], words[4 * i + 1], words[4 * i + 2], words[4 * i + 3]};
  return result;
}

struct Matrix {
  std::vector<__half> weights, state;
  std::vector<u32> fragments, state_words;
  explicit Matrix(double density)
      : weights(random_weights(density)),
        state(random_state()),
        fragments(all_fragments(weights)),
        state_words(packed_state(state)) {
    for (int i = 0; i < warp_sums; i += 13) {
      const int cta = i % ctas, row = cta * cta_rows + row_of_sum(i, i % 4);
      const Right right = reference(weights, state, row, entry_of_sum(i, i % 4));
      if (std::fabs(sum_of_fragments(fragments, state_words, cta, i, i % 4) - right.sum) >
          1e-9 * right.magnitude)
        throw std::runtime_error("the fragments are not those of the matrix");
    }
  }
};

// One plan on the GPU.
template <class P>
class Layer {
 public:
  Layer(const Packed& weights, const Matrix& matrix)
      : registers_(quads(weights.registers)),
        shared_(quads(weights.shared)),
        l2_(quads(weights.l2)),
        state_(quads(matrix.state_words)),
        streams_(weights.streams),
        sums_(ctas * warp_sums),
        shared_quads_(weights.shared_words / 4),
        shared_bytes_(shared_bytes<P>(weights)) {}

  template <unsigned parts>
  float milliseconds(int times) {
    check(cudaFuncSetAttribute(product<P, parts>, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes_),
          "shared memory");
    const Run run{registers_.data(), l2_.data(),   shared_.data(), streams_.data(),
                  state_.data(),     sums_.data(), shared_quads_,  times};
    stopwatch_.start();
    product<P, parts><<<ctas, threads, shared_bytes_>>>(run);
    check(cudaGetLastError(), "launch");
    check(stopwatch_.stop(), "the kernel");
    return stopwatch_.milliseconds();
  }
  template <unsigned parts>
  double time() {
    milliseconds<parts>(short_times);
    return microseconds_a_timestep(short_times, long_times,
                                   [&](int times) { return milliseconds<parts>(times); });
  }

  // The largest difference of a sum, relative to what its bound is relative to.
  double error(const Matrix& matrix, const std::vector<std::vector<Right>>& right, int times) {
    sums_.clear();
    milliseconds<all_parts>(times);
    const std::vector<float4> sums = sums_.host();
    double largest = 0;
    for (int cta = 0; cta < ctas; ++cta) {
      for (int i = 0; i < 4 * warp_sums; ++i) {
        const int row = cta * cta_rows + row_of_sum(i / 4, i % 4), entry = entry_of_sum(i / 4, i % 4);
        if (row >= rows || row % checked_row_step != 0) continue;
        const Right& r = right[(times - 1) % 2][row / checked_row_step * batch + entry];
        const float4 v = sums[cta * warp_sums + i / 4];
        const double is = i % 4 == 0 ? v.x : i % 4 == 1 ? v.y : i % 4 == 2 ? v.z : v.w;
        largest = std::isfinite(is) ? std::max(largest, std::fabs(is - r.sum) / r.magnitude) : INFINITY;
        if (!std::isfinite(largest)) return largest;
      }
    }
    return largest;
  }

 private:
  DeviceArray<uint4> registers_, shared_, l2_, state_;
  DeviceArray<int> streams_;
  DeviceArray<float4> sums_;
  int shared_quads_, shared_bytes_;
  Stopwatch stopwatch_;
};

template <class P>
Packed packed_and_checked(const Matrix& matrix, const char* name) {
  Packed weights = packed<P>(matrix.fragments);
  check_bitmap<P>(weights, matrix.fragments);
  std::printf(
      "%s: of %d steps %d in registers, %d dense and %d as bitmap in shared memory, %d from L2; %d bytes of "
      "%d\n",
      name, steps, P::registers, P::shared, P::bitmap, P::l2, shared_bytes<P>(weights), shared_room);
  return weights;
}

// Prints the lines of one plan; whether its results are right.
template <class P>
bool run_plan(const char* name, const Packed& weights, const Matrix& matrix,
              const std::vector<std::vector<Right>>& right) {
  std::printf("%s\n", name);
  if (shared_bytes<P>(weights) > shared_room) {
    std::printf("  skipped: no room in shared memory\n");
    return true;
  }
  Layer<P> layer(weights, matrix);
  cudaFuncAttributes kernel{};
  check(cudaFuncGetAttributes(&kernel, product<P, all_parts>), "cudaFuncGetAttributes");
  const double error = std::max(layer.error(matrix, right, 3), layer.error(matrix, right, 4));
  const bool is_right = error < error_bound;
  std::printf("  %d registers, %d bytes spilled; error %.1e of the sum of |w| |h| (bound %.0e): %s\n",
              kernel.numRegs, static_cast<int>(kernel.localSizeBytes), error, error_bound,
              is_right ? "right" : "WRONG");
  const auto print = [](const char* what, double us) {
    std::printf("  %-36s %6.3f us a timestep\n", what, us);
    std::fflush(stdout);
  };
  print("whole", layer.template time<all_parts>());
  print("no products*", layer.template time<of_state | of_weights>());
  print("no weights*", layer.template time<of_state | of_products>());
  print("no state*", layer.template time<of_weights | of_products>());
  print("weights only*", layer.template time<of_weights>());
  print("products only*", layer.template time<of_products>());
  print("state only*", layer.template time<of_state>());
  return is_right;
}

double density = 0.3;

int run() {
  const Matrix matrix(density);
  std::printf("LSTM %d, batch %d, %.3g of the weights\n", hidden, batch, density);
  const Packed dense = packed_and_checked<Dense>(matrix, "dense");
  const Packed on_chip = packed_and_checked<DenseOnChip>(matrix, "dense, more on chip");
  const Packed words = packed_and_checked<Words>(matrix, "bitmap of words");
  const Packed spread = packed_and_checked<WordsSpread>(matrix, "bitmap of words, spread");
  const Packed alone = packed_and_checked<Weights>(matrix, "bitmap of weights");
  std::printf("the host expands all fragments as they were\n");
  const std::optional<cudaDeviceProp> device = gpu_with_clusters();
  if (!device) return 2;
  std::printf("%s, %d SMs (*: leaves out parts, results not checked)\n", device->name,
              device->multiProcessorCount);
  std::vector<std::vector<Right>> right(2);
  for (int buffer = 0; buffer < 2; ++buffer) {
    for (int row = 0; row < rows; row += checked_row_step) {
      for (int entry = 0; entry < batch; ++entry)
        right[buffer].push_back(reference(matrix.weights, matrix.state, row, buffer * batch + entry));
    }
  }
  const bool results[] = {run_plan<Dense>("dense", dense, matrix, right),
                          run_plan<DenseOnChip>("dense, more on chip", on_chip, matrix, right),
                          run_plan<Words>("bitmap of words", words, matrix, right),
                          run_plan<WordsSpread>("bitmap of words, spread", spread, matrix, right),
                          run_plan<Weights>("bitmap of weights", alone, matrix, right)};
  return std::count(std::begin(results), std::end(results), false) > 0 ? 1 : 0;
}

}  // namespace

int main(int count, char** arguments) {
  if (count > 1) density = std::atof(arguments[1]);
  return exit_status(run);
}
