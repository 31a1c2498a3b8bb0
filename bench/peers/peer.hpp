// A rival that computes the same model densely. It lives in a process of its own (main.cpp, process.hpp).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "sprnn/model.hpp"

namespace sprnn::bench {

// What is run: the model over the first `lengths[i]` steps of input set k, which begins at step k of x.
struct Workload {
  int batch = 1;
  std::vector<std::int64_t> lengths;  // the longest first
  int input_sets = 1;
  std::vector<float> x;  // [lengths[0] + input_sets - 1, B, I]
};

class Peer {
 public:
  Peer() = default;
  virtual ~Peer() = default;
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  [[nodiscard]] virtual std::string version() const = 0;
  [[nodiscard]] virtual std::string implementation() const = 0;  // the kernel that it chose
  // From zero states; the input is in the peer's own type already.
  virtual void run(std::size_t length, std::size_t input_set) = 0;
  // [T, B, D*R] of the last run.
  [[nodiscard]] virtual std::vector<float> output() const = 0;
};

// Throws Error(unsupported) that says why the library, this build of it or this machine cannot do it.
[[nodiscard]] std::unique_ptr<Peer> make_onednn(const Model& model, const Workload& workload, DType dtype);

}  // namespace sprnn::bench
