#include "stepper.h"

#include <algorithm>
#include <stdexcept>

#include "plan.h"

namespace fastrnn::cpu {
namespace {

// A block's input products stay in L2 beside the recurrent weights; the longer it is, the more seldom the input weights
// push those out.
constexpr int64_t block_bytes = int64_t(512) << 10;
constexpr int64_t most_steps = 128;

template <class S>
int64_t block_steps(const Weights<S>& weights, int64_t streams) {
  const int64_t row_bytes = weights.kernels.layout.keep_stride(weights.stack.H) * int64_t(sizeof(S));
  const int64_t full_tiles = ceil_div(4 * weights.kernels.tile_rows, streams);
  return std::clamp<int64_t>(block_bytes / checked_product(streams, row_bytes), full_tiles, most_steps);
}

template <class S>
Buffer zeros(int64_t rows, int64_t columns) {
  const int64_t count = checked_product(rows, columns);
  Buffer buffer(checked_product(count, int64_t(sizeof(S))));
  std::fill_n(buffer.as<S>(), count, S(0));
  return buffer;
}

template <class S>
Sequence after(const Sequence& sequence, int64_t steps) {
  return {static_cast<const S*>(sequence.data) + steps * sequence.step, sequence.step, sequence.row};
}

}  // namespace

template <class S>
CpuStepper<S>::CpuStepper(std::shared_ptr<const Weights<S>> weights, int64_t streams)
    : weights_(std::move(weights)),
      streams_(streams),
      block_steps_(block_steps(*weights_, streams)),
      order_(block_steps_, streams, nullptr),
      layers_(size_t(weights_->stack.L)) {
  const Stack& stack = weights_->stack;
  const Layout& layout = weights_->kernels.layout;
  const int64_t stride = layout.state_stride(stack.H), block_rows = checked_product(block_steps_, streams);
  bool ahead = false;
  for (int index = 0; index < stack.L; ++index) {
    Layer& layer = layers_[size_t(index)];
    layer.h = zeros<S>(checked_product(3, streams), stride);
    if (layout.states > 1) layer.c = zeros<S>(streams, stride);
    const ScanShape shape{layout,
                          weights_->kernels.tile_rows,
                          int64_t(sizeof(S)),
                          stack.input_size(index),
                          stack.H,
                          streams,
                          block_steps_,
                          block_rows};
    layer.chunk_steps = plan_forward(shape, 1).chunk_steps;
    ahead = ahead || layer.chunk_steps > 0;
    ForwardScan<S>& scan = layer.scan = {};
    scan.layout = layout;
    scan.rows = order_.rows(false);
    scan.I = stack.input_size(index);
    scan.H = stack.H;
    scan.initial[1] = layer.c.template as<S>();
    scan.partition = Partition::rows;
  }
  if (ahead) chunk_ = zeros<S>(block_rows, layout.keep_stride(stack.H));
  for (int i = 0; i < std::min(stack.L - 1, 2); ++i) between_[i] = zeros<S>(block_rows, stack.H);
  take_weights();
}

template <class S>
void CpuStepper<S>::take_weights() {
  for (size_t index = 0; index < layers_.size(); ++index) {
    layers_[index].scan.weights = weights_->scan(int(index), 0);
    layers_[index].scan.chunk = chunk_.as<S>();
  }
}

template <class S>
void CpuStepper<S>::set_packed(std::shared_ptr<const PackedStack> packed) {
  auto weights = std::static_pointer_cast<const Weights<S>>(std::move(packed));
  if (&weights->kernels != &weights_->kernels)  // the states lie as these kernels want them
    throw std::invalid_argument(std::string("set_packed: packed has the kernels of ") + weights->kernels.isa +
                                ", expected those of " + weights_->kernels.isa + ", which the stepper was made for");
  weights_ = std::move(weights);
  take_weights();
}

template <class S>
void CpuStepper<S>::run(int64_t T, const Sequence& x, const Sequence& y, Interrupt interrupt) {
  const FloatMode mode;
  if (T <= block_steps_) {
    if (T > 0) run_block(T, x, y);
    return;
  }
  Team team(interrupt);
  for (int64_t first = 0; first < T; first += block_steps_) {
    if (!team.proceed(0)) throw Interrupted{};
    run_block(std::min(block_steps_, T - first), after<S>(x, first), after<S>(y, first));
  }
}

template <class S>
void CpuStepper<S>::run_block(int64_t steps, const Sequence& x, const Sequence& y) {
  const int64_t H = weights_->stack.H;
  Sequence input = x;
  for (size_t index = 0; index < layers_.size(); ++index) {
    const bool last = index + 1 == layers_.size();
    const Sequence output = last ? y : Sequence{between_[index % 2].template as<S>(), streams_ * H, H};
    run_layer(layers_[index], steps, input, output);
    input = output;
  }
  sweep_ += steps;
}

template <class S>
void CpuStepper<S>::run_layer(Layer& layer, int64_t steps, const Sequence& x, const Sequence& y) {
  static Team alone{Interrupt{}};  // meets nobody and asks nobody
  ForwardScan<S>& scan = layer.scan;
  const int64_t slot_size = streams_ * scan.state_stride();
  const int base = layer.slot == 0 ? 1 : 0;
  scan.rows.steps = scan.last = steps;
  scan.x = static_cast<const S*>(x.data);
  scan.x_step = x.step;
  scan.x_row = x.row;
  scan.y = static_cast<S*>(const_cast<void*>(y.data));
  scan.y_step = y.step;
  scan.y_row = y.row;
  scan.initial[0] = layer.h.template as<S>() + layer.slot * slot_size;
  scan.history[0] = layer.h.template as<S>() + base * slot_size;
  scan.chunk_steps = steps > 1 ? layer.chunk_steps : 0;
  scan.sweep = sweep_;
  weights_->kernels.forward(scan, Worker{&alone, 0, 1});
  layer.slot = base + int((steps - 1) & 1);
}

template <class S>
S* CpuStepper<S>::state_of(const Layer& layer, int state) const {
  if (state == 1) return layer.c.template as<S>();
  return layer.h.template as<S>() + layer.slot * streams_ * layer.scan.state_stride();
}

template <class S>
void CpuStepper<S>::get_state(int state, void* out) const {
  const int64_t H = weights_->stack.H;
  S* to = static_cast<S*>(out);
  for (const Layer& layer : layers_)
    for (int64_t s = 0; s < streams_; ++s, to += H)
      std::copy_n(state_of(layer, state) + s * layer.scan.state_stride(), H, to);
}

template <class S>
void CpuStepper<S>::set_state(int state, const void* values, const bool* mask) {
  const int64_t H = weights_->stack.H;
  const S* from = static_cast<const S*>(values);
  for (const Layer& layer : layers_) {
    for (int64_t s = 0; s < streams_; ++s) {
      if (mask != nullptr && !mask[s]) continue;
      S* to = state_of(layer, state) + s * layer.scan.state_stride();
      std::fill_n(to, layer.scan.state_stride(), S(0));
      if (from != nullptr) std::copy_n(from + s * H, H, to);
    }
    if (from != nullptr) from += streams_ * H;
  }
}

template class CpuStepper<float>;
template class CpuStepper<double>;

}  // namespace fastrnn::cpu
