// The kernels of baseline, float32: compiled with that ISA's flags, exports one table.
#include "baseline.h"
#include "table.h"

namespace fastrnn::cpu {

extern const IsaKernels<float> baseline_float32;
const IsaKernels<float> baseline_float32 = CellTable<Baseline, float, cells::All>::kernels;

}  // namespace fastrnn::cpu
