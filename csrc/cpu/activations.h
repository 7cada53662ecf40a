// sigmoid and tanh of a vector, for every ISA and dtype.
//
// Computes   sigmoid(x) = 1 / (1 + e^-x) and tanh(x), each by one exponential and one reciprocal.
// Accuracy   the contract in cells/math.h. Largest errors in ULP over all 2^32 float32 inputs, and in
//            brackets over 10^8 float64 inputs against __float128, with flushing on and off:
//                          avx512        avx2          baseline
//              sigmoid     1.12 (1.13)   1.11 (1.09)   1.50 (1.49)
//              tanh        1.32 (1.65)   1.32 (1.65)   1.13 (1.13)
//            Neighbouring results may be out of order by their last bit.
// Cost       operations per float32 vector with FMA: sigmoid 20, tanh 22, and the reciprocal. On
//            Sapphire Rapids that is 16 cycles for 16 lanes (AVX-512), 11 for 8 (AVX2). A 512-bit
//            division alone takes 11; where the ISA has an estimate of 1/v, one Newton step, which
//            the correction below contains anyway, replaces it.
// Limits     needs round to nearest; flushing subnormals to zero changes no normal result.
//
// Both end in the same step. With q near num/den, num/den = q + (num - den q) / den, and if the
// residual num - den q is computed from unrounded parts of num and den with fused multiply-adds,
// the sum is rounded once: what rounding did to num, den and q drops out. Without FMA the residual
// is out of reach, so there the formulas are chosen to need less of it.
#pragma once

#include "../cells/math.h"

namespace fastrnn::cpu {

// The polynomials are minimax (Remez exchange in 60 digits, weighted by the relative error of the
// result), their coefficients rounded to the dtype and then moved by units in the last place while
// that lowered the largest error. Each comment gives interval and relative error.
//
// Constants carry the ISA tag like all else here, so that no two ISAs' objects share a symbol.
template <class Isa, class S>
struct ActivationConstants;

template <class Isa>
struct ActivationConstants<Isa, float> {
  static constexpr int fraction_bits = 23, exponent_bias = 127;
  static constexpr float log2_e = 0x1.715476p+0f;
  static constexpr float ln2_high = 0x1.62e4p-1f;  // 15 bits: its products with exponents are exact
  static constexpr float ln2_low = 0x1.7f7d1cp-20f;
  static constexpr float half_ln2 = 0x1.62e43p-2f;
  // (e^r - 1 - r) / r^2, first term fixed, |r| <= 0.347: 2^-28.0
  static constexpr float exp_terms[] = {0x1p-1f, 0x1.5554a2p-3f, 0x1.55568ap-5f, 0x1.123092p-7f, 0x1.6b6dfap-10f};
  // (tanh(r) / r - 1) / r^2 in powers of r^2, |r| <= 0.2505: 2^-28.3
  static constexpr float tanh_terms[] = {-0x1.555516p-2f, 0x1.10e1p-3f, -0x1.a53c28p-5f};
  // the same for |r| <= 0.55: 2^-29.1
  static constexpr float wide_tanh_terms[] = {-0x1.55554ap-2f, 0x1.110d2p-3f, -0x1.b92876p-5f, 0x1.593d08p-6f,
                                              -0x1.9b307ap-8f};
  static constexpr float sigmoid_zero_below = -87.33f;  // next to ln 2^-126
  static constexpr float sigmoid_one_above = 30;        // both are 1 from 17.4 and 9.02 on
  static constexpr float tanh_one_above = 9.5f;
};

template <class Isa>
struct ActivationConstants<Isa, double> {
  static constexpr int fraction_bits = 52, exponent_bias = 1023;
  static constexpr double log2_e = 0x1.71547652b82fep+0;
  static constexpr double ln2_high = 0x1.62e42fefap-1;  // 36 bits
  static constexpr double ln2_low = 0x1.cf79abc9e3b3ap-40;
  static constexpr double half_ln2 = 0x1.62e42fefa39efp-2;
  // |r| <= 0.347: 2^-57.3
  static constexpr double exp_terms[] = {
      0x1p-1,
      0x1.55555555555p-3,
      0x1.55555555531c5p-5,
      0x1.1111111128b57p-7,
      0x1.6c16c17cda576p-10,
      0x1.a01a011b7932ap-13,
      0x1.a019aadd370f3p-16,
      0x1.71df562960b26p-19,
      0x1.289fe12b26ad2p-22,
      0x1.ad1fb0515b936p-26,
  };
  // |r| <= 0.2505: 2^-57.7
  static constexpr double tanh_terms[] = {
      -0x1.55555555554f3p-2, 0x1.11111110fd79fp-3, -0x1.ba1ba18fe6aaap-5,  0x1.664f32ee0b4e2p-6,
      -0x1.22684b762aaf2p-7, 0x1.d509fd0a369ebp-9, -0x1.5965ec80e15abp-10,
  };
  // |r| <= 0.5501: 2^-60.4
  static constexpr double wide_tanh_terms[] = {
      -0x1.555555555554fp-2,  0x1.1111111110796p-3,  -0x1.ba1ba1b97d0dap-5,  0x1.664f4859542efp-6,
      -0x1.226e2f10ba318p-7,  0x1.d6d29afb016bbp-9,  -0x1.7d8fcba00b92ep-10, 0x1.34836a986bdbdp-11,
      -0x1.e96d00de210d9p-13, 0x1.5d6c38912f7abp-14, -0x1.46fc7d95b11cap-16,
  };
  static constexpr double sigmoid_zero_below = -708.39;  // next to ln 2^-1022
  static constexpr double sigmoid_one_above = 45;
  static constexpr double tanh_one_above = 19.5;
};

// An ISA must have fma(a, b, c) and has_fma. It may have, where it is better than the operators:
//   min(a, b)      a < b ? a : b, so b when either is NaN
//   reciprocal(v)  1 / v with a relative error below 2^-13 (float), 2^-27 (double)
template <class Isa, class S>
struct Activations {
  using V = typename Isa::template Vec<S>::type;
  using Bits = decltype(V{} < V{});  // integer lanes of the same width
  using C = ActivationConstants<Isa, S>;

  // e^-x = power * (1 + rest), where power = 2^n and |rest| < 0.42.
  FASTRNN_INLINE static V sigmoid(V x) {
    constexpr S shift = S(1.5) * S(1ll << C::fraction_bits) + C::exponent_bias;
    const V bounded = at_most(C::sigmoid_one_above, x);  // from here down to where 2^n is normal
    const V shifted = fma(bounded, all(-C::log2_e), all(shift));  // n + bias in the low bits
    const V n = shifted - shift;
    const V power = number(bits(shifted) << C::fraction_bits);
    const V r = fma(n, all(-C::ln2_low), fma(n, all(-C::ln2_high), -bounded));
    const V r2 = r * r;
    const V rest = fma(r2, by_pairs(r, r2, C::exp_terms), r);
    const V product = power * rest;  // exact
    const V one_power = power + S(1);
    const V den = fma(power, rest, one_power);
    const V q = reciprocal(den);
    V result;
    if constexpr (Isa::has_fma) {
      // 1 - (power + 1 + product) q, in the order that keeps the intermediate values small
      const V residual = fma(-product, q, fma(-power, q, all(1)) - q);
      result = fma(residual, q, q);
    } else {
      // What the two sums lost is exact; q is rounded once, and its correction once more.
      const V lost = (S(1) - (one_power - power)) + (product - (den - one_power));
      result = q - q * (lost * q);
    }
    return x < C::sigmoid_zero_below ? V{} : result;  // NaN compares false and stays
  }

  FASTRNN_INLINE static V tanh(V x) {
    const Bits sign = bits(x) & bits(all(S(-0.0)));
    const V magnitude = number(bits(x) ^ sign);
    V result;
    if constexpr (Isa::has_fma) {
      result = tanh_by_addition(magnitude);
    } else {
      result = tanh_by_parts(magnitude);
    }
    return number(bits(result) | sign);
  }

 private:
  // With x = n ln2/2 + r and t = tanh r, the addition theorem times 2^n + 1:
  //   tanh x = ((2^n - 1) + (2^n + 1) t) / ((2^n + 1) + (2^n - 1) t).
  // n = 0 gives t itself. That branch should reach far, because n = 1 is the least accurate at its
  // lower end; so n changes at 0.72, 1.72, ... instead of the halves: r lies in [-0.098, 0.2492].
  FASTRNN_INLINE static V tanh_by_addition(V x) {
    // n with 4 bits after the point, which are cut off
    constexpr S shift = S(1.5) * S(1ll << (C::fraction_bits - 4)) + C::exponent_bias;
    const V bounded = at_most(C::tanh_one_above, x);
    const V scaled = fma(bounded, all(1 / C::half_ln2), all(shift + S(0.25)));
    const V shifted = number(bits(scaled) & ~15);
    const V n = shifted - shift;
    const V power = number(bits(shifted) << (C::fraction_bits - 4));
    const V r = fma(n, all(-C::half_ln2), bounded);
    const V r2 = r * r;
    const V t = fma(r2 * r, tanh_polynomial(r2), r);
    // Where 2^n + 1 rounds, the difference of the two must still be 2: 1 - tanh x hangs on it.
    const V plus = power + S(1);
    const V minus = plus - S(2);
    const V num = fma(plus, t, minus), den = fma(minus, t, plus);
    const V inverse = reciprocal(den);
    const V q = num * inverse;
    const V residual = fma(t, fma(-minus, q, plus), fma(-plus, q, minus));
    return fma(residual, inverse, q);
  }

  // A polynomial near 0; elsewhere 1 - 2 sigmoid(-2x), whose last step halves the error before it.
  FASTRNN_INLINE static V tanh_by_parts(V x) {
    const V x2 = x * x;
    const V near = x + x * (x2 * horner(x2, C::wide_tanh_terms));
    const V far = S(1) - S(2) * sigmoid(S(-2) * x);
    return x < S(0.55) ? near : far;
  }

  FASTRNN_INLINE static V tanh_polynomial(V r2) {
    if constexpr (sizeof(S) == sizeof(float)) {
      return horner(r2, C::tanh_terms);
    } else {
      return by_pairs(r2, r2 * r2, C::tanh_terms);
    }
  }

  template <int n>
  FASTRNN_INLINE static V horner(V x, const S (&terms)[n]) {
    V sum = all(terms[n - 1]);
#pragma GCC unroll 16
    for (int k = n - 2; k >= 0; --k) sum = fma(sum, x, all(terms[k]));
    return sum;
  }

  // Horner's rule in x^2 over pairs of terms: as many operations, half the latency.
  template <int n>
  FASTRNN_INLINE static V by_pairs(V x, V x2, const S (&terms)[n]) {
    V sum = n % 2 == 1 ? all(terms[n - 1]) : fma(x, all(terms[n - 1]), all(terms[n - 2]));
#pragma GCC unroll 16
    for (int k = (n - 1) / 2 * 2 - 2; k >= 0; k -= 2) {
      sum = fma(sum, x2, fma(x, all(terms[k + 1]), all(terms[k])));
    }
    return sum;
  }

  FASTRNN_INLINE static V reciprocal(V v) {
    if constexpr (requires { Isa::reciprocal(v); }) {
      return Isa::reciprocal(v);
    } else {
      return S(1) / v;
    }
  }

  // NaN passes.
  FASTRNN_INLINE static V at_most(S bound, V v) {
    if constexpr (requires { Isa::min(v, v); }) {
      return Isa::min(all(bound), v);
    } else {
      return all(bound) < v ? all(bound) : v;
    }
  }

  FASTRNN_INLINE static V fma(V a, V b, V c) { return Isa::fma(a, b, c); }
  FASTRNN_INLINE static V all(S s) { return s - V{}; }  // s - 0 is s, also for -0
  FASTRNN_INLINE static Bits bits(V v) { return (Bits)v; }
  FASTRNN_INLINE static V number(Bits b) { return (V)b; }
};

// The words of cells/math.h for a vector of one ISA.
template <class Isa, class S>
struct VectorMath {
  using V = typename Isa::template Vec<S>::type;

  FASTRNN_INLINE static V sigmoid(V v) { return Activations<Isa, S>::sigmoid(v); }
  FASTRNN_INLINE static V tanh(V v) { return Activations<Isa, S>::tanh(v); }
  FASTRNN_INLINE static V relu(V v) { return v < S(0) ? V{} : v; }
  FASTRNN_INLINE static V fma(V a, V b, V c) { return Isa::fma(a, b, c); }
  FASTRNN_INLINE static V broadcast(double s) { return S(s) - V{}; }
  FASTRNN_INLINE static V where_positive(V v, V a) { return v <= S(0) ? V{} : a; }
};

// A vector type does not name its ISA, but every ISA has a width of its own.
struct Avx512;
struct Avx2;
struct Baseline;
template <int bytes>
struct IsaOfWidth;
template <>
struct IsaOfWidth<64> {
  using type = Avx512;
};
template <>
struct IsaOfWidth<32> {
  using type = Avx2;
};
template <>
struct IsaOfWidth<16> {
  using type = Baseline;
};

}  // namespace fastrnn::cpu

namespace fastrnn::cells {

template <class V>
struct Math : cpu::VectorMath<typename cpu::IsaOfWidth<sizeof(V)>::type, __typeof__(V{}[0] + V{}[0])> {};

}  // namespace fastrnn::cells
