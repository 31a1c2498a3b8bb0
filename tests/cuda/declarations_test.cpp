// What sprnn declares of CUDA's libraries is what their headers say.
#include <gtest/gtest.h>

#if __has_include(<cuda.h>) && __has_include(<cublasLt.h>) && __has_include(<nvrtc.h>)
// First, so that the types that ours name are theirs.
#include <cuda.h>
//
#include <cublasLt.h>
#include <nvrtc.h>

#include <cstddef>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <type_traits>

#include "engines/cuda/cublaslt.hpp"
#include "engines/cuda/driver.hpp"
#include "engines/cuda/nvrtc.hpp"
#include "gpu/graph_api.hpp"

namespace sprnn::cuda {
namespace {

// ---- Types that are passed alike: handles are pointers, of whatever; enumerations are integers of their
// size.

template <class A, class B>
struct Alike;
template <class A, class B>
constexpr bool alike = Alike<A, B>::value;

template <class A, class B>
struct Alike {
  template <class T>
  static constexpr bool is_number = std::is_integral_v<T> || std::is_enum_v<T>;
  static constexpr bool compare() {
    if constexpr (is_number<A> && is_number<B>) return sizeof(A) == sizeof(B);
    return std::is_same_v<A, B> || (std::is_class_v<A> && std::is_class_v<B>);
  }
  static constexpr bool value = compare();
};
template <class A, class B>
struct Alike<A*, B*> {
  using X = std::remove_cv_t<A>;
  using Y = std::remove_cv_t<B>;
  // What is only read there may be declared so here, and the other way round: it is passed alike.
  static constexpr bool value = std::is_void_v<X> || std::is_void_v<Y> || alike<X, Y>;
};
template <class A, class... As, class B, class... Bs>
struct Alike<A (*)(As...), B (*)(Bs...)> {
  static constexpr bool arguments() {
    if constexpr (sizeof...(As) == sizeof...(Bs)) return (alike<As, Bs> && ...);
    return false;
  }
  static constexpr bool value = alike<A, B> && arguments();
};

// ---- Values

static_assert(result_out_of_memory == CUDA_ERROR_OUT_OF_MEMORY && CUDA_SUCCESS == 0);
static_assert(host_memory_portable == CU_MEMHOSTALLOC_PORTABLE);
static_assert(capture_mode_relaxed == CU_STREAM_CAPTURE_MODE_RELAXED);
static_assert(CU_STREAM_CAPTURE_STATUS_NONE == 0 && CU_STREAM_NON_BLOCKING == 1);
static_assert(function_any_cluster_size == CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED);
static_assert(attribute_cluster_launch == CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH);
static_assert(LaunchAttribute::is_cooperative == CU_LAUNCH_ATTRIBUTE_COOPERATIVE);
static_assert(LaunchAttribute::cluster_dimension == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION);
static_assert(sizeof(LaunchAttribute) == sizeof(CUlaunchAttribute));
static_assert(alignof(LaunchAttribute) == alignof(CUlaunchAttribute));
static_assert(result_invalid_cluster_size == CUDA_ERROR_INVALID_CLUSTER_SIZE);
static_assert(offsetof(LaunchAttribute, value) == offsetof(CUlaunchAttribute, value));
static_assert(sizeof(LaunchConfig) == sizeof(CUlaunchConfig));
static_assert(offsetof(LaunchConfig, shared_bytes) == offsetof(CUlaunchConfig, sharedMemBytes));
static_assert(offsetof(LaunchConfig, stream) == offsetof(CUlaunchConfig, hStream));
static_assert(offsetof(LaunchConfig, attributes) == offsetof(CUlaunchConfig, attrs));
static_assert(offsetof(LaunchConfig, attribute_count) == offsetof(CUlaunchConfig, numAttrs));
static_assert(attribute_clock_rate == CU_DEVICE_ATTRIBUTE_CLOCK_RATE);
static_assert(attribute_sm_count == CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
static_assert(attribute_memory_clock_rate == CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE);
static_assert(attribute_memory_bus_width == CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH);
static_assert(attribute_l2_bytes == CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE);
static_assert(attribute_capability_major == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
static_assert(attribute_capability_minor == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
static_assert(attribute_shared_bytes_per_sm == CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR);
static_assert(attribute_registers_per_sm == CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR);
static_assert(attribute_cooperative_launch == CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH);
static_assert(attribute_shared_bytes_per_block == CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
static_assert(event_without_timing == CU_EVENT_DISABLE_TIMING);
static_assert(event_record_external == CU_EVENT_RECORD_EXTERNAL && CU_EVENT_RECORD_DEFAULT == 0);
static_assert(function_local_bytes == CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES);
static_assert(function_registers == CU_FUNC_ATTRIBUTE_NUM_REGS);
static_assert(function_max_dynamic_shared_bytes == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);

static_assert(compute_32f == CUBLAS_COMPUTE_32F && CUBLAS_STATUS_SUCCESS == 0);
static_assert(real_32f == CUDA_R_32F && real_16f == CUDA_R_16F && real_16bf == CUDA_R_16BF);
static_assert(operation_t == CUBLAS_OP_T);
static_assert(desc_transa == CUBLASLT_MATMUL_DESC_TRANSA && desc_epilogue == CUBLASLT_MATMUL_DESC_EPILOGUE);
static_assert(desc_bias_pointer == CUBLASLT_MATMUL_DESC_BIAS_POINTER);
static_assert(desc_bias_type == CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE);
static_assert(epilogue_bias == CUBLASLT_EPILOGUE_BIAS);
static_assert(preference_workspace == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES);
static_assert(preference_reduction_mask == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK);
static_assert(CUBLASLT_REDUCTION_SCHEME_NONE == 0 && NVRTC_SUCCESS == 0);

static_assert(test::capture_mode_thread_local == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
static_assert(test::node_type_memset == CU_GRAPH_NODE_TYPE_MEMSET);

// ---- Layouts

static_assert(sizeof(DevicePointer) == sizeof(CUdeviceptr));
static_assert(sizeof(Heuristic) == sizeof(cublasLtMatmulHeuristicResult_t));
static_assert(offsetof(Heuristic, algorithm) == offsetof(cublasLtMatmulHeuristicResult_t, algo));
static_assert(sizeof(Heuristic::algorithm) == sizeof(cublasLtMatmulAlgo_t));
static_assert(offsetof(Heuristic, workspace) == offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize));
static_assert(offsetof(Heuristic, state) == offsetof(cublasLtMatmulHeuristicResult_t, state));
static_assert(sizeof(test::MemsetNode) == sizeof(CUDA_MEMSET_NODE_PARAMS));
static_assert(offsetof(test::MemsetNode, destination) == offsetof(CUDA_MEMSET_NODE_PARAMS, dst));
static_assert(offsetof(test::MemsetNode, pitch) == offsetof(CUDA_MEMSET_NODE_PARAMS, pitch));
static_assert(offsetof(test::MemsetNode, value) == offsetof(CUDA_MEMSET_NODE_PARAMS, value));
static_assert(offsetof(test::MemsetNode, element_bytes) == offsetof(CUDA_MEMSET_NODE_PARAMS, elementSize));
static_assert(offsetof(test::MemsetNode, width) == offsetof(CUDA_MEMSET_NODE_PARAMS, width));
static_assert(offsetof(test::MemsetNode, height) == offsetof(CUDA_MEMSET_NODE_PARAMS, height));

// ---- Functions: each under the name that the header gives it, and none that is not here.

using Names = std::map<std::string, std::string>;  // of a member: the symbol that it is loaded from

Names loaded_in(const std::string& file) {
  std::ostringstream text;
  text << std::ifstream(SPRNN_SOURCE_FOLDER "/" + file).rdbuf();
  const std::string source = text.str();
  // Each stands as `.find(member, "symbol")`. Not by std::regex, which g++ 12 warns of under the sanitizers.
  const std::string call = ".find(", between = ", \"", end = "\")";
  Names names;
  for (std::size_t at = source.find(call); at != std::string::npos; at = source.find(call, at)) {
    at += call.size();
    const std::size_t comma = source.find(between, at), close = source.find(end, at);
    if (comma == std::string::npos || close == std::string::npos || close < comma) continue;
    const std::size_t symbol = comma + between.size();
    names[source.substr(at, comma - at)] = source.substr(symbol, close - symbol);
  }
  return names;
}

#define TEXT(name) #name
#define EXPANDED(name) TEXT(name)
// cuda.h maps plain names to those with a version.
#define DECLARED(Api, member, function)                                                              \
  static_assert(alike<decltype(Api::member), decltype(&function)>, #member " is not as " #function); \
  names[#member] = EXPANDED(function)

TEST(Declarations, OfTheDriverAreThoseOfCudaH) {
  Names names;
  DECLARED(Driver, init, cuInit);
  DECLARED(Driver, driver_version, cuDriverGetVersion);
  DECLARED(Driver, error_name, cuGetErrorName);
  DECLARED(Driver, error_string, cuGetErrorString);
  DECLARED(Driver, device_count, cuDeviceGetCount);
  DECLARED(Driver, device_get, cuDeviceGet);
  DECLARED(Driver, device_name, cuDeviceGetName);
  DECLARED(Driver, device_attribute, cuDeviceGetAttribute);
  DECLARED(Driver, device_memory, cuDeviceTotalMem);
  DECLARED(Driver, retain_primary_context, cuDevicePrimaryCtxRetain);
  DECLARED(Driver, push_context, cuCtxPushCurrent);
  DECLARED(Driver, pop_context, cuCtxPopCurrent);
  DECLARED(Driver, current_context, cuCtxGetCurrent);
  DECLARED(Driver, allocate, cuMemAlloc);
  DECLARED(Driver, free, cuMemFree);
  DECLARED(Driver, allocate_host, cuMemHostAlloc);
  DECLARED(Driver, free_host, cuMemFreeHost);
  DECLARED(Driver, to_device, cuMemcpyHtoDAsync);
  DECLARED(Driver, to_host, cuMemcpyDtoHAsync);
  DECLARED(Driver, set_bytes, cuMemsetD8Async);
  DECLARED(Driver, create_stream, cuStreamCreate);
  DECLARED(Driver, destroy_stream, cuStreamDestroy);
  DECLARED(Driver, synchronize, cuStreamSynchronize);
  DECLARED(Driver, is_capturing, cuStreamIsCapturing);
  DECLARED(Driver, exchange_capture_mode, cuThreadExchangeStreamCaptureMode);
  DECLARED(Driver, create_event, cuEventCreate);
  DECLARED(Driver, destroy_event, cuEventDestroy);
  DECLARED(Driver, record_event, cuEventRecord);
  DECLARED(Driver, record_event_with_flags, cuEventRecordWithFlags);
  DECLARED(Driver, wait_event, cuStreamWaitEvent);
  DECLARED(Driver, synchronize_event, cuEventSynchronize);
  DECLARED(Driver, elapsed_ms, cuEventElapsedTime);
  DECLARED(Driver, load_module, cuModuleLoadData);
  DECLARED(Driver, unload_module, cuModuleUnload);
  DECLARED(Driver, get_function, cuModuleGetFunction);
  DECLARED(Driver, function_attribute, cuFuncGetAttribute);
  DECLARED(Driver, set_function_attribute, cuFuncSetAttribute);
  DECLARED(Driver, launch, cuLaunchKernel);
  DECLARED(Driver, most_clusters, cuOccupancyMaxActiveClusters);
  DECLARED(Driver, launch_with_attributes, cuLaunchKernelEx);
  // CUDA 13 maps it to a newer one, which drivers of CUDA 12 lack.
  names["elapsed_ms"] = "cuEventElapsedTime";
  EXPECT_EQ(names, loaded_in("src/engines/cuda/driver.cpp"));
}

TEST(Declarations, OfGraphsAreThoseOfCudaH) {
  using test::GraphApi;
  Names names;
  DECLARED(GraphApi, begin_capture, cuStreamBeginCapture);
  DECLARED(GraphApi, end_capture, cuStreamEndCapture);
  DECLARED(GraphApi, instantiate, cuGraphInstantiateWithFlags);
  DECLARED(GraphApi, launch, cuGraphLaunch);
  DECLARED(GraphApi, destroy_executable, cuGraphExecDestroy);
  DECLARED(GraphApi, destroy, cuGraphDestroy);
  DECLARED(GraphApi, nodes, cuGraphGetNodes);
  DECLARED(GraphApi, node_type, cuGraphNodeGetType);
  DECLARED(GraphApi, memset_parameters, cuGraphMemsetNodeGetParams);
  EXPECT_EQ(names, loaded_in("tests/gpu/graph_api.hpp"));
}

TEST(Declarations, OfCublasLtAreThoseOfItsHeader) {
  Names names;
  DECLARED(CublasLt, create, cublasLtCreate);
  DECLARED(CublasLt, desc_create, cublasLtMatmulDescCreate);
  DECLARED(CublasLt, desc_destroy, cublasLtMatmulDescDestroy);
  DECLARED(CublasLt, desc_set, cublasLtMatmulDescSetAttribute);
  DECLARED(CublasLt, layout_create, cublasLtMatrixLayoutCreate);
  DECLARED(CublasLt, layout_destroy, cublasLtMatrixLayoutDestroy);
  DECLARED(CublasLt, preference_create, cublasLtMatmulPreferenceCreate);
  DECLARED(CublasLt, preference_destroy, cublasLtMatmulPreferenceDestroy);
  DECLARED(CublasLt, preference_set, cublasLtMatmulPreferenceSetAttribute);
  DECLARED(CublasLt, heuristic, cublasLtMatmulAlgoGetHeuristic);
  DECLARED(CublasLt, matmul, cublasLtMatmul);
  EXPECT_EQ(names, loaded_in("src/engines/cuda/cublaslt.hpp"));
}

TEST(Declarations, OfNvrtcAreThoseOfItsHeader) {
  Names names;
  DECLARED(Nvrtc, error_string, nvrtcGetErrorString);
  DECLARED(Nvrtc, create, nvrtcCreateProgram);
  DECLARED(Nvrtc, destroy, nvrtcDestroyProgram);
  DECLARED(Nvrtc, compile, nvrtcCompileProgram);
  DECLARED(Nvrtc, cubin_size, nvrtcGetCUBINSize);
  DECLARED(Nvrtc, cubin, nvrtcGetCUBIN);
  DECLARED(Nvrtc, ptx_size, nvrtcGetPTXSize);
  DECLARED(Nvrtc, ptx, nvrtcGetPTX);
  DECLARED(Nvrtc, version, nvrtcVersion);
  DECLARED(Nvrtc, log_size, nvrtcGetProgramLogSize);
  DECLARED(Nvrtc, log, nvrtcGetProgramLog);
  EXPECT_EQ(names, loaded_in("src/engines/cuda/nvrtc.hpp"));
}

}  // namespace
}  // namespace sprnn::cuda

#else

TEST(Declarations, AreThoseOfCudasHeaders) {
  GTEST_SKIP()
      << "cuda.h, cublasLt.h and nvrtc.h of a CUDA toolkit are not all installed where the compiler looks";
}

#endif
