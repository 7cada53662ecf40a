#include "../kernels.cuh"

template const void* fastrnn::cuda::backward_kernel_of<fastrnn::cuda::Float16>(const std::string&, Tier);
