#include "weights.h"

#include <algorithm>
#include <cstring>

#include "pack.h"
#include "team.h"

namespace fastrnn::cpu {
namespace {

// Eight independent multiply-add chains over 64-byte stripes, each word mixed with a key of its
// place, so equal words in other places change the sum. Reads memory at its own speed.
struct Hash {
  uint64_t lane[8] = {0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63,
                      0x27D4EB2F165667C5, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F, 0xE7037ED1A0B428DB};
  uint64_t place = 1;

  void add(const void* data, int64_t bytes) {
    const char* p = static_cast<const char*>(data);
    uint64_t word[8];
    for (; bytes > 0; bytes -= 64, p += 64) {
      if (bytes >= 64) {
        std::memcpy(word, p, 64);
      } else {
        std::memset(word, 0, 64);
        std::memcpy(word, p, size_t(bytes));
      }
      place += 0x9E3779B97F4A7C15;
      for (int i = 0; i < 8; ++i) {
        const uint64_t keyed = word[i] ^ (place + uint64_t(i) * 0xD1B54A32D192ED03);
        lane[i] += word[i] + (keyed & 0xFFFFFFFF) * (keyed >> 32);
      }
    }
  }

  uint64_t value() const {
    uint64_t h = place;
    for (const uint64_t l : lane) {
      h = (h ^ l ^ (l >> 29)) * 0xBF58476D1CE4E5B9;
      h ^= h >> 32;
    }
    return h;
  }
};

}  // namespace

uint64_t fingerprint(const Stack& stack, int gates, const std::vector<const void*>& params) {
  Hash hash;
  for (size_t i = 0; i < params.size(); ++i) {
    const int index = int(i) % stack.params_per_scan(), layer = int(i) / (stack.params_per_scan() * stack.D);
    const int64_t columns = index == 0 ? stack.input_size(layer) : index == 1 ? stack.H : 1;
    hash.add(params[i], gates * stack.H * columns * size_of(stack.dtype));
  }
  return hash.value();
}

template <class S>
Weights<S>::Weights(const Stack& stack, const CellKernels<S>& kernels, const std::vector<const void*>& params,
                    uint64_t fingerprint, Interrupt interrupt)
    : PackedStack(stack), kernels(kernels), fingerprint(fingerprint) {
  const Layout& layout = kernels.layout;
  const int64_t H = stack.H, panels = layout.panels(H);
  packed_.resize(size_t(stack.L * stack.D));
  for (int scan = 0; scan < stack.L * stack.D; ++scan) {
    const int64_t I = stack.input_size(scan / stack.D);
    const void* const* of_scan = params.data() + scan * stack.params_per_scan();
    const auto array = [&](int index) { return static_cast<const S*>(of_scan[index]); };
    const auto room = [&](int64_t K, int count) {
      return Buffer(
          checked_product(checked_product(panels * count * layout.lanes, std::max<int64_t>(K, 1)), int64_t(sizeof(S))));
    };
    Packed& out = packed_[size_t(scan)];
    out.x = room(I, layout.x_count());
    out.h = room(H, layout.h_count());
    out.bias = Buffer(layout.columns(H) * int64_t(sizeof(S)));
    run_team(threads_for(I), interrupt, [&](const Worker& worker) {
      const int64_t begin = worker.begin(panels), end = worker.end(panels);
      pack_window(layout, Window::input, array(0), I, H, out.x.template as<S>(), begin, end, worker);
      pack_window(layout, Window::recurrent, array(1), H, H, out.h.template as<S>(), begin, end, worker);
    });
    const FloatMode mode;  // the sum of the biases must not see the caller's rounding
    pack_bias<S>(layout, stack.bias ? array(2) : nullptr, stack.bias ? array(3) : nullptr, H,
                 out.bias.template as<S>());
  }
}

// Threads that share the packing of a scan with I inputs.
template <class S>
int Weights<S>::threads_for(int64_t I) const {
  return kernels.layout.columns(stack.H) * (I + stack.H) < 500'000 ? 1 : thread_limit();
}

template <class S>
int64_t Weights<S>::bytes() const {
  int64_t sum = 0;
  for (const Packed& p : packed_) sum += p.x.bytes() + p.h.bytes() + p.bias.bytes();
  return sum;
}

template <class S>
ScanWeights<S> Weights<S>::scan(int layer, int direction) const {
  const Packed& p = packed_[size_t(layer * stack.D + direction)];
  return {p.x.template as<S>(), p.h.template as<S>(), p.bias.template as<S>()};
}

template <class S>
void Weights<S>::transpose(Interrupt interrupt) const {
  const Layout& layout = kernels.layout;
  const int64_t H = stack.H, panels = layout.panels(H);
  std::vector<Transposed> made(packed_.size());
  for (size_t scan = 0; scan < packed_.size(); ++scan) {
    const int64_t I = stack.input_size(int(scan) / stack.D);
    const int x_width = backward_width(I, layout.lanes), h_width = backward_width(H, layout.lanes);
    const auto room = [&](int64_t K, int width, int count) {
      const int64_t outputs = ceil_div(K, int64_t(width) * layout.lanes) * width * layout.lanes;
      return Buffer(checked_product(checked_product(panels * count * layout.lanes, outputs), int64_t(sizeof(S))));
    };
    made[scan].x = room(I, x_width, layout.x_count());
    made[scan].h = room(H, h_width, layout.h_count());
    run_team(threads_for(I), interrupt, [&](const Worker& worker) {
      const int64_t begin = worker.begin(panels), end = worker.end(panels);
      transpose_window(layout, Window::input, packed_[scan].x.template as<S>(), I, H, x_width,
                       made[scan].x.template as<S>(), begin, end, worker);
      transpose_window(layout, Window::recurrent, packed_[scan].h.template as<S>(), H, H, h_width,
                       made[scan].h.template as<S>(), begin, end, worker);
    });
  }
  transposed_ = std::move(made);
}

template <class S>
TransposedWeights<S> Weights<S>::transposed(int layer, int direction, Interrupt interrupt) const {
  std::call_once(once_, [&] { transpose(interrupt); });
  const Transposed& t = transposed_[size_t(layer * stack.D + direction)];
  return {t.h.template as<S>(), t.x.template as<S>(), backward_width(stack.H, kernels.layout.lanes),
          backward_width(stack.input_size(layer), kernels.layout.lanes)};
}

template class Weights<float>;
template class Weights<double>;

}  // namespace fastrnn::cpu
