// From the caller's arrays to the arguments of the kernels: plan, workspace, pointers. Host code without CUDA, so
// that the emulated GPU prepares a scan exactly as the real one does.
#pragma once

#include <stdexcept>
#include <string>

#include "../rnn/device_scan.h"
#include "dispatch.cuh"
#include "pack.cuh"
#include "plan.h"

namespace fastrnn::cuda {

template <class Cell>
PlanShape shape_of(const DeviceScan& given, bool backward) {
  return {given.B, given.H, Cell::gates, Cell::states, numbers_of_dtype(given.dtype), backward};
}

template <class Cell>
Plan plan_of(const DeviceScan& given, bool backward, const DeviceFacts& device) {
  const PlanShape shape = shape_of<Cell>(given, backward);
  if (given.tier.empty()) {
    const Plan plan = plan_scan(shape, device);
    if (plan.clocks == 0)
      throw std::invalid_argument("fastrnn: hidden_size has value " + std::to_string(given.H) +
                                  ", too large for any plan on this GPU; take fewer units");
    return plan;
  }
  for (const Tier tier : {Tier::resident, Tier::grid, Tier::streamed}) {
    if (given.tier != name_of(tier)) continue;
    const Plan plan = best_of(shape, device, tier);
    if (plan.clocks == 0)
      throw std::invalid_argument(
          "fastrnn: plan has value '" + given.tier + "', which does not fit H = " + std::to_string(given.H) +
          " and B = " + std::to_string(given.B) + " on this GPU; leave plan out, or take 'streamed'");
    return plan;
  }
  throw std::invalid_argument("fastrnn: plan has value '" + given.tier + "', expected resident, grid or streamed");
}

// The workspace, in order: packed weights, private states of launches per step, flags. Bytes from its first multiple
// of 256.
struct Workspace {
  static constexpr int64_t alignment = 256;
  int64_t carry, flags, total;
};

template <class S>
Workspace workspace_of(const PlanShape& shape, const Plan& plan, const PackShape& pack) {
  const auto round = [](int64_t bytes) { return multiple_above(bytes, Workspace::alignment); };
  Workspace space{};
  space.carry = round(pack.elements() * int64_t(sizeof(S)));
  // The grid tier may have to fall back to launches per step.
  const bool streams = plan.tier != Tier::resident;
  space.flags = space.carry + (streams ? round(shape.states * shape.B * shape.H * shape.numbers.compute) : 0);
  space.total = space.flags + round(plan.row_tiles * plan.unit_tiles * int64_t(sizeof(unsigned long long))) +
                Workspace::alignment;
  return space;
}

template <class S, class Scan>
struct Prepared {
  PlanShape shape;
  DeviceFacts device;
  Plan plan;
  PackShape pack;
  Workspace space;
  const S* weight_hh;
  S* packed;
  Scan scan;
};

template <class Cell, class S, class Scan>
Prepared<S, Scan> prepare(const DeviceScan& given, bool backward, const DeviceFacts& device) {
  Prepared<S, Scan> ready{};
  ready.shape = shape_of<Cell>(given, backward);
  ready.device = device;
  ready.plan = plan_of<Cell>(given, backward, device);
  ready.pack = {given.H, Cell::gates, ready.plan.tile.units, numbers_of<S>(), backward, {}};
  for (int g = 0; g < Cell::gates; ++g) ready.pack.h_gate[g] = Cell::h_gate[g];
  ready.space = workspace_of<S>(ready.shape, ready.plan, ready.pack);
  Scan& scan = ready.scan;
  scan.T = given.T;
  scan.B = given.B;
  scan.H = given.H;
  scan.reverse = given.reverse;
  scan.lengths = given.lengths;
  scan.tile = ready.plan.tile;
  set_cell<Cell>(scan);
  ready.weight_hh = static_cast<const S*>(given.weight_hh);
  return ready;
}

// Gives every part of the workspace its place.
template <class S, class Scan>
void place(const DeviceScan& given, Prepared<S, Scan>& ready) {
  if (given.workspace_bytes < ready.space.total)
    throw std::invalid_argument("fastrnn: workspace has " + std::to_string(given.workspace_bytes) +
                                " bytes, expected " + std::to_string(ready.space.total));
  char* base = static_cast<char*>(given.workspace);
  base += (Workspace::alignment - reinterpret_cast<uintptr_t>(base) % Workspace::alignment) % Workspace::alignment;
  ready.packed = reinterpret_cast<S*>(base);
  ready.scan.weights = ready.packed;
  ready.scan.carry = reinterpret_cast<ComputeOf<S>*>(base + ready.space.carry);
  ready.scan.flags = reinterpret_cast<unsigned long long*>(base + ready.space.flags);
}

template <class Cell, class S>
Prepared<S, ForwardScan<S>> prepare_forward(const DeviceForward& given, const DeviceFacts& device) {
  auto ready = prepare<Cell, S, ForwardScan<S>>(given, false, device);
  place(given, ready);
  ForwardScan<S>& scan = ready.scan;
  scan.x_pre = static_cast<const S*>(given.x_pre.data);
  scan.x_step = given.x_pre.step;
  scan.x_row = given.x_pre.row;
  scan.bias_ih = static_cast<const S*>(given.bias_ih);
  scan.bias_hh = static_cast<const S*>(given.bias_hh);
  for (int state = 0; state < Cell::states; ++state) {
    scan.initial[state] = static_cast<const S*>(given.initial[state]);
    scan.final[state] = static_cast<S*>(given.final[state]);
  }
  scan.y = static_cast<S*>(const_cast<void*>(given.y.data));
  scan.y_step = given.y.step;
  scan.y_row = given.y.row;
  scan.h_history = static_cast<S*>(given.h_history);
  scan.c_history = static_cast<ComputeOf<S>*>(given.c_history);
  scan.keep = static_cast<S*>(given.keep);
  return ready;
}

template <class Cell, class S>
Prepared<S, BackwardScan<S>> prepare_backward(const DeviceBackward& given, const DeviceFacts& device) {
  auto ready = prepare<Cell, S, BackwardScan<S>>(given, true, device);
  place(given, ready);
  BackwardScan<S>& scan = ready.scan;
  scan.d_y = static_cast<const S*>(given.d_y.data);
  scan.d_y_step = given.d_y.step;
  scan.d_y_row = given.d_y.row;
  for (int state = 0; state < Cell::states; ++state) {
    scan.d_final[state] = static_cast<const S*>(given.d_final[state]);
    scan.d_initial[state] = static_cast<S*>(given.d_initial[state]);
  }
  scan.h_history = static_cast<const S*>(given.h_history);
  scan.c_history = static_cast<const ComputeOf<S>*>(given.c_history);
  scan.keep = static_cast<const S*>(given.keep);
  scan.d_pre = static_cast<S*>(given.d_pre);
  return ready;
}

// f(Type<Cell>{}, Type<S>{})
template <class F>
void with_types(const DeviceScan& given, const F& f) {
  with_storage(given.dtype, [&](auto storage) { with_cell(given.cell, [&](auto cell) { f(cell, storage); }); });
}

inline int64_t workspace_bytes_of(const DeviceScan& given, bool backward, const DeviceFacts& device) {
  int64_t bytes = 0;
  with_types(given, [&](auto cell, auto storage) {
    using Cell = typename decltype(cell)::type;
    using S = typename decltype(storage)::type;
    bytes = prepare<Cell, S, ForwardScan<S>>(given, backward, device).space.total;
  });
  return bytes;
}

inline Facts facts_of_plan(const DeviceScan& given, bool backward, const DeviceFacts& device) {
  Facts facts;
  with_cell(given.cell, [&](auto cell) {
    const Plan plan = plan_of<typename decltype(cell)::type>(given, backward, device);
    const Tile& tile = plan.tile;
    facts = {{"backend", "cuda"},
             {"tier", name_of(plan.tier)},
             {"reason", plan.reason},
             {"blocks", std::to_string(plan.row_tiles) + " of " + std::to_string(tile.rows) + " rows x " +
                            std::to_string(plan.unit_tiles) + " of " + std::to_string(tile.units) + " units"},
             {"threads", std::to_string(tile.threads)},
             {"shared memory", std::to_string(plan.shared_bytes) + " bytes a block"}};
  });
  return facts;
}

}  // namespace fastrnn::cuda
