#include "../kernels.cuh"

template const void* fastrnn::cuda::forward_kernel_of<fastrnn::cuda::TensorFloat32>(const std::string&, Tier);
