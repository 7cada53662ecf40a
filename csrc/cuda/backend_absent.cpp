// The CUDA backend of a build without CUDA: the same symbols, one sentence.
#include <stdexcept>

#include "../rnn/backend.h"

namespace fastrnn {

Backend& cuda_backend() {
  throw std::runtime_error(
      "fastrnn: a GPU array needs the CUDA backend, but this fastrnn was built without CUDA; rebuild with "
      "-C cmake.define.FASTRNN_CUDA=ON, or pass a NumPy array");
}

bool has_cuda_backend() { return false; }

}  // namespace fastrnn
