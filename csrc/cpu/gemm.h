// The two products of a chunk that are summed over time: input gradients and weight gradients.
//
// Computes   input_gradient:   d_x[n, :] (+)= d_pre[n, input window] W_ih
//            weight_gradient:  d_weights[panel, k, :] += sum_n operand[n, k] * d_pre[panel, n, :]
//                              for k over the inputs, the previous h, and a constant 1 (the bias)
// Shapes     d_pre (panels, chunk_rows, panel_columns); operands (tiles, chunk_rows, tile_rows):
//            x then h_prev, cut into columns of one register tile and padded with zeros.
// Work split rows of d_x, (panel, tile) pairs of d_weights: outputs only, never terms of a sum.
// Cost       both run on the register tile of cpu/tile.h at its full height.
// Limits     weight sums are two-level: `block_rows` terms in a register, then blocks in order.
#pragma once

#include "scan.h"
#include "tile.h"

namespace fastrnn::cpu {

// Terms of a weight gradient that one register sums: few, so that the error of T*B terms stays near
// that of sums over B and then T; many, so that the block's sum is seldom added to memory.
constexpr int64_t block_rows = 64;

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

// acc += a . w where a's row lies in `panels` pieces of `depth` elements, a_stride apart.
template <class Isa, class S, int Rows, int Width>
FASTRNN_TILE void multiply_add_panels(typename Isa::template Vec<S>::type (&acc)[1][Rows][Width],
                                      const S* const (&a)[Rows], int64_t panels, int64_t depth,
                                      int64_t a_stride, const S* w) {
  const S* piece[Rows];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) piece[r] = a[r];
  for (int64_t panel = 0; panel < panels; ++panel) {
    multiply_add<Isa, S, 0, Width>(acc, piece, depth, w, 0);
    w += depth * Width * Lanes<Isa, S>::count;
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) piece[r] += a_stride;
  }
}

template <class Isa, class S, int Rows, int Width>
static __attribute__((noinline)) void input_gradient_tile(const S* const (&a)[Rows], S* const (&d_x)[Rows],
                                                          const BackwardScan<S>& scan, int64_t panels,
                                                          int64_t depth, int64_t a_stride, int64_t output) {
  using L = Lanes<Isa, S>;
  typename L::V acc[1][Rows][Width] = {};
  const S* w = scan.weights.x + output * panels * depth * Width * L::count;
  multiply_add_panels<Isa, S>(acc, a, panels, depth, a_stride, w);
  const int64_t first = output * Width * L::count;
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < Width; ++v) {
      const int64_t k = first + v * L::count;
      if (k >= scan.I) break;
      typename L::V sum = acc[0][r][v];
      if (scan.d_x_adds) sum = L::load_first(d_x[r] + k, scan.I - k) + sum;
      L::store_first(d_x[r] + k, sum, scan.I - k);
    }
  }
}

template <class Isa, class S, int Width>
static bool input_gradient_of_width(const BackwardScan<S>& scan, const Layout& layout, const RowList<S>& list,
                                    const S* d_pre, const Worker& worker) {
  const int64_t outputs = ceil_div(scan.I, int64_t(Width) * layout.lanes);
  const int64_t columns = layout.panel_columns(), a_stride = scan.panel_stride();
  const int64_t panels = layout.panels(scan.H), depth = int64_t(layout.x_count()) * layout.lanes;
  // A few tiles of d_pre rows stay in L2 while every panel of the weights passes over them.
  constexpr int64_t band = 8 * Isa::tile_rows;
  const int64_t end = worker.end(list.rows);
  for (int64_t first = worker.begin(list.rows); first < end; first += band) {
    if (!worker.proceed()) return false;
    const int64_t last = first + band < end ? first + band : end;
    const auto start = list.at(first);
    for (int64_t output = 0; output < outputs; ++output) {
      auto cursor = start;
      for_row_tiles<Isa>(first, last, [&]<int Rows>(int64_t n) {
        const S* a[Rows];
        S* d_x[Rows];
#pragma GCC unroll 8
        for (int r = 0; r < Rows; ++r) {
          a[r] = d_pre + (n + r) * columns + layout.x_first() * layout.lanes;
          d_x[r] = list.d_x(cursor);
          list.advance(cursor);
        }
        input_gradient_tile<Isa, S, Rows, Width>(a, d_x, scan, panels, depth, a_stride, output);
      });
    }
  }
  return true;
}

template <class Isa, class S>
static bool input_gradient(const BackwardScan<S>& scan, const Layout& layout, const RowList<S>& list,
                           const S* d_pre, const Worker& worker) {
  switch (scan.weights.x_width) {
    case 1: return input_gradient_of_width<Isa, S, 1>(scan, layout, list, d_pre, worker);
    case 2: return input_gradient_of_width<Isa, S, 2>(scan, layout, list, d_pre, worker);
    default: return input_gradient_of_width<Isa, S, 4>(scan, layout, list, d_pre, worker);
  }
}

// d_weights[k .. k + tile_rows) of one panel, vectors [First, First + Count) of Vectors.
template <class Isa, class S, int First, int Count, int Vectors>
static __attribute__((noinline)) void weight_gradient_tile(const S* operand, int64_t rows, const S* d_pre,
                                                           S* out, int64_t valid) {
  using L = Lanes<Isa, S>;
  constexpr int height = Isa::tile_rows;
  for (int64_t n = 0; n < rows; n += block_rows) {
    const int64_t depth = rows - n < block_rows ? rows - n : block_rows;
    typename L::V acc[1][height][Count] = {};
    const S* a[height];
#pragma GCC unroll 8
    for (int r = 0; r < height; ++r) a[r] = operand + n * height + r;
    multiply_add<Isa, S, 0, Count, Vectors, height>(acc, a, depth,
                                                    d_pre + (n * Vectors + First) * L::count, 0);
#pragma GCC unroll 8
    for (int r = 0; r < height; ++r) {
      if (r >= valid) break;
#pragma GCC unroll 4
      for (int v = 0; v < Count; ++v) {
        S* sum = out + (r * Vectors + First + v) * L::count;
        L::store(sum, L::load(sum) + acc[0][r][v]);
      }
    }
  }
}

template <class Isa, class S, int Vectors>
static void bias_gradient(int64_t rows, const S* d_pre, S* out) {
  using L = Lanes<Isa, S>;
  for (int64_t n = 0; n < rows; n += block_rows) {
    const int64_t last = n + block_rows < rows ? n + block_rows : rows;
    typename L::V acc[Vectors] = {};
    for (int64_t i = n; i < last; ++i)
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) acc[v] = acc[v] + L::load(d_pre + (i * Vectors + v) * L::count);
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v)
      L::store(out + v * L::count, L::load(out + v * L::count) + acc[v]);
  }
}

// This thread's (panel, tile) pairs of the chunk's weight gradients.
template <class Isa, class S, class Windows>
static bool weight_gradient(const BackwardScan<S>& scan, const Layout& layout, int64_t rows, const S* d_pre,
                            const Worker& worker) {
  constexpr int height = Isa::tile_rows;
  const int64_t columns = layout.panel_columns();
  const int64_t x_tiles = ceil_div(scan.I, height), h_tiles = ceil_div(scan.H, height);
  const int64_t tiles = x_tiles + h_tiles, pairs = layout.panels(scan.H) * tiles;
  const int64_t operand_stride = scan.operand_stride(height);
  for (int64_t pair = worker.begin(pairs); pair < worker.end(pairs); ++pair) {
    if (!worker.proceed()) return false;
    const int64_t panel = pair / tiles, tile = pair % tiles;
    const S* of_panel = d_pre + panel * scan.panel_stride();
    const S* operand = scan.operands + tile * operand_stride;
    S* sums = scan.d_weights + panel * (scan.I + scan.H + 1) * columns;
    if (tile < x_tiles) {
      const int64_t k = tile * height;
      weight_gradient_tile<Isa, S, Windows::x_first, Windows::x_count, Windows::vectors>(
          operand, rows, of_panel, sums + k * columns, scan.I - k);
    } else {
      const int64_t k = (tile - x_tiles) * height;
      weight_gradient_tile<Isa, S, Windows::h_first, Windows::h_count, Windows::vectors>(
          operand, rows, of_panel, sums + (scan.I + k) * columns, scan.H - k);
    }
    if (tile == tiles - 1) {
      bias_gradient<Isa, S, Windows::vectors>(rows, of_panel, sums + (scan.I + scan.H) * columns);
    }
  }
  return true;
}

}  // namespace fastrnn::cpu
