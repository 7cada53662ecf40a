// Scans on a GPU: arrays are the caller's, given by address under the names of rnn/device_scan.h. No logic.
#include "bindings_device.h"

#include <pybind11/stl.h>

#include <map>

#include "cells/list.h"
#include "rnn/device_scan.h"

namespace py = pybind11;

namespace fastrnn {
namespace {

// Addresses by name; what is missing is null.
struct Arrays {
  const std::map<std::string, uintptr_t>& address;
  template <class P = void>
  P* at(const char* name) const {
    const auto found = address.find(name);
    return found == address.end() ? nullptr : reinterpret_cast<P*>(found->second);
  }
};

using Addresses = std::map<std::string, uintptr_t>;
using Strides = std::pair<int64_t, int64_t>;  // of step and row, in elements

DType dtype_of(const std::string& name) {
  for (const DType dtype : {DType::float32, DType::float64, DType::bfloat16, DType::float16, DType::tf32})
    if (name == name_of(dtype)) return dtype;
  throw std::invalid_argument("fastrnn._core: dtype has value '" + name +
                              "', expected float32, float64, bfloat16, float16 or tf32");
}

template <class Scan>
Scan scan_of(const std::string& cell, const std::string& dtype, int64_t T, int64_t B, int64_t H, bool reverse,
             const std::string& tier, int device) {
  Scan scan{};
  static_cast<DeviceScan&>(scan) = {cell,   dtype_of(dtype), T,       B, H,       reverse, tier,
                                    device, nullptr,         nullptr, 0, nullptr, nullptr};
  return scan;
}

void set_memory(DeviceScan& scan, const Arrays& arrays, uintptr_t stream, int64_t workspace_bytes) {
  scan.stream = reinterpret_cast<void*>(stream);
  scan.workspace = arrays.at("workspace");
  scan.workspace_bytes = workspace_bytes;
  scan.lengths = arrays.at<const int64_t>("lengths");
  scan.weight_hh = arrays.at("weight_hh");
}

int64_t workspace(const std::string& cell, const std::string& dtype, int64_t T, int64_t B, int64_t H, bool reverse,
                  const std::string& tier, int device, bool backward) {
  return device_workspace_bytes(scan_of<DeviceScan>(cell, dtype, T, B, H, reverse, tier, device), backward);
}

void forward(const std::string& cell, const std::string& dtype, int64_t T, int64_t B, int64_t H, bool reverse,
             const std::string& tier, int device, uintptr_t stream, int64_t workspace_bytes, const Addresses& given,
             const Strides& x_pre, const Strides& y) {
  auto scan = scan_of<DeviceForward>(cell, dtype, T, B, H, reverse, tier, device);
  const Arrays arrays{given};
  set_memory(scan, arrays, stream, workspace_bytes);
  scan.x_pre = {arrays.at("x_pre"), x_pre.first, x_pre.second};
  scan.bias_ih = arrays.at("bias_ih");
  scan.bias_hh = arrays.at("bias_hh");
  scan.initial[0] = arrays.at("h_0");
  scan.initial[1] = arrays.at("c_0");
  scan.final[0] = arrays.at("h_n");
  scan.final[1] = arrays.at("c_n");
  scan.y = {arrays.at("y"), y.first, y.second};
  scan.h_history = arrays.at("h_history");
  scan.c_history = arrays.at("c_history");
  scan.keep = arrays.at("keep");
  const py::gil_scoped_release released;
  device_forward(scan);
}

void backward(const std::string& cell, const std::string& dtype, int64_t T, int64_t B, int64_t H, bool reverse,
              const std::string& tier, int device, uintptr_t stream, int64_t workspace_bytes, const Addresses& given,
              const Strides& d_y) {
  auto scan = scan_of<DeviceBackward>(cell, dtype, T, B, H, reverse, tier, device);
  const Arrays arrays{given};
  set_memory(scan, arrays, stream, workspace_bytes);
  scan.d_y = {arrays.at("d_y"), d_y.first, d_y.second};
  scan.d_final[0] = arrays.at("d_h_n");
  scan.d_final[1] = arrays.at("d_c_n");
  scan.h_history = arrays.at("h_history");
  scan.c_history = arrays.at("c_history");
  scan.keep = arrays.at("keep");
  scan.d_pre = arrays.at("d_pre");
  scan.d_initial[0] = arrays.at("d_h_0");
  scan.d_initial[1] = arrays.at("d_c_0");
  const py::gil_scoped_release released;
  device_backward(scan);
}

py::dict plan(const std::string& cell, const std::string& dtype, int64_t T, int64_t B, int64_t H, bool reverse,
              const std::string& tier, int device, bool backward) {
  py::dict out;
  for (const auto& [name, value] :
       device_plan(scan_of<DeviceScan>(cell, dtype, T, B, H, reverse, tier, device), backward))
    out[py::str(name)] = value;
  return out;
}

// What a caller must know of a cell to do its products.
py::dict cells_of_device() {
  using namespace py::literals;
  py::dict out;
  const auto add = [&]<class... Cells>(cells::TypeList<Cells...>) {
    ((out[Cells::name] = py::dict("gates"_a = Cells::gates, "slots"_a = Cells::slots, "states"_a = Cells::states,
                                  "saved"_a = Cells::saved, "x_slot"_a = Cells::x_slot, "h_slot"_a = Cells::h_slot,
                                  "x_gate"_a = std::vector<int>(Cells::x_gate, Cells::x_gate + Cells::gates),
                                  "h_gate"_a = std::vector<int>(Cells::h_gate, Cells::h_gate + Cells::gates))),
     ...);
  };
  add(cells::All{});
  return out;
}

}  // namespace

void bind_device(py::module_& module) {
  using namespace py::literals;
  module.def("require_device", &require_device);
  module.def("device_cells", &cells_of_device);
  module.def("device_workspace", &workspace, "cell"_a, "dtype"_a, "T"_a, "B"_a, "H"_a, "reverse"_a, "tier"_a,
             "device"_a, "backward"_a);
  module.def("device_forward", &forward, "cell"_a, "dtype"_a, "T"_a, "B"_a, "H"_a, "reverse"_a, "tier"_a, "device"_a,
             "stream"_a, "workspace_bytes"_a, "arrays"_a, "x_pre"_a, "y"_a);
  module.def("device_backward", &backward, "cell"_a, "dtype"_a, "T"_a, "B"_a, "H"_a, "reverse"_a, "tier"_a, "device"_a,
             "stream"_a, "workspace_bytes"_a, "arrays"_a, "d_y"_a);
  module.def("device_plan", &plan, "cell"_a, "dtype"_a, "T"_a, "B"_a, "H"_a, "reverse"_a, "tier"_a, "device"_a,
             "backward"_a);
}

}  // namespace fastrnn
