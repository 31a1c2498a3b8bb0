// The parts of the module, each bound in the file of its name.
#pragma once

#include <nanobind/nanobind.h>

namespace sprnn::python {

void bind_model(nanobind::module_& module);
void bind_plan(nanobind::module_& module);
void bind_session(nanobind::module_& module);

}  // namespace sprnn::python
