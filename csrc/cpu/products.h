// The products of every scan, on the register tile: no cell in them, so all cells share the code.
//
// Computes   input_sums      out = bias + x W_ih        over the inputs
//            recurrent_sums  out = input + h W_hh       over the units
//            output_sums     out = d_pre W              over the slots' columns
//            each in blocks of block_length: a block in registers, the total in L1
//            Where tiles of rows share weights past L1, all of them pass over one span of weights, a few
//            blocks, before the next span is touched: every product reads its weights from L1.
// Shapes     a tile is Rows rows of Panels weight panels; out is (Panels, Rows, columns) or rows of a
//            larger array, by strides. Sums pass through L1 on their way to the cell: 1.5 KB a tile,
//            a few cycles beside its hundreds, and the products need compiling once, not per cell.
// Work split none: the kernels above call it for the rows and panels that a thread owns.
// Cost       see cpu/tile.h.
// Limits     the order of every sum is fixed here and, for weight gradients, in cpu/gemm.h.
#pragma once

#include "scan.h"
#include "tile.h"

namespace fastrnn::cpu {

// The two windows of a panel, in vectors.
template <int XFirst, int XCount, int HFirst, int HCount, int Vectors>
struct Windows {
  static constexpr int x_first = XFirst, x_count = XCount, h_first = HFirst, h_count = HCount;
  static constexpr int vectors = Vectors;
};

template <class Isa, class Cell, class S>
struct WindowsOf {
  static constexpr Layout layout = layout_of<Cell>(Lanes<Isa, S>::count);
  using type = Windows<layout.x_first(), layout.x_count(), layout.h_first(), layout.h_count(), layout.vectors()>;
};

// Where a tile's sums go, or come from: element (panel, row) starts at data + panel*panel + row*row.
template <class S>
struct TileView {
  S* data;
  int64_t panel, row;
};

// out = from + acc.
template <class Isa, class S, class V, int Panels, int Rows, int Vectors>
FASTRNN_TILE void add_block(const V (&acc)[Panels][Rows][Vectors], TileView<const S> from, TileView<S> out) {
  using L = Lanes<Isa, S>;
#pragma GCC unroll 4
  for (int q = 0; q < Panels; ++q)
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) {
        const V total = L::load(from.data + q * from.panel + r * from.row + v * L::count);
        L::store(out.data + q * out.panel + r * out.row + v * L::count, total + acc[q][r][v]);
      }
}

// Terms that one register sums before it is added to the total in L1. A sum of K terms in blocks of n errs
// like sqrt(K n / 2 + K^2 / (2 n)) roundings instead of K / sqrt(2), and adding a block holds up the chains of
// the next. A sixth of K keeps the error within 1.5 times that of 16 partial sums, which is what a BLAS has
// (docs/numerics.md), at six or seven additions a sum.
constexpr int64_t least_block = 32, most_block = 128;

// Blocks of one sum of K terms are nearly equal: 33 terms are 24 and 9, not 32 and one that gains nothing.
FASTRNN_TILE int64_t even_length(int64_t K, int64_t length) {
  const int64_t blocks = (K + length - 1) / length, even = blocks > 0 ? (K + blocks - 1) / blocks : 1;
  return (even + 7) / 8 * 8;
}
FASTRNN_TILE int64_t block_length(int64_t K) {
  const int64_t sixth = K / 6;
  return even_length(K, sixth < least_block ? least_block : sixth < most_block ? sixth : most_block);
}

// Rows whose products of `flops` each take about a millisecond of a core, in whole tiles: what may pass
// between two looks at the interrupt.
FASTRNN_TILE int64_t rows_between_looks(int64_t flops, int64_t tile_rows) {
  const int64_t tiles = int64_t(60'000'000) / (flops > 0 ? flops * tile_rows : 1);
  return (tiles > 1 ? tiles : 1) * tile_rows;
}

// Elements of one cache line.
template <class S>
constexpr int64_t line = 64 / int64_t(sizeof(S));

// A closure in a hot loop must be inlined: as a call, its captures live in memory, and every store of a total
// would have to read them again.
#define FASTRNN_INLINED_LAMBDA __attribute__((always_inline))

// The terms [first, last) of a longer sum, in blocks.
struct Span {
  int64_t first, last, block;
};

// Calls body(span) over K terms, each with as many whole blocks as let `columns` weights a term stay in half of
// L1. One tile of rows alone reads its weights once: one span.
template <class S, class Body>
FASTRNN_TILE void for_spans(int64_t K, int64_t block, int64_t columns, int64_t tiles, const Body& body) {
  constexpr int64_t bytes = 24 << 10;
  const int64_t blocks = bytes / (block * columns * int64_t(sizeof(S)));
  const int64_t length = tiles == 1 ? K : (blocks > 1 ? blocks : 1) * block;
  int64_t first = 0;
  do {
    const int64_t last = K - first <= length ? K : first + length;
    body(Span{first, last, block});
    first += length;
  } while (first < K);
}

// Rows of one panel whose totals share L1 with a span of weights.
constexpr int64_t group_rows = 96;

// The rows' operands and totals may lie anywhere: x and out are one pointer per row.
template <class Isa, class S, class W, int Panels, int Rows>
static __attribute__((noinline)) void input_sums(const S* const* x, int64_t I, const Span& span, const S* weights,
                                                 const S* bias, S* const* out, int64_t out_panel, const S* soon) {
  using L = Lanes<Isa, S>;
  int64_t first = span.first;
  do {
    const int64_t count = span.last - first < span.block ? span.last - first : span.block;
    typename L::V acc[Panels][Rows][W::vectors] = {};
    const S* a[Rows];
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) a[r] = x[r] + first;
    multiply_add<Isa, S, W::x_first, W::x_count>(acc, a, count, weights + first * W::x_count * L::count,
                                                 I * W::x_count * L::count, soon + (first - span.first) * line<S>);
#pragma GCC unroll 4
    for (int q = 0; q < Panels; ++q)
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < W::vectors; ++v) {
          S* total = out[r] + q * out_panel + v * L::count;
          const S* from = first == 0 ? bias + (q * W::vectors + v) * L::count : total;
          L::store(total, L::load(from) + acc[q][r][v]);
        }
    first += span.block;
  } while (first < span.last);
}

// `input` is what the first term of the sum is added to; later spans go on from `out`.
template <class Isa, class S, class W, int Panels, int Rows>
static __attribute__((noinline)) void recurrent_sums(const S* h, int64_t h_stride, int64_t H, const Span& span,
                                                     const S* weights, TileView<const S> input, TileView<S> out,
                                                     const S* soon) {
  using L = Lanes<Isa, S>;
  int64_t first = span.first;
  do {
    const int64_t count = span.last - first < span.block ? span.last - first : span.block;
    typename L::V acc[Panels][Rows][W::vectors] = {};
    const S* a[Rows];
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) a[r] = h + first + r * h_stride;
    multiply_add<Isa, S, W::h_first, W::h_count>(acc, a, count, weights + first * W::h_count * L::count,
                                                 H * W::h_count * L::count, soon + (first - span.first) * line<S>);
    if (first == 0) {
      add_block<Isa>(acc, input, out);
    } else {
      add_block<Isa>(acc, {out.data, out.panel, out.row}, out);
    }
    first += span.block;
  } while (first < span.last);
}

// One block of output_sums for one tile of rows: `pieces` runs of `depth` terms, a_stride apart.
template <class Isa, class S, int Rows, int Width>
static __attribute__((noinline)) void output_block(const S* first_row, int64_t row_stride, int64_t pieces,
                                                   int64_t depth, int64_t a_stride, const S* weights, bool starts,
                                                   S* out, const S* soon) {
  using L = Lanes<Isa, S>;
  typename L::V acc[1][Rows][Width] = {};
  for (int64_t p = 0; p < pieces; ++p) {
    const S* a[Rows];
#pragma GCC unroll 24
    for (int r = 0; r < Rows; ++r) a[r] = first_row + p * a_stride + r * row_stride;
    multiply_add<Isa, S, 0, Width>(acc, a, depth, weights + p * depth * Width * L::count, 0,
                                   soon + p * depth * line<S>);
  }
#pragma GCC unroll 24
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < Width; ++v) {
      S* total = out + (r * Width + v) * L::count;
      L::store(total, starts ? acc[0][r][v] : L::load(total) + acc[0][r][v]);
    }
}

// `Blocks` blocks of output_sums for one row, side by side: one block's few chains would leave the FMA units
// waiting. Their sums are added in their order.
template <class Isa, class S, int Blocks, int Width>
static __attribute__((noinline)) void output_row(const S* const (&a)[Blocks], int64_t pieces, int64_t depth,
                                                 int64_t a_stride, const S* weights, bool starts, S* out) {
  using L = Lanes<Isa, S>;
  typename L::V acc[Blocks][Width] = {};
  const int64_t stride = pieces * depth * Width * L::count;
  for (int64_t p = 0; p < pieces; ++p, weights += depth * Width * L::count) {
    for (int64_t k = 0; k < depth; ++k) {
#pragma GCC unroll 8
      for (int q = 0; q < Blocks; ++q) {
        const S* of_term = weights + q * stride + k * Width * L::count;
        const typename L::V scalar = L::all(a[q][p * a_stride + k]);
#pragma GCC unroll 4
        for (int v = 0; v < Width; ++v) {
          acc[q][v] = Isa::fma(scalar, L::load(of_term + v * L::count), acc[q][v]);
        }
      }
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < Width; ++v) {
    typename L::V total = starts ? acc[0][v] : L::load(out + v * L::count) + acc[0][v];
#pragma GCC unroll 8
    for (int q = 1; q < Blocks; ++q) total = total + acc[q][v];
    L::store(out + v * L::count, total);
  }
}

// The blocks of output_sums: `pieces` runs of `count` terms from term `first` of panel `panel`.
struct OutputBlocks {
  int64_t panels, depth, together, length;
  FASTRNN_INLINE OutputBlocks(int64_t panels, int64_t depth) : panels(panels), depth(depth) {
    const int64_t block = block_length(panels * depth);
    together = depth >= block ? 1 : block / depth;
    length = even_length(depth, block);
  }
  FASTRNN_INLINE int64_t of_panel() const { return (depth + length - 1) / length; }
  FASTRNN_INLINE int64_t count() const { return (panels + together - 1) / together * of_panel(); }
  // Blocks from the first on that are of one size.
  FASTRNN_INLINE int64_t alike() const { return depth % length == 0 ? panels / together * of_panel() : 0; }
  struct Block {
    int64_t panel, first, pieces, count;
  };
  FASTRNN_INLINE Block at(int64_t i) const {
    const int64_t panel = i / of_panel() * together, first = i % of_panel() * length;
    return {panel, first, panel + together < panels ? together : panels - panel,
            depth - first < length ? depth - first : length};
  }
};

// out[n, :] = sum_k a[n, k] weights[k, :] for `rows` <= group_rows rows of d_pre and one panel of outputs. A row
// lies in `panels` runs of `depth` elements, a_stride apart; narrow runs share a block, wide ones are cut. Every
// tile of rows passes over a block of weights before the next block is touched: the block is read from L1, and
// no level has to hold more than one block of both operands. fetch(i, n, count), beside block i of the rows
// [n, n + count), may fetch what the caller reads after the sums.
template <class Isa, class S, int Width, class Fetch>
static void output_sums(int64_t rows, const S* first_row, int64_t row_stride, int64_t panels, int64_t depth,
                        int64_t a_stride, const S* weights, S* out, const Fetch& fetch) {
  using L = Lanes<Isa, S>;
  // Twice a full tile's rows at most: there are no more registers for their addresses.
  constexpr int height = rows_of_tile < Isa, Width == 1 ? 2 : Width >, side_by_side = 8 / Width;
  const OutputBlocks blocks(panels, depth);
  const int64_t alike = rows == 1 ? blocks.alike() : 0, count = blocks.count();
  for (int64_t i = 0; i < count;) {
    const OutputBlocks::Block block = blocks.at(i);
    const int64_t terms = block.pieces * block.count;
    const S* of_block = weights + (block.panel * depth + block.first) * Width * L::count;
    if (i + side_by_side <= alike) {
      const S* a[side_by_side];
      for (int q = 0; q < side_by_side; ++q) {
        const OutputBlocks::Block at = blocks.at(i + q);
        a[q] = first_row + at.panel * a_stride + at.first;
      }
      output_row<Isa, S, side_by_side, Width>(a, block.pieces, block.count, a_stride, of_block, i == 0, out);
      i += side_by_side;
      continue;
    }
    const S* next = of_block + terms * Width * L::count;
    for_row_tiles<Isa, height>(0, rows, [&]<int Rows>(int64_t n) {
      const int64_t part = n / height;  // of the next block, which is Width times a tile's lines
      fetch(i, n, Rows);
      output_block<Isa, S, Rows, Width>(first_row + n * row_stride + block.panel * a_stride + block.first, row_stride,
                                        block.pieces, block.count, a_stride, of_block, i == 0,
                                        out + n * Width * L::count, next + (part < Width ? part : 0) * terms * line<S>);
    });
    ++i;
  }
}

template <class Isa, class S, class Fetch>
FASTRNN_TILE void output_sums_of_width(int width, int64_t rows, const S* first_row, int64_t row_stride, int64_t panels,
                                       int64_t depth, int64_t a_stride, const S* weights, S* out, const Fetch& fetch) {
  const auto sums = [&]<int Width>() {
    output_sums<Isa, S, Width>(rows, first_row, row_stride, panels, depth, a_stride, weights, out, fetch);
  };
  switch (width) {
    case 1: return sums.template operator()<1>();
    case 2: return sums.template operator()<2>();
    default: return sums.template operator()<4>();
  }
}

}  // namespace fastrnn::cpu
