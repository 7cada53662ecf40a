#include "pack.h"

#include <algorithm>

namespace fastrnn::cpu {
namespace {

constexpr int64_t k_block = 64;

// The vectors of a window within a panel: which group and which parameter row block feed vector v.
struct WindowView {
  const Layout& layout;
  Window window;

  int first() const { return window == Window::input ? layout.x_first() : layout.h_first(); }
  int count() const { return window == Window::input ? layout.x_count() : layout.h_count(); }
  int64_t unit(int64_t panel, int v) const { return (panel * layout.groups() + v / layout.gates) * layout.lanes; }
  int gate(int v) const {
    const int* gates = window == Window::input ? layout.x_gate : layout.h_gate;
    return gates[v % layout.gates];
  }
  // Parameter row of lane 0 of a vector, and how many of its lanes are real units.
  int64_t parameter(int64_t panel, int v, int64_t H) const { return gate(v) * H + unit(panel, v); }
  int64_t lanes(int64_t panel, int v, int64_t H) const {
    return std::clamp<int64_t>(H - unit(panel, v), 0, layout.lanes);
  }
};

// out[c, r] = in[r, c], rows x columns, by squares of one 16-byte vector: every machine has those.
template <class S>
void transpose(const S* in, int64_t in_stride, int64_t rows, int64_t columns, S* out, int64_t out_stride) {
  constexpr int side = 16 / int(sizeof(S));
  typedef S V __attribute__((vector_size(16)));
  typedef S Unaligned __attribute__((vector_size(16), aligned(alignof(S)), may_alias));
  const auto load = [&](int64_t r, int64_t c) { return V(*(const Unaligned*)(in + r * in_stride + c)); };
  const auto store = [&](int64_t r, int64_t c, V v) { *(Unaligned*)(out + c * out_stride + r) = v; };
  int64_t r = 0;
  for (; r + side <= rows; r += side) {
    int64_t c = 0;
    for (; c + side <= columns; c += side) {
      if constexpr (side == 4) {
        const V a = load(r, c), b = load(r + 1, c), d = load(r + 2, c), e = load(r + 3, c);
        const V ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
        const V de_low = __builtin_shufflevector(d, e, 0, 4, 1, 5), de_high = __builtin_shufflevector(d, e, 2, 6, 3, 7);
        store(r, c, __builtin_shufflevector(ab_low, de_low, 0, 1, 4, 5));
        store(r, c + 1, __builtin_shufflevector(ab_low, de_low, 2, 3, 6, 7));
        store(r, c + 2, __builtin_shufflevector(ab_high, de_high, 0, 1, 4, 5));
        store(r, c + 3, __builtin_shufflevector(ab_high, de_high, 2, 3, 6, 7));
      } else {
        const V a = load(r, c), b = load(r + 1, c);
        store(r, c, __builtin_shufflevector(a, b, 0, 2));
        store(r, c + 1, __builtin_shufflevector(a, b, 1, 3));
      }
    }
    for (; c < columns; ++c)
      for (int i = 0; i < side; ++i) out[c * out_stride + r + i] = in[(r + i) * in_stride + c];
  }
  for (; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) out[c * out_stride + r] = in[r * in_stride + c];
}

}  // namespace

template <class S>
void pack_window(const Layout& layout, Window window, const S* weight, int64_t K, int64_t H, S* packed, int64_t begin,
                 int64_t end, const Worker& worker) {
  const WindowView view{layout, window};
  const int64_t row = int64_t(view.count()) * layout.lanes;
  for (int64_t panel = begin; panel < end; ++panel) {
    for (int64_t k0 = 0; k0 < K; k0 += k_block) {
      if (!worker.proceed()) return;
      const int64_t k1 = std::min(k0 + k_block, K);
      for (int v = 0; v < view.count(); ++v) {
        const int64_t real = view.lanes(panel, v, H);
        S* out = packed + (panel * K + k0) * row + v * layout.lanes;
        if (real > 0) transpose(weight + view.parameter(panel, v, H) * K + k0, K, real, k1 - k0, out, row);
        for (int64_t k = k0; k < k1; ++k, out += row) std::fill(out + real, out + layout.lanes, S(0));
      }
    }
  }
}

template <class S>
void pack_bias(const Layout& layout, const S* bias_ih, const S* bias_hh, int64_t H, S* packed) {
  std::fill_n(packed, layout.columns(H), S(0));
  for (const Window window : {Window::input, Window::recurrent}) {
    const S* bias = window == Window::input ? bias_ih : bias_hh;
    if (bias == nullptr) continue;
    const WindowView view{layout, window};
    for (int64_t panel = 0; panel < layout.panels(H); ++panel) {
      for (int v = 0; v < view.count(); ++v) {
        S* out = packed + panel * layout.panel_columns() + (view.first() + v) * layout.lanes;
        const S* in = bias + view.parameter(panel, v, H);
        for (int64_t lane = 0; lane < view.lanes(panel, v, H); ++lane) out[lane] += in[lane];
      }
    }
  }
}

template <class S>
void transpose_window(const Layout& layout, Window window, const S* packed, int64_t K, int64_t H, int width,
                      S* transposed, int64_t begin, int64_t end, const Worker& worker) {
  const WindowView view{layout, window};
  const int64_t row = int64_t(view.count()) * layout.lanes, out_row = int64_t(width) * layout.lanes;
  const int64_t outputs = ceil_div(K, out_row), panels = layout.panels(H);
  for (int64_t panel = begin; panel < end; ++panel) {
    for (int64_t output = 0; output < outputs; ++output) {
      if (!worker.proceed()) return;
      const S* in = packed + (panel * K + output * out_row) * row;
      S* out = transposed + (output * panels + panel) * row * out_row;
      const int64_t real = std::min(K - output * out_row, out_row);
      transpose(in, row, real, row, out, out_row);
      for (int64_t column = 0; column < row; ++column, out += out_row) std::fill(out + real, out + out_row, S(0));
    }
  }
}

template <class S>
void unpack_window(const Layout& layout, Window window, const S* gradients, int64_t rows, int64_t first, int64_t K,
                   int64_t H, S* d_weight, int64_t begin, int64_t end, const Worker& worker) {
  const WindowView view{layout, window};
  const int64_t row = layout.panel_columns();
  for (int64_t panel = begin; panel < end; ++panel) {
    for (int64_t k0 = 0; k0 < K; k0 += k_block) {
      if (!worker.proceed()) return;
      const int64_t k1 = std::min(k0 + k_block, K);
      for (int v = 0; v < view.count(); ++v) {
        const S* in = gradients + (panel * rows + first + k0) * row + (view.first() + v) * layout.lanes;
        const int64_t real = view.lanes(panel, v, H);
        if (real > 0) transpose(in, row, k1 - k0, real, d_weight + view.parameter(panel, v, H) * K + k0, K);
      }
    }
  }
}

#define FASTRNN_PACK(S)                                                                                            \
  template void pack_window<S>(const Layout&, Window, const S*, int64_t, int64_t, S*, int64_t, int64_t,            \
                               const Worker&);                                                                     \
  template void pack_bias<S>(const Layout&, const S*, const S*, int64_t, S*);                                      \
  template void transpose_window<S>(const Layout&, Window, const S*, int64_t, int64_t, int, S*, int64_t, int64_t,  \
                                    const Worker&);                                                                \
  template void unpack_window<S>(const Layout&, Window, const S*, int64_t, int64_t, int64_t, int64_t, S*, int64_t, \
                                 int64_t, const Worker&);
FASTRNN_PACK(float)
FASTRNN_PACK(double)
#undef FASTRNN_PACK

}  // namespace fastrnn::cpu
