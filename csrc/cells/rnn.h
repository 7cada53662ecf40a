// The vanilla (Elman 1990) cell, once for every machine: h' = act(pre), act = tanh or relu.
// `RnnLinear` (act = identity) exists for tests alone: with integer weights it is exact.
#pragma once

#include "math.h"

namespace fastrnn::cells {

// What the three share: one gate, one state, nothing saved beside h' itself.
struct RnnShape {
  enum State { H };
  static constexpr int gates = 1, slots = 1, x_slot = 0, h_slot = 0, states = 1, saved = 0;
  static constexpr int x_gate[gates] = {0}, h_gate[gates] = {0};
  static constexpr bool carries_h = false;
};

template <class Activation>
struct Rnn : RnnShape {
  static constexpr const char* name = Activation::name;

  template <class V>
  FASTRNN_INLINE static void forward(const V (&pre)[slots], const V (&)[states], V (&next)[states], V (&)[1]) {
    next[H] = Activation::value(pre[0]);
  }

  template <class V>
  FASTRNN_INLINE static void backward(const V (&)[1], const V (&)[states], const V (&next)[states],
                                      const V (&d_next)[states], V (&d_pre)[slots], V (&d_prev)[states]) {
    d_pre[0] = Activation::gradient(next[H], d_next[H]);
    d_prev[H] = broadcast<V>(0);
  }
};

// Each activation's gradient is written in its own output.
struct TanhActivation {
  static constexpr const char* name = "rnn_tanh";
  template <class V>
  FASTRNN_INLINE static V value(V v) {
    return tanh(v);
  }
  template <class V>
  FASTRNN_INLINE static V gradient(V y, V d_y) {
    return d_y * (broadcast<V>(1) - y * y);
  }
};

struct ReluActivation {
  static constexpr const char* name = "rnn_relu";
  template <class V>
  FASTRNN_INLINE static V value(V v) {
    return relu(v);
  }
  template <class V>
  FASTRNN_INLINE static V gradient(V y, V d_y) {
    return where_positive(y, d_y);
  }
};

struct LinearActivation {
  static constexpr const char* name = "linear";
  template <class V>
  FASTRNN_INLINE static V value(V v) {
    return v;
  }
  template <class V>
  FASTRNN_INLINE static V gradient(V, V d_y) {
    return d_y;
  }
};

using RnnTanh = Rnn<TanhActivation>;
using RnnRelu = Rnn<ReluActivation>;
using RnnLinear = Rnn<LinearActivation>;

}  // namespace fastrnn::cells
