// One version of a stack's weights in the order of one ISA's kernels.
#pragma once

#include <mutex>

#include "../rnn/backend.h"
#include "../rnn/memory.h"
#include "scan.h"

namespace fastrnn::cpu {

// Changes when any parameter does. gates: row blocks of every parameter.
template <class S>
uint64_t fingerprint(const Stack& stack, int gates, const std::vector<const void*>& params, Interrupt interrupt);

template <class S>
class Weights : public PackedStack {
 public:
  Weights(const Stack& stack, const CellKernels<S>& kernels, const std::vector<const void*>& params,
          uint64_t fingerprint, Interrupt interrupt);

  int64_t bytes() const override;
  ScanWeights<S> scan(int layer, int direction) const;
  // Made from the packed weights when first asked for: inference never pays for them. Throws
  // Interrupted; the next call then starts anew.
  TransposedWeights<S> transposed(int layer, int direction, Interrupt interrupt) const;

  const CellKernels<S>& kernels;
  const uint64_t fingerprint;

 private:
  struct Packed {
    Buffer x, h, bias;
  };
  struct Transposed {
    Buffer x, h;
  };
  int threads_for(int64_t I) const;
  void transpose(Interrupt interrupt) const;

  std::vector<Packed> packed_;  // (L*D,)
  mutable std::once_flag once_;
  mutable std::vector<Transposed> transposed_;
};

}  // namespace fastrnn::cpu
