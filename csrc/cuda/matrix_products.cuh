// The recurrent product of one step for 16-bit types and TF32, by matrix instructions.
//
// Computes   what products.cuh computes. Products of two 16-bit numbers are exact; TF32 rounds both factors to 11 bits,
//            nearest, ties away from zero. Sums are float.
// Shapes     weights as there. One instruction, m16n8k16 or for TF32 m16n8k8, multiplies 16 units x two vectors of
// terms
//            of weights with as many terms x 8 rows of the operand, for one sum.
// Work split a warp has a block of 16 units and a part of the terms: every parts-th step of two vectors. It goes over
//            the rows by eights, at most two of them at once. Parts meet in shared memory and are added in their order.
// Cost       the first steps' weights stay in the registers of their warp for the whole scan (kept_steps), up to
//            48 of a thread; the others are read from shared memory, in the streamed tier from L2, once per pass of
//            rows. Of the operand a warp reads its part once per pass. All reads and writes are free of bank conflicts.
// Limits     units in blocks of 16, rows of 8, terms of two vectors: what is missing is zeros or goes nowhere.
#pragma once

#include "products.cuh"

namespace fastrnn::cuda {

// A register of an instruction's factors: two neighbours of a 16-bit type, or one number of TF32.
template <class S>
FASTRNN_DEVICE inline uint32_t load_factors(const S* address) {
  uint32_t factors;
  if constexpr (std::is_same_v<S, TensorFloat32>) {
    const float value = address->value;
#ifdef __CUDACC__
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(factors) : "f"(value));
#else
    factors = value != value ? bits_of(value) : (bits_of(value) + 0x1000u) & ~0x1FFFu;
#endif
  } else {
#ifdef __CUDACC__
    factors = *reinterpret_cast<const uint32_t*>(address);
#else
    std::memcpy(&factors, address, sizeof factors);
#endif
  }
  return factors;
}
template <class S>
constexpr int factors_of_register = int(sizeof(uint32_t) / sizeof(S));

// A lane's share of the three matrices. Lane = 4 * q + p has of the weights units q and q + 8 at the p-th register of
// both vectors of terms; of the operand row q at the same terms; of the sums units q and q + 8 in rows 2p and 2p + 1.
struct WeightsShare {
  uint32_t of[4];  // (unit q, first terms), (q + 8, first), (q, second), (q + 8, second)
};
struct OperandShare {
  uint32_t of[2];  // first terms, second
};
struct SumsShare {
  float of[4];  // (unit q, row 2p), (q, 2p + 1), (q + 8, 2p), (q + 8, 2p + 1)
};

template <class Block, class S, int sums, Tier tier>
struct Product<Block, S, sums, tier, true> : ProductFrame<Block, S, sums> {
  using Frame = ProductFrame<Block, S, sums>;
  using Frame::block, Frame::tile, Frame::vector, Frame::stride, Frame::partial;
  static constexpr int kept = tier == Tier::streamed ? 0 : kept_steps(numbers_of<S>(), sums);
  static constexpr int eights = 2;  // of rows at once
  static constexpr int chains = sums < 3 ? 4 : 1;  // of instructions that do not wait for each other, for each sum
  static constexpr int step_groups = 2, step_terms = numbers_of<S>().together();
  struct Kept {
    WeightsShare of[kept > 0 ? kept : 1][sums];
  };
  struct Sums {
    SumsShare of[eights][sums][chains];
  };
  using AllSums = typename Block::template PerThread<Sums>;
  using Warp = typename Block::Warp;

  const Vector<S>* weights;  // (groups from first_group, sums, units), in shared or global memory
  int64_t first_group;
  typename Block::template PerThread<Kept> kept_weights;

  FASTRNN_DEVICE Product(Block& block, const Tile& tile, int64_t terms, const SharedPlaces& places,
                         const Vector<S>* packed)
      : Frame(block, tile, terms, places),
        weights(tier == Tier::streamed ? packed : reinterpret_cast<const Vector<S>*>(block.shared)),
        first_group(kept_groups(tier, tile, groups_of(terms, numbers_of<S>()), numbers_of<S>(), sums)),
        kept_weights(block) {}

  FASTRNN_DEVICE int unit_blocks() const { return tile.units / matrix_units; }
  // Of two vectors of terms. An int counts more terms than memory has room for.
  FASTRNN_DEVICE int steps() const { return int(Frame::groups() / step_groups); }

  // Of weights (groups, sums, units): the share of a lane at the group where a step begins.
  FASTRNN_DEVICE WeightsShare share_of(const Vector<S>* from, int64_t group, int g, int unit_block, int lane) const {
    const Vector<S>* first = from + (group * sums + g) * tile.units + unit_block * matrix_units + lane / 4;
    const Vector<S>* second = first + int64_t(sums) * tile.units;
    const int at = lane % 4 * factors_of_register<S>;
    return {{load_factors(first->element + at), load_factors(first[8].element + at), load_factors(second->element + at),
             load_factors(second[8].element + at)}};
  }

  FASTRNN_DEVICE void keep_weights(const Vector<S>* packed) {
    Frame::share_weights(packed, first_group);
    block.each_warp([&](const Warp& warp) {
      const int unit_block = warp.index % unit_blocks(), part = warp.index / unit_blocks();
      if (part >= tile.parts) return;
      FASTRNN_UNROLL for (int i = 0; i < kept; ++i) {
        const int step = i * tile.parts + part;
        if (step >= steps()) break;
        warp.each([&](int lane) {
          FASTRNN_UNROLL for (int g = 0; g < sums; ++g) kept_weights.of(warp.thread(lane)).of[i][g] =
              share_of(packed, int64_t(step) * step_groups, g, unit_block, lane);
        });
      }
    });
  }

  // One step: `weights_of(lane, g)` is a share of its weights.
  template <class WeightsOf>
  FASTRNN_DEVICE void add_step(const Warp& warp, AllSums& all_sums, int rows, const S* column, int chain,
                               const WeightsOf& weights_of) const {
    FASTRNN_UNROLL for (int n = 0; n < eights; ++n) {
      if (n * matrix_rows >= rows) break;
      typename Warp::template Lanes<OperandShare> operand_share;
      warp.each([&](int lane) {
        const S* at = column + (n * matrix_rows + lane / 4) * stride + lane % 4 * factors_of_register<S>;
        operand_share.of(lane) = {{load_factors(at), load_factors(at + vector)}};
      });
      FASTRNN_UNROLL for (int g = 0; g < sums; ++g) {
        warp.template multiply_add<S>(
            [&](int lane) { return weights_of(lane, g); }, operand_share,
            [&](int lane) -> SumsShare& { return all_sums.of(warp.thread(lane)).of[n][g][chain]; });
      }
    }
  }

  // Adds groups [first, last) to a warp's sums; the operand's column 0 is group `first`.
  FASTRNN_DEVICE void add(const Warp& warp, AllSums& all_sums, int rows, int64_t first, int64_t last,
                          const S* rows_of_operand) {
    const int unit_block = warp.index % unit_blocks(), part = warp.index / unit_blocks();
    if (part >= tile.parts) return;
    const int first_step = int(first / step_groups), last_step = int(last / step_groups);
    FASTRNN_UNROLL for (int i = 0; i < kept; ++i) {
      const int step = i * tile.parts + part;
      if (step < first_step || step >= last_step) continue;
      add_step(warp, all_sums, rows, rows_of_operand + (step - first_step) * step_terms, i % chains,
               [&](int lane, int g) { return kept_weights.of(warp.thread(lane)).of[i][g]; });
    }
    // A chain is a constant of the loop's body: registers have no index.
    const int begin = first_step / tile.parts / chains * chains;
    for (int turn = begin < kept ? kept : begin; turn * tile.parts < last_step; turn += chains) {
      FASTRNN_UNROLL for (int chain = 0; chain < chains; ++chain) {
        const int step = (turn + chain) * tile.parts + part;
        if (step < first_step || step >= last_step) continue;
        add_step(warp, all_sums, rows, rows_of_operand + (step - first_step) * step_terms, chain, [&](int lane, int g) {
          return share_of(weights, int64_t(step) * step_groups - first_group, g, unit_block, lane);
        });
      }
    }
  }

  FASTRNN_DEVICE void clear(Sums& total) const {
    FASTRNN_UNROLL for (int n = 0; n < eights; ++n) FASTRNN_UNROLL for (int g = 0; g < sums; ++g)
        FASTRNN_UNROLL for (int c = 0; c < chains; ++c) FASTRNN_UNROLL for (int i = 0; i < 4; ++i) total.of[n][g][c]
            .of[i] = 0.0f;
  }

  FASTRNN_DEVICE void leave(const Warp& warp, int lane, const Sums& total) const {
    const int unit_block = warp.index % unit_blocks(), part = warp.index / unit_blocks();
    if (part >= tile.parts) return;
    FASTRNN_UNROLL for (int n = 0; n < eights; ++n) {
      if (n >= tile.row_groups) break;
      FASTRNN_UNROLL for (int g = 0; g < sums; ++g) FASTRNN_UNROLL for (int i = 0; i < 4; ++i) {
        const int unit = unit_block * matrix_units + lane / 4 + i / 2 * 8;
        const int row = n * matrix_rows + lane % 4 * 2 + i % 2;
        const SumsShare(&of)[chains] = total.of[n][g];
        float value = of[0].of[i];
        if constexpr (chains == 4) value = (of[0].of[i] + of[1].of[i]) + (of[2].of[i] + of[3].of[i]);
        partial[((part * sums + g) * Frame::pass_rows() + row) * Frame::partial_stride + unit] = value;
      }
    }
  }

  FASTRNN_DEVICE void add_all(AllSums& all_sums, int rows, int64_t first, int64_t last, const S* rows_of_operand,
                              bool begins, bool ends) {
    block.each_warp([&](const Warp& warp) {
      if (begins) warp.each([&](int lane) { clear(all_sums.of(warp.thread(lane))); });
      add(warp, all_sums, rows, first, last, rows_of_operand);
      if (ends) warp.each([&](int lane) { leave(warp, lane, all_sums.of(warp.thread(lane))); });
    });
  }

  template <class Source>
  FASTRNN_DEVICE void run_staged(int rows, const Source& source) {
    Frame::run_chunks(*this, rows, source);
  }

  // The same for an operand that lies in shared memory as a whole.
  FASTRNN_DEVICE void run_resident(int rows, const S* rows_of_operand) {
    AllSums all_sums(block);
    add_all(all_sums, rows, 0, Frame::groups(), rows_of_operand, true, true);
    Frame::join_parts();
  }
};

}  // namespace fastrnn::cuda
