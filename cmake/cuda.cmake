# The CUDA backend, or the file that stands in for it.
#
# This version has no CUDA kernels. AUTO says what a build with them would find here; ON fails, since
# it asks for what does not exist.

set(FASTRNN_CUDA_SOURCES csrc/cuda/backend_absent.cpp)

if(NOT FASTRNN_CUDA MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "fastrnn: FASTRNN_CUDA is '${FASTRNN_CUDA}', expected AUTO, ON or OFF")
elseif(FASTRNN_CUDA STREQUAL "ON")
  message(FATAL_ERROR
    "fastrnn: FASTRNN_CUDA=ON, but this version has no CUDA kernels; configure with FASTRNN_CUDA=AUTO or OFF, "
    "and pass NumPy arrays")
elseif(FASTRNN_CUDA STREQUAL "AUTO")
  include(CheckLanguage)
  check_language(CUDA)
  find_library(FASTRNN_CUDA_DRIVER NAMES cuda libcuda.so.1)
  mark_as_advanced(FASTRNN_CUDA_DRIVER)
  set(found_COMPILER "${CMAKE_CUDA_COMPILER}")
  set(found_DRIVER "${FASTRNN_CUDA_DRIVER}")
  foreach(part COMPILER DRIVER)
    if(NOT found_${part})
      set(found_${part} "not found")
    endif()
  endforeach()
  message(STATUS "fastrnn: CUDA compiler: ${found_COMPILER}; driver: ${found_DRIVER}; "
    "the CUDA backend is not built: this version has no CUDA kernels")
endif()
