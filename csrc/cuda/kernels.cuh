// The kernels: a tile's steps, and in the grid tier what blocks say to each other between them.
//
// Every block of the grid tier has a flag: how many steps it has finished. A block that enters a step waits until
// all blocks of its row tile have finished the step before, then reads what they wrote. Nobody waits for
// the blocks of other rows, and flags only count up, so they are zeroed once per scan. All blocks are in
// flight at once (a cooperative launch), or one would wait for a block that never starts.
#pragma once

#include "block.cuh"
#include "dispatch.cuh"
#include "kernels.h"
#include "plan.h"
#include "scan_backward.cuh"
#include "scan_forward.cuh"

namespace fastrnn::cuda {

// After the barrier that ended the step's last phase: what all threads wrote before it comes before the release, which
// is cumulative. No fence of its own: it would wait for the same writes once more.
FASTRNN_DEVICE inline void say_finished(unsigned long long* flags, int64_t steps) {
  if (threadIdx.x != 0) return;
  unsigned long long* flag = flags + int64_t(blockIdx.x) * gridDim.y + blockIdx.y;
  asm volatile("st.release.gpu.global.u64 [%0], %1;" ::"l"(flag), "l"(static_cast<unsigned long long>(steps))
               : "memory");
}

FASTRNN_DEVICE inline void wait_for_peers(const unsigned long long* flags, int64_t steps) {
  for (unsigned peer = threadIdx.x; peer < gridDim.y; peer += blockDim.x) {
    const unsigned long long* flag = flags + int64_t(blockIdx.x) * gridDim.y + peer;
    unsigned long long finished;
    do {
      asm volatile("ld.acquire.gpu.global.u64 %0, [%1];" : "=l"(finished) : "l"(flag) : "memory");
    } while (finished < static_cast<unsigned long long>(steps));
  }
  __syncthreads();
}

template <class Cell, class S, Tier tier>
__global__ void __launch_bounds__(plan_costs::most_threads, 1)
    scan_forward(const __grid_constant__ ForwardScan<S> scan, const int64_t first, const int64_t last) {
  extern __shared__ __align__(vector_bytes) char shared[];
  DeviceBlock block{int(blockIdx.x), int(blockIdx.y), shared};
  ForwardTile<DeviceBlock, Cell, S, tier> tile(scan, block);
  if (first == 0) tile.begin();
  if (first < last) tile.fetch(first);
  for (int64_t s = first; s < last; ++s) {
    if constexpr (tier == Tier::grid)
      if (s > 0 && s < tile.longest) wait_for_peers(scan.flags, s);
    const int64_t next = s + 1 < last ? s + 1 : -1;
    tile.step(s, tier == Tier::grid ? -1 : next);
    if constexpr (tier == Tier::grid) {
      if (s + 1 < tile.longest) say_finished(scan.flags, s + 1);
      if (next >= 0) tile.fetch(next);  // after the release, which waits for what the thread has asked for
    }
  }
}

template <class Cell, class S, Tier tier>
__global__ void __launch_bounds__(plan_costs::most_threads, 1)
    scan_backward(const __grid_constant__ BackwardScan<S> scan, const int64_t first, const int64_t last) {
  extern __shared__ __align__(vector_bytes) char shared[];
  DeviceBlock block{int(blockIdx.x), int(blockIdx.y), shared};
  BackwardTile<DeviceBlock, Cell, S, tier> tile(scan, block);
  if (first == scan.T - 1) tile.begin();
  tile.fetch(first);
  for (int64_t s = first; s >= last; --s) {
    if constexpr (tier == Tier::grid)
      if (s + 1 < tile.longest) wait_for_peers(scan.flags, tile.longest - 1 - s);
    const int64_t next = s > last ? s - 1 : -1;
    tile.step(s, tier == Tier::grid ? -1 : next);
    if constexpr (tier == Tier::grid) {
      if (s >= 0 && s < tile.longest) say_finished(scan.flags, tile.longest - s);
      tile.fetch(next);
    }
  }
}

template <class S>
const void* forward_kernel_of(const std::string& cell, Tier tier) {
  const void* kernel = nullptr;
  with_cell(cell, [&](auto type) {
    using Cell = typename decltype(type)::type;
    kernel = tier == Tier::resident ? reinterpret_cast<const void*>(&scan_forward<Cell, S, Tier::resident>)
             : tier == Tier::grid   ? reinterpret_cast<const void*>(&scan_forward<Cell, S, Tier::grid>)
                                    : reinterpret_cast<const void*>(&scan_forward<Cell, S, Tier::streamed>);
  });
  return kernel;
}

template <class S>
const void* backward_kernel_of(const std::string& cell, Tier tier) {
  const void* kernel = nullptr;
  with_cell(cell, [&](auto type) {
    using Cell = typename decltype(type)::type;
    kernel = tier == Tier::resident ? reinterpret_cast<const void*>(&scan_backward<Cell, S, Tier::resident>)
             : tier == Tier::grid   ? reinterpret_cast<const void*>(&scan_backward<Cell, S, Tier::grid>)
                                    : reinterpret_cast<const void*>(&scan_backward<Cell, S, Tier::streamed>);
  });
  return kernel;
}

}  // namespace fastrnn::cuda
