// A scan on a GPU behind the seam of rnn/device_scan.h: the facts of the device, packing, the launches.
#include <cuda_runtime.h>

#include "kernels.h"
#include "prepare.h"

namespace fastrnn {
namespace cuda {
namespace {

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // said here, not once more by the next call
  throw std::runtime_error(std::string("fastrnn: ") + what + " failed on the GPU: " + cudaGetErrorString(error) + " (" +
                           cudaGetErrorName(error) + ")");
}

// The caller's device for the length of a call.
class OnDevice {
 public:
  explicit OnDevice(int device) {
    check(cudaGetDevice(&before_), "asking for the current device");
    if (device != before_) check(cudaSetDevice(device), "choosing the device");
    changed_ = device != before_;
  }
  ~OnDevice() {
    if (changed_) cudaSetDevice(before_);
  }
  OnDevice(const OnDevice&) = delete;

 private:
  int before_ = 0;
  bool changed_ = false;
};

int attribute(cudaDeviceAttr which, int device) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, which, device), "asking for a device attribute");
  return value;
}

DeviceFacts facts_of(int device) {
  const int major = attribute(cudaDevAttrComputeCapabilityMajor, device),
            minor = attribute(cudaDevAttrComputeCapabilityMinor, device);
  const bool doubles = minor == 0 && major >= 8 && major <= 10;  // 8.0, 9.0, 10.0: the data-centre chips
  return {attribute(cudaDevAttrMultiProcessorCount, device), attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
          doubles ? 64 : 2};
}

template <class S>
__global__ void pack_weights(const PackShape shape, const S* weight_hh, S* packed) {
  const int64_t all = shape.elements(), step = int64_t(gridDim.x) * blockDim.x;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < all; i += step)
    pack_element(shape, weight_hh, packed, i);
}

template <class S, class Scan>
void pack(const Prepared<S, Scan>& ready, cudaStream_t stream) {
  const int64_t blocks = least_of((ready.pack.elements() + 255) / 256, 4096);
  pack_weights<S><<<unsigned(blocks), 256, 0, stream>>>(ready.pack, ready.weight_hh, ready.packed);
  check(cudaGetLastError(), "packing weights");
}

// All that there is, whatever the plan takes: threads that launch the same kernel with other plans share this setting.
void allow_shared(const void* kernel, const DeviceFacts& device) {
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, device.shared_bytes),
        "reserving shared memory");
}

// A launch of all blocks of a plan; false if they cannot all be in flight at once, as the grid tier needs.
bool launch(const void* kernel, const Plan& plan, cudaStream_t stream, void** args) {
  const dim3 grid{unsigned(plan.row_tiles), unsigned(plan.unit_tiles)}, block{unsigned(plan.tile.threads)};
  const auto shared = size_t(plan.shared_bytes);
  if (plan.tier != Tier::grid) {
    check(cudaLaunchKernel(kernel, grid, block, args, shared, stream), "launching a scan");
    return true;
  }
  int device = 0, resident = 0;
  check(cudaGetDevice(&device), "asking for the current device");
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&resident, kernel, plan.tile.threads, shared),
        "asking for occupancy");
  const int64_t room = int64_t(resident) * attribute(cudaDevAttrMultiProcessorCount, device);
  if (attribute(cudaDevAttrCooperativeLaunch, device) == 0 || room < plan.row_tiles * plan.unit_tiles) return false;
  const cudaError_t error = cudaLaunchCooperativeKernel(kernel, grid, block, args, shared, stream);
  if (error == cudaErrorCooperativeLaunchTooLarge) {
    cudaGetLastError();  // answered by the fall-back
    return false;
  }
  check(error, "launching a scan");
  return true;
}

using KernelOf = const void* (*)(const std::string&, Tier);

// Steps first, first + way, ..., last; if way leads past `last` at once, the kernel only begins.
template <class S, class Scan>
void run(KernelOf kernel_of, const DeviceScan& given, Prepared<S, Scan>& ready, int64_t first, int64_t last, int way) {
  const auto stream = static_cast<cudaStream_t>(given.stream);
  pack(ready, stream);
  Plan plan = ready.plan;
  const int64_t past = way > 0 ? 1 : 0;  // forward kernels stop before their last argument, backward ones after it
  if (plan.tier == Tier::grid)
    check(cudaMemsetAsync(ready.scan.flags, 0, size_t(plan.row_tiles * plan.unit_tiles) * sizeof(*ready.scan.flags),
                          stream),
          "zeroing flags");
  if (plan.tier != Tier::streamed) {
    int64_t end = last + past;
    void* args[] = {&ready.scan, &first, &end};
    const void* whole = kernel_of(given.cell, plan.tier);
    allow_shared(whole, ready.device);
    if (launch(whole, plan, stream, args)) return;
    plan = streamed_like(ready.shape, ready.device, plan);
  }
  const void* kernel = kernel_of(given.cell, Tier::streamed);
  allow_shared(kernel, ready.device);
  const int64_t steps = (last - first) * way + 1;
  for (int64_t i = 0; i < steps || i == 0; ++i) {
    int64_t s = first + i * way, end = steps < 1 ? s : s + past;
    void* args[] = {&ready.scan, &s, &end};
    launch(kernel, plan, stream, args);
  }
}

}  // namespace
}  // namespace cuda

bool has_cuda_backend() { return true; }

void require_device() {}

int64_t device_workspace_bytes(const DeviceScan& given, bool backward) {
  return cuda::workspace_bytes_of(given, backward, cuda::facts_of(given.device));
}

void device_forward(const DeviceForward& given) {
  if (given.B == 0) return;
  const cuda::OnDevice on(given.device);
  cuda::with_types(given, [&](auto cell, auto storage) {
    using S = typename decltype(storage)::type;
    auto ready = cuda::prepare_forward<typename decltype(cell)::type, S>(given, cuda::facts_of(given.device));
    cuda::run(&cuda::forward_kernel_of<S>, given, ready, 0, given.T - 1, 1);
  });
}

void device_backward(const DeviceBackward& given) {
  if (given.B == 0) return;
  const cuda::OnDevice on(given.device);
  cuda::with_types(given, [&](auto cell, auto storage) {
    using S = typename decltype(storage)::type;
    auto ready = cuda::prepare_backward<typename decltype(cell)::type, S>(given, cuda::facts_of(given.device));
    cuda::run(&cuda::backward_kernel_of<S>, given, ready, given.T - 1, -1, -1);
  });
}

Facts device_plan(const DeviceScan& given, bool backward) {
  return cuda::facts_of_plan(given, backward, cuda::facts_of(given.device));
}

}  // namespace fastrnn
