// What a training forward keeps: per scan the initial states, every state, and the cell's saved
// values; per layer above the first its input. The caller's x is held by the bindings.
#pragma once

#include <memory>

#include "plan.h"
#include "rows.h"
#include "weights.h"

namespace fastrnn::cpu {

template <class S>
struct SavedScan {
  Buffer initial[2];  // (B, state_stride)
  Buffer history[2];  // (total, state_stride)
  Buffer keep;        // (total, keep_stride)
};

template <class S>
class CpuTape : public fastrnn::Tape {
 public:
  CpuTape(std::shared_ptr<const Weights<S>> weights, const ForwardArgs& args)
      : weights(std::move(weights)), order(args.T, args.B, args.lengths), args_(args) {
    args_.lengths = nullptr;  // the order holds what matters; the caller's array may go
  }

  int64_t bytes() const override {
    int64_t sum = 0;
    for (const SavedScan<S>& scan : scans) {
      sum += scan.initial[0].bytes() + scan.initial[1].bytes() + scan.keep.bytes();
      sum += scan.history[0].bytes() + scan.history[1].bytes();
    }
    for (const Buffer& input : inputs) sum += input.bytes();
    return sum;
  }
  const PackedStack& packed() const override { return *weights; }
  const ForwardArgs& args() const override { return args_; }

  // The input of a layer, (T, B, input_size).
  Sequence input(int layer) const {
    if (layer == 0) return args_.x;
    const int64_t width = weights->stack.input_size(layer);
    return {inputs[size_t(layer - 1)].template as<S>(), args_.B * width, width};
  }
  ScanShape shape(int layer) const {
    const Stack& stack = weights->stack;
    const Rows rows = order.rows(false);
    return {weights->kernels.layout,
            weights->kernels.tile_rows,
            int64_t(sizeof(S)),
            stack.input_size(layer),
            stack.H,
            args_.B,
            rows.steps,
            rows.total()};
  }

  const std::shared_ptr<const Weights<S>> weights;
  const RowOrder order;
  std::vector<SavedScan<S>> scans;  // (L*D,)
  std::vector<Buffer> inputs;       // (L-1,) (T, B, D*H) each

 private:
  ForwardArgs args_;
};

template <class S>
std::shared_ptr<const fastrnn::Tape> run_forward(std::shared_ptr<const Weights<S>> weights, const ForwardArgs& args,
                                                 Interrupt interrupt);
template <class S>
void run_backward(const CpuTape<S>& tape, const BackwardArgs& args, Interrupt interrupt);

}  // namespace fastrnn::cpu
