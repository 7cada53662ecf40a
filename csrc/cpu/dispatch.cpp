#include "dispatch.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <stdexcept>

namespace fastrnn::cpu {

extern const IsaKernels<float> baseline_float32;
extern const IsaKernels<double> baseline_float64;
#if defined(__x86_64__)
extern const IsaKernels<float> avx512_float32, avx2_float32;
extern const IsaKernels<double> avx512_float64, avx2_float64;
#endif

namespace {

// __builtin_cpu_supports asks cpuid and, for the wide registers, xgetbv: the system must save them.
#if defined(__x86_64__)
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
}
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#endif
bool always() { return true; }

const IsaTable tables[] = {
#if defined(__x86_64__)
    {"avx512", has_avx512, &avx512_float32, &avx512_float64},
    {"avx2", has_avx2, &avx2_float32, &avx2_float64},
#endif
    {"baseline", always, &baseline_float32, &baseline_float64},
};

// Null if it is unknown, or this machine cannot run it.
const IsaTable* find(const std::string& name) {
  for (const IsaTable& table : tables)
    if (name == table.name && table.supported()) return &table;
  return nullptr;
}

std::string refusal(const std::string& argument, const std::string& name) {
  std::string names;
  for (const std::string& supported : supported_isas()) names += (names.empty() ? "" : ", ") + supported;
  return argument + " is '" + name + "', expected one of " + names + " on this machine";
}

const IsaTable* choose() {
  const char* forced = std::getenv("FASTRNN_ISA");
  if (forced == nullptr || *forced == '\0')
    return std::find_if(std::begin(tables), std::end(tables), [](const IsaTable& table) { return table.supported(); });
  if (const IsaTable* table = find(forced)) return table;
  throw std::runtime_error("fastrnn: " + refusal("FASTRNN_ISA", forced) + "; unset it to let fastrnn choose");
}

std::atomic<const IsaTable*>& running() {
  static std::atomic<const IsaTable*> table{choose()};
  return table;
}

}  // namespace

const IsaTable& running_isa() { return *running().load(); }

const char* use_isa(const std::string& name) {
  if (const IsaTable* table = find(name)) return running().exchange(table)->name;
  throw std::invalid_argument(refusal("_use_isa: name", name));
}

std::vector<std::string> supported_isas() {
  std::vector<std::string> names;
  for (const IsaTable& table : tables)
    if (table.supported()) names.push_back(table.name);
  return names;
}

template <>
const IsaKernels<float>& running_kernels<float>() {
  return *running_isa().float32;
}
template <>
const IsaKernels<double>& running_kernels<double>() {
  return *running_isa().float64;
}

template <class S>
const CellKernels<S>& kernels_of(const std::string& cell) {
  const IsaKernels<S>& kernels = running_kernels<S>();
  std::string names;
  for (int i = 0; i < kernels.count; ++i) {
    if (cell == kernels.cells[i].cell) return kernels.cells[i];
    if (!names.empty()) names += ", ";
    names += kernels.cells[i].cell;
  }
  throw std::invalid_argument("fastrnn: cell is '" + cell + "', expected one of " + names);
}
template const CellKernels<float>& kernels_of<float>(const std::string&);
template const CellKernels<double>& kernels_of<double>(const std::string&);

}  // namespace fastrnn::cpu
