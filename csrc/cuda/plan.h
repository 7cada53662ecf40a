// The cost model of a GPU: which tier runs a scan, and how its tile is cut.
//
// Pure arithmetic on sizes and three facts of the device, usable in constant expressions and tested on the CPU.
// It counts clocks per step; its constants rank choices and promise nothing. They come from research figures of an
// H100 and have not been fitted on a GPU yet.
#pragma once

#include "shared_places.h"

namespace fastrnn::cuda {

struct DeviceFacts {
  int processors;       // streaming multiprocessors
  int shared_bytes;     // most shared memory that a block may ask for
  int double_rate;      // double FMAs per clock of a processor: 64 on A100 and H100, 2 on the others
};

struct PlanShape {
  int64_t B, H;
  int gates, states;
  Numbers numbers;
  bool backward;

  constexpr int64_t terms() const { return backward ? gates * H : H; }
  constexpr int sums() const { return backward ? 1 : gates; }
};

struct Plan {
  Tier tier;
  Tile tile;
  int64_t row_tiles, unit_tiles;
  int64_t shared_bytes;
  double clocks;  // per step; 0: there is no such plan
  const char* reason;
};

namespace plan_costs {
constexpr double fma_rate = 128;          // float FMAs per clock of a processor
constexpr double shared_rate = 128;       // bytes per clock of a processor
constexpr double exchange_rate = 34;      // bytes per clock of a processor from L2, all reading
constexpr double fixed = 600;             // barriers within a block, the cell, its loads
constexpr double hand_over = 1200;        // flag written, seen, and what was written loaded: 0.7 us
constexpr double launch = 3500;           // a kernel after another on a stream: 2 us
constexpr int most_threads = 512;         // leaves 128 registers per thread
constexpr int64_t operand_bytes = 32768;  // staged at once: half of what one pass needs elsewhere
constexpr int most_parts = 16;
constexpr int most_eights = 2;            // of rows that a warp multiplies at once
constexpr double matrix_rate = 6.3;       // clocks of a matrix instruction on a quarter of a processor
constexpr double matrix_latency = 25;     // until its sums can be added to again
}  // namespace plan_costs

constexpr int64_t least_of(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t most_of(int64_t a, int64_t b) { return a > b ? a : b; }
constexpr int64_t multiple_above(int64_t a, int64_t b) { return (a + b - 1) / b * b; }

// The tile of `units` x `rows` with `threads` threads: as many rows at once as they allow, then parts.
constexpr Tile tile_of(const PlanShape& shape, Tier tier, int units, int rows, int threads) {
  using namespace plan_costs;
  const bool matrix = shape.numbers.matrix;
  const int lanes = shape.numbers.row_lanes(), wanted = (rows + lanes - 1) / lanes;
  // Threads that one sum of a row group takes; a warp of matrix instructions goes over the row groups by itself.
  const int room = matrix ? threads / (units * 32 / matrix_units) : threads / units;
  const int most_groups = matrix ? most_eights : room;
  const int row_groups = wanted < most_groups ? wanted : most_groups;
  if (room < 1 || row_groups < 1 || (matrix && units % matrix_units != 0)) return {};
  const int64_t together = shape.numbers.together();
  int parts = matrix ? room : room / row_groups;
  parts = parts < most_parts ? parts : most_parts;
  parts = int(least_of(parts, most_of((shape.terms() + together - 1) / together, 1)));
  const int64_t step = int64_t(parts) * together;
  const int64_t fits = operand_bytes / (int64_t(row_groups) * lanes * shape.numbers.element) / step * step;
  const int64_t all = multiple_above(most_of(shape.terms(), 1), step);
  const int64_t chunk = tier == Tier::resident ? all : least_of(all, most_of(fits, step));
  return {units, rows, row_groups, parts, threads, int(chunk)};
}

// Clocks of the sums of one pass of rows, by FMAs.
constexpr double fma_clocks(const PlanShape& shape, const DeviceFacts& device, const Plan& plan) {
  using namespace plan_costs;
  const Tile& tile = plan.tile;
  const double terms = double(shape.terms()), sums = shape.sums();
  const double rows = double(least_of(tile.rows, pass_rows_of(tile, shape.numbers)));
  const double busy = double(tile.row_groups) * tile.parts * tile.units / tile.threads;
  const double fma =
      terms * sums * tile.units * rows / (shape.numbers.compute == 8 ? double(device.double_rate) : fma_rate);
  const double weights = terms * sums * tile.units * shape.numbers.element * tile.row_groups;
  const double operand =
      terms * shape.numbers.element * rows * tile.units / 8;  // a wavefront serves the lanes of a part
  const double read = plan.tier == Tier::streamed ? weights / exchange_rate : weights / shared_rate;
  return fma / busy > read + operand / shared_rate ? fma / busy : read + operand / shared_rate;
}

// The same by matrix instructions.
constexpr double matrix_clocks(const PlanShape& shape, const Plan& plan) {
  using namespace plan_costs;
  const Tile& tile = plan.tile;
  const int64_t steps = groups_of(shape.terms(), shape.numbers) / 2;
  const int64_t turns = (steps + tile.parts - 1) / tile.parts, blocks = tile.units / matrix_units;
  const double instructions = double(turns) * shape.sums() * tile.row_groups;  // of a warp
  const double warps = double(blocks) * tile.parts, quarter = warps > 4 ? warps / 4 : 1;
  const double chain = double(turns) * matrix_latency * (shape.sums() < 3 ? 0.25 : 1);
  const int64_t groups = groups_of(shape.terms(), shape.numbers);
  const double shared = double(groups - kept_groups(plan.tier, tile, groups, shape.numbers, shape.sums()));
  const double weights = shared * shape.sums() * tile.units * vector_bytes * tile.row_groups;
  const double operand = double(blocks) * tile.row_groups * matrix_rows * double(shape.terms()) * shape.numbers.element;
  const double read =
      plan.tier == Tier::streamed ? weights / exchange_rate + operand / shared_rate : (weights + operand) / shared_rate;
  const double multiply = instructions * quarter * matrix_rate;
  const double slower = multiply > chain ? multiply : chain;
  return slower > read ? slower : read;
}

// Clocks of one step of a plan.
constexpr double clocks_of(const PlanShape& shape, const DeviceFacts& device, const Plan& plan) {
  using namespace plan_costs;
  const Tile& tile = plan.tile;
  const int pass_rows = pass_rows_of(tile, shape.numbers);
  const double passes = double((tile.rows + pass_rows - 1) / pass_rows), live = double(tile.rows);
  const double product = shape.numbers.matrix ? matrix_clocks(shape, plan) : fma_clocks(shape, device, plan);
  const double joined = double(tile.parts) * shape.sums() * live * tile.units / tile.threads * 4;
  double clocks = (fixed + product) * passes + joined;
  if (plan.tier != Tier::resident) clocks += live * double(shape.terms()) * shape.numbers.element / exchange_rate;
  if (plan.tier == Tier::grid) return clocks + hand_over;
  const double waves = double((plan.row_tiles * plan.unit_tiles + device.processors - 1) / device.processors);
  return plan.tier == Tier::streamed ? clocks * waves + launch : clocks * waves;
}

// The plan with these cuts; clocks = 0 if it does not fit the device.
constexpr Plan plan_with(const PlanShape& shape, const DeviceFacts& device, Tier tier, int units, int rows,
                         int threads) {
  Plan plan{};
  plan.tier = tier;
  if (units > threads) return plan;
  plan.tile = tile_of(shape, tier, units, rows, threads);
  if (plan.tile.units == 0) return plan;
  plan.row_tiles = (most_of(shape.B, 1) + rows - 1) / rows;  // no rows are planned as one
  plan.unit_tiles = (shape.H + units - 1) / units;
  plan.shared_bytes = shared_places(tier, plan.tile, shape.terms(), shape.sums(), shape.states, shape.numbers).total;
  if (plan.shared_bytes > device.shared_bytes) return plan;
  if (plan.row_tiles >= int64_t(1) << 31 || plan.unit_tiles > 65535) return plan;
  if (tier == Tier::grid && plan.row_tiles * plan.unit_tiles > device.processors) return plan;
  plan.clocks = clocks_of(shape, device, plan);
  return plan;
}

// The best plan of one tier; clocks = 0 if it has none.
constexpr Plan best_of(const PlanShape& shape, const DeviceFacts& device, Tier tier) {
  constexpr int row_choices[] = {1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128};
  constexpr int unit_choices[] = {8, 16, 24, 32, 48, 64, 96, 128};
  constexpr const char* reasons[] = {"one block holds the weights and runs all steps of its rows by itself",
                                     "the blocks of a row tile hold the weights together and hand over h at every step",
                                     "one launch per step: the weights stay nowhere, and are read again at every step"};
  const int least = shape.numbers.matrix ? matrix_units : 8;
  Plan best{};
  best.tier = tier;
  for (const int threads : {256, plan_costs::most_threads}) {
    for (const int rows : row_choices) {
      if (rows > 1 && rows >= 2 * shape.B) break;  // all rows fit a smaller tile
      if (tier == Tier::resident) {
        const int64_t units = multiple_above(shape.H, least);
        if (units > plan_costs::most_threads) break;
        const Plan plan = plan_with(shape, device, tier, int(units), rows, threads);
        if (plan.clocks > 0 && (best.clocks == 0 || plan.clocks < best.clocks)) best = plan;
        continue;
      }
      for (const int units : unit_choices) {
        if (units > least && units >= 2 * shape.H) break;
        const Plan plan = plan_with(shape, device, tier, units, rows, threads);
        if (plan.clocks > 0 && (best.clocks == 0 || plan.clocks < best.clocks)) best = plan;
      }
    }
  }
  best.reason = reasons[int(tier)];
  return best;
}

constexpr Plan plan_scan(const PlanShape& shape, const DeviceFacts& device) {
  Plan best{};
  for (const Tier tier : {Tier::resident, Tier::grid, Tier::streamed}) {
    const Plan plan = best_of(shape, device, tier);
    if (plan.clocks > 0 && (best.clocks == 0 || plan.clocks < best.clocks)) best = plan;
  }
  return best;
}

// The same tile, launched step by step: the same sums in the same order, hence the same bits.
constexpr Plan streamed_like(const PlanShape& shape, const DeviceFacts& device, const Plan& plan) {
  Plan streamed = plan;
  streamed.tier = Tier::streamed;
  streamed.reason = "one launch per step, because the blocks of the grid tier cannot all run at once here";
  streamed.shared_bytes =
      shared_places(Tier::streamed, plan.tile, shape.terms(), shape.sums(), shape.states, shape.numbers).total;
  streamed.clocks = clocks_of(shape, device, streamed);
  return streamed;
}

}  // namespace fastrnn::cuda
