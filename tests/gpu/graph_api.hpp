// The part of cuda.h that graphs need; tests/cuda checks it against the header where there is one.
#pragma once

#include "engines/cuda/driver.hpp"

namespace sprnn::test {

inline constexpr int capture_mode_thread_local = 1;
inline constexpr int node_type_memset = 2;

struct MemsetNode {  // CUDA_MEMSET_NODE_PARAMS
  cuda::DevicePointer destination = 0;
  std::size_t pitch = 0;
  unsigned value = 0, element_bytes = 0;
  std::size_t width = 0, height = 0;
};

struct GraphApi {
  cuda::Library library{{"libcuda.so.1"}, "NVIDIA's driver library"};
  cuda::Result (*begin_capture)(cuda::Stream, int mode) = nullptr;
  cuda::Result (*end_capture)(cuda::Stream, void** graph) = nullptr;
  cuda::Result (*instantiate)(void** executable, void* graph, unsigned long long flags) = nullptr;
  cuda::Result (*launch)(void* executable, cuda::Stream) = nullptr;
  cuda::Result (*destroy_executable)(void*) = nullptr;
  cuda::Result (*destroy)(void*) = nullptr;
  cuda::Result (*nodes)(void* graph, void** nodes, std::size_t* count) = nullptr;
  cuda::Result (*node_type)(void* node, int* type) = nullptr;
  cuda::Result (*memset_parameters)(void* node, MemsetNode*) = nullptr;

  GraphApi() {
    library.find(begin_capture, "cuStreamBeginCapture_v2");
    library.find(end_capture, "cuStreamEndCapture");
    library.find(instantiate, "cuGraphInstantiateWithFlags");
    library.find(launch, "cuGraphLaunch");
    library.find(destroy_executable, "cuGraphExecDestroy");
    library.find(destroy, "cuGraphDestroy");
    library.find(nodes, "cuGraphGetNodes");
    library.find(node_type, "cuGraphNodeGetType");
    library.find(memset_parameters, "cuGraphMemsetNodeGetParams");
  }
};

}  // namespace sprnn::test
