// placeholder until the activations land
#pragma once
#include "../cells/math.h"
#include <cmath>
namespace fastrnn::cells {
template <class V> struct Math {
  using S = __typeof__(V{}[0] + V{}[0]);
  static constexpr int n = sizeof(V) / sizeof(S);
  static V sigmoid(V v) { V r; for (int i = 0; i < n; ++i) r[i] = 1 / (1 + __builtin_exp(-double(v[i]))); return r; }
  static V tanh(V v) { V r; for (int i = 0; i < n; ++i) r[i] = __builtin_tanh(double(v[i])); return r; }
  static V relu(V v) { return v < 0 ? V{} : v; }
  static V fma(V a, V b, V c) { return a * b + c; }
  static V broadcast(double s) { return S(s) - V{}; }
  static V where_positive(V v, V a) { return v <= 0 ? V{} : a; }
};
}
