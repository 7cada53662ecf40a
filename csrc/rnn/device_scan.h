// The seam between a scan and a GPU: the recurrence of one layer in one direction, on arrays in device memory.
//
// The products over all steps are the caller's: x W_ih^T before a forward scan; d_x, d_weight_ih, d_weight_hh and
// d_bias after a backward one (docs/decisions/0019). Nothing here allocates, waits for the device, or touches
// another stream than the caller's. A build without CUDA has the same symbols (cuda/backend_absent.cpp).
#pragma once

#include <string>

#include "backend.h"

namespace fastrnn {

// What a scan is, and where it runs.
struct DeviceScan {
  std::string cell;
  DType dtype;
  int64_t T, B, H;
  bool reverse;
  std::string tier;  // "resident", "grid", "streamed", or "" for the best
  int device;
  void* stream;  // cudaStream_t
  void* workspace;
  int64_t workspace_bytes;  // at least device_workspace_bytes
  const int64_t* lengths;   // (B,) in [0, T], or null = all T
  const void* weight_hh;    // (gates*H, H), C-contiguous
};

// Arrays of dtype but where told otherwise. The fields mean what those of cuda/scan.h mean.
struct DeviceForward : DeviceScan {
  Sequence x_pre;          // (T, B, gates*H): x W_ih^T, without bias
  const void* bias_ih;     // (gates*H,) or null
  const void* bias_hh;
  const void* initial[2];  // (B, H) h_0, c_0, or null
  void* final[2];          // (B, H), written
  Sequence y;              // (T, B, H), written
  void* h_history;         // training, else null: (T + 1, B, H)
  void* c_history;         // (T + 1, B, H) float32, or float64 with dtype float64; null for cells with one state
  void* keep;              // (T, B, saved*H)
};

struct DeviceBackward : DeviceScan {
  Sequence d_y;            // (T, B, H); data null = zero
  const void* d_final[2];  // (B, H) or null
  const void* h_history;
  const void* c_history;
  const void* keep;
  void* d_pre;             // (T, B, slots*H), written
  void* d_initial[2];      // (B, H), written
};

// All throw std::invalid_argument for what cannot run, std::runtime_error with CUDA's own words for what failed.
void require_device();  // nothing, or what a build without CUDA says
int64_t device_workspace_bytes(const DeviceScan&, bool backward);
void device_forward(const DeviceForward&);
void device_backward(const DeviceBackward&);
Facts device_plan(const DeviceScan&, bool backward);

}  // namespace fastrnn
