// Numbers as they lie in memory and as they are computed with.
//
// Arrays hold S: float, double, Bfloat16, Float16, or TensorFloat32, which is a float in memory whose products are made
// of 11 bits of each factor. Sums, private states and the cell's arithmetic are
// ComputeOf<S>: float, or double for double. Conversions round to nearest, ties to even; NaN stays NaN.
#pragma once

#include <cstdint>
#include <type_traits>

#include "../cells/math.h"

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#define FASTRNN_DEVICE __device__
#define FASTRNN_UNROLL _Pragma("unroll")
#else
#include <cstring>
#define FASTRNN_DEVICE
#define FASTRNN_UNROLL
#endif

namespace fastrnn::cuda {

struct Bfloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};
struct TensorFloat32 {
  float value;
};

template <class S>
struct ComputeOfStorage {
  using type = float;
};
template <>
struct ComputeOfStorage<double> {
  using type = double;
};
template <class S>
using ComputeOf = typename ComputeOfStorage<S>::type;

// The widest load of a thread, and how many numbers it brings.
constexpr int vector_bytes = 16;
template <class S>
constexpr int vector_length = vector_bytes / int(sizeof(S));

template <class S>
struct alignas(vector_bytes) Vector {
  S element[vector_length<S>];
};

// What the shape of a scan's tiles depends on: bytes, and whether products go by matrix instructions
// (matrix_products.cuh), as they do for the types that are not computed with as they are.
struct Numbers {
  int element, compute;
  bool matrix;

  FASTRNN_INLINE constexpr int vector() const { return vector_bytes / element; }
  // Terms of a sum that are multiplied at once: by a thread, or by an instruction.
  FASTRNN_INLINE constexpr int together() const { return matrix ? 2 * vector() : vector(); }
  // Rows that are summed together: of a thread, which uses a loaded weight so often, or of an instruction.
  FASTRNN_INLINE constexpr int row_lanes() const { return matrix ? 8 : 4; }
};
template <class S>
FASTRNN_INLINE constexpr Numbers numbers_of() {
  return {int(sizeof(S)), int(sizeof(ComputeOf<S>)), !std::is_same_v<S, ComputeOf<S>>};
}

#ifdef __CUDACC__

FASTRNN_DEVICE inline float from_storage(float s) { return s; }
FASTRNN_DEVICE inline double from_storage(double s) { return s; }
FASTRNN_DEVICE inline float from_storage(TensorFloat32 s) { return s.value; }
FASTRNN_DEVICE inline float from_storage(Bfloat16 s) { return __uint_as_float(uint32_t(s.bits) << 16); }
FASTRNN_DEVICE inline float from_storage(Float16 s) { return __half2float(__ushort_as_half(s.bits)); }

FASTRNN_DEVICE inline void to_storage(float v, float& s) { s = v; }
FASTRNN_DEVICE inline void to_storage(double v, double& s) { s = v; }
FASTRNN_DEVICE inline void to_storage(float v, TensorFloat32& s) { s.value = v; }
FASTRNN_DEVICE inline void to_storage(float v, Bfloat16& s) { s.bits = __bfloat16_as_ushort(__float2bfloat16_rn(v)); }
FASTRNN_DEVICE inline void to_storage(float v, Float16& s) { s.bits = __half_as_ushort(__float2half_rn(v)); }

#else  // the same on the host, where the kernels are emulated

inline uint32_t bits_of(float v) {
  uint32_t bits;
  std::memcpy(&bits, &v, sizeof bits);
  return bits;
}
inline float float_of(uint32_t bits) {
  float v;
  std::memcpy(&v, &bits, sizeof v);
  return v;
}

inline float from_storage(float s) { return s; }
inline double from_storage(double s) { return s; }
inline float from_storage(TensorFloat32 s) { return s.value; }
inline float from_storage(Bfloat16 s) { return float_of(uint32_t(s.bits) << 16); }
inline float from_storage(Float16 s) {
  const uint32_t sign = uint32_t(s.bits & 0x8000u) << 16, magnitude = s.bits & 0x7FFFu;
  if (magnitude >= 0x7C00u) return float_of(sign | 0x7F800000u | (magnitude & 0x3FFu) << 13);
  if (magnitude < 0x400u) {  // subnormal: a multiple of 2^-24
    const float value = float(magnitude) * 0x1p-24f;
    return sign != 0 ? -value : value;
  }
  return float_of(sign | ((magnitude << 13) + (112u << 23)));
}

inline void to_storage(float v, float& s) { s = v; }
inline void to_storage(double v, double& s) { s = v; }
inline void to_storage(float v, TensorFloat32& s) { s.value = v; }
inline void to_storage(float v, Bfloat16& s) {
  const uint32_t bits = bits_of(v);
  if (v != v) {
    s.bits = 0x7FFF;
  } else {
    s.bits = uint16_t((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
  }
}
inline void to_storage(float v, Float16& s) {
  const uint32_t bits = bits_of(v), magnitude = bits & 0x7FFFFFFFu;
  const uint16_t sign = uint16_t(bits >> 16 & 0x8000u);
  if (magnitude > 0x7F800000u) {
    s.bits = 0x7FFF;
  } else if (magnitude >= 0x47800000u) {  // 2^16 and above, infinity
    s.bits = sign | 0x7C00u;
  } else if (magnitude < 0x38800000u) {  // below 2^-14: adding 0.5 leaves multiples of 2^-24 in the low bits
    s.bits = uint16_t(sign | (bits_of(float_of(magnitude) + 0.5f) - bits_of(0.5f)));
  } else {
    s.bits = uint16_t(sign | ((magnitude - (112u << 23) + 0xFFFu + (magnitude >> 13 & 1u)) >> 13));
  }
}

#endif

// What other blocks may have written during this launch: past the first-level cache, which is not coherent.
template <class S>
FASTRNN_DEVICE inline S load_exchanged(const S* address) {
#ifdef __CUDACC__
  if constexpr (sizeof(S) == 2) {
    S value;
    value.bits = __ldcg(reinterpret_cast<const unsigned short*>(address));
    return value;
  } else if constexpr (std::is_same_v<S, TensorFloat32>) {
    return {__ldcg(&address->value)};
  } else {
    return __ldcg(address);
  }
#else
  return *address;
#endif
}

template <class S>
FASTRNN_DEVICE inline Vector<S> load_exchanged_vector(const S* address) {
#ifdef __CUDACC__
  const int4 bits = __ldcg(reinterpret_cast<const int4*>(address));
  return *reinterpret_cast<const Vector<S>*>(&bits);
#else
  return *reinterpret_cast<const Vector<S>*>(address);
#endif
}

}  // namespace fastrnn::cuda
