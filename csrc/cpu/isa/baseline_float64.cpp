// The kernels of baseline, float64: compiled with that ISA's flags, exports one table.
#include "baseline.h"
#include "table.h"

namespace fastrnn::cpu {

extern const IsaKernels<double> baseline_float64;
const IsaKernels<double> baseline_float64 = CellTable<Baseline, double, cells::All>::kernels;

}  // namespace fastrnn::cpu
