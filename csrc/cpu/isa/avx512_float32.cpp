// The kernels of avx512, float32: compiled with that ISA's flags, exports one table.
#include "avx512.h"
#include "table.h"

namespace fastrnn::cpu {

extern const IsaKernels<float> avx512_float32;
const IsaKernels<float> avx512_float32 = CellTable<Avx512, float, cells::All>::kernels;

}  // namespace fastrnn::cpu
