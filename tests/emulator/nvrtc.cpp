// NVRTC for the emulated GPU: the real one, whose machine code is PTX here. SPRNN_REAL_NVRTC is its path.
#include <dlfcn.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

namespace {

template <class Result, class... Arguments>
Result call(const char* name, Arguments... arguments) {
  static void* const real = dlopen(SPRNN_REAL_NVRTC, RTLD_NOW | RTLD_LOCAL);
  void* const found = real == nullptr ? nullptr : dlsym(real, name);
  if (found == nullptr) {
    std::fprintf(stderr, "emulator: %s of %s: %s\n", name, SPRNN_REAL_NVRTC, dlerror());
    std::abort();
  }
  return reinterpret_cast<Result (*)(Arguments...)>(found)(arguments...);
}

}  // namespace

extern "C" {

const char* nvrtcGetErrorString(int result) { return call<const char*>("nvrtcGetErrorString", result); }
int nvrtcCreateProgram(void** program, const char* source, const char* name, int headers,
                       const char* const* contents, const char* const* names) {
  return call<int>("nvrtcCreateProgram", program, source, name, headers, contents, names);
}
int nvrtcDestroyProgram(void** program) { return call<int>("nvrtcDestroyProgram", program); }
int nvrtcVersion(int* major, int* minor) { return call<int>("nvrtcVersion", major, minor); }
int nvrtcGetPTXSize(void* program, std::size_t* size) { return call<int>("nvrtcGetPTXSize", program, size); }
int nvrtcGetPTX(void* program, char* ptx) { return call<int>("nvrtcGetPTX", program, ptx); }
int nvrtcGetCUBINSize(void* program, std::size_t* size) { return nvrtcGetPTXSize(program, size); }
int nvrtcGetCUBIN(void* program, char* ptx) { return nvrtcGetPTX(program, ptx); }
int nvrtcGetProgramLogSize(void* program, std::size_t* size) {
  return call<int>("nvrtcGetProgramLogSize", program, size);
}
int nvrtcGetProgramLog(void* program, char* log) { return call<int>("nvrtcGetProgramLog", program, log); }

int nvrtcCompileProgram(void* program, int count, const char* const* options) {
  constexpr std::string_view machine = "--gpu-architecture=sm_", abstract = "--gpu-architecture=compute_";
  std::vector<std::string> texts(options, options + count);
  std::vector<const char*> pointers;
  for (std::string& text : texts) {
    if (text.starts_with(machine)) text.replace(0, machine.size(), abstract);
    pointers.push_back(text.c_str());
  }
  return call<int>("nvrtcCompileProgram", program, count, pointers.data());
}

}  // extern "C"
