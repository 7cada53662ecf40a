// The forward scan of every cell on every ISA.
//
// Computes   for each step s: pre = bias + W_ih x_t + W_hh h_{s-1}; states_s = Cell::forward(pre,
//            states_{s-1}); y_t = h_s. Training also keeps what backward needs.
// Shapes     x (T, B, I), y (T, B, H), states (B, H) padded to whole panels; see cpu/scan.h.
// Work split a thread owns a rectangle of rows x panels for all steps. Split by rows it meets nobody;
//            split by panels the team meets once per step, and the weights of a panel stay in the
//            L2 of its owner. Panels are visited up and down in turn (a cyclic sweep over more than
//            L2 holds would hit nothing); in a panel, every tile of a group of rows passes over a span
//            of weights in L1 before the next span.
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
  static constexpr int x_rows = rows_of_tile<Isa, W::x_count>, h_rows = rows_of_tile<Isa, W::h_count>;
  static constexpr int kept = Cell::saved > 0 ? Cell::saved : 1;
  // A result this large is not found in L2 when it is read: written past the caches it costs half the traffic.
  static constexpr int64_t stream_bytes = int64_t(4) << 20;

  const ForwardScan<S>& scan;
  const Worker& worker;
  const Share share;
  const int64_t state_stride, keep_stride;
  const int64_t x_block, h_block;      // terms of a sum between two additions to its total
  const int64_t group;                 // rows of a panel that share totals in L1, and a look at the interrupt
  const bool long_steps;               // a step is longer than the time between two looks: look inside it too
  const bool keep_streams, y_streams;  // more than the caches hold until it is read: see stream_bytes

  ForwardKernel(const ForwardScan<S>& scan, const Worker& worker)
      : scan(scan),
        worker(worker),
        share(scan.share(worker)),
        state_stride(scan.state_stride()),
        keep_stride(scan.keep_stride()),
        x_block(block_length(scan.I)),
        h_block(block_length(scan.H)),
        group(least(group_rows, between_looks(scan))),
        long_steps((share.row_end - share.row_begin) * (share.panel_end - share.panel_begin) > between_looks(scan)),
        keep_streams(scan.training && rows() * scan.keep_stride() * int64_t(sizeof(S)) >= stream_bytes),
        y_streams(rows() * scan.H * int64_t(sizeof(S)) >= stream_bytes) {}

  static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
  static int64_t between_looks(const ForwardScan<S>& scan) {
    return rows_between_looks(2 * columns * (scan.I + scan.H), Isa::tile_rows);
  }
  int64_t rows() const { return scan.rows.offset[scan.last] - scan.rows.offset[scan.first]; }

  const S* x_row(int64_t step, int64_t b) const {
    return scan.x + scan.rows.time(step, b) * scan.x_step + scan.rows.row[b] * scan.x_row;
  }
  const S* x_weights(int64_t panel) const { return scan.weights.x + panel * scan.I * layout.x_count() * L::count; }
  const S* h_weights(int64_t panel) const { return scan.weights.h + panel * scan.H * layout.h_count() * L::count; }
  // Where the input product of a step waits for its recurrent part: in training, where the gates
  // will be kept.
  S* ahead(int64_t step, int64_t first_step) const {
    if (scan.training) return scan.kept(step);
    return scan.chunk + (step - first_step) * scan.rows.B * keep_stride;
  }

  // What the tile of that number fetches into L2 during a span: its share of the span that follows, in this panel or
  // the next to be visited, a line per term, so the first tiles bring the span whole.
  const S* soon(const S* panel_weights, int64_t K, int count, const Span& span, int64_t tile, bool downward) const {
    const int64_t terms = span.last - span.first, part = tile * terms * line<S>;
    const S* next = panel_weights + (span.last < K ? span.last : downward ? -K : K) * count * L::count;
    return next + (part < terms * count * L::count ? part : 0);
  }

  // bias + x W_ih of a tile, and of a group of rows, in one panel; `downward` is the way the panels are visited.
  template <int Panels, int Rows>
  FASTRNN_INLINE void input_tile(const S* const* x, const Span& span, int64_t panel, S* const* out, int64_t out_panel,
                                 int64_t tile, bool downward) const {
    input_sums<Isa, S, W, Panels, Rows>(x, scan.I, span, x_weights(panel), scan.weights.bias + panel * columns, out,
                                        out_panel, soon(x_weights(panel), scan.I, W::x_count, span, tile, downward));
  }
  void input_group(const S* const* x, int64_t rows, int64_t panel, S* const* out, bool downward) const {
    for_spans<S>(scan.I, x_block, W::x_count * L::count, ceil_div(rows, x_rows),
                 [&](const Span& span) FASTRNN_INLINED_LAMBDA {
                   int64_t tile = 0;
                   for_row_tiles<Isa, x_rows>(0, rows, [&]<int Rows>(int64_t n) {
                     input_tile<1, Rows>(x + n, span, panel, out + n, 0, tile++, downward);
                   });
                 });
  }

  // One step of one row in several panels. `pre` null: the input product joins here.
  template <int Panels, bool Training>
  FASTRNN_INLINE void step_row(int64_t step, int64_t b, int64_t panel, const S* pre) const {
    alignas(64) S sums[Panels * columns];
    const bool downward = scan.downward(step);
    const TileView<S> out{sums, columns, columns};
    TileView<const S> input{sums, columns, columns};
    if (pre != nullptr) {
      input.data = pre + b * keep_stride + panel * columns;
    } else {
      const S* x = x_row(step, b);
      S* total = sums;
      input_tile<Panels, 1>(&x, {0, scan.I, x_block}, panel, &total, columns, 0, downward);
    }
    const Span span{0, scan.H, h_block};
    recurrent_sums<Isa, S, W, Panels, 1>(scan.prev(0, step) + b * state_stride, state_stride, scan.H, span,
                                         h_weights(panel), input, out,
                                         soon(h_weights(panel), scan.H, W::h_count, span, 0, downward));
    for (int q = 0; q < Panels; ++q) apply_cell<Training>(step, b, 1, panel + q, sums + q * columns);
  }

  // One step of a group of rows in one panel.
  template <bool Training>
  void step_group(int64_t step, int64_t b, int64_t rows, int64_t panel, const S* pre) const {
    alignas(64) S sums[group_rows * columns];
    const bool downward = scan.downward(step);
    TileView<const S> input{sums, 0, columns};
    if (pre != nullptr) {
      input = {pre + b * keep_stride + panel * columns, 0, keep_stride};
    } else {
      const S* x[group_rows];
      S* out[group_rows];
      for (int64_t r = 0; r < rows; ++r) {
        x[r] = x_row(step, b + r);
        out[r] = sums + r * columns;
      }
      input_group(x, rows, panel, out, downward);
    }
    const S* h = scan.prev(0, step) + b * state_stride;
    for_spans<S>(
        scan.H, h_block, W::h_count * L::count, ceil_div(rows, h_rows), [&](const Span& span) FASTRNN_INLINED_LAMBDA {
          int64_t tile = 0;
          for_row_tiles<Isa, h_rows>(0, rows, [&]<int Rows>(int64_t n) {
            recurrent_sums<Isa, S, W, 1, Rows>(h + n * state_stride, state_stride, scan.H, span, h_weights(panel),
                                               {input.data + n * input.row, 0, input.row},
                                               {sums + n * columns, 0, columns},
                                               soon(h_weights(panel), scan.H, W::h_count, span, tile++, downward));
          });
        });
    apply_cell<Training>(step, b, rows, panel, sums);
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

  // One step of this thread's rectangle: rows inside panels, so that a panel's weights are read from L2 once. One
  // row alone has nothing to share and takes several panels at a time: its four chains would leave the FMA units
  // waiting.
  template <bool Training>
  void run_step(int64_t step, int64_t end, const S* pre) const {
    const int64_t rows = end - share.row_begin, count = share.panel_end - share.panel_begin;
    if (rows <= 0) return;
    const bool downward = scan.downward(step);
    const int64_t width = rows == 1 ? Isa::single_panels : 1;
    for (int64_t done = 0; done < count;) {
      if (long_steps && !worker.proceed()) return;
      const int64_t wide = count - done < width ? 1 : width;
      const int64_t panel = downward ? share.panel_end - done - wide : share.panel_begin + done;
      done += wide;
      if (rows > 1) {
        worker.in_blocks(share.row_begin, end, group, [&](int64_t first, int64_t last) FASTRNN_INLINED_LAMBDA {
          step_group<Training>(step, first, last - first, panel, pre);
        });
      } else if (wide > 1) {
        step_row<Isa::single_panels, Training>(step, share.row_begin, panel, pre);
      } else {
        step_row<1, Training>(step, share.row_begin, panel, pre);
      }
    }
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
        run_step<Training>(step, end, runs_ahead ? ahead(step, first) : nullptr);
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
      worker.in_blocks(0, rows, group, [&](int64_t from, int64_t to) FASTRNN_INLINED_LAMBDA {
        const S* x[group_rows];
        S* out[group_rows];
        for (int64_t r = 0; r < to - from; ++r) {
          x[r] = x_row(cursor.step, cursor.b);
          out[r] = ahead(cursor.step, first) + cursor.b * keep_stride + panel * columns;
          cursor.advance();
        }
        input_group(x, to - from, panel, out, false);
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
