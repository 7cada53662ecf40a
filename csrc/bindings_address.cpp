// Calls over addresses, for arrays of other libraries (`fastrnn.torch`): the caller has looked at shapes and
// dtypes and holds the memory; numbers are checked by the entry. 0 stands for an absent array.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>

#include "bindings.h"

namespace fastrnn {
namespace {

using Addresses = std::vector<uintptr_t>;

// Calls with less work keep the GIL, as steppers do (docs/decisions/0015).
constexpr double least_flops_without_gil = 2e5;

const void* at(uintptr_t address) { return reinterpret_cast<const void*>(address); }
void* room(uintptr_t address) { return reinterpret_cast<void*>(address); }

std::vector<const void*> pointers(const Addresses& addresses) {
  std::vector<const void*> out;
  out.reserve(addresses.size());
  for (const uintptr_t address : addresses) out.push_back(at(address));
  return out;
}

// x, lengths and reserve of a call, which forward and backward are given alike.
struct Call {
  ForwardArgs args{};
  std::vector<int64_t> lengths;  // a copy: it is checked, and then read without the GIL

  Call(int64_t T, int64_t B, const Sequence& x, uintptr_t given_lengths, uintptr_t reserve, int64_t reserve_bytes,
       double dropout, uint64_t seed) {
    args.T = T;
    args.B = B;
    args.x = x;
    if (given_lengths != 0 && args.B > 0) {
      const auto* first = static_cast<const int64_t*>(at(given_lengths));
      lengths.assign(first, first + args.B);
      args.lengths = lengths.data();
    }
    args.reserve = room(reserve);
    args.reserve_bytes = reserve_bytes;
    args.dropout = dropout;
    args.seed = seed;
  }
};

template <class Body>
void run(const Stack& stack, const ForwardArgs& args, const Body& body) {
  double flops = 0;
  for (int layer = 0; layer < stack.L; ++layer)
    flops += 8.0 * stack.D * double(stack.H) * double(stack.input_size(layer) + stack.H);
  if (flops * double(args.T) * double(args.B) < least_flops_without_gil) {
    body(Interrupt{});
  } else {
    without_gil(body);
  }
}

py::object pack_at(const std::string& cell, const std::string& dtype, const Addresses& params, int64_t input_size,
                   int64_t hidden_size, int num_layers, int num_directions, bool bias) {
  const Stack stack{
      cell, dtype == "float64" ? DType::float64 : DType::float32, input_size, hidden_size, num_layers, num_directions,
      bias};
  std::shared_ptr<const PackedStack> packed;
  without_gil([&](Interrupt interrupt) { packed = pack(stack, pointers(params), nullptr, interrupt); });
  return py::cast(PyPacked{packed});
}

// `packed` itself if it still holds `params`.
py::object renew_at(const py::object& packed, const Addresses& params) {
  const std::shared_ptr<const PackedStack>& old = packed.cast<const PyPacked&>().packed;
  std::shared_ptr<const PackedStack> now;
  without_gil([&](Interrupt interrupt) { now = pack(old->stack, pointers(params), old, interrupt); });
  return now == old ? packed : py::cast(PyPacked{now});
}

// Returns the weights that were used: `packed` itself if it still holds `params`.
py::object forward_at(const py::object& packed, const Addresses& params, int64_t T, int64_t B, uintptr_t x,
                      int64_t x_step, int64_t x_row, uintptr_t h_0, uintptr_t c_0, uintptr_t lengths, uintptr_t y,
                      int64_t y_step, int64_t y_row, uintptr_t h_n, uintptr_t c_n, bool training, uintptr_t reserve,
                      int64_t reserve_bytes, double dropout, uint64_t seed) {
  const std::shared_ptr<const PackedStack>& old = packed.cast<const PyPacked&>().packed;
  Call call(T, B, {at(x), x_step, x_row}, lengths, reserve, reserve_bytes, dropout, seed);
  ForwardArgs& args = call.args;
  args.h_0 = at(h_0);
  args.c_0 = at(c_0);
  args.y = {at(y), y_step, y_row};
  args.h_n = room(h_n);
  args.c_n = room(c_n);
  args.training = training;
  std::shared_ptr<const PackedStack> now;
  run(old->stack, args, [&](Interrupt interrupt) {
    now = pack(old->stack, pointers(params), old, interrupt);
    forward(now, args, interrupt);
  });
  return now == old ? packed : py::cast(PyPacked{now});
}

// One step of one layer: (packed, params, B, x, h, c, next_h, next_c), all arrays in C order; returns
// what `forward_at` does. As a function of the C API, because turning that many arguments into C++ values
// takes pybind11 a good part of the step.
PyObject* step_at(PyObject*, PyObject* const* given, Py_ssize_t count) {
  try {
    if (count != 8 || !PyTuple_Check(given[1]))
      throw std::invalid_argument("step_at: expected packed, a tuple of addresses, and six numbers");
    const auto old = py::handle(given[0]).cast<const PyPacked&>().packed;
    const Stack& stack = old->stack;
    uintptr_t number[6];
    for (int i = 0; i < 6; ++i) number[i] = uintptr_t(PyLong_AsUnsignedLongLong(given[2 + i]));
    std::vector<const void*> params;
    params.reserve(8);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(given[1]); ++i)
      params.push_back(at(uintptr_t(PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(given[1], i)))));
    if (PyErr_Occurred() != nullptr) throw py::error_already_set();
    if (stack.L != 1 || stack.D != 1) throw std::invalid_argument("step_at: packed has several layers, expected one");
    ForwardArgs args{};
    args.T = 1;
    args.B = int64_t(number[0]);
    args.x = {at(number[1]), 0, stack.I};
    args.h_0 = at(number[2]);
    args.c_0 = at(number[3]);
    args.h_n = room(number[4]);
    args.c_n = room(number[5]);
    args.y = {args.h_n, 0, stack.H};  // the one step's output is h: written twice, alike
    std::shared_ptr<const PackedStack> now;
    run(stack, args, [&](Interrupt interrupt) {
      now = pack(stack, params, old, interrupt);
      forward(now, args, interrupt);
    });
    if (now != old) return py::cast(PyPacked{now}).release().ptr();
    Py_INCREF(given[0]);
    return given[0];
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::invalid_argument& error) {
    PyErr_SetString(PyExc_ValueError, error.what());
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

PyMethodDef step_method = {"step_at", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(step_at)),
                           METH_FASTCALL, nullptr};

void backward_at(const PyPacked& packed, int64_t T, int64_t B, uintptr_t x, int64_t x_step, int64_t x_row,
                 uintptr_t lengths, uintptr_t reserve, int64_t reserve_bytes, double dropout, uint64_t seed,
                 uintptr_t d_y, int64_t d_y_step, int64_t d_y_row, uintptr_t d_h_n, uintptr_t d_c_n, uintptr_t d_x,
                 int64_t d_x_step, int64_t d_x_row, uintptr_t d_h_0, uintptr_t d_c_0, const Addresses& d_params) {
  Call call(T, B, {at(x), x_step, x_row}, lengths, reserve, reserve_bytes, dropout, seed);
  call.args.training = true;
  std::vector<void*> gradients;
  for (const uintptr_t address : d_params) gradients.push_back(room(address));
  BackwardArgs args{};
  args.d_y = {at(d_y), d_y_step, d_y_row};
  args.d_h_n = at(d_h_n);
  args.d_c_n = at(d_c_n);
  args.d_x = {at(d_x), d_x_step, d_x_row};
  args.d_h_0 = room(d_h_0);
  args.d_c_0 = room(d_c_0);
  args.d_params = gradients.data();
  run(packed.stack(), call.args,
      [&](Interrupt interrupt) { backward(packed.packed, call.args, args, gradients.size(), interrupt); });
}

}  // namespace

void bind_address(py::module_& module) {
  using namespace py::literals;
  module.def("pack_at", &pack_at, "cell"_a, "dtype"_a, "params"_a, "input_size"_a, "hidden_size"_a, "num_layers"_a,
             "num_directions"_a, "bias"_a);
  module.def("renew_at", &renew_at, "packed"_a, "params"_a);
  module.def("forward_at", &forward_at, "packed"_a, "params"_a, "T"_a, "B"_a, "x"_a, "x_step"_a, "x_row"_a, "h_0"_a,
             "c_0"_a, "lengths"_a, "y"_a, "y_step"_a, "y_row"_a, "h_n"_a, "c_n"_a, "training"_a, "reserve"_a,
             "reserve_bytes"_a, "dropout"_a, "seed"_a);
  module.add_object("step_at", py::reinterpret_steal<py::object>(PyCFunction_New(&step_method, nullptr)));
  module.def("backward_at", &backward_at, "packed"_a, "T"_a, "B"_a, "x"_a, "x_step"_a, "x_row"_a, "lengths"_a,
             "reserve"_a, "reserve_bytes"_a, "dropout"_a, "seed"_a, "d_y"_a, "d_y_step"_a, "d_y_row"_a, "d_h_n"_a,
             "d_c_n"_a, "d_x"_a, "d_x_step"_a, "d_x_row"_a, "d_h_0"_a, "d_c_0"_a, "d_params"_a);
}

}  // namespace fastrnn
