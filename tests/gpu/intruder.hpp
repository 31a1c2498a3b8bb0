// Other work on the same GPU: kernels that hold SMs, or that wipe memory which a run needs. They end when
// told to, and in any case after a given time.
#pragma once

#include "engines/cuda/gpu.hpp"

namespace sprnn::test {

class Intruder {
 public:
  Intruder();
  ~Intruder();
  Intruder(const Intruder&) = delete;
  Intruder& operator=(const Intruder&) = delete;

  // Blocks that each keep an SM for themselves; returns when all of them run.
  void hold_sms(int count, double seconds);
  // Keeps `words` 32-bit words of device memory zero.
  void wipe(cuda::DevicePointer from, int words, double seconds);
  [[nodiscard]] bool is_running() const;  // none of its blocks has ended
  void stop();                            // waits for the end

 private:
  struct Flags {
    unsigned stop, started, ended;
  };
  void start(const cuda::Kernel& kernel, unsigned blocks, cuda::DevicePointer from, int words,
             double seconds);

  std::shared_ptr<const cuda::Gpu> gpu_;
  cuda::Current current_;
  cuda::Kernel hold_, wipe_;
  cuda::Stream stream_ = nullptr;
  volatile Flags* flags_ = nullptr;  // memory of the host that the GPU sees
};

}  // namespace sprnn::test
