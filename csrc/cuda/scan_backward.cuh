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

#include "products.cuh"

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
  Product<Block, S, 1> product;

  FASTRNN_DEVICE BackwardTile(const BackwardScan<S>& scan, Block& block)
      : scan(scan),
        block(block),
        tile(scan.tile),
        places(shared_places(tier, tile, gates * scan.H, 1, states, int(sizeof(S)), int(sizeof(V)))),
        first_row(int64_t(block.row_tile) * tile.rows),
        first_unit(int64_t(block.unit_tile) * tile.units),
        product{block,
                tile,
                gates * scan.H,
                nullptr,
                reinterpret_cast<S*>(block.shared + places.operand),
                places.operand_stride,
                reinterpret_cast<V*>(block.shared + places.partial)} {
    rows = scan.B - first_row < tile.rows ? scan.B - first_row : tile.rows;
    longest = 0;
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t length = scan.length(first_row + r);
      longest = length > longest ? length : longest;
    }
    const int64_t vectors = product.groups() * tile.units;
    const auto* packed = reinterpret_cast<const Vector<S>*>(scan.weights) + block.unit_tile * vectors;
    product.weights = tier == Tier::streamed ? packed : reinterpret_cast<const Vector<S>*>(block.shared);
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
    if constexpr (tier != Tier::streamed) {
      const int64_t vectors = product.groups() * tile.units;
      const auto* from = reinterpret_cast<const Vector<S>*>(scan.weights) + block.unit_tile * vectors;
      auto* to = reinterpret_cast<Vector<S>*>(block.shared);
      block.each([&](int thread) {
        for (int64_t i = thread; i < vectors; i += tile.threads) to[i] = from[i];
      });
    }
    if constexpr (resident) product.stage(int(rows), 0, product.groups(), [](int) -> const S* { return nullptr; });
  }

  // Step s; -1 leaves the gradients of the initial states.
  FASTRNN_DEVICE void step(int64_t s) {
    const int64_t pass = product.pass_rows();
    for (int64_t r = 0; r < rows; r += pass) {
      const int64_t r_last = r + pass < rows ? r + pass : rows;
      if (s + 1 < longest) multiply(s, r, int(r_last - r));
      block.each([&](int thread) {
        const int count = int(r_last - r) * tile.units;
        for (int i = thread; i < count; i += tile.threads) {
          const int64_t row = r + i / tile.units, u = i % tile.units;
          if (first_unit + u < scan.H) finish(s, row, int(row - r), u, first_row + row, first_unit + u);
        }
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

  FASTRNN_DEVICE void finish(int64_t s, int64_t r, int row, int64_t u, int64_t b, int64_t unit) {
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
    apply_cell(s, length, r, u, b, unit, d_next);
  }

  FASTRNN_DEVICE void apply_cell(int64_t s, int64_t length, int64_t r, int64_t u, int64_t b, int64_t unit,
                                 V (&d_next)[states]) {
    const int64_t t = scan.time(s, length);
    if (scan.d_y != nullptr) d_next[0] += from_storage(scan.d_y[t * scan.d_y_step + b * scan.d_y_row + unit]);
    const int64_t before = (scan.place(s, length) * scan.B + b) * scan.H + unit;
    const int64_t after = (scan.place(s + 1, length) * scan.B + b) * scan.H + unit;
    V prev[states], next[states], keep[kept], d_gates[slots], d_prev[states];
    prev[0] = from_storage(scan.h_history[before]);
    next[0] = from_storage(scan.h_history[after]);
    if constexpr (states > 1) {
      prev[1] = scan.c_history[before];
      next[1] = scan.c_history[after];
    }
    FASTRNN_UNROLL for (int i = 0; i < Cell::saved; ++i) keep[i] =
        from_storage(scan.keep[((t * scan.B + b) * Cell::saved + i) * scan.H + unit]);
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
