// The backward scan (BPTT) of every cell, storage type and tier.
//
// Computes   for s = last..0: d_h = d_y_t + d_pre_{s+1} W_hh + what the cell passes on past the product;
//            d_pre_s, d_states_{s-1} = Cell::backward(...). After step 0, as step -1, the initial states' gradient.
// Shapes     d_pre (T, B, slots*H), slots in the cell's order: the recurrent window [h_slot, h_slot + gates) of a row
//            is one piece of gates*H terms. x_pre's gradient is the input window. The rest: csrc/cuda/scan.h.
// Work split as forward: a tile of rows x units, the units being those of d_h. In the resident tier d_pre stays in the
//            operand as well; in the others the terms of d_pre_{s+1} are read where all blocks wrote them.
// Cost       2*B*gates*H*H flops per step; a row hands over gates*H numbers per step where forward hands over H.
// Limits     as forward. Weight and bias gradients are the caller's products over d_pre, x and h_history.
#pragma once

#include "matrix_products.cuh"

namespace fastrnn::cuda {

template <class Block, class Cell, class S, Tier tier>
struct BackwardTile {
  using V = ComputeOf<S>;
  static constexpr int gates = Cell::gates, states = Cell::states, slots = Cell::slots;
  static constexpr int kept = Cell::saved > 0 ? Cell::saved : 1;
  static constexpr bool resident = tier == Tier::resident;

  const BackwardScan<S>& scan;
  Block& block;
  const Tile& tile;
  const SharedPlaces places;
  const int64_t first_row, first_unit;
  int64_t rows;     // of this tile
  int64_t longest;  // of them
  // What forward left for an element of a step. Each thread loads that of its first element while the step before it
  // runs: from main memory it takes as long as a step.
  struct Left {
    S d_y, h[2], keep[kept];  // h and c before the step and after it
    V c[2];
  };
  typename Block::template PerThread<Left> ahead;
  Product<Block, S, 1, tier> product;

  FASTRNN_DEVICE BackwardTile(const BackwardScan<S>& scan, Block& block)
      : scan(scan),
        block(block),
        tile(scan.tile),
        places(shared_places(tier, tile, gates * scan.H, 1, states, numbers_of<S>())),
        first_row(int64_t(block.row_tile) * tile.rows),
        first_unit(int64_t(block.unit_tile) * tile.units),
        ahead(block),
        product(block, tile, gates * scan.H, places, packed()) {
    rows = scan.B - first_row < tile.rows ? scan.B - first_row : tile.rows;
    longest = 0;
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t length = scan.length(first_row + r);
      longest = length > longest ? length : longest;
    }
  }

  // The weights of this tile's units, in global memory.
  FASTRNN_DEVICE const Vector<S>* packed() const {
    const int64_t vectors = groups_of(gates * scan.H, numbers_of<S>()) * tile.units;
    return reinterpret_cast<const Vector<S>*>(scan.weights) + block.unit_tile * vectors;
  }

  // The gradient that passes from step to step beside the product, at its owner.
  FASTRNN_DEVICE V& carry(int state, int64_t r, int64_t u) const {
    if constexpr (tier == Tier::streamed) {
      return scan.carry[(state * scan.B + first_row + r) * scan.H + first_unit + u];
    } else {
      return reinterpret_cast<V*>(block.shared + places.carry)[(state * tile.rows + r) * tile.units + u];
    }
  }
  FASTRNN_DEVICE V arriving(int state, int64_t b, int64_t unit) const {
    return scan.d_final[state] == nullptr ? V(0) : from_storage(scan.d_final[state][b * scan.H + unit]);
  }
  FASTRNN_DEVICE S* d_pre(int64_t t, int64_t b, int slot) const {
    return scan.d_pre + ((t * scan.B + b) * slots + slot) * scan.H;
  }

  // Before the last step.
  FASTRNN_DEVICE void begin() {
    if constexpr (tier != Tier::streamed) product.keep_weights(packed());
    if constexpr (resident) product.stage(int(rows), 0, product.groups(), [](int) -> const S* { return nullptr; });
  }

  // What is loaded ahead of step s.
  FASTRNN_DEVICE void fetch(int64_t s) {
    block.each_alone([&](int thread) { fetch_of(thread, s); });
  }
  FASTRNN_DEVICE void fetch_of(int thread, int64_t s) {
    const int64_t r = thread / tile.units, u = thread % tile.units;
    if (s < 0 || r >= rows || r >= product.pass_rows() || first_unit + u >= scan.H) return;
    const int64_t length = scan.length(first_row + r);
    if (s < length) load_left(s, length, first_row + r, first_unit + u, ahead.of(thread));
  }

  FASTRNN_DEVICE void load_left(int64_t s, int64_t length, int64_t b, int64_t unit, Left& left) const {
    const int64_t t = scan.time(s, length);
    left.d_y = scan.d_y == nullptr ? S{} : scan.d_y[t * scan.d_y_step + b * scan.d_y_row + unit];
    FASTRNN_UNROLL for (int64_t i = 0; i < 2; ++i) {
      const int64_t at = (scan.place(s + i, length) * scan.B + b) * scan.H + unit;
      left.h[i] = scan.h_history[at];
      if constexpr (states > 1) left.c[i] = scan.c_history[at];
    }
    FASTRNN_UNROLL for (int i = 0; i < Cell::saved; ++i) left.keep[i] =
        scan.keep[((t * scan.B + b) * Cell::saved + i) * scan.H + unit];
  }

  // Step s, fetched; -1 leaves the gradients of the initial states. `next` will be fetched before it ends, unless it is
  // below 0.
  FASTRNN_DEVICE void step(int64_t s, int64_t next) {
    const int64_t pass = product.pass_rows();
    for (int64_t r = 0; r < rows; r += pass) {
      const int64_t r_last = r + pass < rows ? r + pass : rows;
      if (s + 1 < longest) multiply(s, r, int(r_last - r));
      block.each([&](int thread) {
        const int count = int(r_last - r) * tile.units;
        for (int i = thread; i < count; i += tile.threads) {
          const int64_t row = r + i / tile.units, u = i % tile.units;
          if (first_unit + u < scan.H) finish(thread, s, row, int(row - r), u, first_row + row, first_unit + u);
        }
        if (r_last == rows) fetch_of(thread, next);
      });
    }
  }

  // Sums d_pre_{s+1} W_hh of rows [r, r + count) into product.partial.
  FASTRNN_DEVICE void multiply(int64_t s, int64_t r, int count) {
    if constexpr (resident) {
      product.run_resident(count, product.operand + r * places.operand_stride);
    } else {
      product.run_staged(count, [&](int i) -> const S* {
        const int64_t b = first_row + r + i, length = scan.length(b);
        return s + 1 < length ? d_pre(scan.time(s + 1, length), b, Cell::h_slot) : nullptr;
      });
    }
  }

  FASTRNN_DEVICE void finish(int thread, int64_t s, int64_t r, int row, int64_t u, int64_t b, int64_t unit) {
    const int64_t length = scan.length(b);
    if (s >= length) {  // padding, at the time of its step in both directions
      FASTRNN_UNROLL for (int slot = 0; slot < slots; ++slot) d_pre(s, b, slot)[unit] = S{};
      return;
    }
    V d_next[states];
    if (s == length - 1) {  // nothing of this row came later
      FASTRNN_UNROLL for (int state = 0; state < states; ++state) d_next[state] = arriving(state, b, unit);
    } else {
      d_next[0] = product.sum(0, row, int(u));
      if constexpr (Cell::carries_h) d_next[0] += carry(0, r, u);
      FASTRNN_UNROLL for (int state = 1; state < states; ++state) d_next[state] = carry(state, r, u);
    }
    if (s < 0) {
      FASTRNN_UNROLL for (int state = 0; state < states; ++state)
          to_storage(d_next[state], scan.d_initial[state][b * scan.H + unit]);
      return;
    }
    if (r * tile.units + u == thread) {
      apply_cell(s, length, r, u, b, unit, d_next, ahead.of(thread));
    } else {
      Left left;
      load_left(s, length, b, unit, left);
      apply_cell(s, length, r, u, b, unit, d_next, left);
    }
  }

  FASTRNN_DEVICE void apply_cell(int64_t s, int64_t length, int64_t r, int64_t u, int64_t b, int64_t unit,
                                 V (&d_next)[states], const Left& left) {
    const int64_t t = scan.time(s, length);
    if (scan.d_y != nullptr) d_next[0] += from_storage(left.d_y);
    V prev[states], next[states], keep[kept], d_gates[slots], d_prev[states];
    prev[0] = from_storage(left.h[0]);
    next[0] = from_storage(left.h[1]);
    if constexpr (states > 1) {
      prev[1] = left.c[0];
      next[1] = left.c[1];
    }
    FASTRNN_UNROLL for (int i = 0; i < Cell::saved; ++i) keep[i] = from_storage(left.keep[i]);
    Cell::backward(keep, prev, next, d_next, d_gates, d_prev);
    FASTRNN_UNROLL for (int slot = 0; slot < slots; ++slot) {
      S rounded;
      to_storage(d_gates[slot], rounded);
      d_pre(t, b, slot)[unit] = rounded;
      if constexpr (resident) {
        if (slot >= Cell::h_slot && slot < Cell::h_slot + gates)
          product.operand[r * places.operand_stride + (slot - Cell::h_slot) * scan.H + unit] = rounded;
      }
    }
    FASTRNN_UNROLL for (int state = Cell::carries_h ? 0 : 1; state < states; ++state) carry(state, r, u) =
        d_prev[state];
  }
};

}  // namespace fastrnn::cuda
