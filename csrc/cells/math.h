// The words a cell may use, for every machine. A cell sees one type V: a vector of units on the CPU
// (any ISA's width, float or double), one unit on a GPU (float or double itself). Each machine owns its V and
// specialises `Math<V>` for it: the CPU in csrc/cpu/activations.h, CUDA in csrc/cuda/math.cuh.
//
// Beside these a cell uses + - * alone. It never writes a * b + c, where each compiler would decide
// about rounding; it writes fma(a, b, c).
//
// The contract of every Math<V>, in units in the last place (ULP) of the true result:
//
//   word             lanes    error       special values
//   sigmoid(v)       float    <= 1.5 ULP  NaN -> NaN, -Inf -> 0, +Inf -> 1, always in [0, 1]; may
//                    double   <= 2 ULP    give 0 below -87.33 (double: -708.39), where the result
//                                         is about to leave the normal range
//   tanh(v)          float    <= 1.5 ULP  NaN -> NaN, +-Inf -> +-1, -0 -> -0, |tanh| <= 1, odd to
//                    double   <= 2 ULP    the bit; a subnormal v may give 0 of its sign
//   relu(v)                   exact       NaN -> NaN
//   fma(a, b, c)              a * b + c rounded once where the machine can, else after each step
//   broadcast<V>(s)           s, a number of the cell's formula, in every lane
//   where_positive(v, a)      a where v > 0 (or v is NaN), else 0
//
// `python -m bench.ulp` measures the errors; tests/spec/test_math.py holds every ISA to them. On GPUs the float
// bounds are those of CUDA's own functions, see csrc/cuda/math.cuh.
#pragma once

// A cell must dissolve in the kernel: its values are the kernel's registers.
#ifdef __CUDACC__
#define FASTRNN_INLINE __host__ __device__ __attribute__((always_inline)) inline
#else
#define FASTRNN_INLINE __attribute__((always_inline)) inline
#endif

namespace fastrnn::cells {

template <class V>
struct Math;

// Templates that forward, not overloads: argument-dependent lookup finds nothing for float.
template <class V>
FASTRNN_INLINE V sigmoid(V v) {
  return Math<V>::sigmoid(v);
}

template <class V>
FASTRNN_INLINE V tanh(V v) {
  return Math<V>::tanh(v);
}

template <class V>
FASTRNN_INLINE V relu(V v) {
  return Math<V>::relu(v);
}

template <class V>
FASTRNN_INLINE V fma(V a, V b, V c) {
  return Math<V>::fma(a, b, c);
}

template <class V>
FASTRNN_INLINE V broadcast(double s) {
  return Math<V>::broadcast(s);
}

template <class V>
FASTRNN_INLINE V where_positive(V v, V a) {
  return Math<V>::where_positive(v, a);
}

}  // namespace fastrnn::cells
