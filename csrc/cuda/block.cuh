// A thread block as the kernels see it: phases, each run by every thread and ended by a barrier.
//
// The body of a kernel is a sequence of block.each(phase); what a thread keeps from phase to phase is a PerThread.
// On a GPU a phase is the thread's own call and __syncthreads(). The same source compiled by a host compiler
// runs on EmulatedBlock (emulation.h), where a phase is a loop over the threads, in any order.
#pragma once

#include "storage.h"

namespace fastrnn::cuda {

#ifdef __CUDACC__

struct DeviceBlock {
  int row_tile, unit_tile;  // which part of the problem is this block's
  char* shared;

  template <class T>
  class PerThread {
   public:
    FASTRNN_DEVICE explicit PerThread(const DeviceBlock&) {}
    FASTRNN_DEVICE T& of(int) { return value_; }

   private:
    T value_;
  };

  template <class Phase>
  FASTRNN_DEVICE __forceinline__ void each(const Phase& phase) const {
    phase(int(threadIdx.x));
    __syncthreads();
  }
};

#endif

}  // namespace fastrnn::cuda
