#include "gpu/intruder.hpp"

#include <chrono>
#include <stdexcept>
#include <thread>

#include "engines/cuda/compiler.hpp"

namespace sprnn::test {

namespace {

constexpr const char* source = R"(
struct Flags { unsigned stop, started, ended; };
__device__ unsigned long long now() {
  unsigned long long t;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(t));
  return t;
}
__device__ void run(volatile unsigned* words, int count, Flags* flags, unsigned long long nanoseconds) {
  const unsigned long long begin = now();
  if (threadIdx.x == 0) atomicAdd_system(&flags->started, 1u);
  while (static_cast<volatile Flags*>(flags)->stop == 0 && now() - begin < nanoseconds) {
    for (int round = 0; round < 1000; ++round) {
      for (int i = threadIdx.x; i < count; i += blockDim.x) words[i] = 0;
    }
  }
  if (threadIdx.x == 0) atomicAdd_system(&flags->ended, 1u);
}
extern "C" __global__ void hold(unsigned* words, int count, Flags* flags, unsigned long long nanoseconds) {
  run(words, count, flags, nanoseconds);
}
extern "C" __global__ void wipe(unsigned* words, int count, Flags* flags, unsigned long long nanoseconds) {
  run(words, count, flags, nanoseconds);
}
)";

// More than half of an SM's shared memory, so that no kernel of sprnn fits beside it.
std::int64_t whole_sm_bytes(const cuda::Gpu& gpu) { return gpu.description().shared_bytes_per_sm / 2 + 1024; }

std::string cubin(const cuda::Gpu& gpu) {
  // What the compiler includes as plan.cuh is the whole program here.
  return cuda::compile("plan.cuh", source, gpu.description().compute_capability).cubin;
}

}  // namespace

Intruder::Intruder()
    : gpu_(cuda::gpu(0)),
      current_(*gpu_),
      hold_(cubin(*gpu_), "hold", whole_sm_bytes(*gpu_)),
      wipe_(cubin(*gpu_), "wipe") {
  cuda::check(cuda::driver().create_stream(&stream_, 1), "cuStreamCreate");
  void* memory = nullptr;
  cuda::check(cuda::driver().allocate_host(&memory, sizeof(Flags), cuda::host_memory_portable),
              "cuMemHostAlloc");
  flags_ = static_cast<volatile Flags*>(memory);
}

Intruder::~Intruder() {
  flags_->stop = 1;
  cuda::driver().synchronize(stream_);
  cuda::driver().destroy_stream(stream_);
  cuda::driver().free_host(const_cast<Flags*>(flags_));
}

void Intruder::start(const cuda::Kernel& kernel, unsigned blocks, cuda::DevicePointer from, int words,
                     double seconds) {
  flags_->stop = 0;
  flags_->started = 0;
  flags_->ended = 0;
  // Unified addressing: the host's pointer is the GPU's too.
  kernel.launch(stream_, blocks, 32U, from, words, const_cast<Flags*>(flags_),
                static_cast<unsigned long long>(seconds * 1e9));
  const auto begin = std::chrono::steady_clock::now();
  while (flags_->started < blocks) {
    if (std::chrono::steady_clock::now() - begin > std::chrono::seconds(5))
      throw std::runtime_error("the other work did not start");
    std::this_thread::yield();
  }
}

void Intruder::hold_sms(int count, double seconds) {
  start(hold_, static_cast<unsigned>(count), 0, 0, seconds);
}

void Intruder::wipe(cuda::DevicePointer from, int words, double seconds) {
  start(wipe_, 1, from, words, seconds);
}

bool Intruder::is_running() const { return flags_->ended == 0; }

void Intruder::stop() {
  flags_->stop = 1;
  cuda::check(cuda::driver().synchronize(stream_), "cuStreamSynchronize");
}

}  // namespace sprnn::test
