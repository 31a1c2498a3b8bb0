// What all strategies of a GPU share: groups of CTAs that each hold all weights of one direction and run part
// of the batch, the exchange of h between them, and the input projection ahead of them.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace sprnn {

// How W_hh is kept on chip. The planner compares them.
enum class GpuStrategy : std::uint8_t {
  gather,      // non-zeros as pairs: plan_gather.hpp
  dense_mma,   // all weights, for tensor cores: plan_mma.hpp
  sparse_mma,  // for sparse tensor cores: 2 of each 4 neighbouring columns; what is beyond them as pairs
  vector_mma,  // for tensor cores, the columns that units share
};

// How W_ih is kept for the input projection, which runs over many timesteps at once.
enum class InputStorage : std::uint8_t { dense, csr };

// How an exchanged word says to which timestep it belongs.
enum class ExchangeWord : std::uint8_t {
  stamp,  // one bit that a bounded (or non-negative) value leaves free
  tag,    // 7 halves (dense-mma and sparse-mma: 4) or 3 floats and a tag in 128 bits
};

[[nodiscard]] std::string_view to_string(
    GpuStrategy strategy) noexcept;  // "gather", "dense-mma", "sparse-mma", "vector-mma"
// Throws Error(invalid_argument) for a name that is none.
[[nodiscard]] GpuStrategy parse_gpu_strategy(std::string_view name);
[[nodiscard]] std::string_view to_string(InputStorage storage) noexcept;  // "dense", "csr"
[[nodiscard]] std::string_view to_string(ExchangeWord word) noexcept;     // "stamp", "tag"

struct RegisterBudget {
  int available = 0;  // a thread
  int working = 0;    // addresses, sums, loads in flight
  int weights = 0;
  bool operator==(const RegisterBudget&) const = default;
};

struct SharedBudget {
  std::int64_t available = 0;  // bytes a CTA
  std::int64_t state = 0;      // h (and the unprojected output) as the products read it; dense-mma: none,
                               // sparse-mma: for its pairs
  std::int64_t ring = 0;       // of the exchange in a cluster
  std::int64_t sums = 0;       // of rows, from the threads that add to those that update cells
  std::int64_t weights = 0;
  [[nodiscard]] std::int64_t total() const noexcept { return state + ring + sums + weights; }
  bool operator==(const SharedBudget&) const = default;
};

// The best wait differs with everything, and a bad one costs much (docs/kernel.md), so a session measures it
// on its GPU.
inline constexpr int tuned_poll_wait = -1;

struct GpuPlan {
  int groups = 1;       // of CTAs, each with all weights
  int group_batch = 1;  // batch entries that a group runs together
  int passes = 1;       // over the batch, for the problem's batch
  int ctas = 1;         // a group
  int warps = 4;        // a CTA
  InputStorage w_ih = InputStorage::dense;
  int tile_steps = 1;                                // timesteps of input projection held at once
  ExchangeWord exchange_word = ExchangeWord::stamp;  // of h; what W_hr reads is bounded
  int poll_wait_cycles = tuned_poll_wait;            // between a CTA's own store and its first poll
  bool stamps = true;                                // false: a grid barrier a timestep
  bool fence = false;                                // in the exchange
  bool in_cluster =
      false;  // a group is a thread block cluster: h goes from shared memory to shared memory, not through L2
  RegisterBudget registers;
  SharedBudget shared;
  bool operator==(const GpuPlan&) const = default;
};

struct GpuWishes {
  std::optional<GpuStrategy> strategy = std::nullopt;  // else the cheapest
  std::optional<int> groups = std::nullopt;
  std::optional<int> ctas = std::nullopt;  // a group; fewer where the units do not fill as many evenly
  std::optional<int> group_batch = std::nullopt;
  std::optional<int> warps = std::nullopt;
  std::optional<int> row_parts = std::nullopt;   // dense-mma, sparse-mma
  std::optional<bool> asks_late = std::nullopt;  // dense-mma, sparse-mma
  std::optional<int> lanes = std::nullopt;       // gather: of a row group of W_hh
  std::optional<int> poll_wait_cycles = std::nullopt;
  std::optional<bool> stamps = std::nullopt;
  std::optional<bool> wide_loads = std::nullopt;  // false: one element a shared-memory load
  std::optional<bool> bank_order = std::nullopt;
  std::optional<bool> opaque_pairs = std::nullopt;
  std::optional<bool> fence = std::nullopt;
  std::optional<bool> in_cluster = std::nullopt;
  std::optional<InputStorage> w_ih = std::nullopt;
  bool operator==(const GpuWishes&) const = default;
};

}  // namespace sprnn
