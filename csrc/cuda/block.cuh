// A thread block as the kernels see it: phases, each run by every thread and ended by a barrier.
//
// A phase of warps, block.each_warp(phase), is for what a warp does as one: matrix instructions. Between them
// warp.each(f) runs a piece per lane.
//
// The body of a kernel is a sequence of block.each(phase); what a thread keeps from phase to phase is a PerThread.
// On a GPU a phase is the thread's own call and __syncthreads(). The same source compiled by a host compiler
// runs on EmulatedBlock (emulation.h), where a phase is a loop over the threads, in any order.
#pragma once

#include <type_traits>

#include "storage.h"

namespace fastrnn::cuda {

#ifdef __CUDACC__

// A warp; what its lanes have each is a Lanes<T>.
struct DeviceWarp {
  int index;

  template <class T>
  class Lanes {
   public:
    FASTRNN_DEVICE T& of(int) { return value_; }

   private:
    T value_;
  };

  FASTRNN_DEVICE int thread(int lane) const { return index * 32 + lane; }

  template <class F>
  FASTRNN_DEVICE __forceinline__ void each(const F& f) const {
    f(int(threadIdx.x % 32));
  }

  // sums_of(lane) += weights_of(lane) * operand, the shares of matrix_products.cuh.
  template <class S, class WeightsOf, class Operand, class SumsOf>
  FASTRNN_DEVICE __forceinline__ void multiply_add(const WeightsOf& weights_of, Operand& operand,
                                                   const SumsOf& sums_of) const {
    const int lane = int(threadIdx.x % 32);
    const auto a = weights_of(lane);
    const auto& b = operand.of(lane).of;
    auto& c = sums_of(lane).of;
    if constexpr (std::is_same_v<S, Bfloat16>) {
      asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
          : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
          : "r"(a.of[0]), "r"(a.of[1]), "r"(a.of[2]), "r"(a.of[3]), "r"(b[0]), "r"(b[1]));
    } else if constexpr (std::is_same_v<S, TensorFloat32>) {
      asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
          : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
          : "r"(a.of[0]), "r"(a.of[1]), "r"(a.of[2]), "r"(a.of[3]), "r"(b[0]), "r"(b[1]));
    } else {
      asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
          : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
          : "r"(a.of[0]), "r"(a.of[1]), "r"(a.of[2]), "r"(a.of[3]), "r"(b[0]), "r"(b[1]));
    }
  }
};

struct DeviceBlock {
  using Warp = DeviceWarp;
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
  // A phase whose results stay with their thread: no barrier.
  template <class Phase>
  FASTRNN_DEVICE __forceinline__ void each_alone(const Phase& phase) const {
    phase(int(threadIdx.x));
  }
  template <class Phase>
  FASTRNN_DEVICE __forceinline__ void each_warp(const Phase& phase) const {
    phase(Warp{int(threadIdx.x / 32)});
    __syncthreads();
  }
};

#endif

}  // namespace fastrnn::cuda
