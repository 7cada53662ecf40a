// The scan of a GPU by addresses, for the module that holds the kernels and for the one that emulates them.
#pragma once

#include <pybind11/pybind11.h>

namespace fastrnn {

void bind_device(pybind11::module_& module);

}  // namespace fastrnn
