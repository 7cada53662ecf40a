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
        for (int64_t lane = 0; lane < layout.lanes; ++lane) {
          S* out = packed + panel * K * row + v * layout.lanes + lane;
          const S* in = weight + (view.parameter(panel, v, H) + lane) * K;
          for (int64_t k = k0; k < k1; ++k) out[k * row] = lane < real ? in[k] : S(0);
        }
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
      for (int64_t column = 0; column < row; ++column) {
        for (int64_t k = 0; k < out_row; ++k) {
          out[column * out_row + k] = k < real ? in[k * row + column] : S(0);
        }
      }
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
        for (int64_t lane = 0; lane < view.lanes(panel, v, H); ++lane) {
          const S* in = gradients + (panel * rows + first) * row + (view.first() + v) * layout.lanes + lane;
          S* out = d_weight + (view.parameter(panel, v, H) + lane) * K;
          for (int64_t k = k0; k < k1; ++k) out[k] = in[k * row];
        }
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
