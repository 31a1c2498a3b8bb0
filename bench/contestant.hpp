// Whoever takes part in a race: this library's session, or a peer in its own process.
#pragma once

#include <cstddef>
#include <vector>

namespace sprnn::bench {

// Lengths and input sets are those of the Workload (peers/peer.hpp).
class Contestant {
 public:
  Contestant() = default;
  virtual ~Contestant() = default;
  Contestant(const Contestant&) = delete;
  Contestant& operator=(const Contestant&) = delete;

  // All steps of the length from zero states; microseconds.
  virtual double run(std::size_t length, std::size_t input_set) = 0;
  // [T, B, D*R] of the last run.
  [[nodiscard]] virtual std::vector<float> output() = 0;
  // Between its turns a contestant sleeps: when sleep() returns, no thread of it runs until wake().
  virtual void wake() = 0;
  virtual void sleep() = 0;
};

}  // namespace sprnn::bench
