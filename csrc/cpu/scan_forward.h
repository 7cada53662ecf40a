// The forward scan of every cell on every ISA.
//
// Computes   for each step s: pre = bias + W_ih x_t + W_hh h_{s-1}; states_s = Cell::forward(pre,
//            states_{s-1}); y_t = h_s. Training also keeps what backward needs.
// Shapes     x (T, B, I), y (T, B, H), states (B, H) padded to whole panels; see cpu/scan.h.
// Work split a thread owns a rectangle of rows x panels for all steps. Split by rows it meets nobody;
//            split by panels the team meets once per step, and the weights of a panel stay in the
//            L2 of its owner. Panels are visited up and down in turn (a cyclic sweep over more than
//            L2 holds would hit nothing).
// Cost       2*B*gates*H*(I+H) flops per step; a tile's sums go to its cell through L1 and never
//            further, except that training keeps what backward needs.
// Limits     the input product either joins the recurrent one (its weights read once per step) or runs
//            ahead over chunk_steps (read once per chunk); a gate is bias, then the blocks of x, then
//            those of h in both, hence the same bits.
#pragma once

#include "activations.h"
#include "products.h"

namespace fastrnn::cpu {

template <class Isa, class Cell, class S>
struct ForwardKernel {
  using L = Lanes<Isa, S>;
  using V = typename L::V;
  using W = typename WindowsOf<Isa, Cell, S>::type;
  static constexpr Layout layout = layout_of<Cell>(L::count);
  static constexpr int64_t columns = layout.panel_columns();
  static constexpr int most_rows = Isa::tile_rows > Isa::single_panels ? Isa::tile_rows : Isa::single_panels;
  static constexpr int kept = Cell::saved > 0 ? Cell::saved : 1;
  // A result this large is not found in L2 when it is read: written past the caches it costs half the traffic.
  static constexpr int64_t stream_bytes = int64_t(4) << 20;

  const ForwardScan<S>& scan;
  const Worker& worker;
  const Share share;
  const int64_t state_stride, keep_stride;
  const int64_t block;                 // rows of a panel between two looks at the interrupt
  const bool long_steps;               // a step is more than a block: look inside it too
  const bool keep_streams, y_streams;  // more than the caches hold until it is read: see stream_bytes

  ForwardKernel(const ForwardScan<S>& scan, const Worker& worker)
      : scan(scan),
        worker(worker),
        share(scan.share(worker)),
        state_stride(scan.state_stride()),
        keep_stride(scan.keep_stride()),
        block(rows_between_looks(2 * columns * (scan.I + scan.H), Isa::tile_rows)),
        long_steps((share.row_end - share.row_begin) * (share.panel_end - share.panel_begin) > block),
        keep_streams(scan.training && rows() * scan.keep_stride() * int64_t(sizeof(S)) >= stream_bytes),
        y_streams(rows() * scan.H * int64_t(sizeof(S)) >= stream_bytes) {}

  int64_t rows() const { return scan.rows.offset[scan.last] - scan.rows.offset[scan.first]; }

  const S* x_row(int64_t step, int64_t b) const {
    return scan.x + scan.rows.time(step, b) * scan.x_step + scan.rows.row[b] * scan.x_row;
  }
  const S* x_weights(int64_t panel) const { return scan.weights.x + panel * scan.I * layout.x_count() * L::count; }
  // Where the input product of a step waits for its recurrent part: in training, where the gates
  // will be kept.
  S* ahead(int64_t step, int64_t first_step) const {
    if (scan.training) return scan.kept(step);
    return scan.chunk + (step - first_step) * scan.rows.B * keep_stride;
  }

  // The part of the next panel's weights that the tile of rows at b fetches into L2: a line per k,
  // so the first tiles of a panel bring the next one whole.
  const S* soon(const S* weights, int64_t depth, int count, int64_t step, int64_t b) const {
    const int64_t panel = depth * count * L::count, part = (b - share.row_begin) / Isa::tile_rows * depth * line<S>;
    return (scan.downward(step) ? weights - panel : weights + panel) + (part < panel ? part : 0);
  }

  // One step of one tile. `pre` null: the input product joins here.
  template <int Panels, int Rows, bool Training>
  inline __attribute__((always_inline)) void step_tile(int64_t step, int64_t b, int64_t panel, const S* pre) const {
    alignas(64) S sums[most_rows * columns];
    const TileView<S> tile{sums, Rows * columns, columns};
    TileView<const S> input{sums, Rows * columns, columns};
    if (pre != nullptr) {
      input = {pre + b * keep_stride + panel * columns, columns, keep_stride};
    } else {
      const S* x[Rows];
      S* out[Rows];
      for (int r = 0; r < Rows; ++r) {
        x[r] = x_row(step, b + r);
        out[r] = sums + r * columns;
      }
      input_sums<Isa, S, W, Panels, Rows>(x, scan.I, x_weights(panel), scan.weights.bias + panel * columns, out,
                                          Rows * columns, soon(x_weights(panel), scan.I, layout.x_count(), step, b));
    }
    const S* weights = scan.weights.h + panel * scan.H * layout.h_count() * L::count;
    recurrent_sums<Isa, S, W, Panels, Rows>(scan.prev(0, step) + b * state_stride, state_stride, scan.H, weights, input,
                                            tile, soon(weights, scan.H, layout.h_count(), step, b));
    for (int q = 0; q < Panels; ++q) apply_cell<Training>(step, b, Rows, panel + q, sums + q * Rows * columns);
  }

  // The cell on the sums of `rows` rows of one panel: states, output, and what training keeps.
  template <bool Training>
  __attribute__((noinline)) void apply_cell(int64_t step, int64_t b, int64_t rows, int64_t panel, const S* sums) const {
    S* next_row[Cell::states];
    const S* prev_row[Cell::states];
    for (int state = 0; state < Cell::states; ++state) {
      next_row[state] = scan.next(state, step) + b * state_stride;
      prev_row[state] = scan.prev(state, step) + b * state_stride;
    }
    S* keep_row = Training ? scan.kept(step) + b * keep_stride : nullptr;
    for (int64_t r = 0; r < rows; ++r) {
      S* y = nullptr;
      if (scan.y != nullptr) y = scan.y + scan.rows.time(step, b + r) * scan.y_step + scan.rows.row[b + r] * scan.y_row;
      const bool past_caches = y_streams && y != nullptr && uintptr_t(y) % Isa::bytes == 0;
      for (int g = 0; g < layout.groups(); ++g, sums += Cell::slots * L::count) {
        const int64_t group = panel * layout.groups() + g, unit = group * L::count;
        V pre[Cell::slots], prev[Cell::states], next[Cell::states], keep[kept];
        for (int s = 0; s < Cell::slots; ++s) pre[s] = L::load(sums + s * L::count);
        for (int state = 0; state < Cell::states; ++state)
          prev[state] = L::load(prev_row[state] + r * state_stride + unit);
        Cell::forward(pre, prev, next, keep);
        for (int state = 0; state < Cell::states; ++state)
          L::store(next_row[state] + r * state_stride + unit, next[state]);
        if (past_caches && unit + L::count <= scan.H) {
          L::stream(y + unit, next[0]);
        } else if (y != nullptr && unit < scan.H) {
          L::store_first(y + unit, next[0], scan.H - unit);
        }
        if constexpr (Training) {
          S* kept_row = keep_row + r * keep_stride + group * Cell::slots * L::count;
          for (int s = 0; s < Cell::saved; ++s) {
            if (keep_streams) {
              L::stream(kept_row + s * L::count, keep[s]);
            } else {
              L::store(kept_row + s * L::count, keep[s]);
            }
          }
        }
      }
    }
  }

  // Panels of this thread for one tile of rows. One row alone takes several panels at a time:
  // its four chains would leave the FMA units waiting.
  template <int Rows, class Tile>
  inline __attribute__((always_inline)) void for_panels(bool downward, const Tile& tile) const {
    int64_t done = 0;
    const int64_t count = share.panel_end - share.panel_begin;
    const auto position = [&](int64_t i, int64_t width) {
      return downward ? share.panel_end - i - width : share.panel_begin + i;
    };
    if constexpr (Rows == 1) {
      constexpr int wide = Isa::single_panels;
      for (; done + wide <= count; done += wide) tile.template operator()<wide>(position(done, wide));
    }
    for (; done < count; ++done) tile.template operator()<1>(position(done, 1));
  }

  // Rows inside panels, so that a panel's weights are read from L2 once per step; a single row has
  // nothing to share and takes its panels widely.
  template <class Tile>
  inline __attribute__((always_inline)) void for_tiles(int64_t first, int64_t last, bool downward,
                                                       const Tile& tile) const {
    if (last - first == 1) {
      for_panels<1>(downward, [&]<int Panels>(int64_t panel) {
        if (long_steps && !worker.proceed()) return;
        tile.template operator()<Panels, 1>(first, panel);
      });
      return;
    }
    for_panels<2>(downward, [&]<int Panels>(int64_t panel) {
      if (long_steps && !worker.proceed()) return;
      worker.in_blocks(first, last, block, [&](int64_t from, int64_t to) FASTRNN_INLINED_LAMBDA {
        for_row_tiles<Isa>(from, to, [&]<int Rows>(int64_t b) { tile.template operator()<Panels, Rows>(b, panel); });
      });
    });
  }

  template <bool Training>
  void run() const {
    const Rows& rows = scan.rows;
    const bool meets = scan.partition == Partition::units;
    for (int64_t first = scan.first; first < scan.last;) {
      const bool runs_ahead = scan.chunk_steps > 0;
      const int64_t last =
          runs_ahead ? (first + scan.chunk_steps < scan.last ? first + scan.chunk_steps : scan.last) : scan.last;
      if (runs_ahead) {
        if (!input_chunk(first, last)) return;
      }
      for (int64_t step = first; step < last; ++step) {
        const int64_t end = rows.active[step] < share.row_end ? rows.active[step] : share.row_end;
        const S* pre = runs_ahead ? ahead(step, first) : nullptr;
        for_tiles(share.row_begin, end, scan.downward(step), [&]<int Panels, int Rows>(int64_t b, int64_t panel) {
          step_tile<Panels, Rows, Training>(step, b, panel, pre);
        });
        if (!(meets ? worker.wait() : worker.proceed())) return;
      }
      first = last;
    }
  }

  // Walks the rows of this thread that are alive, step by step.
  struct RowCursor {
    const ForwardKernel* kernel;
    int64_t step, b;
    int64_t end(int64_t at) const {
      const int64_t active = kernel->scan.rows.active[at];
      return active < kernel->share.row_end ? active : kernel->share.row_end;
    }
    void advance() {
      if (++b < end(step)) return;
      ++step;
      b = kernel->share.row_begin;
    }
  };

  // One panel's weights serve every row of the chunk before the next panel is touched; rows of
  // neighbouring steps share tiles, so that a single row per step still fills them.
  bool input_chunk(int64_t first, int64_t last) const {
    RowCursor begin{this, first, share.row_begin};
    int64_t rows = 0;
    for (int64_t step = first; step < last; ++step) {
      const int64_t alive = begin.end(step) - share.row_begin;
      rows += alive > 0 ? alive : 0;
    }
    for (int64_t panel = share.panel_begin; panel < share.panel_end; ++panel) {
      if (!worker.proceed()) return false;
      RowCursor cursor = begin;
      worker.in_blocks(0, rows, block, [&](int64_t from, int64_t to) FASTRNN_INLINED_LAMBDA {
        for_row_tiles<Isa>(from, to, [&]<int Rows>(int64_t) {
          const S* x[Rows];
          S* out[Rows];
#pragma GCC unroll 8
          for (int r = 0; r < Rows; ++r) {
            x[r] = x_row(cursor.step, cursor.b);
            out[r] = ahead(cursor.step, first) + cursor.b * keep_stride + panel * columns;
            cursor.advance();
          }
          input_sums<Isa, S, W, 1, Rows>(x, scan.I, x_weights(panel), scan.weights.bias + panel * columns, out, 0,
                                         x_weights(panel + 1));
        });
      });
    }
    return true;
  }
};

template <class Isa, class Cell, class S>
static void scan_forward(const ForwardScan<S>& scan, const Worker& worker) {
  const ForwardKernel<Isa, Cell, S> kernel(scan, worker);
  if (scan.training) {
    kernel.template run<true>();
  } else {
    kernel.template run<false>();
  }
}

}  // namespace fastrnn::cpu
