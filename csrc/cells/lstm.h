// The LSTM cell (Hochreiter & Schmidhuber 1997, forget gate of Gers et al. 2000), once for every machine.
//
//   i, f, o = sigmoid(pre_i), sigmoid(pre_f), sigmoid(pre_o)     g = tanh(pre_g)
//   c' = f * c + i * g                                           h' = o * tanh(c')
#pragma once

#include "math.h"

namespace fastrnn::cells {

struct Lstm {
  static constexpr const char* name = "lstm";
  enum Slot { I, F, G, O };  // PyTorch's row-block order
  enum State { H, C };       // state 0 is the one the recurrent product reads
  static constexpr int gates = 4, slots = 4, x_slot = 0, h_slot = 0, states = 2, saved = 4;
  static constexpr int x_gate[gates] = {0, 1, 2, 3};  // PyTorch row block that feeds each slot
  static constexpr int h_gate[gates] = {0, 1, 2, 3};
  static constexpr bool carries_h = false;  // no path from h to h' past the recurrent product

  template <class V>
  FASTRNN_INLINE static void forward(const V (&pre)[slots], const V (&prev)[states], V (&next)[states],
                                     V (&keep)[saved]) {
    keep[I] = sigmoid(pre[I]);
    keep[F] = sigmoid(pre[F]);
    keep[G] = tanh(pre[G]);
    keep[O] = sigmoid(pre[O]);
    next[C] = fma(keep[F], prev[C], keep[I] * keep[G]);
    next[H] = keep[O] * tanh(next[C]);
  }

  template <class V>
  FASTRNN_INLINE static void backward(const V (&keep)[saved], const V (&prev)[states], const V (&next)[states],
                                      const V (&d_next)[states], V (&d_pre)[slots], V (&d_prev)[states]) {
    const V one = broadcast<V>(1);
    const V tanh_c = tanh(next[C]);  // recomputed: cheaper than H more floats per step in memory
    const V d_o = d_next[H] * tanh_c;                                        // h' = o * tanh(c')
    const V d_c = fma(d_next[H] * keep[O], one - tanh_c * tanh_c, d_next[C]);
    d_pre[I] = d_c * keep[G] * keep[I] * (one - keep[I]);                    // c' = f*c + i*g
    d_pre[F] = d_c * prev[C] * keep[F] * (one - keep[F]);
    d_pre[G] = d_c * keep[I] * (one - keep[G] * keep[G]);
    d_pre[O] = d_o * keep[O] * (one - keep[O]);
    d_prev[H] = broadcast<V>(0);
    d_prev[C] = d_c * keep[F];
  }
};

}  // namespace fastrnn::cells
