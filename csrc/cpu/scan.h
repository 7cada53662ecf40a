// The arguments of one scan: one layer in one direction, forward or backward.
//
// Rows are sorted by length, longest first, so the rows alive at scan step s are the first
// active[s]; state (s, b) is packed row offset[s] + b of every saved tensor. A reverse scan starts
// at each row's true end. Sizes of the saved tensors come from rnn/layout.h.
#pragma once

#include <cstdint>

#include "../rnn/layout.h"
#include "threads.h"

namespace fastrnn::cpu {

struct Rows {
  int64_t steps, B;       // steps = longest length
  const int64_t* active;  // (steps + 1,) rows alive at each step; active[steps] = 0
  const int64_t* offset;  // (steps + 1,) packed rows before each step
  const int64_t* row;     // (B,) the caller's row of each sorted row
  const int64_t* length;  // (B,) sorted, descending
  bool reverse;

  FASTRNN_INLINE int64_t time(int64_t step, int64_t b) const { return reverse ? length[b] - 1 - step : step; }
  FASTRNN_INLINE int64_t total() const { return offset[steps]; }

  // First sorted row of one of `parts` parts of nearly equal total length within steps [first, last).
  FASTRNN_INLINE int64_t border(int part, int parts, int64_t first, int64_t last) const {
    if (part >= parts) return B;
    const int64_t share = (offset[last] - offset[first]) * part / parts;
    int64_t b = 0;
    for (int64_t before = 0; b < B && before < share; ++b) before += (length[b] < last ? length[b] : last) - first;
    return b;
  }

  // First step of the backward chunk that ends before `last`: as many whole steps as `chunk_rows` holds,
  // at least one. Depends on the problem alone, so weight gradients are cut the same way for every team.
  FASTRNN_INLINE int64_t chunk_first(int64_t last, int64_t chunk_rows) const {
    int64_t first = last - 1;
    while (first > 0 && offset[last] - offset[first - 1] <= chunk_rows) --first;
    return first;
  }
};

// The rectangle of one thread: sorted rows [row_begin, row_end), panels [panel_begin, panel_end).
struct Share {
  int64_t row_begin, row_end;
  int64_t panel_begin, panel_end;
};

enum class Partition {
  rows,   // each thread runs all steps of its rows: it meets nobody, in backward once per chunk
  units,  // each thread owns panels, whose weights stay in its cache: one meeting per step
};

// Forward weights of one scan, packed; see cpu/pack.h.
template <class S>
struct ScanWeights {
  const S* x;     // (panels, I, x_count, lanes)
  const S* h;     // (panels, H, h_count, lanes)
  const S* bias;  // (panels, vectors, lanes)
};

template <class S>
struct ForwardScan {
  Layout layout;
  Rows rows;
  int64_t I, H;
  ScanWeights<S> weights;
  const S* x;  // (T, B, I) through x_step, x_row
  int64_t x_step, x_row;
  S* y;  // (T, B, H) through y_step, y_row: this direction's half of the output; null: not wanted
  int64_t y_step, y_row;
  int64_t first, last;  // the steps to run: all, or one segment
  int64_t origin;       // the step before which the states are `initial`; history and keep start there
  S* initial[2];  // (B, state_stride) sorted and padded; c's is overwritten in inference
  S* history[2];  // training: (rows from origin, state_stride) every state; inference: h alone, (2, B, stride)
  S* keep;        // training: (rows from origin, keep_stride); inference: null
  bool training;
  Partition partition;
  int64_t chunk_steps;        // > 0: the input product runs ahead over this many steps
  S* chunk;                   // (chunk_steps * B, keep_stride) its results, inference only
  int64_t sweep;              // step 0 visits panels downward if odd: a stepper goes on where it turned

  FASTRNN_INLINE int64_t state_stride() const { return layout.state_stride(H); }
  FASTRNN_INLINE int64_t keep_stride() const { return layout.keep_stride(H); }
  FASTRNN_INLINE bool downward(int64_t step) const { return ((step + sweep) & 1) != 0; }

  // Rows of one state before and after a step.
  FASTRNN_INLINE S* next(int state, int64_t step) const {
    if (training) return history[state] + (rows.offset[step] - rows.offset[origin]) * state_stride();
    if (state == 0) return history[0] + (step & 1) * rows.B * state_stride();
    return initial[state];
  }
  FASTRNN_INLINE S* prev(int state, int64_t step) const {
    return step == origin ? initial[state] : next(state, step - 1);
  }
  FASTRNN_INLINE S* kept(int64_t step) const {
    return keep + (rows.offset[step] - rows.offset[origin]) * keep_stride();
  }

  FASTRNN_INLINE Share share(const Worker& worker) const {
    const int64_t panels = layout.panels(H);
    if (partition == Partition::rows) {
      return {rows.border(worker.thread, worker.size, first, last),
              rows.border(worker.thread + 1, worker.size, first, last), 0, panels};
    }
    return {0, rows.B, worker.begin(panels), worker.end(panels)};
  }
};

// Backward weights of one scan, packed: (ceil(out / (width*lanes)), columns of the window, width, lanes).
template <class S>
struct TransposedWeights {
  const S* h;  // out = H, over the recurrent window
  const S* x;  // out = I, over the input window
  int h_width, x_width;
};

template <class S>
struct BackwardScan {
  Layout layout;
  Rows rows;
  int64_t I, H;
  TransposedWeights<S> weights;
  const S* x;
  int64_t x_step, x_row;
  const S* d_y;  // this direction's half, or null
  int64_t d_y_step, d_y_row;
  S* d_x;  // (T, B, I)
  int64_t d_x_step, d_x_row;
  bool d_x_adds;        // the second direction adds to what the first wrote
  int64_t first, last;  // the steps to run: all, or one segment, which is whole chunks
  int turn;             // of d_pre that the segment's last chunk takes; the other holds the chunk after it
  const S* initial[2];  // the states before step `first`, where history and keep start
  const S* history[2];
  const S* keep;
  S* d_state[2];     // (B, state_stride): in the gradients of the final states, out those of the initial
  S* d_pre[2];       // two chunks of (panels, chunk_rows, panel_columns), panels panel_stride apart
  S* operands;       // (tiles, chunk_rows, operand_width): x and h_prev, cut into columns of a tile
  S* d_weights;      // (panels, I + H + 1, panel_columns): dW_x, dW_h, d_bias
  bool starts;       // these are the first steps to be run: d_weights holds nothing yet
  int64_t chunk_rows;  // room of one chunk; chunks are whole steps
  Partition partition;

  FASTRNN_INLINE int64_t state_stride() const { return layout.state_stride(H); }
  FASTRNN_INLINE int64_t keep_stride() const { return layout.keep_stride(H); }
  // One more row between panels, one more vector between tiles: chunks are powers of two long, and
  // the same row of every panel would fall into the same sets of both caches.
  FASTRNN_INLINE int64_t panel_stride() const { return (chunk_rows + 1) * layout.panel_columns(); }
  FASTRNN_INLINE int64_t operand_stride(int width) const { return chunk_rows * width + layout.lanes; }
  FASTRNN_INLINE const S* next(int state, int64_t step) const {
    return history[state] + (rows.offset[step] - rows.offset[first]) * state_stride();
  }
  FASTRNN_INLINE const S* prev(int state, int64_t step) const {
    return step == first ? initial[state] : next(state, step - 1);
  }
  FASTRNN_INLINE const S* kept(int64_t step) const {
    return keep + (rows.offset[step] - rows.offset[first]) * keep_stride();
  }
};

// One row of the dispatch table: the kernels of one cell and dtype on one ISA. Every member of the
// team calls them with the same arguments; they return early when the call is stopped.
template <class S>
struct CellKernels {
  const char* isa;
  const char* cell;
  Layout layout;
  int tile_rows;
  int operand_width;  // columns of an operand tile of the weight gradient
  void (*forward)(const ForwardScan<S>&, const Worker&);
  void (*backward)(const BackwardScan<S>&, const Worker&);
};

template <class S>
struct IsaKernels {
  const CellKernels<S>* cells;
  int count;
  void (*sigmoid)(const S* in, S* out, int64_t n);
  void (*tanh)(const S* in, S* out, int64_t n);
  uint64_t (*hash)(const void* data, int64_t bytes, uint64_t place);
};

struct IsaTable {
  const char* name;
  bool (*supported)();
  const IsaKernels<float>* float32;
  const IsaKernels<double>* float64;
};

}  // namespace fastrnn::cpu
