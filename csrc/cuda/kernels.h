// Where the host finds a kernel: one function per direction and storage type, each in an object of its own.
#pragma once

#include <string>

#include "scan.h"

namespace fastrnn::cuda {

// The kernel (ForwardScan<S>, int64_t first, int64_t last) of a cell and tier: steps first, first + 1, ... < last.
template <class S>
const void* forward_kernel_of(const std::string& cell, Tier tier);
// The kernel (BackwardScan<S>, int64_t first, int64_t last): steps first, first - 1, ... >= last.
template <class S>
const void* backward_kernel_of(const std::string& cell, Tier tier);

extern template const void* forward_kernel_of<float>(const std::string&, Tier);
extern template const void* forward_kernel_of<double>(const std::string&, Tier);
extern template const void* forward_kernel_of<Bfloat16>(const std::string&, Tier);
extern template const void* forward_kernel_of<Float16>(const std::string&, Tier);
extern template const void* forward_kernel_of<TensorFloat32>(const std::string&, Tier);
extern template const void* backward_kernel_of<float>(const std::string&, Tier);
extern template const void* backward_kernel_of<double>(const std::string&, Tier);
extern template const void* backward_kernel_of<Bfloat16>(const std::string&, Tier);
extern template const void* backward_kernel_of<Float16>(const std::string&, Tier);
extern template const void* backward_kernel_of<TensorFloat32>(const std::string&, Tier);

}  // namespace fastrnn::cuda
