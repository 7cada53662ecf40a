// The kernels of avx512, float64: compiled with that ISA's flags, exports one table.
#include "avx512.h"
#include "table.h"

namespace fastrnn::cpu {

extern const IsaKernels<double> avx512_float64;
const IsaKernels<double> avx512_float64 = CellTable<Avx512, double, cells::All>::kernels;

}  // namespace fastrnn::cpu
