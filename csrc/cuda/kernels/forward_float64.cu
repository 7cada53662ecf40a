#include "../kernels.cuh"

template const void* fastrnn::cuda::forward_kernel_of<double>(const std::string&, Tier);
