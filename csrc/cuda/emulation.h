// A thread block on the host, for tests: phases are loops over the threads, shared memory is filled with garbage.
//
// It shows errors of logic, indexing and layout without a GPU. Threads run one after the other, forwards or
// backwards: a phase in which one thread reads what another writes gives other bits in the other order. It says nothing
// about memory order between blocks, nor about what nvcc makes of the source.
#pragma once

#include <cstring>
#include <memory>
#include <vector>

#include "pack.cuh"
#include "scan_backward.cuh"
#include "scan_forward.cuh"

namespace fastrnn::cuda {

struct EmulatedWarp {
  int index;
  bool backwards;  // the order of lanes

  template <class T>
  class Lanes {
   public:
    T& of(int lane) { return values_[lane]; }

   private:
    T values_[32];
  };

  int thread(int lane) const { return index * 32 + lane; }

  template <class F>
  void each(const F& f) const {
    for (int i = 0; i < 32; ++i) f(backwards ? 31 - i : i);
  }

  // The instruction by its definition: matrices put together from the lanes' shares, multiplied, dealt out again.
  template <class S, class WeightsOf, class Operand, class SumsOf>
  void multiply_add(const WeightsOf& weights_of, Operand& operand, const SumsOf& sums_of) const {
    constexpr int terms = numbers_of<S>().together(), each = factors_of_register<S>;
    float a[16][terms], b[terms][8];
    for (int lane = 0; lane < 32; ++lane) {
      const auto weights = weights_of(lane);
      const auto rows = operand.of(lane);
      for (int second = 0; second < 2; ++second) {
        for (int i = 0; i < each; ++i) {
          const int term = second * terms / 2 + lane % 4 * each + i;
          for (int half = 0; half < 2; ++half)
            a[half * 8 + lane / 4][term] = factor_of<S>(weights.of[second * 2 + half], i);
          b[term][lane / 4] = factor_of<S>(rows.of[second], i);
        }
      }
    }
    for (int lane = 0; lane < 32; ++lane) {
      auto& sums = sums_of(lane).of;
      for (int i = 0; i < 4; ++i) {
        const int unit = lane / 4 + i / 2 * 8, row = lane % 4 * 2 + i % 2;
        for (int k = 0; k < terms; ++k) sums[i] += a[unit][k] * b[k][row];
      }
    }
  }

 private:
  template <class S>
  static float factor_of(uint32_t factors, int which) {
    if constexpr (std::is_same_v<S, TensorFloat32>) {
      return float_of(factors);
    } else {
      return from_storage(S{uint16_t(which == 0 ? factors : factors >> 16)});
    }
  }
};

struct EmulatedBlock {
  using Warp = EmulatedWarp;
  int row_tile, unit_tile;
  int threads;
  bool backwards;  // the order of threads
  std::vector<char> memory;
  char* shared;

  EmulatedBlock(int row_tile, int unit_tile, int threads, bool backwards, int64_t bytes)
      : row_tile(row_tile), unit_tile(unit_tile), threads(threads), backwards(backwards) {
    memory.assign(size_t(bytes) + vector_bytes, char(0xFF));  // NaN in every storage type
    shared = memory.data() + (vector_bytes - reinterpret_cast<uintptr_t>(memory.data()) % vector_bytes);
  }
  EmulatedBlock(const EmulatedBlock&) = delete;

  template <class T>
  class PerThread {
   public:
    explicit PerThread(const EmulatedBlock& block) : values_(size_t(block.threads)) {}
    T& of(int thread) { return values_[size_t(thread)]; }

   private:
    std::vector<T> values_;
  };

  template <class Phase>
  void each(const Phase& phase) const {
    for (int i = 0; i < threads; ++i) phase(backwards ? threads - 1 - i : i);
  }
  template <class Phase>
  void each_alone(const Phase& phase) const {
    each(phase);
  }
  template <class Phase>
  void each_warp(const Phase& phase) const {
    const int warps = threads / 32;
    for (int i = 0; i < warps; ++i) phase(Warp{backwards ? warps - 1 - i : i, backwards});
  }
};

// All blocks of a launch, and what they keep while the grid tier hands over.
template <template <class, class, class, Tier> class TileOf, class Cell, class S, Tier tier, class Scan>
class EmulatedGrid {
 public:
  EmulatedGrid(const Scan& scan, int64_t terms, int sums, bool backwards) : scan_(scan), backwards_(backwards) {
    bytes_ = shared_places(tier, scan.tile, terms, sums, Cell::states, numbers_of<S>()).total;
  }

  // One launch of the streamed tier, or everything of the others: blocks go step by step, as between barriers.
  template <class Steps>
  void launch(const Steps& steps, bool begins) {
    const int row_tiles = int((scan_.B + scan_.tile.rows - 1) / scan_.tile.rows);
    const int unit_tiles = int((scan_.H + scan_.tile.units - 1) / scan_.tile.units);
    std::vector<std::unique_ptr<EmulatedBlock>> blocks;
    std::vector<TileOf<EmulatedBlock, Cell, S, tier>> parts;
    for (int i = 0; i < row_tiles * unit_tiles; ++i) {
      const int place = backwards_ ? row_tiles * unit_tiles - 1 - i : i;
      blocks.push_back(std::make_unique<EmulatedBlock>(place % row_tiles, place / row_tiles, scan_.tile.threads,
                                                       backwards_, bytes_));
    }
    parts.reserve(blocks.size());
    for (auto& block : blocks) parts.emplace_back(scan_, *block);
    if (begins)
      for (auto& part : parts) part.begin();
    if (!steps.empty())
      for (auto& part : parts) part.fetch(steps[0]);
    for (size_t i = 0; i < steps.size(); ++i)
      for (auto& part : parts) part.step(steps[i], i + 1 < steps.size() ? steps[i + 1] : -1);
  }

  // Steps in their order; `first` is the one that `begin` precedes.
  void run(const std::vector<int64_t>& steps) {
    if constexpr (tier == Tier::streamed) {
      if (steps.empty()) launch(steps, true);
      for (size_t i = 0; i < steps.size(); ++i) launch(std::vector<int64_t>{steps[i]}, i == 0);
    } else {
      launch(steps, true);
    }
  }

 private:
  const Scan& scan_;
  bool backwards_;
  int64_t bytes_;
};

template <class Cell, class S, Tier tier>
void emulate_forward(const ForwardScan<S>& scan, bool backwards) {
  std::vector<int64_t> steps;
  for (int64_t s = 0; s < scan.T; ++s) steps.push_back(s);
  EmulatedGrid<ForwardTile, Cell, S, tier, ForwardScan<S>>(scan, scan.H, Cell::gates, backwards).run(steps);
}

template <class Cell, class S, Tier tier>
void emulate_backward(const BackwardScan<S>& scan, bool backwards) {
  std::vector<int64_t> steps;
  for (int64_t s = scan.T - 1; s >= -1; --s) steps.push_back(s);
  EmulatedGrid<BackwardTile, Cell, S, tier, BackwardScan<S>>(scan, Cell::gates * scan.H, 1, backwards).run(steps);
}

}  // namespace fastrnn::cuda
