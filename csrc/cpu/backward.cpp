// A backward call: memory first, then one parallel region over all layers and directions, last first.
#include <algorithm>

#include "../rnn/philox.h"
#include "pack.h"
#include "tape.h"
#include "team.h"

namespace fastrnn::cpu {
namespace {

template <class S>
class BackwardCall {
 public:
  BackwardCall(const CpuTape<S>& tape, const BackwardArgs& args, Interrupt interrupt)
      : tape_(tape),
        args_(args),
        stack_(tape.weights->stack),
        layout_(tape.weights->kernels.layout),
        T_(tape.args().T),
        B_(tape.args().B) {
    int64_t tiles = 0, widest_sums = 0;
    for (int layer = 0; layer < stack_.L; ++layer) {
      const ScanShape shape = tape.shape(layer);
      plans_.push_back(plan_backward(shape, thread_limit()));
      threads_ = std::max(threads_, plans_.back().threads);
      if (tape.recomputes) {
        forward_plans_.push_back(plan_forward(shape, thread_limit()));
        threads_ = std::max(threads_, forward_plans_.back().threads);
      }
      chunk_rows_ = backward_chunk_rows(shape);
      const int64_t tile = tape.weights->kernels.tile_rows;
      tiles = std::max(tiles, ceil_div(shape.I, tile) + ceil_div(shape.H, tile));
      widest_sums = std::max(widest_sums, shape.I + shape.H + 1);
      for (int direction = 0; direction < stack_.D; ++direction) {
        weights_.push_back(tape.weights->transposed(layer, direction, interrupt));
      }
    }
    for (int state = 0; state < layout_.states; ++state) d_state_[state] = room<S>(B_, layout_.state_stride(stack_.H));
    BackwardScan<S> scan{};
    scan.layout = layout_;
    scan.chunk_rows = chunk_rows_;
    for (Buffer& chunk : d_pre_) chunk = room<S>(layout_.panels(stack_.H), scan.panel_stride());
    operands_ = room<S>(tiles, scan.operand_stride(tape.weights->kernels.tile_rows));
    sums_ = room<S>(widest_sums, layout_.columns(stack_.H));
    for (int i = 0; i < std::min(stack_.L - 1, 2); ++i)
      d_inputs_[i] = room<S>(checked_product(T_, B_), stack_.H * stack_.D);
    if (tape.recomputes) {
      Cutter<S> counted(nullptr);
      place_saved(layout_, stack_.H, tape.segments.most_rows, counted, segment_);
      segment_room_ = Buffer(counted.bytes());
      Cutter<S> placed(segment_room_.as<S>());
      place_saved(layout_, stack_.H, tape.segments.most_rows, placed, segment_);
    }
  }

  int threads() const { return threads_; }

  void run(const Worker& worker) const {
    clear_padding(worker);
    for (int layer = stack_.L - 1; layer >= 0; --layer) {
      const Sequence d_x = d_input(layer);
      S* data = static_cast<S*>(const_cast<void*>(d_x.data));
      if (tape_.order.ragged())
        clear_past_end(tape_.order, data, d_x.step, d_x.row, stack_.input_size(layer), worker.begin(B_),
                       worker.end(B_));
      for (int direction = 0; direction < stack_.D; ++direction) {
        if (!run_scan(worker, layer, direction, d_x)) return;
      }
      const double dropout = tape_.args().dropout;
      if (layer > 0 && dropout > 0) {
        const DropoutMask mask(tape_.args().seed, uint32_t(layer), dropout);
        const int64_t count = T_ * B_ * stack_.H * stack_.D;
        const int64_t begin = worker.begin(count), end = worker.end(count);
        worker.in_blocks(begin, end, 1 << 16,
                         [&](int64_t from, int64_t to) { mask.apply(data + from, data + from, from, to - from); });
        if (!worker.wait()) return;
      }
    }
  }

 private:
  // Groups of the last panel past H are read by the products (against zero weights) but written by
  // nobody: they must hold no NaN.
  void clear_padding(const Worker& worker) const {
    const int64_t panels = layout_.panels(stack_.H), size = d_pre_[0].bytes() / int64_t(sizeof(S)) / panels;
    if (round_up(stack_.H, layout_.lanes) == layout_.padded(stack_.H)) return;
    for (const Buffer& chunk : d_pre_) {
      S* last = chunk.template as<S>() + (panels - 1) * size;
      std::fill(last + worker.begin(size), last + worker.end(size), S(0));
    }
  }

  // The gradient of a layer's input: the caller's d_x, or one of two that take turns.
  Sequence d_input(int layer) const {
    if (layer == 0) return args_.d_x;
    const int64_t width = stack_.H * stack_.D;
    return {d_inputs_[(layer - 1) % 2].template as<S>(), B_ * width, width};
  }

  bool run_scan(const Worker& worker, int layer, int direction, const Sequence& d_x) const {
    const int index = layer * stack_.D + direction;
    const SavedScan<S>& saved = tape_.scans[size_t(index)];
    const Sequence x = tape_.input(layer);
    const Sequence d_y = layer == stack_.L - 1 ? args_.d_y : d_input(layer + 1);
    BackwardScan<S> scan{};
    scan.layout = layout_;
    scan.rows = tape_.order.rows(direction == 1);
    scan.I = stack_.input_size(layer);
    scan.H = stack_.H;
    scan.weights = weights_[size_t(index)];
    scan.x = static_cast<const S*>(x.data);
    scan.x_step = x.step;
    scan.x_row = x.row;
    scan.d_y = d_y.data == nullptr ? nullptr : static_cast<const S*>(d_y.data) + direction * stack_.H;
    scan.d_y_step = d_y.step;
    scan.d_y_row = d_y.row;
    scan.d_x = static_cast<S*>(const_cast<void*>(d_x.data));
    scan.d_x_step = d_x.step;
    scan.d_x_row = d_x.row;
    scan.d_x_adds = direction == 1;
    const SavedScan<S>& read = tape_.recomputes ? segment_ : saved;
    for (int state = 0; state < layout_.states; ++state) {
      scan.history[state] = read.history[state];
      scan.d_state[state] = d_state_[state].template as<S>();
    }
    scan.keep = read.keep;
    scan.d_pre[0] = d_pre_[0].template as<S>();
    scan.d_pre[1] = d_pre_[1].template as<S>();
    scan.operands = operands_.template as<S>();
    scan.d_weights = sums_.template as<S>();
    scan.chunk_rows = chunk_rows_;
    scan.partition = plans_[size_t(layer)].partition;

    const int64_t begin = worker.begin(B_), end = worker.end(B_);
    const int64_t stride = scan.state_stride(), offset = int64_t(index) * B_ * stack_.H;
    const void* given[2] = {args_.d_h_n, args_.d_c_n};
    void* wanted[2] = {args_.d_h_0, args_.d_c_0};
    for (int state = 0; state < layout_.states; ++state) {
      const S* from = given[state] == nullptr ? nullptr : static_cast<const S*>(given[state]) + offset;
      gather_state(tape_.order, from, stack_.H, stride, scan.d_state[state], begin, end);
    }
    const int64_t rows = scan.I + scan.H + 1, columns = layout_.panel_columns();
    const int64_t first = worker.begin(layout_.panels(scan.H)), last = worker.end(layout_.panels(scan.H));
    const auto clear = [&](int64_t from, int64_t to) {
      std::fill(scan.d_weights + from * columns, scan.d_weights + to * columns, S(0));
    };
    if (!worker.in_blocks(first * rows, last * rows, 1 << 16, clear)) return false;
    if (!worker.wait()) return false;
    for (size_t i = tape_.segments.list.size(); i-- > 0;) {
      const Segment& segment = tape_.segments.list[i];
      scan.first = segment.first;
      scan.last = segment.last;
      scan.turn = segment.turn;
      for (int state = 0; state < layout_.states; ++state)
        scan.initial[state] = saved.borders[state] + segment.border * stride;
      if (tape_.recomputes && !recompute(worker, layer, direction, scan)) return false;
      tape_.weights->kernels.backward(scan, worker);
      if (!worker.wait()) return false;
    }
    for (int state = 0; state < layout_.states; ++state)
      scatter_state(tape_.order, scan.d_state[state], stack_.H, stride, static_cast<S*>(wanted[state]) + offset, begin,
                    end);
    unpack(scan, index, rows, first, last, worker);
    return worker.wait();
  }

  // What forward did not keep of a segment: the same kernel from the same states, hence the same bits.
  bool recompute(const Worker& worker, int layer, int direction, const BackwardScan<S>& reader) const {
    ForwardScan<S> scan = tape_.forward_scan(layer, direction, forward_plans_[size_t(layer)]);
    scan.first = scan.origin = reader.first;
    scan.last = reader.last;
    for (int state = 0; state < layout_.states; ++state) {
      scan.initial[state] = const_cast<S*>(reader.initial[state]);  // training only reads them
      scan.history[state] = segment_.history[state];
    }
    scan.keep = segment_.keep;
    scan.training = true;
    tape_.weights->kernels.forward(scan, worker);
    return worker.wait();
  }

  void unpack(const BackwardScan<S>& scan, int index, int64_t rows, int64_t first, int64_t last,
              const Worker& worker) const {
    void* const* out = args_.d_params + index * stack_.params_per_scan();
    const auto window = [&](Window which, int64_t row, int64_t K, int parameter) {
      unpack_window(layout_, which, scan.d_weights, rows, row, K, scan.H, static_cast<S*>(out[parameter]), first, last,
                    worker);
    };
    window(Window::input, 0, scan.I, 0);
    window(Window::recurrent, scan.I, scan.H, 1);
    if (!stack_.bias) return;
    window(Window::input, scan.I + scan.H, 1, 2);
    window(Window::recurrent, scan.I + scan.H, 1, 3);
  }

  const CpuTape<S>& tape_;
  const BackwardArgs& args_;
  const Stack& stack_;
  const Layout& layout_;
  const int64_t T_, B_;
  std::vector<Plan> plans_, forward_plans_;
  std::vector<TransposedWeights<S>> weights_;
  int threads_ = 1;
  int64_t chunk_rows_ = 1;
  Buffer d_state_[2], d_pre_[2], operands_, sums_, d_inputs_[2];
  SavedScan<S> segment_{};  // what is recomputed, a segment at a time
  Buffer segment_room_;
};

}  // namespace

template <class S>
void run_backward(const CpuTape<S>& tape, const BackwardArgs& args, Interrupt interrupt) {
  const BackwardCall<S> call(tape, args, interrupt);
  run_team(call.threads(), interrupt, [&](const Worker& worker) { call.run(worker); });
}

template void run_backward(const CpuTape<float>&, const BackwardArgs&, Interrupt);
template void run_backward(const CpuTape<double>&, const BackwardArgs&, Interrupt);

}  // namespace fastrnn::cpu
