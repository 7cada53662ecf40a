// The arguments of one scan on a GPU: one layer in one direction, forward or backward.
//
// The time-batched products are the caller's (docs/decisions/0019): a scan starts from x W_ih^T of all steps
// and ends at d_pre of all steps. Step s of row b is time t = s, or length - 1 - s if reversed; a row lives for its
// first length[b] steps. All pointers are device memory. Sizes T B H; strides count elements.
#pragma once

#include <cstdint>

#include "storage.h"

namespace fastrnn::cuda {

enum class Tier {
  resident,  // one block owns all units of its rows for all steps: h never leaves the block
  grid,      // the blocks of a row tile share the units, all in flight at once, and hand over h at every step
  streamed,  // one launch per step; weights are read anew
};
constexpr int tiers = 3;
constexpr const char* name_of(Tier tier) {
  constexpr const char* names[] = {"resident", "grid", "streamed"};
  return names[int(tier)];
}

// How a block cuts its part of a step; csrc/cuda/products.cuh and
// matrix_products.cuh say what each number means. Chosen by plan.h.
struct Tile {
  int units;       // hidden units of a block, a multiple of 8, in 16-bit types of 16
  int rows;        // batch rows of a block
  int row_groups;  // of rows that are summed at once; each has Numbers::row_lanes() rows
  int parts;       // of the terms of a sum, each a thread's or in 16-bit types a warp's
  int threads;     // row_groups * parts * units at least, in 16-bit types parts * units * 2
  int chunk;       // terms of a sum that are staged at once, a multiple of parts * vector_length or parts * 16
};

// What every scan has.
struct ScanSizes {
  int64_t T, B, H;
  bool reverse;
  const int64_t* lengths;  // (B,) in [0, T], or null = all T
  Tile tile;
  int x_gate[4], h_gate[4];  // of the cell: PyTorch's row block of each slot of the two windows

  FASTRNN_INLINE int64_t length(int64_t b) const { return lengths == nullptr ? T : lengths[b]; }
  // Time of a step; place of the state before step s, equally after step s - 1, in a history of T + 1.
  FASTRNN_INLINE int64_t time(int64_t s, int64_t length) const { return reverse ? length - 1 - s : s; }
  FASTRNN_INLINE int64_t place(int64_t s, int64_t length) const { return reverse ? length - s : s; }
};

template <class S>
struct ForwardScan : ScanSizes {
  using V = ComputeOf<S>;
  const S* weights;   // packed for this tile, see pack.cuh
  const S* x_pre;     // (T, B, gates*H) through x_step, x_row: x W_ih^T, PyTorch's gate order
  int64_t x_step, x_row;
  const S* bias_ih;   // (gates*H,) or null
  const S* bias_hh;
  const S* initial[2];  // (B, H) h_0, c_0, or null = zeros
  S* final[2];          // (B, H)
  S* y;                 // (T, B, H) through y_step, y_row; 0 past a row's end. Holds h for the next step
  int64_t y_step, y_row;
  S* h_history;  // (T + 1, B, H) in training, else null: every h by `place`, 0 past a row's end
  V* c_history;  // (T + 1, B, H) likewise, of state 1; nothing past a row's end
  S* keep;       // (T, B, saved*H) likewise, at the step's time
  V* carry;      // (states, B, H) workspace of the streamed tier: states that skip the product
  unsigned long long* flags;  // (row tiles, unit tiles) workspace of the grid tier, zeros
};

template <class S>
struct BackwardScan : ScanSizes {
  using V = ComputeOf<S>;
  const S* weights;    // packed for this tile, transposed
  const S* d_y;        // (T, B, H) through d_y_step, d_y_row, or null = zero
  int64_t d_y_step, d_y_row;
  const S* d_final[2];    // (B, H) or null = zero
  const S* h_history;     // of the forward scan
  const V* c_history;
  const S* keep;
  S* d_pre;            // (T, B, slots*H), slots in the cell's order; 0 past a row's end
  S* d_initial[2];     // (B, H)
  V* carry;            // (states, B, H) workspace of the streamed tier: gradients that skip the product
  unsigned long long* flags;
};

// Fills what a scan takes from its cell.
template <class Cell>
void set_cell(ScanSizes& sizes) {
  for (int g = 0; g < Cell::gates; ++g) {
    sizes.x_gate[g] = Cell::x_gate[g];
    sizes.h_gate[g] = Cell::h_gate[g];
  }
  static_assert(Cell::x_gate[Cell::gates - 1] == Cell::gates - 1, "the caller multiplies W_ih in its own order");
}

}  // namespace fastrnn::cuda
