# One object per ISA and dtype, each compiled from the same templates with its own flags.
#
# Nothing in these objects may be shared with objects of another ISA: the linker would keep one copy
# of an inline function, perhaps the AVX-512 one. `nox -s symbols` audits them.

function(fastrnn_options target)
  # Rounding is written with fma(), never left to the compiler's contraction.
  target_compile_options(${target} PRIVATE -ffp-contract=off -fno-math-errno -Wall -Wextra -Wno-psabi)
  target_compile_definitions(${target} PRIVATE $<$<BOOL:${FASTRNN_TESTING}>:FASTRNN_TESTING>)
  if(FASTRNN_WERROR)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
endfunction()

add_library(fastrnn_isa OBJECT)
fastrnn_options(fastrnn_isa)
target_compile_options(fastrnn_isa PRIVATE -O3 -fno-exceptions -fno-rtti -fvisibility=hidden)

function(fastrnn_add_isa name)
  foreach(dtype float32 float64)
    set(source csrc/cpu/isa/${name}_${dtype}.cpp)
    target_sources(fastrnn_isa PRIVATE ${source})
    set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${ARGN}")
  endforeach()
endfunction()

fastrnn_add_isa(baseline)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  fastrnn_add_isa(avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mprefer-vector-width=512)
  fastrnn_add_isa(avx2 -mavx2 -mfma)
endif()
