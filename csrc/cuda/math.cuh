// The words of cells/math.h for one unit per thread: V is float or double.
//
// sigmoid and tanh come from the library's exp and tanh, not from the approximate instructions (tanh.approx
// errs by 2^-11): CUDA documents 1 ULP for expf, exp and tanh and 2 for tanhf, and the division is rounded once.
// On the host, where the kernels are emulated, they are the C library's.
#pragma once

#include <cmath>

#include "storage.h"

namespace fastrnn::cuda {

template <class V>
struct ScalarMath {
  FASTRNN_INLINE static V sigmoid(V v) { return V(1) / (V(1) + exponential(-v)); }
  FASTRNN_INLINE static V tanh(V v) {
    if constexpr (sizeof(V) == sizeof(float)) {
      return ::tanhf(v);
    } else {
      return ::tanh(v);
    }
  }
  FASTRNN_INLINE static V relu(V v) { return v < V(0) ? V(0) : v; }  // NaN passes
  FASTRNN_INLINE static V fma(V a, V b, V c) {
    if constexpr (sizeof(V) == sizeof(float)) {
      return ::fmaf(a, b, c);
    } else {
      return ::fma(a, b, c);
    }
  }
  FASTRNN_INLINE static V broadcast(double s) { return V(s); }
  FASTRNN_INLINE static V where_positive(V v, V a) { return v <= V(0) ? V(0) : a; }

 private:
  FASTRNN_INLINE static V exponential(V v) {
    if constexpr (sizeof(V) == sizeof(float)) {
      return ::expf(v);
    } else {
      return ::exp(v);
    }
  }
};

}  // namespace fastrnn::cuda

namespace fastrnn::cells {

template <>
struct Math<float> : cuda::ScalarMath<float> {};
template <>
struct Math<double> : cuda::ScalarMath<double> {};

}  // namespace fastrnn::cells
