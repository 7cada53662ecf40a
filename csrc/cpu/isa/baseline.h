// The vectors every machine of the compiled-for architecture has (SSE2 on x86-64, NEON on
// AArch64): 16 bytes. Without a fused instruction, a * b + c rounds twice.
#pragma once

namespace fastrnn::cpu {

struct Baseline {
  static constexpr const char* name = "baseline";
  static constexpr int bytes = 16;
  static constexpr bool has_fma = false;
  static constexpr int tile_rows = 3;
  static constexpr int single_panels = 2;

  template <class S>
  struct Vec {
    typedef S type __attribute__((vector_size(16)));
  };

  template <class V>
  static inline __attribute__((always_inline)) V fma(V a, V b, V c) {
    return a * b + c;
  }
};

}  // namespace fastrnn::cpu
