# The CUDA backend, or the file that stands in for it; and the emulated GPU that tests run on.
#
# AUTO builds the kernels where a CUDA compiler is found, ON insists, OFF never looks. Nothing but the static
# CUDA runtime is linked, so that a wheel needs the driver alone.

if(NOT FASTRNN_CUDA MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "fastrnn: FASTRNN_CUDA is '${FASTRNN_CUDA}', expected AUTO, ON or OFF")
endif()
set(FASTRNN_CUDA_ARCHITECTURES "80;86;89;90" CACHE STRING
  "Compute capabilities to compile for; PTX of the last one serves newer GPUs")

set(FASTRNN_CUDA_FOUND OFF)
if(NOT FASTRNN_CUDA STREQUAL "OFF")
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    set(FASTRNN_CUDA_FOUND ON)
  elseif(FASTRNN_CUDA STREQUAL "ON")
    message(FATAL_ERROR
      "fastrnn: FASTRNN_CUDA=ON, but no CUDA compiler was found; put nvcc on the PATH or set CUDACXX, or configure "
      "with FASTRNN_CUDA=OFF and pass NumPy arrays")
  endif()
endif()

if(FASTRNN_CUDA_FOUND)
  list(GET FASTRNN_CUDA_ARCHITECTURES -1 newest)
  list(TRANSFORM FASTRNN_CUDA_ARCHITECTURES APPEND "-real" OUTPUT_VARIABLE CMAKE_CUDA_ARCHITECTURES)
  list(APPEND CMAKE_CUDA_ARCHITECTURES "${newest}-virtual")
  enable_language(CUDA)
  find_package(CUDAToolkit REQUIRED)
  message(STATUS "fastrnn: CUDA ${CMAKE_CUDA_COMPILER_VERSION} for ${CMAKE_CUDA_ARCHITECTURES}")

  add_library(fastrnn_cuda OBJECT csrc/cuda/backend.cu)
  foreach(dtype float32 float64 bfloat16 float16 tf32)
    foreach(direction forward backward)
      target_sources(fastrnn_cuda PRIVATE csrc/cuda/kernels/${direction}_${dtype}.cu)
    endforeach()
  endforeach()
  set_target_properties(fastrnn_cuda PROPERTIES
    CUDA_STANDARD 17 CUDA_STANDARD_REQUIRED ON  # 20 is not known to many a CMake that is around
    CUDA_RUNTIME_LIBRARY Static CUDA_VISIBILITY_PRESET hidden)
  # Rounding is written with fma(), as on the CPU.
  target_compile_options(fastrnn_cuda PRIVATE -fmad=false -Xcompiler=-Wall,-Wextra
    $<$<BOOL:${FASTRNN_WERROR}>:-Werror=all-warnings -Xcompiler=-Werror>)
  target_compile_definitions(fastrnn_cuda PRIVATE $<$<BOOL:${FASTRNN_TESTING}>:FASTRNN_TESTING>)
  set(FASTRNN_CUDA_SOURCES $<TARGET_OBJECTS:fastrnn_cuda>)
  set(FASTRNN_CUDA_LIBRARIES CUDA::cudart_static)
else()
  message(STATUS "fastrnn: without CUDA kernels (FASTRNN_CUDA=${FASTRNN_CUDA}): GPU arrays are refused")
  set(FASTRNN_CUDA_SOURCES csrc/cuda/backend_absent.cpp)
  set(FASTRNN_CUDA_LIBRARIES)
endif()

# The same kernels on the CPU, a module of its own that only tests import.
function(fastrnn_add_emulation)
  pybind11_add_module(_emulation MODULE
    csrc/bindings_emulation.cpp csrc/bindings_device.cpp csrc/cuda/backend_emulated.cpp)
  fastrnn_options(_emulation)
  target_compile_options(_emulation PRIVATE -O1)
  install(TARGETS _emulation DESTINATION fastrnn)
endfunction()
