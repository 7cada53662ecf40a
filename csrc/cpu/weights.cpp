#include "weights.h"

#include <algorithm>

#include "dispatch.h"
#include "pack.h"
#include "team.h"

namespace fastrnn::cpu {
namespace {

// Weights are hashed in blocks: of a size of their own, so that the value is the same for any number
// of threads, and large enough that joining their values costs nothing.
constexpr int64_t block_bytes = int64_t(128) << 10;
constexpr int64_t worth_a_thread = int64_t(256) << 10;

uint64_t join(uint64_t all, uint64_t one) {
  all = (all ^ one) * 0xBF58476D1CE4E5B9;
  return all ^ (all >> 32);
}

}  // namespace

template <class S>
uint64_t fingerprint(const Stack& stack, int gates, const std::vector<const void*>& params, Interrupt interrupt) {
  const auto hash = running_kernels<S>().hash;
  const auto size = [&](size_t i) {
    const int index = int(i) % stack.params_per_scan(), layer = int(i) / (stack.params_per_scan() * stack.D);
    const int64_t columns = index == 0 ? stack.input_size(layer) : index == 1 ? stack.H : 1;
    return gates * stack.H * columns * int64_t(sizeof(S));
  };
  // body(block, data, bytes) for every block; blocks are numbered through all parameters.
  const auto for_blocks = [&](const auto& body) {
    uint64_t block = 0;
    for (size_t i = 0; i < params.size(); ++i) {
      const char* data = static_cast<const char*>(params[i]);
      for (int64_t rest = size(i); rest > 0; rest -= block_bytes, data += block_bytes)
        body(block++, data, std::min(rest, block_bytes));
    }
  };
  int64_t bytes = 0;
  for (size_t i = 0; i < params.size(); ++i) bytes += size(i);
  uint64_t all = uint64_t(bytes);
  if (bytes < 2 * worth_a_thread) {
    for_blocks([&](uint64_t block, const char* data, int64_t n) { all = join(all, hash(data, n, block)); });
    return all;
  }
  uint64_t count = 0;
  for_blocks([&](uint64_t, const char*, int64_t) { ++count; });
  std::vector<uint64_t> values(count);
  run_team(int(std::min<int64_t>(thread_limit(), bytes / worth_a_thread)), interrupt, [&](const Worker& worker) {
    const uint64_t begin = uint64_t(worker.begin(int64_t(count))), end = uint64_t(worker.end(int64_t(count)));
    for_blocks([&](uint64_t block, const char* data, int64_t n) {
      if (block >= begin && block < end && worker.proceed()) values[block] = hash(data, n, block);
    });
  });
  for (const uint64_t one : values) all = join(all, one);
  return all;
}
template uint64_t fingerprint<float>(const Stack&, int, const std::vector<const void*>&, Interrupt);
template uint64_t fingerprint<double>(const Stack&, int, const std::vector<const void*>&, Interrupt);

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
