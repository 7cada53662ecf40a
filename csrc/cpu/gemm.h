// The two products of a chunk that are summed over time: input gradients and weight gradients.
//
// Computes   input_gradient:   d_x[n, :] (+)= d_pre[n, input window] W_ih
//            weight_gradient:  d_weights[panel, k, :] (+)= sum_n operand[n, k] * d_pre[panel, n, :]
//                              for k over the inputs, the previous h, and a constant 1 (the bias)
// Shapes     d_pre (panels, chunk_rows, panel_columns); operands (tiles, chunk_rows, width): x then
//            h_prev, cut into columns as wide as a register tile is high and padded with zeros.
// Work split rows of d_x, rectangles of panels x tiles of d_weights: outputs only, never terms of a sum.
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

// The weight gradients of one thread: these panels of these operand tiles. Threads of the same tiles gather them
// together; a thread that has tiles of its own reads back from its L2 what it gathered and meets nobody.
struct WeightShare {
  int64_t panel_begin, panel_end, tile_begin, tile_end;
  int member, members;
};

static inline WeightShare weight_share(const Worker& worker, int64_t panels, int64_t tiles) {
  int parts = 1;  // of the tiles; the split with the smallest largest share, fewest threads a tile among equals
  int64_t least = INT64_MAX;
  for (int p = worker.size; p >= 1; --p) {
    if (worker.size % p != 0) continue;
    const int64_t share = ceil_div(panels, worker.size / p) * ceil_div(tiles, p);
    if (share < least) {
      least = share;
      parts = p;
    }
  }
  const int members = worker.size / parts, member = worker.thread / parts, part = worker.thread % parts;
  return {panels * member / members,
          panels * (member + 1) / members,
          tiles * part / parts,
          tiles * (part + 1) / parts,
          member,
          members};
}

// Tiles [first, last) of a row of `columns`: `Width` columns each, tile_stride apart.
template <int Width, class S>
FASTRNN_TILE void cut_row(const S* row, int64_t columns, int64_t first, int64_t last, S* out, int64_t tile_stride) {
  int64_t k = first * Width;
  for (; first < last && k + Width <= columns; ++first, k += Width, out += tile_stride) {
    __builtin_memcpy(out, row + k, Width * sizeof(S));
  }
  if (first < last) {
    for (int i = 0; i < Width; ++i) out[i] = k + i < columns ? row[k + i] : S(0);
  }
}

// Rows [begin, end) of the chunk's operands, the tiles of one share.
template <int Width, class S>
static void gather_operands(const BackwardScan<S>& scan, const RowList<S>& list, const WeightShare& share,
                            int64_t begin, int64_t end) {
  if (begin >= end) return;
  const int64_t stride = scan.operand_stride(Width), x_tiles = ceil_div(scan.I, Width);
  const int64_t x_last = share.tile_end < x_tiles ? share.tile_end : x_tiles;
  const int64_t h_begin = share.tile_begin > x_tiles ? share.tile_begin : x_tiles;
  S* out = scan.operands + begin * Width;
  auto cursor = list.at(begin);
  for (int64_t n = begin; n < end; ++n, list.advance(cursor), out += Width) {
    if (share.tile_begin < x_last)
      cut_row<Width>(list.x(cursor), scan.I, share.tile_begin, x_last, out + share.tile_begin * stride, stride);
    if (h_begin < share.tile_end)
      cut_row<Width>(list.h_prev(cursor), scan.H, h_begin - x_tiles, share.tile_end - x_tiles, out + h_begin * stride,
                     stride);
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
                                   sums, [](int64_t, int64_t, int) {});
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

// out[k, :] += sum_n operand[n, k] d_pre[n, :] over one block of rows n, for the columns k of one operand
// tile, the vectors [First, First + Count) of a panel; rows k >= valid are padding. The block that starts the
// sums finds nothing in `out` to add to.
template <class Isa, class S, int First, int Count, int Vectors>
static __attribute__((noinline)) void operand_sums(const S* operand, int64_t rows, const S* d_pre, bool starts, S* out,
                                                   int64_t valid, const S* soon) {
  using L = Lanes<Isa, S>;
  constexpr int height = rows_of_tile<Isa, Count>;
  // The totals have been away since the last block: call them back while this one is summed.
  for (int64_t k = 0; k < valid && k < height; ++k)
    for (int v = 0; v < Count * Isa::bytes; v += 64)
      __builtin_prefetch(reinterpret_cast<const char*>(out + (k * Vectors + First) * L::count) + v, 1, 3);
  typename L::V acc[1][height][Count] = {};
  const S* a[height];
#pragma GCC unroll 8
  for (int r = 0; r < height; ++r) a[r] = operand + r;
  multiply_add<Isa, S, 0, Count, Vectors, height>(acc, a, rows, d_pre + First * L::count, 0, soon);
#pragma GCC unroll 8
  for (int r = 0; r < height; ++r) {
    if (r >= valid) break;
#pragma GCC unroll 4
    for (int v = 0; v < Count; ++v) {
      S* sum = out + (r * Vectors + First + v) * L::count;
      L::store(sum, starts ? acc[0][r][v] : L::load(sum) + acc[0][r][v]);
    }
  }
}

template <class Isa, class S, int Vectors>
static void column_sums(const S* d_pre, int64_t rows, bool starts, S* out) {
  using L = Lanes<Isa, S>;
  const int64_t block = block_length(rows);
  for (int64_t n = 0; n < rows; n += block) {
    const int64_t last = n + block < rows ? n + block : rows;
    typename L::V acc[Vectors] = {};
    for (int64_t i = n; i < last; ++i)
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) acc[v] = acc[v] + L::load(d_pre + (i * Vectors + v) * L::count);
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      S* sum = out + v * L::count;
      L::store(sum, starts && n == 0 ? acc[v] : L::load(sum) + acc[v]);
    }
  }
}

// This thread's part of the chunk's weight gradients; `starts`: of the first chunk, to which the others add.
template <class Isa, class S, class W>
static bool weight_gradient(const BackwardScan<S>& scan, const Layout& layout, const WeightShare& share, int64_t rows,
                            bool starts, const S* d_pre, const Worker& worker) {
  constexpr int height = rows_of_tile<Isa, W::x_count>;
  const int64_t columns = layout.panel_columns(), stride = scan.operand_stride(height);
  const int64_t x_tiles = ceil_div(scan.I, height), tiles = x_tiles + ceil_div(scan.H, height);
  const int64_t block = block_length(rows);
  for (int64_t panel = share.panel_begin; panel < share.panel_end; ++panel) {
    if (!worker.proceed()) return false;
    const S* of_panel = d_pre + panel * scan.panel_stride();
    S* sums = scan.d_weights + panel * (scan.I + scan.H + 1) * columns;
    // A block of d_pre stays in L1 while every tile of operands passes over it.
    for (int64_t n = 0; n < rows; n += block) {
      const int64_t depth = rows - n < block ? rows - n : block, lines = columns / line<S>;
      const S* next = n + depth < rows ? of_panel + (n + depth) * columns : of_panel + scan.panel_stride();
      for (int64_t tile = share.tile_begin; tile < share.tile_end; ++tile) {
        const S* operand = scan.operands + tile * stride + n * height;
        // The first tiles fetch the block that follows, the others the operands that do.
        const int64_t part = tile - share.tile_begin;
        const S* soon = part < lines ? next + part * depth * line<S> : operand + stride;
        if (tile < x_tiles) {
          const int64_t k = tile * height;
          operand_sums<Isa, S, W::x_first, W::x_count, W::vectors>(
              operand, depth, of_panel + n * columns, starts && n == 0, sums + k * columns, scan.I - k, soon);
        } else {
          const int64_t k = (tile - x_tiles) * height;
          operand_sums<Isa, S, W::h_first, W::h_count, W::vectors>(operand, depth, of_panel + n * columns,
                                                                   starts && n == 0, sums + (scan.I + k) * columns,
                                                                   scan.H - k, soon);
        }
      }
    }
    if (share.tile_end == tiles)
      column_sums<Isa, S, W::vectors>(of_panel, rows, starts, sums + (scan.I + scan.H) * columns);
  }
  return true;
}

}  // namespace fastrnn::cpu
