// The GRU cell (Cho et al. 2014) in the reset-after form of PyTorch and cuDNN, once for every machine.
//
//   r, z = sigmoid(pre_r), sigmoid(pre_z)
//   n  = tanh(W_in x + b_in + r * (W_hn h + b_hn)) = tanh(pre_nx + r * pre_nh)
//   h' = (1 - z) * n + z * h     (not n + z * (h - n), whose rounding may leave [-1, 1])
//
// The two halves of n stay apart until r is known, so the cell has four slots in the order
// nh r z nx: the recurrent product feeds the first three, the input product the last three.
#pragma once

#include "math.h"

namespace fastrnn::cells {

struct Gru {
  static constexpr const char* name = "gru";
  enum Slot { NH, R, Z, NX };
  enum State { H };
  static constexpr int gates = 3, slots = 4, x_slot = 1, h_slot = 0, states = 1, saved = 4;
  static constexpr int x_gate[gates] = {0, 1, 2};  // slots r z nx read PyTorch's r z n
  static constexpr int h_gate[gates] = {2, 0, 1};  // slots nh r z read PyTorch's n r z
  static constexpr bool carries_h = true;          // z * h

  enum Keep { KEEP_NH, KEEP_R, KEEP_Z, KEEP_N };

  template <class V>
  FASTRNN_INLINE static void forward(const V (&pre)[slots], const V (&prev)[states], V (&next)[states],
                                     V (&keep)[saved]) {
    keep[KEEP_NH] = pre[NH];
    keep[KEEP_R] = sigmoid(pre[R]);
    keep[KEEP_Z] = sigmoid(pre[Z]);
    keep[KEEP_N] = tanh(fma(keep[KEEP_R], pre[NH], pre[NX]));
    next[H] = fma(keep[KEEP_Z], prev[H], (broadcast<V>(1) - keep[KEEP_Z]) * keep[KEEP_N]);
  }

  template <class V>
  FASTRNN_INLINE static void backward(const V (&keep)[saved], const V (&prev)[states], const V (&)[states],
                                      const V (&d_next)[states], V (&d_pre)[slots], V (&d_prev)[states]) {
    const V one = broadcast<V>(1);
    const V r = keep[KEEP_R], z = keep[KEEP_Z], n = keep[KEEP_N];
    const V d_n = d_next[H] * (one - z);                      // h' = (1 - z) * n + z * h
    const V d_z = d_next[H] * (prev[H] - n);
    d_pre[NX] = d_n * (one - n * n);                          // n = tanh(nx + r * nh)
    d_pre[NH] = d_pre[NX] * r;
    d_pre[R] = d_pre[NX] * keep[KEEP_NH] * r * (one - r);
    d_pre[Z] = d_z * z * (one - z);
    d_prev[H] = d_next[H] * z;
  }
};

}  // namespace fastrnn::cells
