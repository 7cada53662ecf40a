// The register tile: what every product in this engine is made of.
//
// Computes   acc[q][r][v] += sum_k a[r][k] * w[q][k][v]  for `Rows` rows, `Panels` weight panels of
//            `Count` vectors each, k in ascending order with one fused multiply-add per term.
// Shapes     a: one pointer per row, k contiguous. w: packed, the vectors of one k side by side.
// Work split none: a tile belongs to one thread.
// Cost       per k: Rows broadcasts and Panels*Count loads for Rows*Panels*Count FMAs. With 6 x 4
//            zmm that is 256 bytes of weights in 12 cycles: 21 B/cycle, what L2 can stream.
// Limits     the terms of one output are added in the same order for every tile shape: this is why
//            results do not depend on the batch, the tile or the thread that computed them.
//
// Everything here is a template on the ISA tag, inlined into kernels of that ISA alone.
#pragma once

#include <cstdint>

namespace fastrnn::cpu {

#define FASTRNN_TILE static inline __attribute__((always_inline))

template <class Isa, class S>
struct Lanes {
  using V = typename Isa::template Vec<S>::type;
  static constexpr int count = Isa::bytes / int(sizeof(S));
  typedef S Unaligned __attribute__((vector_size(Isa::bytes), aligned(alignof(S)), may_alias));

  FASTRNN_TILE V load(const S* p) { return *(const Unaligned*)p; }
  FASTRNN_TILE void store(S* p, V v) { *(Unaligned*)p = v; }
  FASTRNN_TILE V all(S s) { return s - V{}; }

  // Past the caches, without fetching the line first; p must be aligned. Other threads see it after the next
  // barrier, whose atomic operations also order these stores. An ISA without such a store stores.
  FASTRNN_TILE void stream(S* p, V v) {
    if constexpr (requires { Isa::stream(p, v); }) {
      Isa::stream(p, v);
    } else {
      store(p, v);
    }
  }

  // The first n lanes only; n >= count means all of them.
  FASTRNN_TILE V load_first(const S* p, int64_t n) {
    if (n >= count) return load(p);
    V v = {};
    for (int64_t i = 0; i < n; ++i) v[i] = p[i];
    return v;
  }
  FASTRNN_TILE void store_first(S* p, V v, int64_t n) {
    if (n >= count) return store(p, v);
    for (int64_t i = 0; i < n; ++i) p[i] = v[i];
  }
};

// The packed vectors of one k are `Stride` vectors from the next k's, a row's operands `Step`
// elements. Each k also fetches one line of `soon`, what the caller will read next, into L2: the
// loads beside 24 FMAs leave room for it, and weights past L2 would otherwise arrive late.
template <class Isa, class S, int First, int Count, int Stride = Count, int Step = 1, int Panels, int Rows, int Width>
FASTRNN_TILE void multiply_add(typename Isa::template Vec<S>::type (&acc)[Panels][Rows][Width],
                               const S* const (&a)[Rows], int64_t depth, const S* w, int64_t panel_stride,
                               const S* soon) {
  using L = Lanes<Isa, S>;
  using V = typename L::V;
  static_assert(First + Count <= Width);
#pragma GCC unroll 2
  for (int64_t k = 0; k < depth; ++k) {
    __builtin_prefetch(soon + k * (64 / int64_t(sizeof(S))), 0, 2);
#pragma GCC unroll 4
    for (int q = 0; q < Panels; ++q) {
      V weight[Count];
#pragma GCC unroll 4
      for (int v = 0; v < Count; ++v) {
        weight[v] = L::load(w + q * panel_stride + (k * Stride + v) * L::count);
      }
#pragma GCC unroll 24
      for (int r = 0; r < Rows; ++r) {
        const V scalar = L::all(a[r][k * Step]);
#pragma GCC unroll 4
        for (int v = 0; v < Count; ++v) {
          acc[q][r][First + v] = Isa::fma(scalar, weight[v], acc[q][r][First + v]);
        }
      }
    }
  }
}

// Rows of a tile that is `Count` vectors wide: as many as the accumulators allow.
template <class Isa, int Count>
constexpr int rows_of_tile = Isa::tile_rows * 4 / Count;

// Rows [first, last) in tiles of nearly equal height, none above Most, so that no tile is left with
// one row to pay a whole pass over the weights for: body<height>(first row of the tile).
template <int Rows, class Body>
FASTRNN_TILE void one_tile(int64_t height, int64_t row, const Body& body) {
  if constexpr (Rows > 0) {
    if (height == Rows) {
      body.template operator()<Rows>(row);
      return;
    }
    one_tile<Rows - 1>(height, row, body);
  }
}

template <class Isa, int Most = Isa::tile_rows, class Body>
FASTRNN_TILE void for_row_tiles(int64_t first, int64_t last, const Body& body) {
  const int64_t rows = last - first;
  if (rows <= 0) return;
  const int64_t tiles = (rows + Most - 1) / Most;
  const int64_t low = rows / tiles, extra = rows % tiles;
  int64_t row = first;
  for (int64_t i = 0; i < tiles; ++i) {
    const int64_t height = low + (i < extra ? 1 : 0);
    one_tile<Most>(height, row, body);
    row += height;
  }
}

}  // namespace fastrnn::cpu
