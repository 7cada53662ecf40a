// The kernels of avx2, float64: compiled with that ISA's flags, exports one table.
#include "avx2.h"
#include "table.h"

namespace fastrnn::cpu {

extern const IsaKernels<double> avx2_float64;
const IsaKernels<double> avx2_float64 = CellTable<Avx2, double, cells::All>::kernels;

}  // namespace fastrnn::cpu
