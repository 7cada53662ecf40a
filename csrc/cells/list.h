// The list of cells. Kernels, dispatch, bindings, tests and docs iterate it; a new cell is one
// header and one entry here.
#pragma once

#include "gru.h"
#include "lstm.h"
#include "rnn.h"

namespace fastrnn::cells {

template <class... Cells>
struct TypeList {
  static constexpr int size = sizeof...(Cells);
};

#ifdef FASTRNN_TESTING
using All = TypeList<Lstm, Gru, RnnTanh, RnnRelu, RnnLinear>;
#else
using All = TypeList<Lstm, Gru, RnnTanh, RnnRelu>;
#endif

// The contract of a cell that the kernels rely on.
template <class Cell>
constexpr bool is_cell() {
  static_assert(Cell::x_slot + Cell::gates <= Cell::slots, "the input window lies in the slots");
  static_assert(Cell::h_slot + Cell::gates <= Cell::slots, "the recurrent window lies in the slots");
  static_assert(Cell::saved <= Cell::slots, "saved values reuse the room of the slots");
  static_assert(Cell::states >= 1 && Cell::states <= 2, "state 0 is h; at most one private state");
  return true;
}

template <class... Cells>
constexpr bool are_cells(TypeList<Cells...>) {
  return (is_cell<Cells>() && ...);
}
static_assert(are_cells(All{}));

}  // namespace fastrnn::cells
