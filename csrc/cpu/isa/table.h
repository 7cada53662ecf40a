// One ISA's table of kernels. Included by the ISA's own .cpp alone, after its vectors: everything
// it instantiates carries the ISA tag or is local to the object.
#pragma once

#include "../../cells/list.h"
#include "../hash.h"
#include "../scan_backward.h"
#include "../scan_forward.h"

namespace fastrnn::cpu {

template <class Isa, class S, bool is_tanh>
static void activate(const S* in, S* out, int64_t n) {
  using L = Lanes<Isa, S>;
  for (int64_t i = 0; i < n; i += L::count) {
    const typename L::V v = L::load_first(in + i, n - i);
    typename L::V result;
    if constexpr (is_tanh) {
      result = cells::tanh(v);
    } else {
      result = cells::sigmoid(v);
    }
    L::store_first(out + i, result, n - i);
  }
}

template <class Isa, class S, class List>
struct CellTable;

template <class Isa, class S, class... Cells>
struct CellTable<Isa, S, cells::TypeList<Cells...>> {
  static constexpr CellKernels<S> rows[] = {{Isa::name, Cells::name, layout_of<Cells>(Lanes<Isa, S>::count),
                                             Isa::tile_rows, rows_of_tile<Isa, WindowsOf<Isa, Cells, S>::type::x_count>,
                                             scan_forward<Isa, Cells, S>, scan_backward<Isa, Cells, S>}...};
  static constexpr IsaKernels<S> kernels = {rows, int(sizeof...(Cells)), activate<Isa, S, false>,
                                            activate<Isa, S, true>, hash<Isa>};
};

}  // namespace fastrnn::cpu
