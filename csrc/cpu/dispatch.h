// Which ISA's kernels run: an ordered table, the best first; FASTRNN_ISA forces one by name.
#pragma once

#include <string>
#include <vector>

#include "scan.h"

namespace fastrnn::cpu {

// The table that new packs take, chosen at first use. Throws std::runtime_error, naming what there is,
// when FASTRNN_ISA asks for an unknown table or one this machine cannot run.
const IsaTable& running_isa();
std::vector<std::string> supported_isas();
// Another table for new packs, for tests and benchmarks that compare several in one process. Packed weights
// hold the kernels that they were packed for, so tapes and steppers keep theirs. Returns the name of the
// table before; throws std::invalid_argument, naming what there is.
const char* use_isa(const std::string& name);

template <class S>
const IsaKernels<S>& running_kernels();
template <class S>
const CellKernels<S>& kernels_of(const std::string& cell);  // throws std::invalid_argument

}  // namespace fastrnn::cpu
