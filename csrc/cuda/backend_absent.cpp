// The CUDA backend of a version without CUDA kernels: the same symbols, one sentence.
#include <stdexcept>

#include "../rnn/backend.h"

namespace fastrnn {

Backend& cuda_backend() {
  throw std::runtime_error(
      "fastrnn: x is a GPU array, but this version has no CUDA kernels; pass a NumPy array, such as "
      "cupy.asnumpy(x) or x.cpu().numpy() of a torch tensor");
}

bool has_cuda_backend() { return false; }

}  // namespace fastrnn
