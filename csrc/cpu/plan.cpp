#include "plan.h"

#include <algorithm>

namespace fastrnn::cpu {
namespace {

// A core of a present-day server, in bytes and microseconds. They rank choices: 30 % off is fine.
constexpr double cycles_per_us = 3000;
constexpr double l2_bytes = 1.6e6;         // of 2 MB, what weights may occupy
constexpr double l2_rate = 150e3;          // bytes per microsecond
constexpr double l3_rate = 28e3;
constexpr double barrier_us = 0.5;
constexpr double team_us = 4;              // opening and closing a parallel region
constexpr double tile_overhead_us = 0.03;  // cell, loads and stores of one tile, beside its products

struct Work {
  double flops_per_row;   // of the recurrent step
  double weight_bytes;    // read once per pass of a thread over its rows
  double extra_us;        // work outside the steps, split evenly
};

double flops_per_us(const ScanShape& shape) {
  return 2.0 * 2.0 * shape.layout.lanes * cycles_per_us * 0.85;  // two FMA units
}

// One step of one thread: bound by arithmetic or by streaming the weights it owns.
double step_us(const ScanShape& shape, const Work& work, double rows, double part) {
  const double bytes = work.weight_bytes * part;
  const double tiles = std::max(1.0, rows / shape.tile_rows);
  const double stream = bytes / (bytes <= l2_bytes ? l2_rate : l3_rate);
  const double passes = bytes / l2_rate * tiles;  // each tile of rows reads its panels again, from L2
  const double arithmetic = rows * work.flops_per_row * part / flops_per_us(shape);
  return std::max({arithmetic, stream, std::min(passes, arithmetic * 1.5)}) + tiles * tile_overhead_us;
}

// Threads beyond the parts of a step may still share the work outside the steps, if `extra_for_all`.
Plan choose(const ScanShape& shape, const Work& work, int limit, int64_t parts, bool extra_for_all) {
  const double steps = double(std::max<int64_t>(shape.steps, 1));
  const double rows = double(shape.total) / steps;
  Plan best{1, Partition::rows, 0, steps * step_us(shape, work, rows, 1) + work.extra_us,
            "one thread: the call is too short to share"};
  for (int threads = 2; threads <= limit; ++threads) {
    const double rest = work.extra_us / threads + team_us;
    if (shape.B >= threads) {
      const double us = steps * step_us(shape, work, std::max(1.0, rows / threads), 1) + rest;
      if (us < best.microseconds)
        best = {threads, Partition::rows, 0, us, "rows split: each thread runs the steps of its rows by itself"};
    }
    if (parts >= threads || extra_for_all) {
      const double part = double(ceil_div(parts, threads)) / double(parts);
      const double us = steps * (step_us(shape, work, rows, part) + barrier_us) + rest;
      if (us < best.microseconds)
        best = {threads, Partition::units, 0, us,
                parts >= threads ? "hidden units split: each thread keeps its weights in L2, one barrier per step"
                                 : "few hidden units: some threads take the steps, one barrier per step, all share "
                                   "the products over time"};
    }
  }
  return best;
}

}  // namespace

Plan plan_forward(const ScanShape& shape, int thread_limit) {
  const double columns = double(shape.layout.columns(shape.H));
  const double recurrent = columns * double(shape.H), input = columns * double(shape.I);
  // Running ahead reads the input weights once per chunk, not once per step; joining saves the
  // round trip of the pre-activations through L2.
  const double tiles = double(shape.B) / shape.tile_rows;
  const bool ahead = shape.steps > 1 && shape.I > shape.layout.lanes &&
                     (tiles < 4 || (recurrent + input) * double(shape.element_size) > l2_bytes);
  const double input_us = 2.0 * input * double(shape.total) / flops_per_us(shape);
  const double joined = ahead ? 0 : input;
  const Work work{2.0 * (recurrent + joined), (recurrent + joined) * double(shape.element_size), ahead ? input_us : 0};
  Plan plan = choose(shape, work, thread_limit, shape.layout.panels(shape.H), false);
  if (ahead) {
    const double step_bytes = double(shape.B) * columns * double(shape.element_size);
    // Past L2, every chunk streams the input weights from L3 once more: fewer, longer chunks.
    const double room = (input * double(shape.element_size) > l2_bytes ? 2e6 : 512e3) * plan.threads;
    plan.chunk_steps = std::clamp<int64_t>(int64_t(room / step_bytes), 1, shape.steps);
    const int64_t least = ceil_div(4 * shape.tile_rows, std::max<int64_t>(shape.B, 1));
    plan.chunk_steps = std::min(std::max(plan.chunk_steps, least), shape.steps);
    if (plan.chunk_steps == 1) plan.chunk_steps = 0;  // it would read the weights as often, and go through memory
  }
  return plan;
}

Plan plan_backward(const ScanShape& shape, int thread_limit) {
  const double columns = double(shape.layout.columns(shape.H));
  const double recurrent = columns * double(shape.H), input = columns * double(shape.I);
  const double products_us = 2.0 * (2 * input + recurrent) * double(shape.total) / flops_per_us(shape);
  const Work work{2.0 * recurrent, recurrent * double(shape.element_size), products_us};
  const int64_t outputs = ceil_div(shape.H, int64_t(backward_width(shape.H, shape.layout.lanes)) * shape.layout.lanes);
  return choose(shape, work, thread_limit, outputs, true);
}

int64_t backward_chunk_rows(const ScanShape& shape) {
  const int64_t row_bytes = shape.layout.columns(shape.H) * shape.element_size;
  const int64_t rows = std::clamp<int64_t>((int64_t(4) << 20) / std::max<int64_t>(row_bytes, 1), 256, 2048);
  return std::min(std::max(rows, shape.B), std::max<int64_t>(shape.total, 1));
}

}  // namespace fastrnn::cpu
