// What a training forward keeps: per scan the states at the borders of its segments, the initial ones
// first, and, unless backward computes them again, every state and the cell's saved values; per layer
// above the first its input. All of it is one block: the tape's own, or the caller's reserve. The caller's
// x is held by the bindings.
#pragma once

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <string>

#include "plan.h"
#include "rows.h"
#include "segments.h"
#include "weights.h"

namespace fastrnn::cpu {

template <class S>
struct SavedScan {
  S* borders[2];  // (border_rows, state_stride); the first B rows are the initial states
  S* history[2];  // (rows, state_stride)
  S* keep;        // (rows, keep_stride)
};

template <class S>
Buffer room(int64_t rows, int64_t columns) {
  return Buffer(checked_product(checked_product(rows, columns), int64_t(sizeof(S))));
}

// Cuts arrays off one block, one behind the other; without a block it counts. Strides are whole vectors, so
// every array but a layer's input starts at one.
template <class S>
class Cutter {
 public:
  explicit Cutter(S* block) : block_(block) {}
  S* take(int64_t rows, int64_t columns) {
    S* array = block_ == nullptr ? nullptr : block_ + count_;
    count_ += checked_product(rows, columns);
    return array;
  }
  int64_t bytes() const { return checked_product(count_, int64_t(sizeof(S))); }

 private:
  S* block_;
  int64_t count_ = 0;
};

// What backward reads of `rows` packed rows: of a whole scan on the tape, or of one segment.
template <class S>
void place_saved(const Layout& layout, int64_t H, int64_t rows, Cutter<S>& block, SavedScan<S>& scan) {
  for (int state = 0; state < layout.states; ++state) scan.history[state] = block.take(rows, layout.state_stride(H));
  scan.keep = block.take(rows, layout.keep_stride(H));
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
    const int64_t needed = place(nullptr);
    if (args.reserve == nullptr) {
      own_ = Buffer(needed);
    } else if (args.reserve_bytes < needed) {
      throw std::invalid_argument("forward: reserve has " + std::to_string(args.reserve_bytes) + " bytes, expected " +
                                  std::to_string(needed));
    }
    bytes_ = place(args.reserve == nullptr ? own_.as<S>() : static_cast<S*>(args.reserve));
    args_.lengths = nullptr;  // the order holds what matters; the caller's array may go
  }

  int64_t bytes() const override { return bytes_; }
  const PackedStack& packed() const override { return *weights; }
  const ForwardArgs& args() const override { return args_; }

  // The input of a layer, (T, B, input_size).
  Sequence input(int layer) const {
    if (layer == 0) return args_.x;
    const int64_t width = weights->stack.input_size(layer);
    return {inputs[size_t(layer - 1) % inputs.size()], args_.B * width, width};
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
  std::vector<S*> inputs;           // (L-1,) (T, B, D*H) each; in inference two take turns

 private:
  // Gives everything its place in `block`; the bytes of all. Inputs come last: their rows are no whole vectors.
  int64_t place(S* block) {
    const Stack& stack = weights->stack;
    const Layout& layout = weights->kernels.layout;
    Cutter<S> rest(block);
    scans.assign(args_.training ? size_t(stack.L) * size_t(stack.D) : 0, SavedScan<S>{});
    for (SavedScan<S>& scan : scans) {
      for (int state = 0; state < layout.states; ++state)
        scan.borders[state] = rest.take(segments.border_rows, layout.state_stride(stack.H));
      if (!recomputes) place_saved(layout, stack.H, order.rows(false).total(), rest, scan);
    }
    inputs.assign(size_t(args_.training ? stack.L - 1 : std::min(stack.L - 1, 2)), nullptr);
    for (S*& input : inputs) input = rest.take(checked_product(args_.T, args_.B), stack.H * stack.D);
    return rest.bytes();
  }

  ForwardArgs args_;
  Buffer own_;
  int64_t bytes_ = 0;
};

template <class S>
std::shared_ptr<const fastrnn::Tape> run_forward(std::shared_ptr<const Weights<S>> weights, const ForwardArgs& args,
                                                 Interrupt interrupt);
template <class S>
void run_backward(const CpuTape<S>& tape, const BackwardArgs& args, Interrupt interrupt);

}  // namespace fastrnn::cpu
