// The GPU of a build without CUDA: the same symbols, one sentence.
#include <stdexcept>

#include "../rnn/device_scan.h"

namespace fastrnn {
namespace {

[[noreturn]] void refuse() {
  throw std::runtime_error(
      "fastrnn: x is a GPU array, but this build has no CUDA kernels; pass a NumPy array, such as cupy.asnumpy(x) or "
      "x.cpu().numpy() of a torch tensor, or rebuild with -DFASTRNN_CUDA=ON and nvcc");
}

}  // namespace

bool has_cuda_backend() { return false; }

void require_device() { refuse(); }
int64_t device_workspace_bytes(const DeviceScan&, bool) { refuse(); }
void device_forward(const DeviceForward&) { refuse(); }
void device_backward(const DeviceBackward&) { refuse(); }
Facts device_plan(const DeviceScan&, bool) { refuse(); }

}  // namespace fastrnn
