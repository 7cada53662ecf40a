#include "../kernels.cuh"

template const void* fastrnn::cuda::backward_kernel_of<float>(const std::string&, Tier);
