// Where each number of a layer lives. Pure index arithmetic, shared by every machine and tested
// on its own.
//
// Hidden units are cut into groups of `lanes` (one vector register). The slots of one group lie
// side by side, so all gates of a unit end in the same lane of different registers:
//
//   column(group, slot, lane) = (group * slots + slot) * lanes + lane
//
// A panel is the unit of work of the recurrent kernel: `groups` neighbouring groups, exactly as
// many as fill the kernel's `vectors` registers per row. In a panel the input product feeds the
// vectors [x_first, x_first + x_count), the recurrent product [h_first, h_first + h_count).
#pragma once

#include <cstdint>

#include "../cells/math.h"

namespace fastrnn {

FASTRNN_INLINE constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
FASTRNN_INLINE constexpr int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

// Rows a multiple of 1 KB apart share cache sets; one more vector between them does not.
FASTRNN_INLINE constexpr int64_t leading_dimension(int64_t columns, int64_t lanes) {
  return columns % 256 == 0 && columns > 0 ? columns + lanes : columns;
}

constexpr int panel_vectors = 4;

struct Layout {
  int lanes;
  int gates, slots, states, saved;
  int x_slot, h_slot;
  const int* x_gate;  // (gates,) parameter row block of each slot of the input window
  const int* h_gate;  // (gates,) and of the recurrent window

  FASTRNN_INLINE constexpr int groups() const { return panel_vectors / slots; }
  FASTRNN_INLINE constexpr int vectors() const { return groups() * slots; }
  FASTRNN_INLINE constexpr int64_t panel_units() const { return int64_t(groups()) * lanes; }
  FASTRNN_INLINE constexpr int64_t panel_columns() const { return int64_t(vectors()) * lanes; }
  FASTRNN_INLINE constexpr int64_t panels(int64_t H) const { return ceil_div(H, panel_units()); }
  FASTRNN_INLINE constexpr int64_t padded(int64_t H) const { return panels(H) * panel_units(); }
  FASTRNN_INLINE constexpr int64_t columns(int64_t H) const { return panels(H) * panel_columns(); }

  // The two windows, in vectors within a panel. Cells whose windows differ have one group a panel.
  FASTRNN_INLINE constexpr int x_first() const { return x_slot; }
  FASTRNN_INLINE constexpr int x_count() const { return gates == slots ? vectors() : gates; }
  FASTRNN_INLINE constexpr int h_first() const { return h_slot; }
  FASTRNN_INLINE constexpr int h_count() const { return gates == slots ? vectors() : gates; }

  // Rows of the saved tensors, in elements.
  FASTRNN_INLINE constexpr int64_t state_stride(int64_t H) const { return leading_dimension(padded(H), lanes); }
  FASTRNN_INLINE constexpr int64_t keep_stride(int64_t H) const { return leading_dimension(columns(H), lanes); }
};

// Shared functions are always inlined: objects of different ISAs must not share an out-of-line copy.
template <class Cell>
FASTRNN_INLINE constexpr Layout layout_of(int lanes) {
  static_assert(panel_vectors % Cell::slots == 0, "the slots of a group fill a panel evenly");
  static_assert(Cell::gates == Cell::slots || Cell::slots == panel_vectors,
                "different windows need one group per panel");
  return {lanes,        Cell::gates,  Cell::slots,  Cell::states, Cell::saved,
          Cell::x_slot, Cell::h_slot, Cell::x_gate, Cell::h_gate};
}

// Transposed weights for the backward products: output units in panels of `width` vectors.
FASTRNN_INLINE constexpr int backward_width(int64_t units, int lanes) {
  const int64_t groups = ceil_div(units, lanes);
  return groups >= 3 ? 4 : groups == 2 ? 2 : 1;
}

}  // namespace fastrnn
