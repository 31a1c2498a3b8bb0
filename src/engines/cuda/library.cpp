#include "engines/cuda/library.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

#include "sprnn/error.hpp"

namespace sprnn::cuda {

Library::Library(std::initializer_list<const char*> names, const char* what_it_is) {
  std::string tried;
  for (const char* name : names) {
    handle_ = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (handle_ != nullptr) {
      name_ = name;
      return;
    }
    tried += fmt::format("{}{}", tried.empty() ? "" : ", ", name);
  }
  throw Error(ErrorCode::device,
              fmt::format("{} was not found ({}): install it, or add its folder to LD_LIBRARY_PATH",
                          what_it_is, tried));
}

void* Library::symbol(const char* name) const {
  void* found = dlsym(handle_, name);
  if (found == nullptr) {
    throw Error(ErrorCode::device,
                fmt::format("{} has no {}: it is too old, install a newer one", name_, name));
  }
  return found;
}

}  // namespace sprnn::cuda
