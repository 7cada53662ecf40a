#include "rows.h"

#include <algorithm>
#include <numeric>

namespace fastrnn::cpu {

RowOrder::RowOrder(int64_t T, int64_t B, const int64_t* lengths) : T(T), B(B), row(size_t(B)), length(size_t(B), T) {
  std::iota(row.begin(), row.end(), int64_t(0));
  if (lengths != nullptr) {
    std::stable_sort(row.begin(), row.end(), [&](int64_t a, int64_t b) { return lengths[a] > lengths[b]; });
    for (int64_t b = 0; b < B; ++b) length[size_t(b)] = lengths[row[size_t(b)]];
  }
  const int64_t steps = B > 0 ? length[0] : 0;
  active.assign(size_t(steps) + 1, 0);
  offset.assign(size_t(steps) + 1, 0);
  int64_t alive = B;
  for (int64_t s = 0; s < steps; ++s) {
    while (alive > 0 && length[size_t(alive - 1)] <= s) --alive;
    active[size_t(s)] = alive;
    offset[size_t(s) + 1] = offset[size_t(s)] + alive;
  }
}

Rows RowOrder::rows(bool reverse) const {
  return {int64_t(active.size()) - 1, B, active.data(), offset.data(), row.data(), length.data(), reverse};
}

bool RowOrder::ragged() const { return B > 0 && length[size_t(B - 1)] < T; }

template <class S>
void gather_state(const RowOrder& order, const S* state, int64_t H, int64_t stride, S* out, int64_t begin,
                  int64_t end) {
  for (int64_t b = begin; b < end; ++b) {
    S* to = out + b * stride;
    int64_t copied = 0;
    if (state != nullptr) {
      std::copy_n(state + order.row[size_t(b)] * H, H, to);
      copied = H;
    }
    std::fill(to + copied, to + stride, S(0));
  }
}

template <class S>
void scatter_state(const RowOrder& order, const S* in, int64_t H, int64_t stride, S* state, int64_t begin,
                   int64_t end) {
  for (int64_t b = begin; b < end; ++b) std::copy_n(in + b * stride, H, state + order.row[size_t(b)] * H);
}

template <class S>
void clear_past_end(const RowOrder& order, S* data, int64_t step, int64_t row, int64_t width, int64_t begin,
                    int64_t end) {
  for (int64_t b = begin; b < end; ++b)
    for (int64_t t = order.length[size_t(b)]; t < order.T; ++t)
      std::fill_n(data + t * step + order.row[size_t(b)] * row, width, S(0));
}

#define FASTRNN_ROWS(S)                                                                              \
  template void gather_state<S>(const RowOrder&, const S*, int64_t, int64_t, S*, int64_t, int64_t);  \
  template void scatter_state<S>(const RowOrder&, const S*, int64_t, int64_t, S*, int64_t, int64_t); \
  template void clear_past_end<S>(const RowOrder&, S*, int64_t, int64_t, int64_t, int64_t, int64_t);
FASTRNN_ROWS(float)
FASTRNN_ROWS(double)
#undef FASTRNN_ROWS

}  // namespace fastrnn::cpu
