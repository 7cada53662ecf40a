// The problem, with no machine in it: sizes, and the arrays of one call.
//
// Arrays are the caller's memory. Sizes: T steps, B rows, I inputs, H hidden units, L layers,
// D directions. Strides count elements; the innermost axis of every array is contiguous.
#pragma once

#include <cstdint>
#include <string>

namespace fastrnn {

// From bfloat16 on, GPUs alone. tf32 is float32 in memory, multiplied in TF32: 11 bits of each factor.
enum class DType { float32, float64, bfloat16, float16, tf32 };

constexpr int64_t size_of(DType dtype) {
  return dtype == DType::float64 ? 8 : dtype == DType::bfloat16 || dtype == DType::float16 ? 2 : 4;
}
constexpr const char* name_of(DType dtype) {
  constexpr const char* names[] = {"float32", "float64", "bfloat16", "float16", "tf32"};
  return names[int(dtype)];
}

// What never changes over the life of a layer stack.
struct Stack {
  std::string cell;
  DType dtype;
  int64_t I, H;
  int L, D;
  bool bias;

  int64_t input_size(int layer) const { return layer == 0 ? I : H * D; }
  int params_per_scan() const { return bias ? 4 : 2; }  // weight_ih weight_hh [bias_ih bias_hh]
};

// What a training call keeps: every saved value, or the states at the borders of segments of so many steps
// (rounded up to what the backend sums as one piece), from which backward computes the rest again.
constexpr int64_t keep_everything = 0, best_segments = -1;  // else the steps of a segment

// A (T, B, features) array seen through its two outer strides; data may be null (absent).
struct Sequence {
  const void* data;
  int64_t step, row;
};

struct ForwardArgs {
  int64_t T, B;
  Sequence x;              // (T, B, I)
  Sequence y;              // (T, B, D*H), written
  const void* h_0;         // (L*D, B, H) or null = zeros
  const void* c_0;         // likewise; null for cells with one state
  void* h_n;               // (L*D, B, H), written
  void* c_n;
  const int64_t* lengths;  // (B,) in [0, T], any order, or null = all T
  bool training;
  double dropout;          // between layers; 0 outside training
  uint64_t seed;           // key of the dropout masks
  int64_t recompute;       // keep_everything, best_segments, or the steps of a segment; 0 outside training
  void* reserve;           // room for what backward reads; null: the tape takes its own
  int64_t reserve_bytes;
};

struct BackwardArgs {
  Sequence d_y;         // (T, B, D*H); data null = zero
  const void* d_h_n;    // (L*D, B, H) or null = zero
  const void* d_c_n;
  Sequence d_x;         // (T, B, I), written
  void* d_h_0;          // (L*D, B, H), written
  void* d_c_0;
  void* const* d_params;  // one array per parameter, torch's order and shapes, written
};

// How a running call hears that its caller wants out. `poll` is called on the calling thread,
// every few milliseconds; true stops the call.
struct Interrupt {
  bool (*poll)(void* context) = nullptr;
  void* context = nullptr;
};

}  // namespace fastrnn
