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

struct EmulatedBlock {
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
};

// All blocks of a launch, and what they keep while the grid tier hands over.
template <template <class, class, class, Tier> class TileOf, class Cell, class S, Tier tier, class Scan>
class EmulatedGrid {
 public:
  EmulatedGrid(const Scan& scan, int64_t terms, int sums, bool backwards) : scan_(scan), backwards_(backwards) {
    bytes_ = shared_places(tier, scan.tile, terms, sums, Cell::states, int(sizeof(S)), int(sizeof(ComputeOf<S>))).total;
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
    for (const int64_t s : steps)
      for (auto& part : parts) part.step(s);
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
