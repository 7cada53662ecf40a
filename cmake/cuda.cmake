# The CUDA backend, or the file that stands in for it.
#
# No CUDA kernels exist yet: ON says so instead of building a backend that could not run.

set(FASTRNN_CUDA_SOURCES csrc/cuda/backend_absent.cpp)
if(FASTRNN_CUDA STREQUAL "ON")
  message(FATAL_ERROR
    "fastrnn: FASTRNN_CUDA=ON, but this version has no CUDA kernels yet; configure with FASTRNN_CUDA=AUTO or OFF")
elseif(NOT FASTRNN_CUDA MATCHES "^(AUTO|OFF)$")
  message(FATAL_ERROR "fastrnn: FASTRNN_CUDA is '${FASTRNN_CUDA}', expected AUTO, ON or OFF")
endif()
