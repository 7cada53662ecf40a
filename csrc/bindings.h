// What the parts of the module share: the weights object, and calls without the GIL.
#pragma once

#include <pybind11/pybind11.h>

#include "entry.h"

namespace py = pybind11;

namespace fastrnn {

// The handler of a signal runs on the interpreter's main thread alone; other threads do not ask.
struct SignalWatch {
  int main_thread = -1;  // not known yet

  static inline bool poll(void* context) {
    auto& watch = *static_cast<SignalWatch*>(context);
    if (watch.main_thread == 0) return false;
    const py::gil_scoped_acquire gil;
    if (watch.main_thread < 0) {
      const auto threading = py::module_::import("threading");
      const auto main = threading.attr("main_thread")().attr("ident").cast<unsigned long>();
      watch.main_thread = main == PyThread_get_thread_ident() ? 1 : 0;
    }
    return watch.main_thread == 1 && PyErr_CheckSignals() != 0;
  }
};

template <class Body>
void without_gil(const Body& body) {
  SignalWatch watch;
  bool interrupted = false;
  {
    const py::gil_scoped_release release;
    try {
      body(Interrupt{SignalWatch::poll, &watch});
    } catch (const Interrupted&) {
      interrupted = true;
    }
  }
  if (interrupted) throw py::error_already_set();
}

struct PyPacked {
  std::shared_ptr<const PackedStack> packed;
  const Stack& stack() const { return packed->stack; }
};

void bind_stepper(py::module_& module);

}  // namespace fastrnn
