// A GPU that is the CPU, for tests: the same seam, plans, workspaces and kernels on host memory, an H100's facts.
// The stream is ignored; a bad pointer is a crash here and an error there.
#include <cstring>

#include "emulation.h"
#include "prepare.h"

namespace fastrnn {
namespace {

constexpr cuda::DeviceFacts facts{132, 232448, 64};

template <class S, class Scan>
void pack(const cuda::Prepared<S, Scan>& ready) {
  for (int64_t i = 0; i < ready.pack.elements(); ++i) pack_element(ready.pack, ready.weight_hh, ready.packed, i);
}

template <class F>
void with_tier(cuda::Tier tier, const F& f) {
  using cuda::Tier;
  switch (tier) {
    case Tier::resident: return f(std::integral_constant<Tier, Tier::resident>{});
    case Tier::grid: return f(std::integral_constant<Tier, Tier::grid>{});
    case Tier::streamed: return f(std::integral_constant<Tier, Tier::streamed>{});
  }
}

}  // namespace

void require_device() {}

int64_t device_workspace_bytes(const DeviceScan& given, bool backward) {
  return cuda::workspace_bytes_of(given, backward, facts);
}

void device_forward(const DeviceForward& given) {
  if (given.B == 0) return;
  cuda::with_types(given, [&](auto cell, auto storage) {
    using Cell = typename decltype(cell)::type;
    using S = typename decltype(storage)::type;
    std::memset(given.workspace, 0xFF, size_t(given.workspace_bytes));
    const auto ready = cuda::prepare_forward<Cell, S>(given, facts);
    pack(ready);
    with_tier(ready.plan.tier, [&](auto tier) { cuda::emulate_forward<Cell, S, tier.value>(ready.scan, false); });
  });
}

void device_backward(const DeviceBackward& given) {
  if (given.B == 0) return;
  cuda::with_types(given, [&](auto cell, auto storage) {
    using Cell = typename decltype(cell)::type;
    using S = typename decltype(storage)::type;
    std::memset(given.workspace, 0xFF, size_t(given.workspace_bytes));
    const auto ready = cuda::prepare_backward<Cell, S>(given, facts);
    pack(ready);
    with_tier(ready.plan.tier, [&](auto tier) { cuda::emulate_backward<Cell, S, tier.value>(ready.scan, false); });
  });
}

Facts device_plan(const DeviceScan& given, bool backward) { return cuda::facts_of_plan(given, backward, facts); }

}  // namespace fastrnn
