// The recurrent product of one step, for both directions of time: sums of a few rows over all terms.
//
// Computes   partial[g][r][u] = sum over k of weight[k, g, u] * operand[r, k]: forward, the terms k are the units
//            of h and g the gates; backward, there is one sum per unit over all gates' d_pre.
// Shapes     weights of a unit tile (groups, gates, units, vector): term k = group * vector + place, so a thread's
//            load is 16 bytes and neighbouring units are neighbours in memory (pack.cuh). operand (rows, terms)
//            in shared memory, rows padded by a vector.
// Work split thread = unit + units * (row group + row_groups * part). A part takes every parts-th group; its
//            row group is row_lanes rows. Parts meet in shared memory and are added in their order.
// Cost       per group a thread loads `gates` vectors of weights and row_lanes of operand for gates * row_lanes *
//            vector FMAs; lanes of a warp read neighbouring weights and the same operand, without bank conflicts.
// Limits     the order of a sum follows from the tile and the number of terms alone: the same bits on every run,
//            in every tier that uses the same tile.
#pragma once

#include "math.cuh"
#include "scan.h"

namespace fastrnn::cuda {

FASTRNN_INLINE constexpr int64_t groups_of(int64_t terms, int vector) { return (terms + vector - 1) / vector; }

// Shared memory of a block, in order: weights (if they stay), operand, partial sums, private states.
struct SharedPlaces {
  int64_t weights, operand, partial, carry, total;  // bytes from the start
  int operand_stride;                               // elements of a row
};

FASTRNN_INLINE constexpr int64_t whole_vectors(int64_t bytes) {
  return (bytes + vector_bytes - 1) / vector_bytes * vector_bytes;
}

FASTRNN_INLINE constexpr int64_t pass_rows_of(const Tile& tile) { return int64_t(tile.row_groups) * row_lanes; }

FASTRNN_INLINE constexpr SharedPlaces shared_places(Tier tier, const Tile& tile, int64_t terms, int gates, int states,
                                                    int element, int compute) {
  const int vector = vector_bytes / element;
  const int64_t groups = groups_of(terms, vector);
  const bool whole = tier == Tier::resident;
  SharedPlaces places{};
  places.operand_stride = int(whole ? groups * vector : tile.chunk) + vector;
  const int64_t weights = tier == Tier::streamed ? 0 : groups * gates * tile.units * vector_bytes;
  const int64_t operand = (whole ? tile.rows : pass_rows_of(tile)) * places.operand_stride * element;
  const int64_t partial = int64_t(tile.parts) * gates * pass_rows_of(tile) * tile.units * compute;
  const int64_t carry = tier == Tier::streamed ? 0 : int64_t(states) * tile.rows * tile.units * compute;
  places.operand = whole_vectors(weights);
  places.partial = places.operand + whole_vectors(operand);
  places.carry = places.partial + whole_vectors(partial);
  places.total = places.carry + whole_vectors(carry);
  return places;
}

template <class Block, class S, int gates>
struct Product {
  using V = ComputeOf<S>;
  static constexpr int vector = vector_length<S>;
  struct Sums {
    V of[gates][row_lanes];
  };

  Block& block;
  const Tile tile;
  const int64_t terms;
  const Vector<S>* weights;  // (groups, gates, units) of this unit tile, in shared or global memory
  S* operand;
  int stride;  // of operand
  V* partial;  // (parts, gates, pass rows, units); the sums end in part 0

  FASTRNN_DEVICE int64_t groups() const { return groups_of(terms, vector); }
  FASTRNN_DEVICE int pass_rows() const { return tile.row_groups * row_lanes; }
  FASTRNN_DEVICE V sum(int gate, int row, int unit) const {
    return partial[(gate * pass_rows() + row) * tile.units + unit];
  }

  // Brings terms [first * vector, last * vector) of `rows` rows into the operand; zeros past the terms and in rows
  // whose source is null.
  template <class Source>
  FASTRNN_DEVICE void stage(int rows, int64_t first, int64_t last, const Source& source) const {
    block.each([&](int thread) {
      const int lane = thread % 32, warps = tile.threads / 32;
      for (int r = thread / 32; r < rows; r += warps) {
        const S* from = source(r);
        const bool aligned = reinterpret_cast<uintptr_t>(from) % vector_bytes == 0;
        for (int64_t group = first + lane; group < last; group += 32) {
          Vector<S>& to = *reinterpret_cast<Vector<S>*>(operand + r * stride + (group - first) * vector);
          const int64_t term = group * vector;
          if (from != nullptr && aligned && term + vector <= terms) {
            to = load_exchanged_vector<S>(from + term);
          } else {
            for (int q = 0; q < vector; ++q)
              to.element[q] = from != nullptr && term + q < terms ? load_exchanged(from + term + q) : S{};
          }
        }
      }
    });
  }

  // Adds groups [first, last) to the sums of this thread; the operand's column 0 is group `first`.
  FASTRNN_DEVICE void add(int thread, int rows, int64_t first, int64_t last, const S* rows_of_operand,
                          Sums& sums) const {
    const int unit = thread % tile.units, rest = thread / tile.units;
    const int row = rest % tile.row_groups * row_lanes, part = rest / tile.row_groups;
    if (part >= tile.parts) return;
    for (int64_t group = first + part; group < last; group += tile.parts) {
      V w[gates][vector];
      FASTRNN_UNROLL for (int g = 0; g < gates; ++g) {
        const Vector<S> loaded = weights[(group * gates + g) * tile.units + unit];
        FASTRNN_UNROLL for (int q = 0; q < vector; ++q) w[g][q] = from_storage(loaded.element[q]);
      }
      FASTRNN_UNROLL for (int n = 0; n < row_lanes; ++n) {
        if (row + n >= rows) break;  // the same for a whole row group
        const Vector<S> loaded =
            *reinterpret_cast<const Vector<S>*>(rows_of_operand + (row + n) * stride + (group - first) * vector);
        FASTRNN_UNROLL for (int q = 0; q < vector; ++q) {
          const V h = from_storage(loaded.element[q]);
          FASTRNN_UNROLL for (int g = 0; g < gates; ++g) sums.of[g][n] = cells::fma(w[g][q], h, sums.of[g][n]);
        }
      }
    }
  }

  FASTRNN_DEVICE void clear(Sums& sums) const {
    FASTRNN_UNROLL for (int g = 0; g < gates; ++g) FASTRNN_UNROLL for (int n = 0; n < row_lanes; ++n) sums.of[g][n] =
        V(0);
  }

  FASTRNN_DEVICE void leave(int thread, const Sums& sums) const {
    const int unit = thread % tile.units, rest = thread / tile.units;
    const int row = rest % tile.row_groups * row_lanes, part = rest / tile.row_groups;
    if (part >= tile.parts) return;
    FASTRNN_UNROLL for (int g = 0; g < gates; ++g) FASTRNN_UNROLL for (int n = 0; n < row_lanes; ++n)
        partial[((part * gates + g) * pass_rows() + row + n) * tile.units + unit] = sums.of[g][n];
  }

  FASTRNN_DEVICE void join_parts() const {
    if (tile.parts == 1) return;
    block.each([&](int thread) {
      const int sums = gates * pass_rows() * tile.units;
      for (int i = thread; i < sums; i += tile.threads) {
        V total = partial[i];
        for (int part = 1; part < tile.parts; ++part) total = total + partial[part * sums + i];
        partial[i] = total;
      }
    });
  }

  // The sums of `rows` rows, at most a pass, whose operand is brought in chunks from source(row): a pointer to its
  // terms, or null.
  template <class Source>
  FASTRNN_DEVICE void run_staged(int rows, const Source& source) const {
    typename Block::template PerThread<Sums> sums(block);
    const int64_t all = groups(), at_once = tile.chunk / vector;
    for (int64_t first = 0; first < all; first += at_once) {
      const int64_t last = first + at_once < all ? first + at_once : all;
      stage(rows, first, last, source);
      block.each([&](int thread) {
        if (first == 0) clear(sums.of(thread));
        add(thread, rows, first, last, operand, sums.of(thread));
        if (last == all) leave(thread, sums.of(thread));
      });
    }
    join_parts();
  }

  // The same for an operand that lies in shared memory as a whole.
  FASTRNN_DEVICE void run_resident(int rows, const S* rows_of_operand) const {
    block.each([&](int thread) {
      Sums sums;
      clear(sums);
      add(thread, rows, 0, groups(), rows_of_operand, sums);
      leave(thread, sums);
    });
    join_parts();
  }
};

}  // namespace fastrnn::cuda
