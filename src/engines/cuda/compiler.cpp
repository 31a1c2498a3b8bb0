#include "engines/cuda/compiler.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <vector>

#include "base/sha256.hpp"
#include "engines/cuda/kernel_cache.hpp"
#include "engines/cuda/kernel_sources.hpp"
#include "engines/cuda/nvrtc.hpp"
#include "sprnn/error.hpp"

namespace sprnn::cuda {

namespace {

const Nvrtc& nvrtc() {
  static const Nvrtc loaded;
  return loaded;
}

constexpr int invalid_option = 5;  // NVRTC_ERROR_INVALID_OPTION

void expect_success(int result, const char* call) {
  if (result == 0) return;
  throw Error(ErrorCode::internal, fmt::format("{}: {}", call, nvrtc().error_string(result)));
}

// The number before `what` in ptxas's report, 0 if it says nothing of it.
// Of all functions of the source the most.
int most_before(const std::string& log, std::string_view what) {
  int most = 0;
  for (std::size_t end = log.find(what); end != std::string::npos; end = log.find(what, end + 1)) {
    const std::size_t begin = log.find_last_not_of("0123456789", end - 1) + 1;
    int value = 0;
    std::from_chars(log.data() + begin, log.data() + end, value);
    most = std::max(most, value);
  }
  return most;
}

}  // namespace

Compiled compile(const std::string& kernel, const std::string& plan_source, int capability) {
  const Nvrtc& api = nvrtc();
  std::vector<const char*> names{"plan.cuh"}, contents{plan_source.c_str()};
  for (const KernelSource& source : kernel_sources()) {
    names.push_back(source.name);
    contents.push_back(source.text);
  }
  const std::string main = fmt::format("#include \"{}\"\n", kernel);
  Program program = nullptr;
  expect_success(api.create(&program, main.c_str(), "kernel.cu", static_cast<int>(names.size()),
                            contents.data(), names.data()),
                 "nvrtcCreateProgram");
  struct Destroyer {
    const Nvrtc& api;
    Program program;
    ~Destroyer() { api.destroy(&program); }
  } const destroyer{api, program};

  const std::string architecture = fmt::format("--gpu-architecture=sm_{}", capability);
  std::vector<const char*> options{architecture.c_str()};
  options.insert(options.end(), compile_options().begin(), compile_options().end());
  const int result = api.compile(program, static_cast<int>(options.size()), options.data());
  std::size_t size = 0;
  expect_success(api.log_size(program, &size), "nvrtcGetProgramLogSize");
  std::string log(size, '\0');
  expect_success(api.log(program, log.data()), "nvrtcGetProgramLog");
  if (result == invalid_option) {
    throw Error(ErrorCode::unsupported,
                fmt::format("{} cannot compile for sm_{}: {}", compiler_version(), capability, log.c_str()));
  }
  if (result != 0) {
    throw Error(ErrorCode::internal, fmt::format("NVRTC refuses {} for sm_{}: {}\n{}", kernel, capability,
                                                 api.error_string(result), log.c_str()));
  }
  Compiled compiled;
  expect_success(api.cubin_size(program, &size), "nvrtcGetCUBINSize");
  compiled.cubin.resize(size);
  expect_success(api.cubin(program, compiled.cubin.data()), "nvrtcGetCUBIN");
  expect_success(api.ptx_size(program, &size), "nvrtcGetPTXSize");
  compiled.ptx.resize(size);
  expect_success(api.ptx(program, compiled.ptx.data()), "nvrtcGetPTX");
  while (compiled.ptx.ends_with('\0')) compiled.ptx.pop_back();
  compiled.registers = most_before(log, " registers");
  compiled.stack_bytes = most_before(log, " bytes stack frame");
  compiled.spill_bytes = most_before(log, " bytes spill stores") + most_before(log, " bytes spill loads");
  return compiled;
}

std::span<const char* const> compile_options() noexcept {
  static constexpr std::array options = {"--std=c++17", "-default-device", "--ptxas-options=-v"};
  return options;
}

std::string compiler_version() {
  int major = 0, minor = 0;
  expect_success(nvrtc().version(&major, &minor), "nvrtcVersion");
  return fmt::format("NVRTC {}.{}", major, minor);
}

std::string compiler_refusal() {
  try {
    (void)nvrtc();
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

std::string compile_cached(const KernelRequest& request, int capability) {
  const KernelCache cache(cache_directory());
  if (!cache.usable()) return compile(request.kernel, request.plan_source, capability).cubin;
  const std::string key =
      sha256(fmt::format("{}\nsm_{}\n{}\n", source_hash(request), capability, compiler_version()));
  if (std::optional<std::string> found = cache.find(key)) return std::move(*found);
  std::string cubin = compile(request.kernel, request.plan_source, capability).cubin;
  cache.store(key, cubin);
  return cubin;
}

}  // namespace sprnn::cuda
