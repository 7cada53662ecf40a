#include "../kernels.cuh"

template const void* fastrnn::cuda::backward_kernel_of<double>(const std::string&, Tier);
