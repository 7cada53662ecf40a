// The kernels of avx2, float32: compiled with that ISA's flags, exports one table.
#include "avx2.h"
#include "table.h"

namespace fastrnn::cpu {

extern const IsaKernels<float> avx2_float32;
const IsaKernels<float> avx2_float32 = CellTable<Avx2, float, cells::All>::kernels;

}  // namespace fastrnn::cpu
