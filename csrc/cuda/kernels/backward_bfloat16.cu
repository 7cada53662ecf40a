#include "../kernels.cuh"

template const void* fastrnn::cuda::backward_kernel_of<fastrnn::cuda::Bfloat16>(const std::string&, Tier);
