// From names to types: the one switch over cells, storage types and tiers.
#pragma once

#include <stdexcept>
#include <string>

#include "../cells/list.h"
#include "../rnn/problem.h"
#include "scan.h"

namespace fastrnn::cuda {

template <class T>
struct Type {
  using type = T;
};

// f(Type<S>{}) for the storage type of a dtype.
template <class F>
auto with_storage(DType dtype, const F& f) {
  switch (dtype) {
    case DType::float32: return f(Type<float>{});
    case DType::float64: return f(Type<double>{});
    case DType::bfloat16: return f(Type<Bfloat16>{});
    case DType::float16: return f(Type<Float16>{});
    default: return f(Type<TensorFloat32>{});
  }
}

inline Numbers numbers_of_dtype(DType dtype) {
  return with_storage(dtype, [](auto storage) { return numbers_of<typename decltype(storage)::type>(); });
}

template <class F, class... Cells>
void with_cell_of(cells::TypeList<Cells...>, const std::string& name, const F& f) {
  const bool found = ((name == Cells::name ? (f(Type<Cells>{}), true) : false) || ...);
  if (!found) throw std::invalid_argument("fastrnn: cell has value '" + name + "', which is not a cell");
}

// f(Type<Cell>{}) for the cell of that name.
template <class F>
void with_cell(const std::string& name, const F& f) {
  with_cell_of(cells::All{}, name, f);
}

}  // namespace fastrnn::cuda
