// What of a scan lies where in a block's memory: sizes that the kernels, the packing and the cost model must agree on.
#pragma once

#include "scan.h"

namespace fastrnn::cuda {

// 16-bit types are multiplied by matrix instructions (matrix_products.cuh): m16n8k16, 16 units x 8 rows x 16 terms.
FASTRNN_INLINE constexpr bool is_matrix(int element) { return element == 2; }
constexpr int matrix_units = 16, matrix_rows = 8, matrix_terms = 16;

// Rows that are summed together: of a thread, which uses a loaded weight so often, or of a matrix instruction.
FASTRNN_INLINE constexpr int row_lanes_of(int element) { return is_matrix(element) ? matrix_rows : 4; }
// Rows that are summed in one go.
FASTRNN_INLINE constexpr int pass_rows_of(const Tile& tile, int element) {
  return tile.row_groups * row_lanes_of(element);
}

// Terms of a sum in vectors of 16 bytes; whole matrix instructions where there are such.
FASTRNN_INLINE constexpr int64_t groups_of(int64_t terms, int vector) {
  const int step = vector_bytes / vector == 2 ? matrix_terms : vector;
  return (terms + step - 1) / step * (step / vector);
}

// Of the weights of a matrix product, each warp keeps this many steps of 16 terms in registers, which are at most
// 48 of a thread's 128. One sum has four chains of instructions instead, and backward loads more ahead.
FASTRNN_INLINE constexpr int kept_steps(int element, int sums) {
  return !is_matrix(element) ? 0 : sums == 1 ? 8 : 12 / sums;
}
// Vectors of terms, from the first, that lie in the registers of all warps together.
FASTRNN_INLINE constexpr int64_t kept_groups(Tier tier, const Tile& tile, int64_t groups, int element, int sums) {
  if (tier == Tier::streamed || !is_matrix(element)) return 0;
  const int64_t kept = int64_t(kept_steps(element, sums)) * tile.parts * (matrix_terms * element / vector_bytes);
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
                                                    int element, int compute) {
  const int vector = vector_bytes / element, lanes = row_lanes_of(element), pass = pass_rows_of(tile, element);
  const int64_t groups = groups_of(terms, vector);
  const bool whole = tier == Tier::resident;
  SharedPlaces places{};
  // An odd number of vectors: rows begin in other banks. Four numbers likewise, where a warp's lanes are 2 rows apart.
  places.operand_stride = int(whole ? groups * vector : tile.chunk) + vector;
  places.partial_stride = tile.units + (is_matrix(element) ? 4 : 0);
  const int64_t shared = tier == Tier::streamed ? 0 : groups - kept_groups(tier, tile, groups, element, sums);
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
