// The engine's front door to the CPU: every size is checked here, once, for every caller, and the CPU
// backend runs what passed. GPU arrays do not come here: rnn/device_scan.h is theirs. No
// Python below or here.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "rnn/backend.h"

namespace fastrnn {

// An array as a caller describes it. Strides count bytes.
struct Array {
  void* data = nullptr;  // null: absent
  DType dtype = DType::float32;
  std::vector<int64_t> shape, strides;
  bool present() const { return data != nullptr || !shape.empty(); }
};

struct CellFacts {
  const char* name;
  int gates, states;
};
std::vector<CellFacts> cell_facts();
const CellFacts& facts_of(const std::string& cell);  // throws std::invalid_argument

std::shared_ptr<const PackedStack> pack(const Stack& stack, const std::vector<Array>& params,
                                        std::shared_ptr<const PackedStack> previous, Interrupt interrupt);

struct Sizes {
  int64_t T, B;
};
// T and B of an input (T, B, I), or (B, T, I) if batch_first; throws if it does not fit the stack.
Sizes sizes_of(const Stack& stack, const Array& x, bool batch_first);

struct ForwardCall {
  Array x, h_0, c_0, lengths, y, h_n, c_n;  // lengths: dtype ignored, int64
  bool batch_first, training;
  double dropout;
  uint64_t seed;
  int64_t recompute;  // keep_everything, best_segments, or the steps of a segment; for training
};
std::shared_ptr<const Tape> forward(std::shared_ptr<const PackedStack> packed, const ForwardCall& call,
                                    Interrupt interrupt);

// The next three are for callers that know T, B, strides and addresses themselves: numbers are checked, the
// shapes behind the addresses are the caller's word.
std::shared_ptr<const PackedStack> pack(const Stack& stack, const std::vector<const void*>& params,
                                        std::shared_ptr<const PackedStack> previous, Interrupt interrupt);
std::shared_ptr<const Tape> forward(std::shared_ptr<const PackedStack> packed, const ForwardArgs& args,
                                    Interrupt interrupt);
// Of the forward that had `args` and filled their reserve, with gradients of `params` parameters.
void backward(std::shared_ptr<const PackedStack> packed, const ForwardArgs& args, const BackwardArgs& gradients,
              size_t params, Interrupt interrupt);

struct BackwardCall {
  Array d_y, d_h_n, d_c_n, d_x, d_h_0, d_c_0;
  std::vector<Array> d_params;
  bool batch_first;
};
void backward(const Tape& tape, const BackwardCall& call, Interrupt interrupt);

// Of a stack of one direction.
std::unique_ptr<Stepper> stepper(std::shared_ptr<const PackedStack> packed, int64_t streams);
// Other weights for a stepper: of the same stack, or std::invalid_argument.
void set_packed(Stepper& stepper, std::shared_ptr<const PackedStack> packed);

// An array of a step, described without taking memory. Strides count bytes.
struct StepArray {
  void* data;
  int64_t axes;
  const int64_t *shape, *strides;
};
// How a stepper's x or y fits: one step (S, width) or, as a block, T of them (T, S, width), either without the
// axis S if S is 1. Any strides but the last axis's. False if the array does not fit.
bool fit_steps(const StepArray& array, bool block, int64_t streams, int64_t width, DType dtype, int64_t* T,
               Sequence* sequence);

// The shape of parameter `index` in torch's order.
std::vector<int64_t> parameter_shape(const Stack& stack, int index);
int parameter_count(const Stack& stack);

}  // namespace fastrnn
