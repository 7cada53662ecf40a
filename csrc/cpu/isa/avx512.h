// The vectors of AVX-512 (F, BW, DQ, VL): 64 bytes, 32 registers.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace fastrnn::cpu {

struct Avx512 {
  static constexpr const char* name = "avx512";
  static constexpr int bytes = 64;
  static constexpr bool has_fma = true;
  static constexpr int tile_rows = 6;     // 6 x 4 accumulators, 4 weights, the rest broadcasts
  static constexpr int single_panels = 2;  // one row: 8 chains hide 4 cycles x 2 ports

  template <class S>
  struct Vec {
    typedef S type __attribute__((vector_size(64)));
  };
  using F = Vec<float>::type;
  using D = Vec<double>::type;

  static inline __attribute__((always_inline)) F fma(F a, F b, F c) {
    return (F)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
  }
  static inline __attribute__((always_inline)) D fma(D a, D b, D c) {
    return (D)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
  }

  static inline __attribute__((always_inline)) void stream(float* p, F v) { _mm512_stream_ps(p, (__m512)v); }
  static inline __attribute__((always_inline)) void stream(double* p, D v) { _mm512_stream_pd(p, (__m512d)v); }

  // b when either is NaN. The maskz forms say what GCC 12's plain ones mean without its warning.
  static inline __attribute__((always_inline)) F min(F a, F b) {
    return (F)_mm512_maskz_min_ps((__mmask16)-1, (__m512)a, (__m512)b);
  }
  static inline __attribute__((always_inline)) D min(D a, D b) {
    return (D)_mm512_maskz_min_pd((__mmask8)-1, (__m512d)a, (__m512d)b);
  }

  // The product of each word's two halves.
  static inline __attribute__((always_inline)) Vec<uint64_t>::type multiply_halves(Vec<uint64_t>::type v) {
    return (Vec<uint64_t>::type)_mm512_maskz_mul_epu32((__mmask8)-1, (__m512i)v, (__m512i)(v >> 32));
  }

  // 1 / v within 2^-14; for double one Newton step makes that 2^-28.
  static inline __attribute__((always_inline)) F reciprocal(F v) {
    return (F)_mm512_maskz_rcp14_ps((__mmask16)-1, (__m512)v);
  }
  static inline __attribute__((always_inline)) D reciprocal(D v) {
    const D r = (D)_mm512_maskz_rcp14_pd((__mmask8)-1, (__m512d)v);
    return fma(r, fma(-v, r, 1.0 - D{}), r);
  }
};

}  // namespace fastrnn::cpu
