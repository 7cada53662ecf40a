// `Stepper` as a type of the C API: a step lasts about a microsecond, as long as pybind11 takes to turn
// arguments into C++ values. The methods that run at every step look at the arrays in place; whatever is
// not exactly what the kernels read goes to the Python subclass, which checks, converts, or says what is wrong.
#include <pybind11/stl.h>

#include <atomic>
#include <memory>

#include "bindings.h"
#include "step_arguments.h"

namespace fastrnn {
namespace {

// Calls with less work, a few microseconds, keep the GIL: giving it up and taking it back costs a
// quarter of the smallest steps when nobody wants it, and more beside a busy Python thread
// (docs/decisions/0015).
constexpr double least_flops_without_gil = 2e5;

struct StepperState : StepShapes {
  std::unique_ptr<Stepper> stepper;
  double step_flops = 0;
  int states = 1;
  std::atomic<bool> busy{false};
};

struct StepperObject {
  PyObject_HEAD StepperState* state;
};

StepperState* state_of(PyObject* self) { return reinterpret_cast<StepperObject*>(self)->state; }

// One call at a time: the states are the stepper's own.
class Turn {
 public:
  Turn(StepperState& state, const char* method) : state_(state) {
    if (state.busy.exchange(true, std::memory_order_acquire))
      throw std::runtime_error(std::string("Stepper.") + method +
                               ": another thread is in a call of this stepper; give every thread a stepper of its own");
  }
  ~Turn() { state_.busy.store(false, std::memory_order_release); }
  Turn(const Turn&) = delete;

 private:
  StepperState& state_;
};

void run(StepperState& state, const char* method, int64_t T, const Sequence& x, const Sequence& y) {
  const Turn turn(state, method);
  if (state.step_flops * double(T) < least_flops_without_gil) {
    state.stepper->run(T, x, y, Interrupt{});
  } else {
    without_gil([&](Interrupt interrupt) { state.stepper->run(T, x, y, interrupt); });
  }
}

// Steps x into out if both are what the kernels read: the result, or null without an exception if not.
PyObject* try_advance(StepperState& state, const char* method, bool block, PyObject* x, PyObject* out) {
  int64_t T, out_T;
  int axes, out_axes;
  Sequence from, to;
  if (!fits(state, x, block, false, state.I, &T, &axes, &from)) return nullptr;
  py::object result;
  if (out == Py_None) {
    result = py::reinterpret_steal<py::object>(new_output(state, T, block, axes));
    if (!fits(state, result.ptr(), block, true, state.H, &out_T, &out_axes, &to)) return nullptr;
  } else {
    if (!fits(state, out, block, true, state.H, &out_T, &out_axes, &to) || out_T != T || out_axes != axes)
      return nullptr;
    if (T > 0) {
      const int64_t element = size_of(state.type);
      const Span read = span_of(from, T, state.S, state.I, element),
                 written = span_of(to, T, state.S, state.H, element);
      if (read.first < written.last && written.first < read.last) return nullptr;
    }
    result = py::reinterpret_borrow<py::object>(out);
  }
  run(state, method, T, from, to);
  return result.release().ptr();
}

PyObject* advance(PyObject* self, const char* method, bool block, PyObject* const* args, Py_ssize_t count,
                  PyObject* names) {
  PyObject *x, *out;
  if (!parse(method, args, count, names, &x, &out)) return nullptr;
  try {
    StepperState* state = state_of(self);
    if (state == nullptr) throw std::runtime_error("Stepper: __init__ has not run; make one from a module");
    if (PyObject* result = try_advance(*state, method, block, x, out)) return result;
    // The subclass returns arrays that fit, or raises the sentence that says why these do not.
    const py::tuple ready = py::handle(self).attr("_fit")(method, block, py::handle(x), py::handle(out));
    const py::object ready_x = ready[0], ready_out = ready[1];
    if (PyObject* result = try_advance(*state, method, block, ready_x.ptr(), ready_out.ptr())) return result;
    throw std::invalid_argument(std::string("Stepper.") + method + ": x or out does not fit");
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

PyObject* step(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  return advance(self, "step", false, args, count, names);
}

PyObject* process(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  return advance(self, "process", true, args, count, names);
}

// The rest runs seldom: wrapped by pybind11, which converts arguments and translates exceptions.

StepperState& ready(const py::object& self) {
  StepperState* state = state_of(self.ptr());
  if (state == nullptr) throw std::runtime_error("Stepper: __init__ has not run; make one from a module");
  return *state;
}

void create(const py::object& self, const PyPacked& packed, int64_t streams) {
  auto made = std::make_unique<StepperState>();
  made->stepper = stepper(packed.packed, streams);
  const Stack& stack = packed.stack();
  const CellFacts& facts = facts_of(stack.cell);
  made->dtype = py::dtype(name_of(stack.dtype));
  made->dtype_num = py::reinterpret_borrow<py::dtype>(made->dtype).num();
  made->type = stack.dtype;
  made->I = stack.I;
  made->H = stack.H;
  made->S = streams;
  made->states = facts.states;
  for (int layer = 0; layer < stack.L; ++layer)
    made->step_flops +=
        2.0 * facts.gates * double(streams) * double(stack.H) * double(stack.input_size(layer) + stack.H);
  auto* object = reinterpret_cast<StepperObject*>(self.ptr());
  if (object->state != nullptr) throw std::runtime_error("Stepper: __init__ ran before; create another stepper");
  object->state = made.release();
}

void set_weights(const py::object& self, const PyPacked& packed) {
  StepperState& state = ready(self);
  const Turn turn(state, "refresh");
  set_packed(*state.stepper, packed.packed);
}

py::array get_state(const py::object& self, int which) {
  StepperState& state = ready(self);
  const std::vector<int64_t> shape{state.stepper->packed().stack.L, state.S, state.H};
  if (which < 0 || which >= state.states) throw std::invalid_argument("Stepper.state: no such state");
  py::array out(py::reinterpret_borrow<py::dtype>(state.dtype), shape);
  const Turn turn(state, "state");
  state.stepper->get_state(which, out.mutable_data());
  return out;
}

// values (L, S, H) of the dtype, C-contiguous, or None for zeros; mask (S,) of bool, or None for all.
void set_state(const py::object& self, int which, const std::optional<py::array>& values,
               const std::optional<py::array>& mask) {
  StepperState& state = ready(self);
  if (which < 0 || which >= state.states) throw std::invalid_argument("Stepper.state: no such state");
  const auto dense = [](const py::array& array, const py::object& dtype, const std::vector<int64_t>& shape) {
    constexpr int needed = int(py::detail::npy_api::NPY_ARRAY_ALIGNED_) | int(py::array::c_style);
    return array.dtype().equal(dtype) && (array.flags() & needed) == needed &&
           std::vector<int64_t>(array.shape(), array.shape() + array.ndim()) == shape;
  };
  if (values && !dense(*values, state.dtype, {state.stepper->packed().stack.L, state.S, state.H}))
    throw std::invalid_argument("Stepper.state: values do not fit");
  if (mask && !dense(*mask, py::dtype::of<bool>(), {state.S}))
    throw std::invalid_argument("Stepper.reset: mask does not fit");
  const Turn turn(state, "state");
  state.stepper->set_state(which, values ? values->data() : nullptr,
                           mask ? static_cast<const bool*>(mask->data()) : nullptr);
}

PyObject* make(PyTypeObject* type, PyObject*, PyObject*) {
  PyObject* self = type->tp_alloc(type, 0);
  if (self != nullptr) reinterpret_cast<StepperObject*>(self)->state = nullptr;
  return self;
}

void destroy(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  delete state_of(self);
  type->tp_free(self);
  Py_DECREF(type);
}

constexpr const char* step_doc = R"(step($self, /, x, out=None)
--

One step of every stream: the output of the last layer; the states go on.

Parameters
----------
x : (S, I), or (I,) if S is 1; dtype of the module
    Input of the step.
out : (S, H), or (H,) as x, optional
    Written and returned. With it, a step of an x whose last axis is contiguous allocates nothing.

Returns
-------
y : (S, H), or (H,) as x

Raises
------
ValueError
    A shape does not fit, or out is read-only or its last axis is not contiguous.
TypeError
    An argument has the wrong type or dtype.
RuntimeError
    Another thread is in a call of this stepper.)";

constexpr const char* process_doc = R"(process($self, /, x, out=None)
--

T steps in one call; the results are those of T calls of `step`, bit for bit.

Parameters
----------
x : (T, S, I), or (T, I) if S is 1; dtype of the module
    Input of the steps, time first whatever the module's batch_first says.
out : (T, S, H), or (T, H) as x, optional
    Written and returned.

Returns
-------
y : (T, S, H), or (T, H) as x

Raises
------
ValueError, TypeError, RuntimeError
    As `step`. KeyboardInterrupt leaves the states as they were after some step.)";

// The C API's method tables take any signature through this cast.
PyCFunction as_method(PyObject* (*function)(PyObject*, PyObject* const*, Py_ssize_t, PyObject*)) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

PyMethodDef methods[] = {{"step", as_method(step), METH_FASTCALL | METH_KEYWORDS, step_doc},
                         {"process", as_method(process), METH_FASTCALL | METH_KEYWORDS, process_doc},
                         {nullptr, nullptr, 0, nullptr}};

PyType_Slot slots[] = {{Py_tp_doc, const_cast<char*>("Streaming inference; `fastrnn.Stepper` is its public face.")},
                       {Py_tp_new, reinterpret_cast<void*>(make)},
                       {Py_tp_dealloc, reinterpret_cast<void*>(destroy)},
                       {Py_tp_methods, methods},
                       {0, nullptr}};

PyType_Spec spec = {"fastrnn._core.Stepper", sizeof(StepperObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};

}  // namespace

void bind_stepper(py::module_& module) {
  using namespace py::literals;
  const auto type = py::reinterpret_steal<py::object>(PyType_FromSpec(&spec));
  if (!type) throw py::error_already_set();
  module.attr("Stepper") = type;
  const auto method = [&](const char* name, auto function, const auto&... extra) {
    type.attr(name) = py::cpp_function(function, py::name(name), py::is_method(type), extra...);
  };
  method("_create", &create, "packed"_a, "streams"_a);
  method("_set_packed", &set_weights, "packed"_a);
  method("_get_state", &get_state, "which"_a);
  method("_set_state", &set_state, "which"_a, "values"_a, "mask"_a = py::none());
}

}  // namespace fastrnn
