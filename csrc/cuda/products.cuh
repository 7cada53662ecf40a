// The recurrent product of one step, for both directions of time: sums of a few rows over all terms.
//
// Computes   partial[g][r][u] = sum over k of weight[k, g, u] * operand[r, k]: forward, the terms k are the units
//            of h and g the gates; backward, there is one sum per unit over all gates' d_pre.
// Shapes     weights of a unit tile (groups, sums, units, vector): term k = group * vector + place, so a thread's
//            load is 16 bytes and neighbouring units are neighbours in memory (pack.cuh). operand (rows, terms)
//            in shared memory, rows padded by a vector.
// Work split thread = unit + units * (row group + row_groups * part). A part takes every parts-th group; its
//            row group is 4 rows. Parts meet in shared memory and are added in their order.
// Cost       per group a thread loads `sums` vectors of weights and 4 of operand for sums * 4 * vector FMAs; lanes of a
//            warp read neighbouring weights and the same operand, without bank conflicts.
// Limits     the order of a sum follows from the tile and the number of terms alone: the same bits on every run,
//            in every tier that uses the same tile. Other types: matrix_products.cuh.
#pragma once

#include "math.cuh"
#include "shared_places.h"

namespace fastrnn::cuda {

// What products by FMAs and by matrix instructions share: the operand's way into shared memory, and the parts' end.
template <class Block, class S, int sums>
struct ProductFrame {
  using V = ComputeOf<S>;
  static constexpr int vector = vector_length<S>;

  Block& block;
  const Tile tile;
  const int64_t terms;
  S* const operand;
  const int stride;  // of operand
  V* const partial;  // (parts, sums, pass rows, units); the sums end in part 0
  const int partial_stride;

  FASTRNN_DEVICE ProductFrame(Block& block, const Tile& tile, int64_t terms, const SharedPlaces& places)
      : block(block),
        tile(tile),
        terms(terms),
        operand(reinterpret_cast<S*>(block.shared + places.operand)),
        stride(places.operand_stride),
        partial(reinterpret_cast<V*>(block.shared + places.partial)),
        partial_stride(places.partial_stride) {}

  FASTRNN_DEVICE int64_t groups() const { return groups_of(terms, numbers_of<S>()); }
  FASTRNN_DEVICE int pass_rows() const { return pass_rows_of(tile, numbers_of<S>()); }
  FASTRNN_DEVICE V sum(int gate, int row, int unit) const {
    return partial[(gate * pass_rows() + row) * partial_stride + unit];
  }

  // Brings terms [first * vector, last * vector) of `rows` rows into the operand; zeros past the terms and in rows
  // whose source is null. All threads share all rows: a vector comes from the second-level cache, and a thread's
  // loads wait for each other.
  template <class Source>
  FASTRNN_DEVICE void stage(int rows, int64_t first, int64_t last, const Source& source) const {
    const int width = int(last - first), all = rows * width;
    block.each([&](int thread) {
      for (int place = thread; place < all; place += tile.threads) {
        const int row = place / width, column = place % width;
        *reinterpret_cast<Vector<S>*>(operand + row * stride + column * vector) =
            load_terms(source(row), (first + column) * vector);
      }
    });
  }

  // Terms [term, term + vector) of a row.
  FASTRNN_DEVICE Vector<S> load_terms(const S* from, int64_t term) const {
    if (from != nullptr && term + vector <= terms && reinterpret_cast<uintptr_t>(from) % vector_bytes == 0)
      return load_exchanged_vector<S>(from + term);
    Vector<S> loaded;
    FASTRNN_UNROLL for (int q = 0; q < vector; ++q) loaded.element[q] =
        from != nullptr && term + q < terms ? load_exchanged(from + term + q) : S{};
    return loaded;
  }

  // Copies the weights that stay in shared memory: vectors from `first`, of sums * units each.
  FASTRNN_DEVICE void share_weights(const Vector<S>* packed, int64_t first) const {
    const int64_t width = int64_t(sums) * tile.units, vectors = (groups() - first) * width;
    auto* to = reinterpret_cast<Vector<S>*>(block.shared);
    block.each([&](int thread) {
      for (int64_t i = thread; i < vectors; i += tile.threads) to[i] = packed[first * width + i];
    });
  }

  FASTRNN_DEVICE void join_parts() const {
    if (tile.parts == 1) return;
    block.each([&](int thread) {
      const int all = sums * pass_rows() * partial_stride;
      for (int i = thread; i < all; i += tile.threads) {
        V total = partial[i];
        for (int part = 1; part < tile.parts; ++part) total = total + partial[part * all + i];
        partial[i] = total;
      }
    });
  }

  // The sums of `rows` rows, at most a pass, whose operand is brought in chunks from source(row): a pointer to its
  // terms, or null. `self` is the product that this is the frame of.
  template <class Self, class Source>
  FASTRNN_DEVICE void run_chunks(Self& self, int rows, const Source& source) const {
    typename Self::AllSums all_sums(block);
    const int64_t all = groups(), at_once = tile.chunk / vector;
    for (int64_t first = 0; first < all; first += at_once) {
      const int64_t last = first + at_once < all ? first + at_once : all;
      stage(rows, first, last, source);
      self.add_all(all_sums, rows, first, last, operand, first == 0, last == all);
    }
    join_parts();
  }
};

template <class Block, class S, int sums, Tier tier, bool matrix = numbers_of<S>().matrix>
struct Product : ProductFrame<Block, S, sums> {
  using Frame = ProductFrame<Block, S, sums>;
  using V = ComputeOf<S>;
  using Frame::block, Frame::tile, Frame::vector, Frame::stride, Frame::partial;
  static constexpr int lanes = numbers_of<S>().row_lanes();
  struct Sums {
    V of[sums][lanes];
  };
  using AllSums = typename Block::template PerThread<Sums>;

  const Vector<S>* weights;  // (groups, sums, units) of this unit tile, in shared or global memory

  FASTRNN_DEVICE Product(Block& block, const Tile& tile, int64_t terms, const SharedPlaces& places,
                         const Vector<S>* packed)
      : Frame(block, tile, terms, places),
        weights(tier == Tier::streamed ? packed : reinterpret_cast<const Vector<S>*>(block.shared)) {}

  FASTRNN_DEVICE void keep_weights(const Vector<S>* packed) { Frame::share_weights(packed, 0); }

  // Adds groups [first, last) to the sums of this thread; the operand's column 0 is group `first`.
  FASTRNN_DEVICE void add(int thread, int rows, int64_t first, int64_t last, const S* rows_of_operand,
                          Sums& total) const {
    const int unit = thread % tile.units, rest = thread / tile.units;
    const int row = rest % tile.row_groups * lanes, part = rest / tile.row_groups;
    if (part >= tile.parts) return;
    for (int64_t group = first + part; group < last; group += tile.parts) {
      V w[sums][vector];
      FASTRNN_UNROLL for (int g = 0; g < sums; ++g) {
        const Vector<S> loaded = weights[(group * sums + g) * tile.units + unit];
        FASTRNN_UNROLL for (int q = 0; q < vector; ++q) w[g][q] = from_storage(loaded.element[q]);
      }
      FASTRNN_UNROLL for (int n = 0; n < lanes; ++n) {
        if (row + n >= rows) break;  // the same for a whole row group
        const Vector<S> loaded =
            *reinterpret_cast<const Vector<S>*>(rows_of_operand + (row + n) * stride + (group - first) * vector);
        FASTRNN_UNROLL for (int q = 0; q < vector; ++q) {
          const V h = from_storage(loaded.element[q]);
          FASTRNN_UNROLL for (int g = 0; g < sums; ++g) total.of[g][n] = cells::fma(w[g][q], h, total.of[g][n]);
        }
      }
    }
  }

  FASTRNN_DEVICE void clear(Sums& total) const {
    FASTRNN_UNROLL for (int g = 0; g < sums; ++g) FASTRNN_UNROLL for (int n = 0; n < lanes; ++n) total.of[g][n] = V(0);
  }

  FASTRNN_DEVICE void leave(int thread, const Sums& total) const {
    const int unit = thread % tile.units, rest = thread / tile.units;
    const int row = rest % tile.row_groups * lanes, part = rest / tile.row_groups;
    if (part >= tile.parts) return;
    FASTRNN_UNROLL for (int g = 0; g < sums; ++g) FASTRNN_UNROLL for (int n = 0; n < lanes; ++n)
        partial[((part * sums + g) * Frame::pass_rows() + row + n) * Frame::partial_stride + unit] = total.of[g][n];
  }

  FASTRNN_DEVICE void add_all(AllSums& all_sums, int rows, int64_t first, int64_t last, const S* rows_of_operand,
                              bool begins, bool ends) const {
    block.each([&](int thread) {
      if (begins) clear(all_sums.of(thread));
      add(thread, rows, first, last, rows_of_operand, all_sums.of(thread));
      if (ends) leave(thread, all_sums.of(thread));
    });
  }

  template <class Source>
  FASTRNN_DEVICE void run_staged(int rows, const Source& source) const {
    Frame::run_chunks(*this, rows, source);
  }

  // The same for an operand that lies in shared memory as a whole.
  FASTRNN_DEVICE void run_resident(int rows, const S* rows_of_operand) const {
    AllSums all_sums(block);
    add_all(all_sums, rows, 0, Frame::groups(), rows_of_operand, true, true);
    Frame::join_parts();
  }
};

}  // namespace fastrnn::cuda
