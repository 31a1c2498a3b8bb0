// A shared library that is loaded at run time, so that one binary starts everywhere.
#pragma once

#include <initializer_list>
#include <string>

namespace sprnn::cuda {

class Library {
 public:
  // The first of `names` that loads; throws Error(device) that says what is missing and what to do.
  Library(std::initializer_list<const char*> names, const char* what_it_is);
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;
  ~Library() = default;  // never unloaded: CUDA's libraries leave threads and exit handlers behind

  // Throws Error(device) if the library is too old to have it.
  template <class Function>
  void find(Function*& function, const char* name) const {
    function = reinterpret_cast<Function*>(symbol(name));
  }

 private:
  [[nodiscard]] void* symbol(const char* name) const;
  void* handle_ = nullptr;
  std::string name_;
};

}  // namespace sprnn::cuda
