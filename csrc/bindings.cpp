// Arrays in, arrays out; the GIL is released while the engine runs. No logic.
#include "bindings.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "bindings_device.h"
#include "cpu/dispatch.h"
#include "cpu/threads.h"
#include "rnn/memory.h"
#include "rnn/philox.h"

namespace {

using namespace fastrnn;

DType dtype_of(const py::array& array, const char* name) {
  const bool native = array.dtype().byteorder() == '=' || array.dtype().byteorder() == '|';
  const bool aligned = (array.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_) != 0;
  if (native && aligned && array.dtype().num() == py::dtype::of<float>().num()) return DType::float32;
  if (native && aligned && array.dtype().num() == py::dtype::of<double>().num()) return DType::float64;
  throw py::type_error(std::string("fastrnn._core: ") + name + " has dtype " + std::string(py::str(array.dtype())) +
                       ", expected aligned float32 or float64 in native byte order");
}

Array describe(const py::array& array, DType dtype) {
  Array out;
  out.data = const_cast<void*>(array.data());
  out.dtype = dtype;
  out.shape.assign(array.shape(), array.shape() + array.ndim());
  out.strides.assign(array.strides(), array.strides() + array.ndim());
  return out;
}

Array describe(const std::optional<py::array>& array, const char* name) {
  return array ? describe(*array, dtype_of(*array, name)) : Array{};
}

Array describe_lengths(const std::optional<py::array>& lengths) {
  if (!lengths) return {};
  if (lengths->dtype().num() != py::dtype::of<int64_t>().num() || lengths->dtype().byteorder() == '>')
    throw py::type_error("fastrnn._core: lengths has dtype " + std::string(py::str(lengths->dtype())) +
                         ", expected int64");
  return describe(*lengths, DType::float32);
}

// An array for a result. Large ones live in the engine's recycled memory: fresh pages would cost
// more than the kernels that fill them.
py::array empty(DType dtype, const std::vector<int64_t>& shape) {
  const py::dtype type(name_of(dtype));
  int64_t bytes = size_of(dtype);
  for (const int64_t length : shape) bytes = checked_product(bytes, length);
  if (bytes < int64_t(1) << 18) return py::array(type, shape);
  auto buffer = std::make_unique<Buffer>(bytes);
  char* data = buffer->as<char>();
  const py::capsule owner(buffer.release(), [](void* held) { delete static_cast<Buffer*>(held); });
  return py::array(type, shape, data, owner);
}

struct PyTape {
  std::shared_ptr<const Tape> tape;
  py::array x;  // read again by backward
  bool batch_first;
};

py::object pack_stack(const std::string& cell, const std::vector<py::array>& params, int64_t input_size,
                      int64_t hidden_size, int num_layers, int num_directions, bool bias, const py::object& previous) {
  if (params.empty()) throw py::value_error("pack: params has 0 arrays, expected at least weight_ih and weight_hh");
  const Stack stack{cell, dtype_of(params[0], "params[0]"), input_size, hidden_size, num_layers, num_directions, bias};
  std::vector<Array> arrays;
  for (size_t i = 0; i < params.size(); ++i)
    arrays.push_back(describe(params[i], dtype_of(params[i], ("params[" + std::to_string(i) + "]").c_str())));
  std::shared_ptr<const PackedStack> old, packed;
  if (!previous.is_none()) old = previous.cast<const PyPacked&>().packed;
  without_gil([&](Interrupt interrupt) { packed = pack(stack, arrays, old, interrupt); });
  if (packed == old) return previous;
  return py::cast(PyPacked{packed});
}

py::tuple forward_stack(const PyPacked& packed, const py::array& x, const std::optional<py::array>& h_0,
                        const std::optional<py::array>& c_0, const std::optional<py::array>& lengths, bool batch_first,
                        bool training, double dropout, uint64_t seed, int64_t recompute) {
  const Stack& stack = packed.stack();
  ForwardCall call{};
  call.x = describe(x, dtype_of(x, "x"));
  const Sizes sizes = sizes_of(stack, call.x, batch_first);
  const bool has_c = facts_of(stack.cell).states == 2;
  const std::vector<int64_t> state{int64_t(stack.L) * stack.D, sizes.B, stack.H};
  const py::array y = empty(stack.dtype, {call.x.shape[0], call.x.shape[1], stack.H * stack.D});
  const py::array h_n = empty(stack.dtype, state);
  const py::object c_n = has_c ? py::object(empty(stack.dtype, state)) : py::none();
  call.h_0 = describe(h_0, "h_0");
  call.c_0 = describe(c_0, "c_0");
  call.lengths = describe_lengths(lengths);
  call.y = describe(y, stack.dtype);
  call.h_n = describe(h_n, stack.dtype);
  if (has_c) call.c_n = describe(py::array(c_n), stack.dtype);
  call.batch_first = batch_first;
  call.training = training;
  call.dropout = dropout;
  call.seed = seed;
  call.recompute = recompute;
  std::shared_ptr<const Tape> tape;
  without_gil([&](Interrupt interrupt) { tape = forward(packed.packed, call, interrupt); });
  return py::make_tuple(y, h_n, c_n, tape ? py::cast(PyTape{tape, x, batch_first}) : py::none());
}

py::tuple backward_stack(const PyTape& tape, const std::optional<py::array>& d_y, const std::optional<py::array>& d_h_n,
                         const std::optional<py::array>& d_c_n) {
  const Stack& stack = tape.tape->packed().stack;
  const ForwardArgs& args = tape.tape->args();
  const bool has_c = facts_of(stack.cell).states == 2;
  const std::vector<int64_t> state{int64_t(stack.L) * stack.D, args.B, stack.H};
  const py::array d_x = empty(stack.dtype, tape.batch_first ? std::vector<int64_t>{args.B, args.T, stack.I}
                                                            : std::vector<int64_t>{args.T, args.B, stack.I});
  const py::array d_h_0 = empty(stack.dtype, state);
  const py::object d_c_0 = has_c ? py::object(empty(stack.dtype, state)) : py::none();
  BackwardCall call{};
  call.d_y = describe(d_y, "d_y");
  call.d_h_n = describe(d_h_n, "d_h_n");
  call.d_c_n = describe(d_c_n, "d_c_n");
  call.d_x = describe(d_x, stack.dtype);
  call.d_h_0 = describe(d_h_0, stack.dtype);
  if (has_c) call.d_c_0 = describe(py::array(d_c_0), stack.dtype);
  py::list d_params;
  for (int i = 0; i < parameter_count(stack); ++i) {
    const py::array gradient = empty(stack.dtype, parameter_shape(stack, i));
    call.d_params.push_back(describe(gradient, stack.dtype));
    d_params.append(gradient);
  }
  call.batch_first = tape.batch_first;
  without_gil([&](Interrupt interrupt) { backward(*tape.tape, call, interrupt); });
  return py::make_tuple(d_x, d_h_0, d_c_0, d_params);
}

py::dict plan_call(const PyPacked& packed, int64_t T, int64_t B, bool training, int64_t recompute) {
  py::dict out;
  for (const auto& [name, value] : cpu_backend().plan(*packed.packed, T, B, training, recompute))
    out[py::str(name)] = value;
  return out;
}

template <bool is_tanh>
py::array activation(const py::array& x) {
  const DType dtype = dtype_of(x, "x");
  if (x.ndim() != 1 || (x.size() > 1 && x.strides(0) != x.itemsize()))
    throw py::value_error("fastrnn._core: x must be a contiguous 1-d array");
  const py::array y = empty(dtype, {x.size()});
  const int64_t n = x.size();
  const auto run = [&](const auto& kernels, auto* out) {
    using S = std::remove_pointer_t<decltype(out)>;
    const auto* in = static_cast<const S*>(x.data());
    without_gil([&](Interrupt) {
      const cpu::FloatMode mode;
      is_tanh ? kernels.tanh(in, out, n) : kernels.sigmoid(in, out, n);
    });
  };
  if (dtype == DType::float32) {
    run(cpu::running_kernels<float>(), static_cast<float*>(const_cast<void*>(y.data())));
  } else {
    run(cpu::running_kernels<double>(), static_cast<double*>(const_cast<void*>(y.data())));
  }
  return y;
}

py::array dropout_mask(int64_t first, int64_t count, uint32_t layer, double p, uint64_t seed,
                       const py::object& dtype_like) {
  const py::dtype dtype = py::dtype::from_args(dtype_like);
  const DropoutMask mask(seed, layer, p);
  if (dtype.num() == py::dtype::of<float>().num()) {
    py::array_t<float> out(count);
    mask.apply<float>(nullptr, out.mutable_data(), first, count);
    return out;
  }
  py::array_t<double> out(count);
  mask.apply<double>(nullptr, out.mutable_data(), first, count);
  return out;
}

py::dict build_info() {
  py::dict out;
  out["version"] = FASTRNN_VERSION;
  out["compiler"] = FASTRNN_COMPILER;
  out["openmp"] = _OPENMP;
  out["cuda"] = has_cuda_backend();
  return out;
}

}  // namespace

PYBIND11_MODULE(_core, module, py::mod_gil_not_used()) {
  cpu::running_isa();  // a wrong FASTRNN_ISA is an ImportError with its sentence, not a late surprise
  find_main_thread_function();

  py::class_<PyPacked>(module, "Packed")
      .def_property_readonly("cell", [](const PyPacked& p) { return p.stack().cell; })
      .def_property_readonly("dtype", [](const PyPacked& p) { return py::dtype(name_of(p.stack().dtype)); })
      .def_property_readonly("input_size", [](const PyPacked& p) { return p.stack().I; })
      .def_property_readonly("hidden_size", [](const PyPacked& p) { return p.stack().H; })
      .def_property_readonly("num_layers", [](const PyPacked& p) { return p.stack().L; })
      .def_property_readonly("num_directions", [](const PyPacked& p) { return p.stack().D; })
      .def_property_readonly("bias", [](const PyPacked& p) { return p.stack().bias; })
      .def_property_readonly("nbytes", [](const PyPacked& p) { return p.packed->bytes(); });
  py::class_<PyTape>(module, "Tape").def_property_readonly("nbytes", [](const PyTape& t) { return t.tape->bytes(); });

  bind_stepper(module);
  bind_address(module);
  bind_device(module);

  using namespace py::literals;
  module.def("pack", &pack_stack, "cell"_a, "params"_a, "input_size"_a, "hidden_size"_a, "num_layers"_a,
             "num_directions"_a, "bias"_a, "previous"_a = py::none());
  module.def(
      "empty",
      [](bool float64, const std::vector<int64_t>& shape) {
        return empty(float64 ? DType::float64 : DType::float32, shape);
      },
      "float64"_a, "shape"_a);
  module.def("forward", &forward_stack, "packed"_a, "x"_a.noconvert(), "h_0"_a, "c_0"_a, "lengths"_a, "batch_first"_a,
             "training"_a, "dropout"_a, "seed"_a, "recompute"_a = keep_everything);
  module.def("backward", &backward_stack, "tape"_a, "d_y"_a, "d_h_n"_a, "d_c_n"_a);
  module.def("plan", &plan_call, "packed"_a, "T"_a, "B"_a, "training"_a, "recompute"_a = keep_everything);

  module.def("cells", [] {
    py::dict out;
    for (const CellFacts& cell : cell_facts())
      out[cell.name] = py::dict("gates"_a = cell.gates, "states"_a = cell.states);
    return out;
  });
  module.def(
      "strides",
      [](const std::string& cell, bool float64, int64_t H) {
        const Layout& layout = float64 ? cpu::kernels_of<double>(cell).layout : cpu::kernels_of<float>(cell).layout;
        return std::make_pair(layout.state_stride(H), layout.keep_stride(H));
      },
      "cell"_a, "float64"_a, "H"_a);
  module.def("isa", [] { return cpu::running_isa().name; });
  module.def("isas", &cpu::supported_isas);
  module.def("_use_isa", &cpu::use_isa, "name"_a);
  module.def("get_num_threads", &cpu::thread_limit);
  module.def("set_num_threads", &cpu::set_thread_limit, "n"_a);
  module.attr("MAX_THREADS") = cpu::most_threads;
  module.def("num_threads_source", &cpu::thread_limit_source);
  module.def("release_memory", &release_cached_memory);
  module.def("build_info", &build_info);
  module.def("_sigmoid", &activation<false>, "x"_a.noconvert());
  module.def("_tanh", &activation<true>, "x"_a.noconvert());
  module.def("_dropout_mask", &dropout_mask, "n0"_a, "count"_a, "layer"_a, "p"_a, "seed"_a, "dtype"_a);
}
