#include "engines/cuda/driver.hpp"

#include <fmt/format.h>

#include "sprnn/error.hpp"

namespace sprnn::cuda {

Driver::Driver() : library_({"libcuda.so.1"}, "NVIDIA's driver library") {
  library_.find(init, "cuInit");
  library_.find(driver_version, "cuDriverGetVersion");
  library_.find(error_name, "cuGetErrorName");
  library_.find(error_string, "cuGetErrorString");
  library_.find(device_count, "cuDeviceGetCount");
  library_.find(device_get, "cuDeviceGet");
  library_.find(device_name, "cuDeviceGetName");
  library_.find(device_attribute, "cuDeviceGetAttribute");
  library_.find(device_memory, "cuDeviceTotalMem_v2");
  library_.find(retain_primary_context, "cuDevicePrimaryCtxRetain");
  library_.find(push_context, "cuCtxPushCurrent_v2");
  library_.find(pop_context, "cuCtxPopCurrent_v2");
  library_.find(current_context, "cuCtxGetCurrent");
  library_.find(allocate, "cuMemAlloc_v2");
  library_.find(free, "cuMemFree_v2");
  library_.find(allocate_host, "cuMemHostAlloc");
  library_.find(free_host, "cuMemFreeHost");
  library_.find(to_device, "cuMemcpyHtoDAsync_v2");
  library_.find(to_host, "cuMemcpyDtoHAsync_v2");
  library_.find(set_bytes, "cuMemsetD8Async");
  library_.find(create_stream, "cuStreamCreate");
  library_.find(destroy_stream, "cuStreamDestroy_v2");
  library_.find(synchronize, "cuStreamSynchronize");
  library_.find(is_capturing, "cuStreamIsCapturing");
  library_.find(exchange_capture_mode, "cuThreadExchangeStreamCaptureMode");
  library_.find(create_event, "cuEventCreate");
  library_.find(destroy_event, "cuEventDestroy_v2");
  library_.find(record_event, "cuEventRecord");
  library_.find(record_event_with_flags, "cuEventRecordWithFlags");
  library_.find(wait_event, "cuStreamWaitEvent");
  library_.find(synchronize_event, "cuEventSynchronize");
  library_.find(elapsed_ms, "cuEventElapsedTime");
  library_.find(load_module, "cuModuleLoadData");
  library_.find(unload_module, "cuModuleUnload");
  library_.find(get_function, "cuModuleGetFunction");
  library_.find(function_attribute, "cuFuncGetAttribute");
  library_.find(set_function_attribute, "cuFuncSetAttribute");
  library_.find(launch, "cuLaunchKernel");
  library_.find(most_clusters, "cuOccupancyMaxActiveClusters");
  library_.find(launch_with_attributes, "cuLaunchKernelEx");
  if (const Result result = init(0); result != 0) {
    const char* text = nullptr;
    error_string(result, &text);
    throw Error(ErrorCode::device,
                fmt::format("NVIDIA's driver does not start: {} (cuInit)", text == nullptr ? "?" : text));
  }
}

const Driver& driver() {
  static const Driver loaded;
  return loaded;
}

void check(Result result, const char* call) {
  if (result == 0) return;
  const char* name = nullptr;
  const char* text = nullptr;
  driver().error_name(result, &name);
  driver().error_string(result, &text);
  throw Error(result == result_out_of_memory ? ErrorCode::out_of_memory : ErrorCode::device,
              fmt::format("{}: {} ({})", call, text == nullptr ? "unknown error" : text,
                          name == nullptr ? fmt::format("{}", result) : name));
}

}  // namespace sprnn::cuda
