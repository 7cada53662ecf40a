#include "../kernels.cuh"

template const void* fastrnn::cuda::forward_kernel_of<float>(const std::string&, Tier);
