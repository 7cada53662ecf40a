// The order of rows in a call with lengths: longest first, so that the rows alive at any step are a
// prefix and every saved tensor is dense.
#pragma once

#include <vector>

#include "../rnn/problem.h"
#include "scan.h"

namespace fastrnn::cpu {

struct RowOrder {
  int64_t T, B;
  std::vector<int64_t> active, offset, row, length;

  RowOrder(int64_t T, int64_t B, const int64_t* lengths);
  Rows rows(bool reverse) const;
  bool ragged() const;
};

// (B, H) <-> sorted rows padded to `stride`, rows [begin, end). A null source is zeros.
template <class S>
void gather_state(const RowOrder& order, const S* state, int64_t H, int64_t stride, S* out, int64_t begin, int64_t end);
template <class S>
void scatter_state(const RowOrder& order, const S* in, int64_t H, int64_t stride, S* state, int64_t begin, int64_t end);

// Zeros in (T, B, width) where a row has ended, rows [begin, end) of the sorted order.
template <class S>
void clear_past_end(const RowOrder& order, S* data, int64_t step, int64_t row, int64_t width, int64_t begin,
                    int64_t end);

}  // namespace fastrnn::cpu
