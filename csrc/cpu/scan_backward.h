// The backward scan (BPTT) of every cell on every ISA.
//
// Computes   for s = last..first: d_h = d_y_t + d_pre_{s+1} W_hh + what the cell passes on past the
//            product; d_pre_s, d_states_{s-1} = Cell::backward(...). Per chunk of steps, while d_pre
//            is still in cache: d_x = d_pre W_ih and, summed over the chunk's rows,
//            d_weights += [x | h_prev | 1]^T d_pre.
// Shapes     d_pre of a chunk: (panels, chunk_rows, panel_columns), so that each of the three
//            products reads it in its own order without strides of a page; see cpu/scan.h.
// Work split as forward: a thread owns rows of a chunk (meets once per chunk, or twice, see cpu/gemm.h) or output
//            units (once per step); d_x is split by rows, d_weights by panels and tiles. No sum is ever split.
// Cost       2*2*slots*H*(I+H) flops per row of a step, in three products of equal shape.
// Limits     a weight gradient is a two-level sum: at most `block_length` terms in a register, then
//            blocks in order. Its rounding error grows like the root of the row count, not the
//            count, and depends on the problem alone, never on the threads.
#pragma once

#include "activations.h"
#include "gemm.h"
#include "products.h"

namespace fastrnn::cpu {

template <class Isa, class Cell, class S>
struct BackwardKernel {
  using L = Lanes<Isa, S>;
  using V = typename L::V;
  static constexpr Layout layout = layout_of<Cell>(L::count);
  using W = typename WindowsOf<Isa, Cell, S>::type;
  static constexpr int kept = Cell::saved > 0 ? Cell::saved : 1;

  // What a tile of a step does with the product d_pre_{s+1} W_hh.
  enum class Product {
    joined,  // rows alive at s + 1
    none,    // rows that end at s: their d_h starts from the gradient of the final state
    only,    // after the first step: what remains is the gradient of the initial state
  };

  struct Chunk {
    int64_t first, last;  // steps
    int64_t base, rows;   // first packed row, count
    S* d_pre;
  };

  const BackwardScan<S>& scan;
  const Worker& worker;
  const int64_t state_stride, keep_stride;
  int64_t row_begin, row_end;    // sorted rows of this thread in the present chunk
  int64_t width_begin, width_end;  // its panels of transposed W_hh
  bool long_steps;  // a step takes long enough to look at the interrupt inside it

  BackwardKernel(const BackwardScan<S>& scan, const Worker& worker)
      : scan(scan), worker(worker), state_stride(scan.state_stride()), keep_stride(scan.keep_stride()) {
    const int64_t outputs = ceil_div(scan.H, int64_t(scan.weights.h_width) * L::count);
    const bool by_rows = scan.partition == Partition::rows;
    width_begin = by_rows ? 0 : worker.begin(outputs);
    width_end = by_rows ? outputs : worker.end(outputs);
    take_rows(scan.first, scan.last);
  }

  // This thread's rows within some steps. Short rows are not alive in late steps: shares that are equal over all
  // steps would leave whole chunks to one thread, and the team meets after every chunk.
  void take_rows(int64_t first, int64_t last) {
    const bool by_rows = scan.partition == Partition::rows;
    row_begin = by_rows ? scan.rows.border(worker.thread, worker.size, first, last) : 0;
    row_end = by_rows ? scan.rows.border(worker.thread + 1, worker.size, first, last) : scan.rows.B;
    const int64_t block =
        rows_between_looks(2 * layout.columns(scan.H) * scan.weights.h_width * L::count, Isa::tile_rows);
    long_steps = (row_end - row_begin) * (width_end - width_begin) > block;
  }

  // The chunk's d_pre of packed row n, panel 0; panels are panel_stride apart.
  S* d_pre_row(const Chunk& chunk, int64_t step, int64_t b) const {
    return chunk.d_pre + (scan.rows.offset[step] - chunk.base + b) * layout.panel_columns();
  }

  // Rows [b, b + rows) of one output panel, at most group_rows.
  void step_rows(Product product, const Chunk& chunk, const Chunk& later, int64_t step, int64_t b, int64_t rows,
                 int64_t output) const {
    alignas(64) S sums[group_rows * panel_vectors * L::count];
    const int width = scan.weights.h_width;
    if (product == Product::none) {
      for (int64_t i = 0; i < rows * width; ++i) L::store(sums + i * L::count, V{});
    } else {
      const int64_t panels = layout.panels(scan.H), depth = layout.h_count() * L::count;
      const S* weights = scan.weights.h + output * panels * depth * width * L::count;
      output_sums_of_width<Isa, S>(width, rows, d_pre_row(later, step + 1, b) + layout.h_first() * L::count,
                                   layout.panel_columns(), panels, depth, scan.panel_stride(), weights, sums,
                                   [&](int64_t i, int64_t n, int count) FASTRNN_INLINED_LAMBDA {
                                     for (int r = 0; r < count; ++r) fetch(i, step, b + n + r, output * width);
                                   });
    }
    apply_cell(product, chunk, step, b, rows, output, sums);
  }

  static void fetch_lines(const S* data, int64_t elements) {
    for (int64_t i = 0; i < elements; i += line<S>) __builtin_prefetch(data + i, 0, 2);
  }

  // What the cell will read of a row in `width` groups, into L2, beside the products: of many rows it lies past
  // L2, in pieces of a few lines that nothing else would foresee.
  void fetch(int64_t i, int64_t step, int64_t b, int64_t group) const {
    const int64_t unit = group * L::count, units = int64_t(scan.weights.h_width) * L::count;
    if (step < 0) return;
    if (i == 0 && Cell::saved > 0) {
      fetch_lines(scan.kept(step) + b * keep_stride + unit * Cell::slots, units * Cell::slots);
    } else if (i == 1) {
      fetch_lines(scan.prev(Cell::states - 1, step) + b * state_stride + unit, units);
    } else if (i == 2 && scan.d_y != nullptr) {
      fetch_lines(scan.d_y + scan.rows.time(step, b) * scan.d_y_step + scan.rows.row[b] * scan.d_y_row + unit, units);
    }
  }

  // The cell on the sums d_pre_{s+1} W_hh of `rows` rows of one output panel.
  __attribute__((noinline)) void apply_cell(Product product, const Chunk& chunk, int64_t step, int64_t b, int64_t rows,
                                            int64_t output, const S* sums) const {
    const int64_t width = scan.weights.h_width, first = output * width;
    const int64_t groups = ceil_div(scan.H, L::count), last = first + width < groups ? first + width : groups;
    for (int64_t r = 0; r < rows; ++r, sums += width * L::count) {
      S* d_state[Cell::states];
      for (int state = 0; state < Cell::states; ++state) d_state[state] = scan.d_state[state] + (b + r) * state_stride;
      const S* d_y = nullptr;
      if (scan.d_y != nullptr && step >= 0)
        d_y = scan.d_y + scan.rows.time(step, b + r) * scan.d_y_step + scan.rows.row[b + r] * scan.d_y_row;
      for (int64_t group = first; group < last; ++group) {
        const int64_t unit = group * L::count;
        V d_h = L::load(sums + (group - first) * L::count);
        // What passes by the product is added once, after the chain: it is often the larger part.
        if (Cell::carries_h || product == Product::none) d_h = d_h + L::load(d_state[0] + unit);
        if (product == Product::only) {
          L::store(d_state[0] + unit, d_h);
          continue;
        }
        V d_next[Cell::states], d_prev[Cell::states], d_pre[Cell::slots];
        V prev[Cell::states], next[Cell::states], keep[kept];
        d_next[0] = d_y == nullptr ? d_h : d_h + L::load_first(d_y + unit, scan.H - unit);
        for (int state = 1; state < Cell::states; ++state) d_next[state] = L::load(d_state[state] + unit);
        for (int state = 0; state < Cell::states; ++state) {
          prev[state] = L::load(scan.prev(state, step) + (b + r) * state_stride + unit);
          next[state] = L::load(scan.next(state, step) + (b + r) * state_stride + unit);
        }
        for (int s = 0; s < Cell::saved; ++s)
          keep[s] = L::load(scan.kept(step) + (b + r) * keep_stride + (group * Cell::slots + s) * L::count);
        Cell::backward(keep, prev, next, d_next, d_pre, d_prev);
        S* out = d_pre_row(chunk, step, b + r) + (group / layout.groups()) * scan.panel_stride() +
                 (group % layout.groups()) * Cell::slots * L::count;
        // Lanes past H meet zero weights in the products, and 0 * NaN is NaN: they must hold zeros.
        for (int s = 0; s < Cell::slots; ++s) {
          for (int64_t lane = scan.H - unit; lane < L::count; ++lane) d_pre[s][lane] = 0;
          L::store(out + s * L::count, d_pre[s]);
        }
        for (int state = Cell::carries_h ? 0 : 1; state < Cell::states; ++state)
          L::store(d_state[state] + unit, d_prev[state]);
      }
    }
  }

  void step_tiles(Product product, const Chunk& chunk, const Chunk& later, int64_t step, int64_t first,
                  int64_t last) const {
    if (first >= last) return;
    for (int64_t i = width_begin; i < width_end; ++i) {
      const int64_t output = (step & 1) != 0 ? width_end - 1 - (i - width_begin) : i;
      for (int64_t b = first; b < last; b += group_rows) {
        if (long_steps && !worker.proceed()) return;
        step_rows(product, chunk, later, step, b, last - b < group_rows ? last - b : group_rows, output);
      }
    }
  }

  // Step s of the scan; `later` holds d_pre of step s + 1. Step -1 leaves the initial states' gradient.
  void run_step(const Chunk& chunk, const Chunk& later, int64_t step) const {
    const auto mine = [&](int64_t row) { return row < row_end ? row : row_end; };
    const int64_t joined = mine(scan.rows.active[step + 1]);
    if (step < 0) {
      step_tiles(Product::only, chunk, later, step, row_begin, joined);
      return;
    }
    const int64_t ended = joined > row_begin ? joined : row_begin;
    step_tiles(Product::joined, chunk, later, step, row_begin, joined);
    step_tiles(Product::none, chunk, later, step, ended, mine(scan.rows.active[step]));
  }

  void run() {
    Chunk later{scan.last, scan.last, scan.rows.offset[scan.last], 0, scan.d_pre[scan.turn ^ 1]};
    int turn = scan.turn;
    while (later.first > scan.first) {
      const Chunk chunk = chunk_before(later.first, scan.d_pre[turn]);
      take_rows(chunk.first, chunk.last);
      for (int64_t s = chunk.last - 1; s >= chunk.first; --s) {
        run_step(chunk, s + 1 == chunk.last ? later : chunk, s);
        const bool meets = scan.partition == Partition::units || s == chunk.first;
        if (!(meets ? worker.wait() : worker.proceed())) return;
      }
      if (!products(chunk)) return;
      later = chunk;
      turn ^= 1;
    }
    if (scan.first == 0 && scan.last > 0) run_step(later, later, -1);
  }

  Chunk chunk_before(int64_t last, S* d_pre) const {
    const int64_t* offset = scan.rows.offset;
    const int64_t first = scan.rows.chunk_first(last, scan.chunk_rows);
    return {first, last, offset[first], offset[last] - offset[first], d_pre};
  }

  // The chunk's input and weight gradients. Nobody waits for who still reads this chunk: its memory is
  // written again only after the next chunk's steps, where all have met.
  bool products(const Chunk& chunk) const {
    constexpr int width = rows_of_tile<Isa, W::x_count>;
    const RowList<S> list{scan, chunk.first, chunk.base, chunk.rows};
    if (scan.d_x != nullptr && !input_gradient<Isa, S>(scan, layout, list, chunk.d_pre, worker)) return false;
    const int64_t panels = layout.panels(scan.H), tiles = ceil_div(scan.I, width) + ceil_div(scan.H, width);
    const WeightShare share = weight_share(worker, panels, tiles);
    const auto gather = [&](int64_t from, int64_t to) { gather_operands<width>(scan, list, share, from, to); };
    const int64_t about_a_million = (1 << 20) / (scan.I + scan.H) + 1;
    const int64_t begin = chunk.rows * share.member / share.members,
                  end = chunk.rows * (share.member + 1) / share.members;
    if (!worker.in_blocks(begin, end, about_a_million, gather)) return false;
    if (share.members > 1 && !worker.wait()) return false;
    const bool starts = scan.starts && chunk.last == scan.last;
    return weight_gradient<Isa, S, W>(scan, layout, share, chunk.rows, starts, chunk.d_pre, worker);
  }
};

template <class Isa, class Cell, class S>
static void scan_backward(const BackwardScan<S>& scan, const Worker& worker) {
  BackwardKernel<Isa, Cell, S> kernel(scan, worker);
  kernel.run();
}

}  // namespace fastrnn::cpu
