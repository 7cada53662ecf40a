// `fastrnn._emulation`, for tests alone: the CUDA kernels on the CPU (csrc/cuda/emulation.h), and their plans.
//
// It has the calls of bindings_device.cpp, on host memory, and here a scan with a tile by hand. Arrays come as NumPy
// arrays of the storage type; bfloat16 as uint16 of its bits.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>

#include "bindings_device.h"
#include "cuda/dispatch.cuh"
#include "cuda/emulation.h"
#include "cuda/plan.h"

namespace py = pybind11;

namespace {

using namespace fastrnn;
using namespace fastrnn::cuda;

DType dtype_named(const std::string& name) {
  for (const DType dtype : {DType::float32, DType::float64, DType::bfloat16, DType::float16, DType::tf32})
    if (name == name_of(dtype)) return dtype;
  throw py::value_error("fastrnn._emulation: dtype is '" + name + "'");
}

Tier tier_named(const std::string& name) {
  for (const Tier tier : {Tier::resident, Tier::grid, Tier::streamed})
    if (name == name_of(tier)) return tier;
  throw py::value_error("fastrnn._emulation: tier is '" + name + "'");
}

// Data of the array of that name, null if it is absent or None.
template <class P>
P* data_of(const py::dict& arrays, const char* name) {
  if (!arrays.contains(name) || arrays[name].is_none()) return nullptr;
  const auto array = py::cast<py::array>(arrays[name]);
  if (array.itemsize() != py::ssize_t(sizeof(P)) || !(array.flags() & py::array::c_style))
    throw py::value_error(std::string("fastrnn._emulation: ") + name + " does not fit");
  return static_cast<P*>(const_cast<void*>(array.data()));
}

Tile tile_from(const py::dict& tile) {
  const auto number = [&](const char* name) { return py::cast<int>(tile[name]); };
  return {number("units"), number("rows"), number("row_groups"), number("parts"), number("threads"), number("chunk")};
}

py::dict dict_of(const Plan& plan) {
  using namespace py::literals;
  const Tile& t = plan.tile;
  const py::dict tile("units"_a = t.units, "rows"_a = t.rows, "row_groups"_a = t.row_groups, "parts"_a = t.parts,
                      "threads"_a = t.threads, "chunk"_a = t.chunk);
  return py::dict("tier"_a = name_of(plan.tier), "tile"_a = tile, "row_tiles"_a = plan.row_tiles,
                  "unit_tiles"_a = plan.unit_tiles, "shared_bytes"_a = plan.shared_bytes, "clocks"_a = plan.clocks,
                  "reason"_a = plan.reason == nullptr ? "" : plan.reason);
}

template <class F>
void with_tier(Tier tier, const F& f) {
  switch (tier) {
    case Tier::resident: return f(std::integral_constant<Tier, Tier::resident>{});
    case Tier::grid: return f(std::integral_constant<Tier, Tier::grid>{});
    case Tier::streamed: return f(std::integral_constant<Tier, Tier::streamed>{});
  }
}

template <class Cell>
void set_sizes(ScanSizes& sizes, const py::dict& arrays, int64_t T, int64_t B, int64_t H, bool reverse,
               const py::dict& tile) {
  sizes.T = T;
  sizes.B = B;
  sizes.H = H;
  sizes.reverse = reverse;
  sizes.lengths = data_of<int64_t>(arrays, "lengths");
  sizes.tile = tile_from(tile);
  set_cell<Cell>(sizes);
}

template <class Cell, class S>
std::vector<Vector<S>> packed_weights(const py::dict& arrays, const ScanSizes& sizes, bool transposed) {
  PackShape shape{sizes.H, Cell::gates, sizes.tile.units, numbers_of<S>(), transposed, {}};
  for (int g = 0; g < Cell::gates; ++g) shape.h_gate[g] = Cell::h_gate[g];
  std::vector<Vector<S>> packed(size_t(shape.elements() / shape.numbers.vector()));
  const S* weight_hh = data_of<S>(arrays, "weight_hh");
  for (int64_t i = 0; i < shape.elements(); ++i) pack_element(shape, weight_hh, packed[0].element, i);
  return packed;
}

void forward(const std::string& cell, const std::string& dtype, const std::string& tier, int64_t T, int64_t B,
             int64_t H, bool reverse, const py::dict& tile, const py::dict& arrays, bool backwards) {
  with_storage(dtype_named(dtype), [&](auto storage) {
    using S = typename decltype(storage)::type;
    using V = ComputeOf<S>;
    with_cell(cell, [&](auto type) {
      using Cell = typename decltype(type)::type;
      ForwardScan<S> scan{};
      set_sizes<Cell>(scan, arrays, T, B, H, reverse, tile);
      const auto weights = packed_weights<Cell, S>(arrays, scan, false);
      scan.weights = reinterpret_cast<const S*>(weights.data());
      scan.x_pre = data_of<S>(arrays, "x_pre");
      scan.x_step = B * Cell::gates * H;
      scan.x_row = Cell::gates * H;
      scan.bias_ih = data_of<S>(arrays, "bias_ih");
      scan.bias_hh = data_of<S>(arrays, "bias_hh");
      scan.initial[0] = data_of<S>(arrays, "h_0");
      scan.initial[1] = data_of<S>(arrays, "c_0");
      scan.final[0] = data_of<S>(arrays, "h_n");
      scan.final[1] = data_of<S>(arrays, "c_n");
      scan.y = data_of<S>(arrays, "y");
      scan.y_step = B * H;
      scan.y_row = H;
      scan.h_history = data_of<S>(arrays, "h_history");
      scan.c_history = data_of<V>(arrays, "c_history");
      scan.keep = data_of<S>(arrays, "keep");
      std::vector<V> carry(size_t(Cell::states * B * H), std::numeric_limits<V>::quiet_NaN());
      scan.carry = carry.data();
      with_tier(tier_named(tier), [&](auto chosen) { emulate_forward<Cell, S, chosen.value>(scan, backwards); });
    });
  });
}

void backward(const std::string& cell, const std::string& dtype, const std::string& tier, int64_t T, int64_t B,
              int64_t H, bool reverse, const py::dict& tile, const py::dict& arrays, bool backwards) {
  with_storage(dtype_named(dtype), [&](auto storage) {
    using S = typename decltype(storage)::type;
    using V = ComputeOf<S>;
    with_cell(cell, [&](auto type) {
      using Cell = typename decltype(type)::type;
      BackwardScan<S> scan{};
      set_sizes<Cell>(scan, arrays, T, B, H, reverse, tile);
      const auto weights = packed_weights<Cell, S>(arrays, scan, true);
      scan.weights = reinterpret_cast<const S*>(weights.data());
      scan.d_y = data_of<S>(arrays, "d_y");
      scan.d_y_step = B * H;
      scan.d_y_row = H;
      scan.d_final[0] = data_of<S>(arrays, "d_h_n");
      scan.d_final[1] = data_of<S>(arrays, "d_c_n");
      scan.h_history = data_of<S>(arrays, "h_history");
      scan.c_history = data_of<V>(arrays, "c_history");
      scan.keep = data_of<S>(arrays, "keep");
      scan.d_pre = data_of<S>(arrays, "d_pre");
      scan.d_initial[0] = data_of<S>(arrays, "d_h_0");
      scan.d_initial[1] = data_of<S>(arrays, "d_c_0");
      std::vector<V> carry(size_t(Cell::states * B * H), std::numeric_limits<V>::quiet_NaN());
      scan.carry = carry.data();
      with_tier(tier_named(tier), [&](auto chosen) { emulate_backward<Cell, S, chosen.value>(scan, backwards); });
    });
  });
}

// The plan of a scan on a device; `tier` empty: the best.
py::dict plan(const std::string& cell, const std::string& dtype, int64_t B, int64_t H, bool backward,
              const std::string& tier, int processors, int shared_bytes) {
  py::dict out;
  const DeviceFacts device{processors, shared_bytes, 64};
  with_cell(cell, [&](auto type) {
    using Cell = typename decltype(type)::type;
    const PlanShape shape{B, H, Cell::gates, Cell::states, numbers_of_dtype(dtype_named(dtype)), backward};
    out = dict_of(tier.empty() ? plan_scan(shape, device) : best_of(shape, device, tier_named(tier)));
  });
  return out;
}

// Rounds float32 numbers to a 16-bit storage type and back.
py::array_t<float> rounded(const py::array_t<float, py::array::c_style>& values, bool bfloat16) {
  py::array_t<float> out(values.size());
  for (py::ssize_t i = 0; i < values.size(); ++i) {
    Bfloat16 b;
    Float16 h;
    to_storage(values.data()[i], b);
    to_storage(values.data()[i], h);
    out.mutable_data()[i] = bfloat16 ? from_storage(b) : from_storage(h);
  }
  return out;
}

}  // namespace

PYBIND11_MODULE(_emulation, module, py::mod_gil_not_used()) {
  using namespace py::literals;
  bind_device(module);
  module.def("forward", &forward, "cell"_a, "dtype"_a, "tier"_a, "T"_a, "B"_a, "H"_a, "reverse"_a, "tile"_a, "arrays"_a,
             "backwards"_a = false);
  module.def("backward", &backward, "cell"_a, "dtype"_a, "tier"_a, "T"_a, "B"_a, "H"_a, "reverse"_a, "tile"_a,
             "arrays"_a, "backwards"_a = false);
  module.def("plan", &plan, "cell"_a, "dtype"_a, "B"_a, "H"_a, "backward"_a, "tier"_a = "", "processors"_a = 132,
             "shared_bytes"_a = 232448);
  module.def("rounded", &rounded, "values"_a, "bfloat16"_a);
}
