// What a training forward keeps: per scan the states at the borders of its segments, the initial ones
// first, and, unless backward computes them again, every state and the cell's saved values; per layer
// above the first its input. The caller's x is held by the bindings.
#pragma once

#include <memory>

#include "plan.h"
#include "rows.h"
#include "segments.h"
#include "weights.h"

namespace fastrnn::cpu {

template <class S>
struct SavedScan {
  Buffer borders[2];  // (border_rows, state_stride); the first B rows are the initial states
  Buffer history[2];  // (rows, state_stride)
  Buffer keep;        // (rows, keep_stride)

  int64_t bytes() const {
    return borders[0].bytes() + borders[1].bytes() + history[0].bytes() + history[1].bytes() + keep.bytes();
  }
};

template <class S>
Buffer room(int64_t rows, int64_t columns) {
  return Buffer(checked_product(checked_product(rows, columns), int64_t(sizeof(S))));
}

// Room for what backward reads of `rows` packed rows: a whole scan on the tape, or one segment.
template <class S>
void allocate_saved(const Layout& layout, int64_t H, int64_t rows, SavedScan<S>& scan) {
  for (int state = 0; state < layout.states; ++state) scan.history[state] = room<S>(rows, layout.state_stride(H));
  scan.keep = room<S>(rows, layout.keep_stride(H));
}

template <class S>
class CpuTape : public fastrnn::Tape {
 public:
  CpuTape(std::shared_ptr<const Weights<S>> weights, const ForwardArgs& args)
      : weights(std::move(weights)),
        order(args.T, args.B, args.lengths),
        segments(segments_of(order.rows(false), shape(0), int64_t(this->weights->stack.L) * this->weights->stack.D,
                             args.recompute)),
        recomputes(args.recompute != keep_everything),
        args_(args) {
    args_.lengths = nullptr;  // the order holds what matters; the caller's array may go
  }

  int64_t bytes() const override {
    int64_t sum = 0;
    for (const SavedScan<S>& scan : scans) sum += scan.bytes();
    for (const Buffer& input : inputs) sum += input.bytes();
    return sum;
  }
  const PackedStack& packed() const override { return *weights; }
  const ForwardArgs& args() const override { return args_; }

  // The input of a layer, (T, B, input_size).
  Sequence input(int layer) const {
    if (layer == 0) return args_.x;
    const int64_t width = weights->stack.input_size(layer);
    return {inputs[size_t(layer - 1) % inputs.size()].template as<S>(), args_.B * width, width};
  }
  ScanShape shape(int layer) const {
    const Stack& stack = weights->stack;
    const Rows rows = order.rows(false);
    return {weights->kernels.layout,
            weights->kernels.tile_rows,
            int64_t(sizeof(S)),
            stack.input_size(layer),
            stack.H,
            order.B,
            rows.steps,
            rows.total()};
  }

  // A forward scan over all steps of a layer, but for where it starts and what it writes.
  ForwardScan<S> forward_scan(int layer, int direction, const Plan& plan) const {
    const Sequence x = input(layer);
    ForwardScan<S> scan{};
    scan.layout = weights->kernels.layout;
    scan.rows = order.rows(direction == 1);
    scan.I = weights->stack.input_size(layer);
    scan.H = weights->stack.H;
    scan.weights = weights->scan(layer, direction);
    scan.x = static_cast<const S*>(x.data);
    scan.x_step = x.step;
    scan.x_row = x.row;
    scan.last = scan.rows.steps;
    // A team larger than this layer wants still splits it: its threads are here anyway.
    scan.partition = plan.partition;
    scan.chunk_steps = plan.chunk_steps;
    return scan;
  }

  const std::shared_ptr<const Weights<S>> weights;
  const RowOrder order;
  const Segments segments;  // the same for all scans
  const bool recomputes;
  std::vector<SavedScan<S>> scans;  // (L*D,); none in inference
  std::vector<Buffer> inputs;       // (L-1,) (T, B, D*H) each; in inference two take turns

 private:
  ForwardArgs args_;
};

template <class S>
std::shared_ptr<const fastrnn::Tape> run_forward(std::shared_ptr<const Weights<S>> weights, const ForwardArgs& args,
                                                 Interrupt interrupt);
template <class S>
void run_backward(const CpuTape<S>& tape, const BackwardArgs& args, Interrupt interrupt);

}  // namespace fastrnn::cpu
