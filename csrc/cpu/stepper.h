// Streaming inference on one thread: the forward scan of every layer, its states kept from call to call.
//
// Computes   T steps of S streams through L layers, in blocks of at most block_steps: layer by layer over
//            a block, so that a layer's weights are read from the caches above L2 once per block at most,
//            and its input product runs ahead over the block. One step alone joins both products.
// Shapes     x (T, S, I), y (T, S, H); states (S, state_stride) padded to whole panels.
// Work split none: a step of a few microseconds is shorter than two meetings of two threads.
// Cost       the scan's; beside it some ten nanoseconds a call. All memory is taken at construction.
// Limits     the bits are those of the layer: the same kernels, whose sums do not depend on the cut in T.
#pragma once

#include <vector>

#include "rows.h"
#include "weights.h"

namespace fastrnn::cpu {

template <class S>
class CpuStepper : public fastrnn::Stepper {
 public:
  CpuStepper(std::shared_ptr<const Weights<S>> weights, int64_t streams);

  int64_t streams() const override { return streams_; }
  const PackedStack& packed() const override { return *weights_; }
  void set_packed(std::shared_ptr<const PackedStack> packed) override;
  void run(int64_t T, const Sequence& x, const Sequence& y, Interrupt interrupt) override;
  void get_state(int state, void* out) const override;
  void set_state(int state, const void* values, const bool* mask) override;

 private:
  // h takes turns in three slots: a scan reads the slot it starts from, and writes two others in turn.
  struct Layer {
    ForwardScan<S> scan;
    Buffer h, c;  // (3, S, state_stride), (S, state_stride)
    int slot = 0;  // of h now
    int64_t chunk_steps;
  };
  void take_weights();
  void run_block(int64_t steps, const Sequence& x, const Sequence& y);
  void run_layer(Layer& layer, int64_t steps, const Sequence& x, const Sequence& y);
  S* state_of(const Layer& layer, int state) const;

  std::shared_ptr<const Weights<S>> weights_;
  const int64_t streams_, block_steps_;
  const RowOrder order_;
  std::vector<Layer> layers_;
  Buffer chunk_;       // (block_steps * S, keep_stride)
  Buffer between_[2];  // (block_steps, S, H): what a layer hands to the next
  int64_t sweep_ = 0;
};

}  // namespace fastrnn::cpu
