// NVIDIA's driver, as far as sprnn and its tests call it, for the emulated GPU. Work is done when it is
// enqueued, so no two kernels run at the same time; a stream that is captured keeps it for the graph's
// launches.
//
// SPRNN_EMULATOR_SEED chooses the order in which warps run and stores land; the first line on stderr says it.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "emulator/gpu.hpp"
#include "emulator/machine.hpp"

namespace sprnn::emulator {

Gpu& gpu() {
  static Gpu* const one = [] {
    auto* made = new Gpu;  // never destroyed: who uses it may end later than static objects
    if (const char* text = std::getenv("SPRNN_EMULATOR_SEED")) made->seed = std::strtoull(text, nullptr, 10);
    std::fprintf(stderr, "emulated GPU, SPRNN_EMULATOR_SEED=%llu\n",
                 static_cast<unsigned long long>(made->seed));
    return made;
  }();
  return *one;
}

namespace {

using Result = int;
using DevicePointer = unsigned long long;

constexpr Result success = 0, invalid_value = 1, out_of_memory = 2, not_found = 500, launch_failed = 719,
                 launch_too_large = 720, not_supported = 801;

struct Module {
  std::map<std::string, std::shared_ptr<const Kernel>> kernels;
  std::map<std::string, std::unique_ptr<std::shared_ptr<const Kernel>>> functions;
};
using Function = const std::shared_ptr<const Kernel>;

struct Event {
  std::chrono::steady_clock::time_point when;
};

struct LaunchAttribute {
  int id;
  char padding[4];
  unsigned value[16];
};
struct LaunchConfig {
  unsigned grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes;
  Stream* stream;
  const LaunchAttribute* attributes;
  unsigned attribute_count;
};

constexpr int sms = 132;
constexpr std::size_t guard_bytes = 512, memory_bytes = std::size_t{8} << 30;

// Of an H100.
const std::map<int, int> attributes = {{13, 1980000} /* clock, kHz */,
                                       {16, sms},
                                       {36, 2619000} /* memory clock */,
                                       {37, 5120} /* its bits */,
                                       {38, 50 << 20} /* L2 */,
                                       {75, 9},
                                       {76, 0},
                                       {81, 233472} /* shared an SM */,
                                       {82, 65536} /* registers */,
                                       {95, 1},
                                       {97, 232448} /* shared a block */,
                                       {120, 1} /* clusters */};

template <class Body>
Result guarded(Body&& body) {
  try {
    body();
    return success;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "emulated GPU: %s\n", error.what());
    return launch_failed;
  }
}

Result launch(const Function* function, unsigned blocks, unsigned threads, unsigned cluster, bool cooperative,
              unsigned shared_bytes, Stream* stream, void** parameters) {
  Launch one;
  one.kernel = *function;
  one.blocks = blocks;
  one.threads = threads;
  one.cluster = std::max(cluster, 1U);
  one.cooperative = cooperative || cluster > 1;
  one.shared_bytes = shared_bytes;
  one.parameters.resize(one.kernel->parameter_bytes);
  for (std::size_t i = 0; i < one.kernel->parameters.size(); ++i) {
    const Kernel::Parameter& of = one.kernel->parameters[i];
    std::memcpy(one.parameters.data() + of.at, parameters[i], of.bytes);
  }
  if (cooperative && blocks > sms) return launch_too_large;
  return guarded([&] { enqueue(stream, [one] { run(one, gpu().memory, gpu().seed++); }); });
}

}  // namespace
}  // namespace sprnn::emulator

using namespace sprnn::emulator;

extern "C" {

Result cuInit(unsigned) { return success; }
Result cuDriverGetVersion(int* version) {
  *version = 13000;
  return success;
}
Result cuGetErrorName(Result result, const char** text) {
  *text = result == success         ? "CUDA_SUCCESS"
          : result == launch_failed ? "CUDA_ERROR_LAUNCH_FAILED"
                                    : "CUDA_ERROR";
  return success;
}
Result cuGetErrorString(Result result, const char** text) {
  *text =
      result == launch_failed ? "a fault of the emulated GPU, see stderr" : "an error of the emulated GPU";
  return success;
}
// NVRTC asks for it, and does without.
Result cuGetExportTable(const void** table, const void*) {
  *table = nullptr;
  return not_found;
}
Result cuDeviceGetCount(int* count) {
  *count = 1;
  return success;
}
Result cuDeviceGet(int* device, int) {
  *device = 0;
  return success;
}
Result cuDeviceGetName(char* name, int length, int) {
  std::snprintf(name, static_cast<std::size_t>(length), "emulated GPU");
  return success;
}
Result cuDeviceGetAttribute(int* value, int attribute, int) {
  const auto found = attributes.find(attribute);
  if (found == attributes.end()) return invalid_value;
  *value = found->second;
  return success;
}
Result cuDeviceTotalMem_v2(std::size_t* bytes, int) {
  *bytes = memory_bytes;
  return success;
}
Result cuDevicePrimaryCtxRetain(void** context, int) {
  *context = &gpu();
  return success;
}
Result cuCtxPushCurrent_v2(void*) { return success; }
Result cuCtxPopCurrent_v2(void** context) { return cuDevicePrimaryCtxRetain(context, 0); }
Result cuCtxGetCurrent(void** context) { return cuDevicePrimaryCtxRetain(context, 0); }

Result cuMemAlloc_v2(DevicePointer* pointer, std::size_t bytes) {
  const std::lock_guard lock(gpu().mutex);
  const std::size_t whole = (bytes + 2 * guard_bytes + 255) / 256 * 256;
  void* const block = bytes > memory_bytes ? nullptr : std::aligned_alloc(256, whole);
  if (block == nullptr) return out_of_memory;
  std::memset(block, 0xDB, whole);
  *pointer = reinterpret_cast<DevicePointer>(block) + guard_bytes;
  gpu().memory.add(*pointer, bytes);
  return success;
}
Result cuMemFree_v2(DevicePointer pointer) {
  const std::lock_guard lock(gpu().mutex);
  gpu().memory.remove(pointer);
  if (pointer != 0) std::free(reinterpret_cast<void*>(pointer - guard_bytes));
  return success;
}
Result cuMemHostAlloc(void** pointer, std::size_t bytes, unsigned) {
  DevicePointer address = 0;
  const Result result = cuMemAlloc_v2(&address, bytes);
  *pointer = reinterpret_cast<void*>(address);
  if (result == success) std::memset(*pointer, 0, bytes);
  return result;
}
Result cuMemFreeHost(void* pointer) { return cuMemFree_v2(reinterpret_cast<DevicePointer>(pointer)); }
Result cuMemcpyHtoDAsync_v2(DevicePointer to, const void* from, std::size_t bytes, Stream* stream) {
  return guarded([&] {
    enqueue(stream, [=] {
      gpu().memory.forget();
      if (bytes > 0 && !gpu().memory.contains(to, bytes)) throw Fault("a copy to what is not allocated");
      std::memcpy(reinterpret_cast<void*>(to), from, bytes);
    });
  });
}
Result cuMemcpyDtoHAsync_v2(void* to, DevicePointer from, std::size_t bytes, Stream* stream) {
  return guarded([&] {
    enqueue(stream, [=] {
      gpu().memory.forget();
      if (bytes > 0 && !gpu().memory.contains(from, bytes)) throw Fault("a copy of what is not allocated");
      std::memcpy(to, reinterpret_cast<const void*>(from), bytes);
    });
  });
}
Result cuMemsetD8Async(DevicePointer to, unsigned char value, std::size_t count, Stream* stream) {
  return guarded([&] {
    enqueue(stream, [=] {
      gpu().memory.forget();
      if (count > 0 && !gpu().memory.contains(to, count)) throw Fault("a memset of what is not allocated");
      std::memset(reinterpret_cast<void*>(to), value, count);
    });
  });
}

Result cuStreamCreate(Stream** stream, unsigned) {
  *stream = new Stream;
  return success;
}
Result cuStreamDestroy_v2(Stream* stream) {
  delete stream;
  return success;
}
Result cuStreamSynchronize(Stream*) { return success; }
Result cuStreamIsCapturing(Stream* stream, int* status) {
  *status = stream != nullptr && stream->captured ? 1 : 0;
  return success;
}
Result cuThreadExchangeStreamCaptureMode(int* mode) {
  static thread_local int own = 0;
  std::swap(own, *mode);
  return success;
}
Result cuStreamBeginCapture_v2(Stream* stream, int) {
  stream->captured = std::make_unique<Work>();
  return success;
}
Result cuStreamEndCapture(Stream* stream, Work** graph) {
  *graph = stream->captured.release();
  return success;
}
Result cuGraphInstantiateWithFlags(Work** executable, const Work* graph, unsigned long long) {
  *executable = new Work(*graph);
  return success;
}
Result cuGraphLaunch(const Work* executable, Stream* stream) {
  return guarded([&] {
    for (const auto& work : *executable) enqueue(stream, work);
  });
}
Result cuGraphExecDestroy(Work* executable) {
  delete executable;
  return success;
}
Result cuGraphDestroy(Work* graph) {
  delete graph;
  return success;
}
Result cuGraphGetNodes(const Work*, void**, std::size_t*) { return not_supported; }
Result cuGraphNodeGetType(void*, int*) { return not_supported; }
Result cuGraphMemsetNodeGetParams(void*, void*) { return not_supported; }

Result cuEventCreate(Event** event, unsigned) {
  *event = new Event;
  return success;
}
Result cuEventDestroy_v2(Event* event) {
  delete event;
  return success;
}
Result cuEventRecord(Event* event, Stream* stream) {
  return guarded([&] { enqueue(stream, [event] { event->when = std::chrono::steady_clock::now(); }); });
}
Result cuEventRecordWithFlags(Event* event, Stream* stream, unsigned) { return cuEventRecord(event, stream); }
Result cuStreamWaitEvent(Stream*, Event*, unsigned) { return success; }
Result cuEventSynchronize(Event*) { return success; }
Result cuEventElapsedTime(float* milliseconds, const Event* begin, const Event* end) {
  *milliseconds = std::chrono::duration<float, std::milli>(end->when - begin->when).count();
  return success;
}

Result cuModuleLoadData(Module** module, const void* image) {
  return guarded([&] {
    auto made = std::make_unique<Module>();
    made->kernels = parse(static_cast<const char*>(image));
    *module = made.release();
  });
}
Result cuModuleUnload(Module* module) {
  delete module;
  return success;
}
Result cuModuleGetFunction(Function** function, Module* module, const char* name) {
  const auto found = module->kernels.find(name);
  if (found == module->kernels.end()) return not_found;
  auto& made = module->functions[name];
  if (!made) made = std::make_unique<std::shared_ptr<const Kernel>>(found->second);
  *function = made.get();
  return success;
}
Result cuFuncGetAttribute(int* value, int attribute, const Function* function) {
  constexpr int local_bytes = 3, registers = 4;
  *value = attribute == local_bytes ? static_cast<int>((*function)->local_bytes)
           : attribute == registers ? 32
                                    : 0;
  return success;
}
Result cuFuncSetAttribute(const Function*, int, int) { return success; }
Result cuOccupancyMaxActiveClusters(int* count, const Function*, const LaunchConfig* config) {
  unsigned cluster = 1;
  for (unsigned i = 0; i < config->attribute_count; ++i) {
    if (config->attributes[i].id == 4) cluster = config->attributes[i].value[0];
  }
  *count = sms / static_cast<int>(std::max(cluster, 1U));
  return success;
}
Result cuLaunchKernel(const Function* function, unsigned grid_x, unsigned, unsigned, unsigned block_x,
                      unsigned, unsigned, unsigned shared_bytes, Stream* stream, void** parameters, void**) {
  return launch(function, grid_x, block_x, 1, false, shared_bytes, stream, parameters);
}
Result cuLaunchKernelEx(const LaunchConfig* config, const Function* function, void** parameters, void**) {
  unsigned cluster = 1;
  bool cooperative = false;
  for (unsigned i = 0; i < config->attribute_count; ++i) {
    if (config->attributes[i].id == 4) cluster = config->attributes[i].value[0];
    if (config->attributes[i].id == 2) cooperative = config->attributes[i].value[0] != 0;
  }
  return launch(function, config->grid_x, config->block_x, cluster, cooperative, config->shared_bytes,
                config->stream, parameters);
}

}  // extern "C"
