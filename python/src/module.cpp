// sprnn._core: the C++ library for the package's Python files, which are what a user imports.
#include <fmt/format.h>
#include <nanobind/stl/string.h>

#include "bindings.hpp"
#include "errors.hpp"
#include "sprnn/version.hpp"

NB_MODULE(_core, module) {
  sprnn::python::translate_errors();
  module.attr("__version__") =
      fmt::format("{}.{}.{}", SPRNN_VERSION_MAJOR, SPRNN_VERSION_MINOR, SPRNN_VERSION_PATCH);
  sprnn::python::bind_model(module);
  sprnn::python::bind_plan(module);
  sprnn::python::bind_session(module);
}
