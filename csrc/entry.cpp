#include "entry.h"

#include <stdexcept>

#include "cells/list.h"

namespace fastrnn {
namespace {

std::string text_of(const std::vector<int64_t>& shape) {
  std::string text = "(";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  text += shape.size() == 1 ? ",)" : ")";
  return text;
}

[[noreturn]] void refuse(const std::string& function, const std::string& argument, const std::string& has,
                         const std::string& expected) {
  throw std::invalid_argument(function + ": " + argument + " has " + has + ", expected " + expected);
}

void check_shape(const std::string& function, const std::string& argument, const Array& array,
                 const std::vector<int64_t>& shape, DType dtype) {
  if (array.shape != shape) refuse(function, argument, "shape " + text_of(array.shape), text_of(shape));
  if (array.dtype != dtype) refuse(function, argument, std::string("dtype ") + name_of(array.dtype), name_of(dtype));
}

// C order; axes of length 1 and empty arrays may claim any stride.
void check_contiguous(const std::string& function, const std::string& argument, const Array& array, int64_t element) {
  for (const int64_t length : array.shape)
    if (length == 0) return;
  int64_t stride = element;
  for (size_t i = array.shape.size(); i-- > 0;) {
    if (array.shape[i] != 1 && array.strides[i] != stride)
      refuse(function, argument, "gaps between its elements", "a C-contiguous array");
    stride *= array.shape[i];
  }
}

void check_dense(const std::string& function, const std::string& argument, const Array& array,
                 const std::vector<int64_t>& shape, DType dtype) {
  check_shape(function, argument, array, shape, dtype);
  check_contiguous(function, argument, array, size_of(dtype));
}

// A (T, B, width) array, or (B, T, width) if batch_first, whose last axis is contiguous.
Sequence sequence(const std::string& function, const std::string& argument, const Array& array, Sizes sizes,
                  int64_t width, bool batch_first, DType dtype) {
  const std::vector<int64_t> shape =
      batch_first ? std::vector<int64_t>{sizes.B, sizes.T, width} : std::vector<int64_t>{sizes.T, sizes.B, width};
  check_shape(function, argument, array, shape, dtype);
  if (sizes.T == 0 || sizes.B == 0 || width == 0) return {array.data, 0, 0};  // no element: no stride matters
  const int64_t element = size_of(dtype);
  const auto fits = [&](size_t axis, int64_t multiple_of) {
    return shape[axis] == 1 || array.strides[axis] % multiple_of == 0;
  };
  if ((width > 1 && array.strides[2] != element) || !fits(0, element) || !fits(1, element))
    refuse(function, argument, "a strided last axis", "its last axis contiguous");
  const int64_t outer = array.strides[0] / element, inner = array.strides[1] / element;
  return batch_first ? Sequence{array.data, inner, outer} : Sequence{array.data, outer, inner};
}

template <class... Cells>
std::vector<CellFacts> facts(cells::TypeList<Cells...>) {
  return {{Cells::name, Cells::gates, Cells::states}...};
}

}  // namespace

std::vector<CellFacts> cell_facts() { return facts(cells::All{}); }

const CellFacts& facts_of(const std::string& cell) {
  // Never destroyed: daemon threads may be in calls while the process ends.
  static const std::vector<CellFacts>& all = *new std::vector<CellFacts>(cell_facts());
  std::string names;
  for (const CellFacts& one : all) {
    if (cell == one.name) return one;
    if (!names.empty()) names += ", ";
    names += one.name;
  }
  refuse("pack", "cell", "value '" + cell + "'", "one of " + names);
}

int parameter_count(const Stack& stack) { return stack.L * stack.D * stack.params_per_scan(); }

std::vector<int64_t> parameter_shape(const Stack& stack, int index) {
  const int64_t rows = facts_of(stack.cell).gates * stack.H;
  const int which = index % stack.params_per_scan(), layer = index / (stack.params_per_scan() * stack.D);
  if (which == 0) return {rows, stack.input_size(layer)};
  if (which == 1) return {rows, stack.H};
  return {rows};
}

namespace {

void check_stack(const Stack& stack, size_t params) {
  facts_of(stack.cell);
  constexpr int64_t most = int64_t(1) << 31;
  const auto check_size = [&](const char* name, int64_t value, int64_t least) {
    if (value < least || value >= most)
      refuse("pack", name, "value " + std::to_string(value), "at least " + std::to_string(least) + " and below 2**31");
  };
  check_size("input_size", stack.I, 0);
  check_size("hidden_size", stack.H, 1);
  check_size("num_layers", stack.L, 1);
  if (stack.D != 1 && stack.D != 2) refuse("pack", "num_directions", "value " + std::to_string(stack.D), "1 or 2");
  if (int64_t(params) != parameter_count(stack))
    refuse("pack", "params", std::to_string(params) + " arrays", std::to_string(parameter_count(stack)));
}

// What a call says in numbers; its arrays fit.
void check_args(const ForwardArgs& args) {
  const auto check_size = [](const char* name, int64_t value) {
    if (value < 0) refuse("forward", name, "value " + std::to_string(value), "at least 0");
  };
  check_size("T", args.T);
  check_size("B", args.B);
  for (int64_t b = 0; args.lengths != nullptr && b < args.B; ++b)
    if (args.lengths[b] < 0 || args.lengths[b] > args.T)
      refuse("forward", "lengths[" + std::to_string(b) + "]", "value " + std::to_string(args.lengths[b]),
             "0 to T = " + std::to_string(args.T));
  if (!(args.dropout >= 0 && args.dropout <= 1))
    refuse("forward", "dropout", "value " + std::to_string(args.dropout), "0 to 1");
  if (args.recompute < best_segments)
    refuse("forward", "recompute", "value " + std::to_string(args.recompute), "-1 (the best), 0 (none) or steps");
}

}  // namespace

std::shared_ptr<const PackedStack> pack(const Stack& stack, const std::vector<const void*>& params,
                                        std::shared_ptr<const PackedStack> previous, Interrupt interrupt) {
  check_stack(stack, params.size());
  return cpu_backend().pack(stack, params, std::move(previous), interrupt);
}

std::shared_ptr<const PackedStack> pack(const Stack& stack, const std::vector<Array>& params,
                                        std::shared_ptr<const PackedStack> previous, Interrupt interrupt) {
  check_stack(stack, params.size());
  std::vector<const void*> data;
  for (size_t i = 0; i < params.size(); ++i) {
    check_dense("pack", "params[" + std::to_string(i) + "]", params[i], parameter_shape(stack, int(i)), stack.dtype);
    data.push_back(params[i].data);
  }
  return cpu_backend().pack(stack, data, std::move(previous), interrupt);
}

Sizes sizes_of(const Stack& stack, const Array& x, bool batch_first) {
  if (x.shape.size() != 3 || x.shape[2] != stack.I)
    refuse("forward", "x", "shape " + text_of(x.shape),
           std::string(batch_first ? "(B, T, " : "(T, B, ") + std::to_string(stack.I) + ")");
  return batch_first ? Sizes{x.shape[1], x.shape[0]} : Sizes{x.shape[0], x.shape[1]};
}

std::shared_ptr<const Tape> forward(std::shared_ptr<const PackedStack> packed, const ForwardCall& call,
                                    Interrupt interrupt) {
  const Stack& stack = packed->stack;
  const Sizes sizes = sizes_of(stack, call.x, call.batch_first);
  const bool has_c = facts_of(stack.cell).states == 2;
  const std::vector<int64_t> state{int64_t(stack.L) * stack.D, sizes.B, stack.H};
  const auto given = [&](const char* name, const Array& array) -> const void* {
    if (!array.present()) return nullptr;
    check_dense("forward", name, array, state, stack.dtype);
    return array.data;
  };
  ForwardArgs args{};
  args.T = sizes.T;
  args.B = sizes.B;
  args.x = sequence("forward", "x", call.x, sizes, stack.I, call.batch_first, stack.dtype);
  args.y = sequence("forward", "y", call.y, sizes, stack.H * stack.D, call.batch_first, stack.dtype);
  args.h_0 = given("h_0", call.h_0);
  check_dense("forward", "h_n", call.h_n, state, stack.dtype);
  args.h_n = call.h_n.data;
  if (has_c) {
    args.c_0 = given("c_0", call.c_0);
    check_dense("forward", "c_n", call.c_n, state, stack.dtype);
    args.c_n = call.c_n.data;
  } else if (call.c_0.present()) {
    refuse("forward", "c_0", "a value", "None: " + stack.cell + " has one state");
  }
  if (call.lengths.present()) {
    if (call.lengths.shape != std::vector<int64_t>{sizes.B})
      refuse("forward", "lengths", "shape " + text_of(call.lengths.shape), text_of({sizes.B}));
    check_contiguous("forward", "lengths", call.lengths, 8);
    args.lengths = static_cast<const int64_t*>(call.lengths.data);
  }
  args.training = call.training;
  args.dropout = call.dropout;
  args.seed = call.seed;
  args.recompute = call.recompute;
  return forward(std::move(packed), args, interrupt);
}

std::shared_ptr<const Tape> forward(std::shared_ptr<const PackedStack> packed, const ForwardArgs& given,
                                    Interrupt interrupt) {
  check_args(given);
  ForwardArgs args = given;
  if (!args.training) {
    args.dropout = 0;
    args.recompute = keep_everything;
    args.reserve = nullptr;
  }
  return cpu_backend().forward(std::move(packed), args, interrupt);
}

void backward(std::shared_ptr<const PackedStack> packed, const ForwardArgs& args, const BackwardArgs& gradients,
              size_t params, Interrupt interrupt) {
  check_args(args);
  check_stack(packed->stack, params);
  const auto tape = cpu_backend().tape(std::move(packed), args);
  if (args.reserve == nullptr && tape->bytes() > 0)
    refuse("backward", "reserve", "no bytes", "the " + std::to_string(tape->bytes()) + " that forward filled");
  cpu_backend().backward(*tape, gradients, interrupt);
}

void backward(const Tape& tape, const BackwardCall& call, Interrupt interrupt) {
  const Stack& stack = tape.packed().stack;
  const Sizes sizes{tape.args().T, tape.args().B};
  const bool has_c = facts_of(stack.cell).states == 2;
  const std::vector<int64_t> state{int64_t(stack.L) * stack.D, sizes.B, stack.H};
  const auto dense = [&](const char* name, const Array& array) {
    check_dense("backward", name, array, state, stack.dtype);
    return array.data;
  };
  BackwardArgs args{};
  if (call.d_y.present())
    args.d_y = sequence("backward", "d_y", call.d_y, sizes, stack.H * stack.D, call.batch_first, stack.dtype);
  args.d_x = sequence("backward", "d_x", call.d_x, sizes, stack.I, call.batch_first, stack.dtype);
  if (call.d_h_n.present()) args.d_h_n = dense("d_h_n", call.d_h_n);
  args.d_h_0 = dense("d_h_0", call.d_h_0);
  if (has_c) {
    if (call.d_c_n.present()) args.d_c_n = dense("d_c_n", call.d_c_n);
    args.d_c_0 = dense("d_c_0", call.d_c_0);
  } else if (call.d_c_n.present()) {
    refuse("backward", "d_c_n", "a value", "None: " + stack.cell + " has one state");
  }
  std::vector<void*> d_params;
  for (size_t i = 0; i < call.d_params.size(); ++i) {
    check_dense("backward", "d_params[" + std::to_string(i) + "]", call.d_params[i], parameter_shape(stack, int(i)),
                stack.dtype);
    d_params.push_back(call.d_params[i].data);
  }
  if (int64_t(d_params.size()) != parameter_count(stack))
    refuse("backward", "d_params", std::to_string(d_params.size()) + " arrays", std::to_string(parameter_count(stack)));
  args.d_params = d_params.data();
  cpu_backend().backward(tape, args, interrupt);
}

std::unique_ptr<Stepper> stepper(std::shared_ptr<const PackedStack> packed, int64_t streams) {
  if (packed->stack.D != 1)
    refuse("stepper", "packed", std::to_string(packed->stack.D) + " directions",
           "1: a reverse direction starts at the end of the sequence");
  if (streams < 1) refuse("stepper", "streams", "value " + std::to_string(streams), "at least 1");
  return cpu_backend().stepper(std::move(packed), streams);
}

void set_packed(Stepper& stepper, std::shared_ptr<const PackedStack> packed) {
  const Stack &was = stepper.packed().stack, &is = packed->stack;
  if (is.cell != was.cell || is.dtype != was.dtype || is.I != was.I || is.H != was.H || is.L != was.L || is.D != was.D)
    refuse("set_packed", "packed", "another cell, dtype or size", "the stack that the stepper was made for");
  stepper.set_packed(std::move(packed));
}

bool fit_steps(const StepArray& array, bool block, int64_t streams, int64_t width, DType dtype, int64_t* T,
               Sequence* sequence) {
  const int64_t outer = block ? 1 : 0, element = size_of(dtype);
  const bool has_row = array.axes == outer + 2;
  if (!has_row && !(array.axes == outer + 1 && streams == 1)) return false;
  const int64_t last = array.axes - 1;
  if (array.shape[last] != width || (has_row && array.shape[outer] != streams)) return false;
  *T = block ? array.shape[0] : 1;
  *sequence = {array.data, 0, 0};
  if (*T == 0) return true;  // no element: no stride matters
  if (width > 1 && array.strides[last] != element) return false;
  // An axis of length 1 may claim any stride.
  const int64_t step = block && array.shape[0] > 1 ? array.strides[0] : 0;
  const int64_t row = streams > 1 ? array.strides[outer] : 0;
  sequence->step = step / element;
  sequence->row = row / element;
  return step % element == 0 && row % element == 0;
}

}  // namespace fastrnn
