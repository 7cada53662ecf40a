// What the parts of the module share: the weights object, and calls without the GIL.
#pragma once

#include <pybind11/pybind11.h>

#include "entry.h"
#include "gil.h"

namespace py = pybind11;

namespace fastrnn {

struct PyPacked {
  std::shared_ptr<const PackedStack> packed;
  const Stack& stack() const { return packed->stack; }
};

void bind_stepper(py::module_& module);
void bind_address(py::module_& module);

}  // namespace fastrnn
