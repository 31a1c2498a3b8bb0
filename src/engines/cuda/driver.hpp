// The part of NVIDIA's driver API that sprnn uses, declared here so that building needs no toolkit. The ABI
// is stable: names with _v2 are what cuda.h of CUDA 12 and 13 maps the plain ones to. tests/cuda checks these
// declarations against cuda.h where there is one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "engines/cuda/library.hpp"

namespace sprnn::cuda {

using Result = int;  // CUresult; 0 is success
using DevicePointer = unsigned long long;
using Context = struct CUctx_st*;
using Module = struct CUmod_st*;
using Function = struct CUfunc_st*;
using Stream = struct CUstream_st*;
using Event = struct CUevent_st*;

inline constexpr Result result_out_of_memory = 2;
inline constexpr Result result_invalid_cluster_size = 912;
inline constexpr unsigned host_memory_portable = 1;  // CU_MEMHOSTALLOC_PORTABLE: of all contexts
inline constexpr int capture_mode_relaxed = 2;       // CUstreamCaptureMode

// CUdevice_attribute
inline constexpr int attribute_clock_rate = 13;  // kHz
inline constexpr int attribute_sm_count = 16;
inline constexpr int attribute_memory_clock_rate = 36;  // kHz
inline constexpr int attribute_memory_bus_width = 37;   // bits
inline constexpr int attribute_l2_bytes = 38;
inline constexpr int attribute_capability_major = 75;
inline constexpr int attribute_capability_minor = 76;
inline constexpr int attribute_shared_bytes_per_sm = 81;
inline constexpr int attribute_registers_per_sm = 82;
inline constexpr int attribute_cooperative_launch = 95;
inline constexpr int attribute_shared_bytes_per_block = 97;  // opt-in
inline constexpr int attribute_cluster_launch = 120;
// CUevent_flags, CUevent_record_flags
inline constexpr unsigned event_without_timing = 2;
inline constexpr unsigned stream_non_blocking = 1;
inline constexpr unsigned event_record_external = 1;
// CUfunction_attribute
inline constexpr int function_local_bytes = 3;
inline constexpr int function_registers = 4;
inline constexpr int function_max_dynamic_shared_bytes = 8;
inline constexpr int function_any_cluster_size = 14;

// CUlaunchAttribute, CUlaunchConfig
struct alignas(8) LaunchAttribute {
  static constexpr int cluster_dimension = 4, is_cooperative = 2;
  int id = 0;
  char padding[4] = {};
  unsigned value[16] = {};

  static LaunchAttribute cooperative() { return {is_cooperative, {}, {1}}; }
  static LaunchAttribute cluster(unsigned blocks) { return {cluster_dimension, {}, {blocks, 1, 1}}; }
};
struct LaunchConfig {
  unsigned grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes;
  Stream stream;
  const LaunchAttribute* attributes;
  unsigned attribute_count;
};

struct Driver {
  Driver();

  Result (*init)(unsigned flags) = nullptr;
  Result (*driver_version)(int* version) = nullptr;
  Result (*error_name)(Result, const char** text) = nullptr;
  Result (*error_string)(Result, const char** text) = nullptr;
  Result (*device_count)(int* count) = nullptr;
  Result (*device_get)(int* device, int ordinal) = nullptr;
  Result (*device_name)(char* name, int length, int device) = nullptr;
  Result (*device_attribute)(int* value, int attribute, int device) = nullptr;
  Result (*device_memory)(std::size_t* bytes, int device) = nullptr;
  Result (*retain_primary_context)(Context*, int device) = nullptr;
  Result (*push_context)(Context) = nullptr;
  Result (*pop_context)(Context*) = nullptr;
  Result (*current_context)(Context*) = nullptr;
  Result (*allocate)(DevicePointer*, std::size_t bytes) = nullptr;
  Result (*free)(DevicePointer) = nullptr;
  Result (*allocate_host)(void**, std::size_t bytes, unsigned flags) = nullptr;
  Result (*free_host)(void*) = nullptr;
  Result (*to_device)(DevicePointer to, const void* from, std::size_t bytes, Stream) = nullptr;
  Result (*to_host)(void* to, DevicePointer from, std::size_t bytes, Stream) = nullptr;
  Result (*set_bytes)(DevicePointer, unsigned char value, std::size_t count, Stream) = nullptr;
  Result (*create_stream)(Stream*, unsigned flags) = nullptr;
  Result (*destroy_stream)(Stream) = nullptr;
  Result (*synchronize)(Stream) = nullptr;
  Result (*is_capturing)(Stream, int* status) = nullptr;
  Result (*exchange_capture_mode)(int* mode) = nullptr;
  Result (*create_event)(Event*, unsigned flags) = nullptr;
  Result (*destroy_event)(Event) = nullptr;
  Result (*record_event)(Event, Stream) = nullptr;
  Result (*record_event_with_flags)(Event, Stream, unsigned flags) = nullptr;
  Result (*wait_event)(Stream, Event, unsigned flags) = nullptr;
  Result (*synchronize_event)(Event) = nullptr;
  Result (*elapsed_ms)(float*, Event begin, Event end) = nullptr;
  Result (*load_module)(Module*, const void* image) = nullptr;
  Result (*unload_module)(Module) = nullptr;
  Result (*get_function)(Function*, Module, const char* name) = nullptr;
  Result (*function_attribute)(int* value, int attribute, Function) = nullptr;
  Result (*set_function_attribute)(Function, int attribute, int value) = nullptr;
  Result (*launch)(Function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                   unsigned block_y, unsigned block_z, unsigned shared_bytes, Stream, void** parameters,
                   void** extra) = nullptr;
  Result (*most_clusters)(int* count, Function, const LaunchConfig*) = nullptr;
  Result (*launch_with_attributes)(const LaunchConfig*, Function, void** parameters, void** extra) = nullptr;

 private:
  Library library_;
};

// Loaded and initialised on first use; throws Error(device) that says what is missing.
[[nodiscard]] const Driver& driver();
// Throws Error(device), or Error(out_of_memory), that names the call unless it succeeded.
void check(Result result, const char* call);

}  // namespace sprnn::cuda
