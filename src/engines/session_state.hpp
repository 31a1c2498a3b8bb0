// The recurrent state that a session carries from call to call, on the host.
#pragma once

#include <span>
#include <vector>

#include "sprnn/plan.hpp"

namespace sprnn {

class SessionState {
 public:
  SessionState(const Problem& problem, int batch);

  // As in Session, sizes checked.
  void get(std::span<float> h, std::span<float> c) const;
  void set(std::span<const float> h, std::span<const float> c);
  void get(int entry, std::span<float> h, std::span<float> c) const;
  void set(int entry, std::span<const float> h, std::span<const float> c);
  void reset();
  void reset(int entry);

  // Before a run: throws Error(unsupported) if this would be a later chunk of a sequence with a reverse
  // direction, that is unless the state was set since the last run or comes with this one.
  // Or if a run was interrupted since an entry's state was set, unless it comes with this one.
  void begin_run(bool with_state = false);
  // A run that is interrupted, or given up, leaves the state of some layers and directions further than that
  // of others: nobody gets it, and no run goes on from it.
  void set_interrupted(bool interrupted);

  [[nodiscard]] std::size_t width() const noexcept { return state_size_; }      // R
  [[nodiscard]] std::size_t cell_width() const noexcept { return cell_size_; }  // H for an lstm, else 0
  [[nodiscard]] std::size_t directions_a_layer() const noexcept { return per_layer_; }
  [[nodiscard]] bool streamable() const noexcept { return streamable_; }  // no direction is reverse
  // [L*D, B, R] on the dtype's grid, and [L*D, B, H] in fp32 whatever the dtype; c is empty unless lstm.
  [[nodiscard]] std::span<float> h() noexcept { return h_; }
  [[nodiscard]] std::span<float> c() noexcept { return c_; }
  [[nodiscard]] float* h_of(std::size_t direction) noexcept { return h_.data() + h_at(direction, 0); }
  [[nodiscard]] float* c_of(std::size_t direction) noexcept {  // null unless lstm
    return cell_size_ > 0 ? c_.data() + c_at(direction, 0) : nullptr;
  }

 private:
  [[nodiscard]] std::size_t h_at(std::size_t direction, int entry) const noexcept;
  [[nodiscard]] std::size_t c_at(std::size_t direction, int entry) const noexcept;
  void check_sizes(std::size_t h, std::size_t c, std::size_t entries) const;
  void check_entry(int entry) const;
  void check_complete(int first, int last) const;  // of the entries from `first` to before `last`

  DType dtype_;
  int batch_;
  std::size_t directions_;  // of all layers
  std::size_t state_size_, cell_size_, per_layer_;
  bool streamable_;
  std::vector<bool> fresh_;        // [B] the state was set or reset since the last run
  std::vector<bool> interrupted_;  // [B] the last run was, and the state was not set or reset since
  std::vector<float> h_, c_;
};

}  // namespace sprnn
