// The forward scan of every cell, storage type and tier.
//
// Computes   for each step s: pre = x_pre_t + b_ih + b_hh + W_hh h_{s-1}; states_s = Cell::forward(pre, states_{s-1});
//            y_t = h_s, rounded to the storage type. Training also keeps what backward needs.
// Shapes     csrc/cuda/scan.h.
// Work split a block owns a tile of rows x units for all steps, so private states stay with it; in the streamed tier
//            for one step. Phases of a step: products (products.cuh), cell. In the resident tier the block owns all
//            units, and h stays in its operand; in the others h_{s-1} is read from y, where all blocks wrote it.
// Cost       2*B*gates*H*H flops per step; weights are read once per pass of rows, in 16-bit types partly from
// registers. Limits     a step of a row past its end writes zeros and changes nothing; tiles whose rows have all ended
// skip
//            the products. The state that the product reads is rounded to storage; what passes by it is not.
#pragma once

#include "matrix_products.cuh"

namespace fastrnn::cuda {

template <class Block, class Cell, class S, Tier tier>
struct ForwardTile {
  using V = ComputeOf<S>;
  static constexpr int gates = Cell::gates, states = Cell::states;
  static constexpr int kept = Cell::saved > 0 ? Cell::saved : 1;
  static constexpr bool resident = tier == Tier::resident;

  const ForwardScan<S>& scan;
  Block& block;
  const Tile& tile;
  const SharedPlaces places;
  const int64_t first_row, first_unit;
  int64_t rows;     // of this tile
  int64_t longest;  // of them
  // x_pre of a step's first element of each thread, loaded while the step before it runs: from main memory it takes
  // as long as a step.
  struct Ahead {
    S x[gates];
  };
  typename Block::template PerThread<Ahead> ahead;
  Product<Block, S, gates, tier> product;

  FASTRNN_DEVICE ForwardTile(const ForwardScan<S>& scan, Block& block)
      : scan(scan),
        block(block),
        tile(scan.tile),
        places(shared_places(tier, tile, scan.H, gates, states, numbers_of<S>())),
        first_row(int64_t(block.row_tile) * tile.rows),
        first_unit(int64_t(block.unit_tile) * tile.units),
        ahead(block),
        product(block, tile, scan.H, places, packed()) {
    rows = scan.B - first_row < tile.rows ? scan.B - first_row : tile.rows;
    longest = 0;
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t length = scan.length(first_row + r);
      longest = length > longest ? length : longest;
    }
  }

  // The weights of this tile's units, in global memory.
  FASTRNN_DEVICE const Vector<S>* packed() const {
    const int64_t vectors = groups_of(scan.H, numbers_of<S>()) * gates * tile.units;
    return reinterpret_cast<const Vector<S>*>(scan.weights) + block.unit_tile * vectors;
  }

  // What passes from step to step beside the product, at its owner.
  FASTRNN_DEVICE V& carry(int state, int64_t r, int64_t u) const {
    if constexpr (tier == Tier::streamed) {
      return scan.carry[(state * scan.B + first_row + r) * scan.H + first_unit + u];
    } else {
      return reinterpret_cast<V*>(block.shared + places.carry)[(state * tile.rows + r) * tile.units + u];
    }
  }
  // What the scan starts from.
  FASTRNN_DEVICE V initial(int state, int64_t b, int64_t unit) const {
    return scan.initial[state] == nullptr ? V(0) : from_storage(scan.initial[state][b * scan.H + unit]);
  }
  FASTRNN_DEVICE int64_t in_history(int64_t place, int64_t b, int64_t unit) const {
    return (place * scan.B + b) * scan.H + unit;
  }

  template <class F>
  FASTRNN_DEVICE void for_elements(int thread, int64_t r_first, int64_t r_last, const F& f) const {
    const int count = int(r_last - r_first) * tile.units;
    for (int i = thread; i < count; i += tile.threads) {
      const int64_t r = r_first + i / tile.units, u = i % tile.units;
      if (first_unit + u < scan.H) f(r, u, first_row + r, first_unit + u);
    }
  }

  // Before step 0; the one thing that happens if T is 0.
  FASTRNN_DEVICE void begin() {
    if constexpr (tier != Tier::streamed) product.keep_weights(packed());
    if constexpr (resident) {
      product.stage(int(rows), 0, product.groups(), [&](int r) {
        return scan.initial[0] == nullptr ? nullptr : scan.initial[0] + (first_row + r) * scan.H;
      });
    }
    block.each([&](int thread) {
      for_elements(thread, 0, rows, [&](int64_t r, int64_t u, int64_t b, int64_t unit) {
        const int64_t length = scan.length(b);
        for (int state = 0; state < states; ++state) {
          const V value = initial(state, b, unit);
          carry(state, r, u) = value;
          if (length == 0 && scan.final[state] != nullptr) to_storage(value, scan.final[state][b * scan.H + unit]);
        }
        if (scan.h_history != nullptr) {
          const int64_t at = in_history(scan.place(0, length), b, unit);
          to_storage(initial(0, b, unit), scan.h_history[at]);
          if constexpr (states > 1) scan.c_history[at] = initial(1, b, unit);
        }
      });
    });
  }

  // What is loaded ahead of step s.
  FASTRNN_DEVICE void fetch(int64_t s) {
    block.each_alone([&](int thread) { fetch_of(thread, s); });
  }
  FASTRNN_DEVICE void fetch_of(int thread, int64_t s) {
    const int64_t r = thread / tile.units, u = thread % tile.units;
    if (r >= rows || r >= product.pass_rows() || first_unit + u >= scan.H) return;
    const int64_t length = scan.length(first_row + r);
    if (s < length) load_x(scan.time(s, length), first_row + r, first_unit + u, ahead.of(thread).x);
  }

  FASTRNN_DEVICE void load_x(int64_t t, int64_t b, int64_t unit, S (&x)[gates]) const {
    const S* from = scan.x_pre + t * scan.x_step + b * scan.x_row + unit;
    FASTRNN_UNROLL for (int g = 0; g < gates; ++g) x[g] = from[scan.x_gate[g] * scan.H];
  }

  // A step whose x has been fetched. `next` will be fetched before it ends, unless there is none.
  FASTRNN_DEVICE void step(int64_t s, int64_t next) {
    const int64_t pass = product.pass_rows();
    for (int64_t r = 0; r < rows; r += pass) {
      const int64_t r_last = r + pass < rows ? r + pass : rows;
      if (s < longest) multiply(s, r, int(r_last - r));
      block.each([&](int thread) {
        for_elements(thread, r, r_last, [&](int64_t row, int64_t u, int64_t b, int64_t unit) {
          const int64_t length = scan.length(b);
          if (s >= length) return write_padding(s, b, unit);
          S x[gates];
          if (row * tile.units + u == thread) {
            FASTRNN_UNROLL for (int g = 0; g < gates; ++g) x[g] = ahead.of(thread).x[g];
          } else {
            load_x(scan.time(s, length), b, unit, x);
          }
          apply_cell(s, length, row, int(row - r), u, b, unit, x);
        });
        if (r_last == rows && next >= 0) fetch_of(thread, next);
      });
    }
  }

  // Sums of rows [r, r + count) into product.partial.
  FASTRNN_DEVICE void multiply(int64_t s, int64_t r, int count) {
    if constexpr (resident) {
      product.run_resident(count, product.operand + r * places.operand_stride);
    } else {
      product.run_staged(count, [&](int i) -> const S* {
        const int64_t b = first_row + r + i, length = scan.length(b);
        if (s >= length) return nullptr;
        if (s == 0) return scan.initial[0] == nullptr ? nullptr : scan.initial[0] + b * scan.H;
        return scan.y + scan.time(s - 1, length) * scan.y_step + b * scan.y_row;
      });
    }
  }

  FASTRNN_DEVICE void apply_cell(int64_t s, int64_t length, int64_t r, int row, int64_t u, int64_t b, int64_t unit,
                                 const S (&x)[gates]) {
    const int64_t t = scan.time(s, length);
    V pre[Cell::slots], prev[states], next[states], keep[kept];
    FASTRNN_UNROLL for (int slot = 0; slot < Cell::slots; ++slot) pre[slot] = V(0);
    FASTRNN_UNROLL for (int g = 0; g < gates; ++g) {
      pre[Cell::x_slot + g] = from_storage(x[g]);
      if (scan.bias_ih != nullptr) pre[Cell::x_slot + g] += from_storage(scan.bias_ih[scan.x_gate[g] * scan.H + unit]);
    }
    FASTRNN_UNROLL for (int g = 0; g < gates; ++g) {
      if (scan.bias_hh != nullptr) pre[Cell::h_slot + g] += from_storage(scan.bias_hh[scan.h_gate[g] * scan.H + unit]);
      pre[Cell::h_slot + g] += product.sum(g, row, int(u));
    }
    FASTRNN_UNROLL for (int state = 0; state < states; ++state) prev[state] = carry(state, r, u);
    Cell::forward(pre, prev, next, keep);
    S h;
    to_storage(next[0], h);
    scan.y[t * scan.y_step + b * scan.y_row + unit] = h;
    if constexpr (resident) product.operand[r * places.operand_stride + unit] = h;
    FASTRNN_UNROLL for (int state = 0; state < states; ++state) {
      carry(state, r, u) = next[state];
      if (s == length - 1 && scan.final[state] != nullptr)
        to_storage(next[state], scan.final[state][b * scan.H + unit]);
    }
    if (scan.h_history == nullptr) return;
    const int64_t at = in_history(scan.place(s + 1, length), b, unit);
    scan.h_history[at] = h;
    if constexpr (states > 1) scan.c_history[at] = next[1];
    FASTRNN_UNROLL for (int i = 0; i < Cell::saved; ++i)
        to_storage(keep[i], scan.keep[((t * scan.B + b) * Cell::saved + i) * scan.H + unit]);
  }

  // Times and places past a row's end are steps past it, in both directions.
  FASTRNN_DEVICE void write_padding(int64_t s, int64_t b, int64_t unit) {
    scan.y[s * scan.y_step + b * scan.y_row + unit] = S{};
    if (scan.h_history != nullptr) scan.h_history[in_history(s + 1, b, unit)] = S{};
  }
};

}  // namespace fastrnn::cuda
