// Calls without the GIL: giving it back, taking it again, and hearing of signals in between.
//
// Two things of CPython shape this file. A thread that asks for the GIL after the interpreter began
// to end is not given it: up to 3.13 the thread is ended on the spot, by unwinding its stack, which
// destructors of C++ do not survive, later ones block it. And a signal's handler runs on the
// interpreter's main thread alone, so no other thread has a reason to ask before its call is done.
#pragma once

#include <pybind11/pybind11.h>
#include <unistd.h>

#include <exception>

#include "rnn/backend.h"

namespace fastrnn {

// threading.main_thread, for ever; found once, while the module is imported.
inline PyObject* main_thread_function = nullptr;
inline void find_main_thread_function() {
  main_thread_function = pybind11::object(pybind11::module_::import("threading").attr("main_thread")).release().ptr();
}

// Whether handlers of signals run on this thread. Needs the GIL.
inline bool on_main_thread() {
  using pybind11::object, pybind11::reinterpret_steal;
  const auto thread = reinterpret_steal<object>(PyObject_CallNoArgs(main_thread_function));
  const auto ident = reinterpret_steal<object>(thread ? PyObject_GetAttrString(thread.ptr(), "ident") : nullptr);
  const bool main = ident && PyLong_AsUnsignedLong(ident.ptr()) == PyThread_get_thread_ident();
  if (PyErr_Occurred() != nullptr) PyErr_Clear();  // late in the interpreter's end threading is empty
  return main;
}

class WithoutGil {
 public:
  WithoutGil() : state_(PyEval_SaveThread()) {}
  WithoutGil(const WithoutGil&) = delete;

  // Not in a destructor: it may never return.
  void take() {
    try {
      PyEval_RestoreThread(state_);
    } catch (...) {
      // The thread is being ended; frames above hold Python objects, whose counts nobody may touch
      // now. It stays here until the process is gone, as it does in CPython from 3.14 on.
      for (;;) pause();
    }
  }
  void give() { state_ = PyEval_SaveThread(); }

  // The engine's question to the main thread.
  static bool signalled(void* context) {
    auto& self = *static_cast<WithoutGil*>(context);
    self.take();
    const bool raised = PyErr_CheckSignals() != 0;
    self.give();
    return raised;
  }

 private:
  PyThreadState* state_;
};

// body(interrupt) without the GIL. Throws what it throws, or the exception of a signal's handler.
template <class Body>
void without_gil(const Body& body) {
  const bool asks = on_main_thread();
  WithoutGil gil;
  bool interrupted = false;
  std::exception_ptr failure;
  try {
    body(asks ? Interrupt{WithoutGil::signalled, &gil} : Interrupt{});
  } catch (const Interrupted&) {
    interrupted = true;
  } catch (...) {
    failure = std::current_exception();
  }
  gil.take();
  if (interrupted) throw pybind11::error_already_set();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace fastrnn
