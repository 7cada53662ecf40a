// The order of packed recurrent weights, and packing.
//
// weight_hh (gates*H, H) becomes (unit tiles, groups, gates of the sum, units, vector), zeros past the terms and past
// H, so that the products read 16 bytes per thread and neighbours in a warp read neighbours in memory.
//
//   forward    sum over k of W[h_gate[g] * H + unit, k] h[k]:         `gates` sums per unit, H terms
//   backward   sum over g, j of d_pre[g * H + j] W[h_gate[g] * H + j, unit]:  one sum, gates * H terms
#pragma once

#include "shared_places.h"

namespace fastrnn::cuda {

struct PackShape {
  int64_t H;
  int gates, units;
  Numbers numbers;
  bool transposed;  // for backward
  int h_gate[4];

  FASTRNN_INLINE constexpr int64_t terms() const { return transposed ? gates * H : H; }
  FASTRNN_INLINE constexpr int sums() const { return transposed ? 1 : gates; }
  FASTRNN_INLINE constexpr int64_t groups() const { return groups_of(terms(), numbers); }
  FASTRNN_INLINE constexpr int64_t unit_tiles() const { return (H + units - 1) / units; }
  FASTRNN_INLINE constexpr int64_t elements() const {
    return unit_tiles() * groups() * sums() * units * numbers.vector();
  }

  // Element of weight_hh at a place of the packed array; -1: zero.
  FASTRNN_INLINE constexpr int64_t source(int64_t place) const {
    const int vector = numbers.vector();
    const int64_t q = place % vector, u = place / vector % units, column = place / vector / units;
    const int64_t g = column % sums(), group = column / sums() % groups(), tile = column / sums() / groups();
    const int64_t unit = tile * units + u, term = group * vector + q;
    if (unit >= H || term >= terms()) return -1;
    if (!transposed) return (h_gate[g] * H + unit) * H + term;
    return (h_gate[term / H] * H + term % H) * H + unit;
  }
};

template <class S>
FASTRNN_INLINE void pack_element(const PackShape& shape, const S* weight_hh, S* packed, int64_t place) {
  const int64_t source = shape.source(place);
  packed[place] = source < 0 ? S{} : weight_hh[source];
}

}  // namespace fastrnn::cuda
