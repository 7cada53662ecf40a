// How `step` and `process` of a stepper look at their arguments: in place, nothing allocated, nothing
// converted. Whatever is not exactly what the kernels read is left to the caller.
#pragma once

#include <pybind11/numpy.h>

#include "bindings.h"

namespace fastrnn {

// What the arrays of a stepper's calls must be.
struct StepShapes {
  py::object dtype;
  int dtype_num = 0;
  DType type = DType::float32;
  int64_t I = 0, H = 0, S = 0;
};

// An exact ndarray of the stepper's dtype, aligned, that fits; nothing is allocated to find out.
inline bool fits(const StepShapes& shapes, PyObject* object, bool block, bool writable, int64_t width, int64_t* T,
                 int* axes, Sequence* sequence) {
  using api = py::detail::npy_api;
  if (Py_TYPE(object) != api::get().PyArray_Type_) return false;
  const auto* array = py::detail::array_proxy(object);
  const int needed = api::NPY_ARRAY_ALIGNED_ | (writable ? api::NPY_ARRAY_WRITEABLE_ : 0);
  if ((array->flags & needed) != needed) return false;
  if (array->descr != shapes.dtype.ptr()) {  // nearly always the same object; but equal ones exist
    const auto descr = py::reinterpret_borrow<py::dtype>(array->descr);
    if (descr.num() != shapes.dtype_num || descr.byteorder() != '=') return false;
  }
  static_assert(sizeof(ssize_t) == sizeof(int64_t));
  const StepArray seen{array->data, array->nd, reinterpret_cast<const int64_t*>(array->dimensions),
                       reinterpret_cast<const int64_t*>(array->strides)};
  *axes = array->nd;
  return fit_steps(seen, block, shapes.S, width, shapes.type, T, sequence);
}

struct Span {
  uintptr_t first, last;
};

// The bytes between the first and the last element.
inline Span span_of(const Sequence& sequence, int64_t T, int64_t S, int64_t width, int64_t element) {
  uintptr_t first = reinterpret_cast<uintptr_t>(sequence.data), last = first + uintptr_t(width * element);
  const auto stretch = [&](int64_t steps) { steps < 0 ? first += uintptr_t(steps) : last += uintptr_t(steps); };
  stretch((T - 1) * sequence.step * element);
  stretch((S - 1) * sequence.row * element);
  return {first, last};
}

inline PyObject* new_output(const StepShapes& shapes, int64_t T, bool block, int x_axes) {
  Py_intptr_t shape[3];
  int axes = 0;
  if (block) shape[axes++] = T;
  if (x_axes == (block ? 3 : 2)) shape[axes++] = shapes.S;
  shape[axes++] = shapes.H;
  Py_INCREF(shapes.dtype.ptr());  // the array takes the reference
  const auto& api = py::detail::npy_api::get();
  PyObject* made =
      api.PyArray_NewFromDescr_(api.PyArray_Type_, shapes.dtype.ptr(), axes, shape, nullptr, nullptr, 0, nullptr);
  if (made == nullptr) throw py::error_already_set();
  return made;
}

// (x, out=None), out also by keyword. False with an exception set if the call is not of this form.
inline bool parse(const char* method, PyObject* const* args, Py_ssize_t count, PyObject* names, PyObject** x,
                  PyObject** out) {
  static const char* const known[] = {"x", "out"};
  PyObject* found[2] = {nullptr, nullptr};
  const Py_ssize_t named = names == nullptr ? 0 : PyTuple_GET_SIZE(names);
  if (count > 2) {
    PyErr_Format(PyExc_TypeError, "Stepper.%s: %zd arguments are given, expected x and out", method, count);
    return false;
  }
  for (Py_ssize_t i = 0; i < count; ++i) found[i] = args[i];
  for (Py_ssize_t i = 0; i < named; ++i) {
    PyObject* name = PyTuple_GET_ITEM(names, i);
    const int which = PyUnicode_CompareWithASCIIString(name, known[1]) == 0   ? 1
                      : PyUnicode_CompareWithASCIIString(name, known[0]) == 0 ? 0
                                                                              : -1;
    if (which < 0 || found[which] != nullptr) {
      PyErr_Format(PyExc_TypeError, "Stepper.%s: %U is %s, expected x and out", method, name,
                   which < 0 ? "no argument" : "given twice");
      return false;
    }
    found[which] = args[count + i];
  }
  if (found[0] == nullptr) {
    PyErr_Format(PyExc_TypeError, "Stepper.%s: x is missing, expected x and out", method);
    return false;
  }
  *x = found[0];
  *out = found[1] == nullptr ? Py_None : found[1];
  return true;
}

}  // namespace fastrnn
