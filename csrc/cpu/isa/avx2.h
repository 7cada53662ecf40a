// The vectors of AVX2 with FMA: 32 bytes, 16 registers.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace fastrnn::cpu {

struct Avx2 {
  static constexpr const char* name = "avx2";
  static constexpr int bytes = 32;
  static constexpr bool has_fma = true;
  static constexpr int tile_rows = 3;      // 3 x 4 accumulators; weights are memory operands
  static constexpr int single_panels = 2;  // one row: 8 chains hide 4 cycles x 2 ports

  template <class S>
  struct Vec {
    typedef S type __attribute__((vector_size(32)));
  };
  using F = Vec<float>::type;
  using D = Vec<double>::type;

  static inline __attribute__((always_inline)) F fma(F a, F b, F c) {
    return (F)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
  }
  static inline __attribute__((always_inline)) D fma(D a, D b, D c) {
    return (D)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
  }

  static inline __attribute__((always_inline)) void stream(float* p, F v) { _mm256_stream_ps(p, (__m256)v); }
  static inline __attribute__((always_inline)) void stream(double* p, D v) { _mm256_stream_pd(p, (__m256d)v); }

  static inline __attribute__((always_inline)) F min(F a, F b) {  // b when either is NaN
    return (F)_mm256_min_ps((__m256)a, (__m256)b);
  }
  // The product of each word's two halves.
  static inline __attribute__((always_inline)) Vec<uint64_t>::type multiply_halves(Vec<uint64_t>::type v) {
    return (Vec<uint64_t>::type)_mm256_mul_epu32((__m256i)v, (__m256i)(v >> 32));
  }

  static inline __attribute__((always_inline)) D min(D a, D b) { return (D)_mm256_min_pd((__m256d)a, (__m256d)b); }
};

}  // namespace fastrnn::cpu
