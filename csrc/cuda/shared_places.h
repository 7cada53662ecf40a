// What of a scan lies where in a block's memory: sizes that the kernels, the packing and the cost model must agree on.
#pragma once

#include "scan.h"

namespace fastrnn::cuda {

constexpr int matrix_units = 16, matrix_rows = 8;  // of a matrix instruction

// Rows that are summed in one go.
FASTRNN_INLINE constexpr int pass_rows_of(const Tile& tile, const Numbers& numbers) {
  return tile.row_groups * numbers.row_lanes();
}

// Terms of a sum in vectors of 16 bytes; whole matrix instructions, of two vectors, where there are such.
FASTRNN_INLINE constexpr int64_t groups_of(int64_t terms, const Numbers& numbers) {
  const int together = numbers.together();
  return (terms + together - 1) / together * (together / numbers.vector());
}

// Of the weights of a matrix product, each warp keeps those of so many instructions for each sum in registers, which
// are at most 48 of a thread's 128. One sum has four chains of instructions instead, backward loads more ahead, and
// what is loaded ahead is twice as wide for TF32.
FASTRNN_INLINE constexpr int kept_steps(const Numbers& numbers, int sums) {
  return !numbers.matrix ? 0 : sums == 1 ? 8 : (numbers.element == 4 ? 9 : 12) / sums;
}
// Vectors of terms, from the first, that lie in the registers of all warps together.
FASTRNN_INLINE constexpr int64_t kept_groups(Tier tier, const Tile& tile, int64_t groups, const Numbers& numbers,
                                             int sums) {
  if (tier == Tier::streamed || !numbers.matrix) return 0;
  const int64_t kept = int64_t(kept_steps(numbers, sums)) * tile.parts * 2;
  return kept < groups ? kept : groups;
}

// Shared memory of a block, in order: weights (if they stay), operand, partial sums, private states.
struct SharedPlaces {
  int64_t weights, operand, partial, carry, total;  // bytes from the start
  int operand_stride;                               // elements of a row
  int partial_stride;                               // likewise
};

FASTRNN_INLINE constexpr int64_t whole_vectors(int64_t bytes) {
  return (bytes + vector_bytes - 1) / vector_bytes * vector_bytes;
}

FASTRNN_INLINE constexpr SharedPlaces shared_places(Tier tier, const Tile& tile, int64_t terms, int sums, int states,
                                                    const Numbers& numbers) {
  const int vector = numbers.vector(), lanes = numbers.row_lanes(), pass = pass_rows_of(tile, numbers);
  const int element = numbers.element, compute = numbers.compute;
  const int64_t groups = groups_of(terms, numbers);
  const bool whole = tier == Tier::resident;
  SharedPlaces places{};
  // An odd number of vectors: rows begin in other banks. Four numbers likewise, where a warp's lanes are 2 rows apart.
  places.operand_stride = int(whole ? groups * vector : tile.chunk) + vector;
  places.partial_stride = tile.units + (numbers.matrix ? 4 : 0);
  const int64_t shared = tier == Tier::streamed ? 0 : groups - kept_groups(tier, tile, groups, numbers, sums);
  const int64_t rows = whole ? (tile.rows + lanes - 1) / lanes * lanes : pass;
  const int64_t operand = rows * places.operand_stride * element;
  const int64_t partial = int64_t(tile.parts) * sums * pass * places.partial_stride * compute;
  const int64_t carry = tier == Tier::streamed ? 0 : int64_t(states) * tile.rows * tile.units * compute;
  places.operand = whole_vectors(shared * sums * tile.units * vector_bytes);
  places.partial = places.operand + whole_vectors(operand);
  places.carry = places.partial + whole_vectors(partial);
  places.total = places.carry + whole_vectors(carry);
  return places;
}

}  // namespace fastrnn::cuda
