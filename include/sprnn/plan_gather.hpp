// The GPU strategy `gather`: non-zeros as (offset, value) pairs in registers, hidden state in shared memory.
//
// A group of CTAs holds all weights of one direction and runs part of the batch. Each CTA owns some units
// with all their rows. A row is summed by `lanes_a_row` lanes; when a CTA has more rows than lanes can take
// at once, they follow in further row passes, the longest rows first. A slot is the place of one pair in one
// lane; every lane has the same number of slots in a pass, so that the kernel's loops are constants.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace sprnn {

// How W_ih is kept for the input projection, which runs over many timesteps at once.
enum class InputStorage : std::uint8_t { dense, csr };

// How an exchanged word says to which timestep it belongs.
enum class ExchangeWord : std::uint8_t {
  stamp,  // one bit that a bounded (or non-negative) value leaves free
  tag,    // 7 halves or 3 floats and a tag in 128 bits
};

[[nodiscard]] std::string_view to_string(InputStorage storage) noexcept;  // "dense", "csr"
[[nodiscard]] std::string_view to_string(ExchangeWord word) noexcept;     // "stamp", "tag"

// Slots a lane in one pass over the rows, by where they live; summed in this order. When one place
// overflows into the next, it holds a multiple of 4.
struct RowPass {
  int registers = 0;
  int shared = 0;
  int l2 = 0;
  [[nodiscard]] int slots() const noexcept { return registers + shared + l2; }
  bool operator==(const RowPass&) const = default;
};

// How one recurrent matrix lies over the CTAs of a group.
struct GatherMatrix {
  int units_a_cta = 0;     // a unit has G rows in W_hh, one in W_hr
  int lanes_a_row = 32;    // 1, 2, 4, ... 32
  int offset_unit = 1;     // bytes of state that one step of a 16-bit offset stands for
  bool half_sums = false;  // fp16: 4 products are summed in half precision, then in fp32
  std::vector<RowPass> passes;
  bool operator==(const GatherMatrix&) const = default;
};

struct RegisterBudget {
  int available = 0;  // a thread
  int working = 0;    // addresses, sums, loads in flight
  int pairs = 0;
  bool operator==(const RegisterBudget&) const = default;
};

struct SharedBudget {
  std::int64_t available = 0;  // bytes a CTA
  std::int64_t state = 0;      // h (and the unprojected output) as the products read it
  std::int64_t sums = 0;       // of rows, from the lanes that add to the threads that update cells
  std::int64_t pairs = 0;
  [[nodiscard]] std::int64_t total() const noexcept { return state + sums + pairs; }
  bool operator==(const SharedBudget&) const = default;
};

struct GatherPlan {
  int groups = 1;       // of CTAs, each with all weights
  int group_batch = 1;  // batch entries that a group runs together
  int passes = 1;       // over the batch, for the problem's batch
  int ctas = 1;         // a group
  int warps = 4;        // a CTA
  int word_bytes = 2;   // of one shared-memory load: word_bytes / element size batch entries
  GatherMatrix w_hh;
  std::optional<GatherMatrix> w_hr;
  InputStorage w_ih = InputStorage::dense;
  int tile_steps = 1;                                // timesteps of input projection held at once
  ExchangeWord exchange_word = ExchangeWord::stamp;  // of h; what W_hr reads is bounded
  int poll_wait_cycles = 0;                          // between a CTA's own store and its first poll
  bool stamps = true;                                // false: a grid barrier a timestep
  bool bank_order = true;                            // false: a row's pairs in the order of their columns
  bool opaque_pairs = false;  // keep the compiler from unpacking pairs outside the time loop
  bool fence = false;         // in the exchange
  RegisterBudget registers;
  SharedBudget shared;
  bool operator==(const GatherPlan&) const = default;
};

struct GatherWishes {
  std::optional<int> groups = std::nullopt;
  std::optional<int> ctas = std::nullopt;  // a group; fewer where the units do not fill as many evenly
  std::optional<int> group_batch = std::nullopt;
  std::optional<int> warps = std::nullopt;
  std::optional<int> lanes_a_row = std::nullopt;  // of W_hh
  std::optional<int> poll_wait_cycles = std::nullopt;
  std::optional<bool> stamps = std::nullopt;
  std::optional<bool> wide_loads = std::nullopt;  // false: one element a shared-memory load
  std::optional<bool> bank_order = std::nullopt;
  std::optional<bool> opaque_pairs = std::nullopt;
  std::optional<bool> fence = std::nullopt;
  std::optional<InputStorage> w_ih = std::nullopt;
  bool operator==(const GatherWishes&) const = default;
};

}  // namespace sprnn
