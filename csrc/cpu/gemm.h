// The two products of a chunk that are summed over time: input gradients and weight gradients.
//
// Computes   input_gradient:   d_x[n, :] (+)= d_pre[n, input window] W_ih
//            weight_gradient:  d_weights[panel, k, :] += sum_n operand[n, k] * d_pre[panel, n, :]
//                              for k over the inputs, the previous h, and a constant 1 (the bias)
// Shapes     d_pre (panels, chunk_rows, panel_columns); operands (tiles, chunk_rows, tile_rows):
//            x then h_prev, cut into columns of one register tile and padded with zeros.
// Work split rows of d_x, (panel, tile) pairs of d_weights: outputs only, never terms of a sum.
// Cost       both run on the register tile of cpu/tile.h at its full height.
// Limits     weight sums are two-level: `block_length` terms in a register, then blocks in order.
#pragma once

#include "products.h"

namespace fastrnn::cpu {

// The packed rows of a chunk, walked in order.
template <class S>
struct RowList {
  const BackwardScan<S>& scan;
  int64_t first_step, base, rows;

  struct Cursor {
    int64_t step, b;
  };
  FASTRNN_INLINE Cursor at(int64_t n) const {
    int64_t step = first_step;
    while (scan.rows.offset[step + 1] - base <= n) ++step;
    return {step, base + n - scan.rows.offset[step]};
  }
  FASTRNN_INLINE void advance(Cursor& cursor) const {
    if (++cursor.b < scan.rows.active[cursor.step]) return;
    ++cursor.step;
    cursor.b = 0;
  }
  FASTRNN_INLINE const S* x(const Cursor& c) const {
    return scan.x + scan.rows.time(c.step, c.b) * scan.x_step + scan.rows.row[c.b] * scan.x_row;
  }
  FASTRNN_INLINE const S* h_prev(const Cursor& c) const { return scan.prev(0, c.step) + c.b * scan.state_stride(); }
  FASTRNN_INLINE S* d_x(const Cursor& c) const {
    return scan.d_x + scan.rows.time(c.step, c.b) * scan.d_x_step + scan.rows.row[c.b] * scan.d_x_row;
  }
};

// columns of one row -> tiles of `tile_rows` columns, chunk_rows * tile_rows elements apart.
template <class Isa, class S>
FASTRNN_TILE void cut_row(const S* row, int64_t columns, S* out, int64_t tile_stride) {
  constexpr int width = Isa::tile_rows;
  int64_t k = 0;
  for (; k + width <= columns; k += width, out += tile_stride) {
    __builtin_memcpy(out, row + k, width * sizeof(S));
  }
  if (k < columns) {
    for (int i = 0; i < width; ++i) out[i] = k + i < columns ? row[k + i] : S(0);
  }
}

// Rows [begin, end) of the chunk's operands.
template <class Isa, class S>
static void gather_operands(const BackwardScan<S>& scan, const RowList<S>& list, int64_t begin, int64_t end) {
  if (begin >= end) return;
  const int64_t tile_stride = scan.operand_stride(Isa::tile_rows);
  S* h_tiles = scan.operands + ceil_div(scan.I, Isa::tile_rows) * tile_stride;
  auto cursor = list.at(begin);
  for (int64_t n = begin; n < end; ++n, list.advance(cursor)) {
    cut_row<Isa>(list.x(cursor), scan.I, scan.operands + n * Isa::tile_rows, tile_stride);
    cut_row<Isa>(list.h_prev(cursor), scan.H, h_tiles + n * Isa::tile_rows, tile_stride);
  }
}

// Rows of d_x, this thread's part.
template <class Isa, class S>
static bool input_gradient(const BackwardScan<S>& scan, const Layout& layout, const RowList<S>& list, const S* d_pre,
                           const Worker& worker) {
  using L = Lanes<Isa, S>;
  const int width = scan.weights.x_width;
  const int64_t panel_units = int64_t(width) * L::count, outputs = ceil_div(scan.I, panel_units);
  const int64_t columns = layout.panel_columns(), panels = layout.panels(scan.H);
  const int64_t depth = int64_t(layout.x_count()) * L::count;
  const int64_t end = worker.end(list.rows);
  for (int64_t first = worker.begin(list.rows); first < end; first += group_rows) {
    const int64_t rows = end - first < group_rows ? end - first : group_rows;
    const auto start = list.at(first);
    for (int64_t output = 0; output < outputs; ++output) {
      if (!worker.proceed()) return false;
      alignas(64) S sums[group_rows * panel_vectors * L::count];
      output_sums_of_width<Isa, S>(width, rows, d_pre + first * columns + layout.x_first() * L::count, columns, panels,
                                   depth, scan.panel_stride(), scan.weights.x + output * panels * depth * panel_units,
                                   sums);
      auto cursor = start;
      for (int64_t r = 0; r < rows; ++r, list.advance(cursor)) {
        S* row = list.d_x(cursor);
        for (int64_t k = output * panel_units; k < scan.I && k < (output + 1) * panel_units; k += L::count) {
          typename L::V sum = L::load(sums + r * panel_units + (k - output * panel_units));
          if (scan.d_x_adds) sum = L::load_first(row + k, scan.I - k) + sum;
          L::store_first(row + k, sum, scan.I - k);
        }
      }
    }
  }
  return true;
}

// This thread's (panel, tile) pairs of the chunk's weight gradients.
template <class Isa, class S, class W>
static bool weight_gradient(const BackwardScan<S>& scan, const Layout& layout, int64_t rows, const S* d_pre,
                            const Worker& worker) {
  constexpr int height = Isa::tile_rows;
  const int64_t columns = layout.panel_columns();
  const int64_t x_tiles = ceil_div(scan.I, height), h_tiles = ceil_div(scan.H, height);
  const int64_t tiles = x_tiles + h_tiles, pairs = layout.panels(scan.H) * tiles;
  const int64_t operand_stride = scan.operand_stride(height);
  const int64_t block = block_length(rows);
  for (int64_t pair = worker.begin(pairs), end = worker.end(pairs); pair < end;) {
    if (!worker.proceed()) return false;
    const int64_t panel = pair / tiles, first = pair % tiles;
    const int64_t last = tiles < first + (end - pair) ? tiles : first + (end - pair);
    pair += last - first;
    const S* of_panel = d_pre + panel * scan.panel_stride();
    S* sums = scan.d_weights + panel * (scan.I + scan.H + 1) * columns;
    // A block of d_pre stays in L1 while every tile of operands passes over it.
    for (int64_t n = 0; n < rows; n += block) {
      const int64_t depth = rows - n < block ? rows - n : block;
      for (int64_t tile = first; tile < last; ++tile) {
        const S* operand = scan.operands + tile * operand_stride + n * height;
        if (tile < x_tiles) {
          const int64_t k = tile * height;
          operand_sums<Isa, S, W::x_first, W::x_count, W::vectors>(
              operand, depth, of_panel + n * columns, sums + k * columns, scan.I - k, operand + operand_stride);
        } else {
          const int64_t k = (tile - x_tiles) * height;
          operand_sums<Isa, S, W::h_first, W::h_count, W::vectors>(operand, depth, of_panel + n * columns,
                                                                   sums + (scan.I + k) * columns, scan.H - k,
                                                                   operand + operand_stride);
        }
      }
    }
    if (last == tiles) column_sums<Isa, S, W::vectors>(of_panel, rows, sums + (scan.I + scan.H) * columns);
  }
  return true;
}

}  // namespace fastrnn::cpu
