// The part of NVRTC that sprnn uses, declared here so that building needs no toolkit. tests/cuda checks these
// declarations against nvrtc.h where there is one.
#pragma once

#include <cstddef>

#include "engines/cuda/library.hpp"

namespace sprnn::cuda {

using Program = struct _nvrtcProgram*;

struct Nvrtc {  // an int that is returned is an nvrtcResult, 0 success
  Library library{{"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"}, "NVRTC, CUDA's run-time compiler,"};
  const char* (*error_string)(int) = nullptr;
  int (*create)(Program*, const char* source, const char* name, int headers, const char* const* contents,
                const char* const* names) = nullptr;
  int (*destroy)(Program*) = nullptr;
  int (*compile)(Program, int options, const char* const* text) = nullptr;
  int (*cubin_size)(Program, std::size_t*) = nullptr;
  int (*cubin)(Program, char*) = nullptr;
  int (*ptx_size)(Program, std::size_t*) = nullptr;
  int (*ptx)(Program, char*) = nullptr;
  int (*version)(int* major, int* minor) = nullptr;
  int (*log_size)(Program, std::size_t*) = nullptr;
  int (*log)(Program, char*) = nullptr;

  Nvrtc() {
    library.find(error_string, "nvrtcGetErrorString");
    library.find(create, "nvrtcCreateProgram");
    library.find(destroy, "nvrtcDestroyProgram");
    library.find(compile, "nvrtcCompileProgram");
    library.find(cubin_size, "nvrtcGetCUBINSize");
    library.find(cubin, "nvrtcGetCUBIN");
    library.find(ptx_size, "nvrtcGetPTXSize");
    library.find(ptx, "nvrtcGetPTX");
    library.find(version, "nvrtcVersion");
    library.find(log_size, "nvrtcGetProgramLogSize");
    library.find(log, "nvrtcGetProgramLog");
  }
};

}  // namespace sprnn::cuda
