// A forward call: memory first, then one parallel region over all layers and directions.
#include <algorithm>

#include "../rnn/philox.h"
#include "tape.h"
#include "team.h"

namespace fastrnn::cpu {
namespace {

template <class S>
Buffer room(int64_t rows, int64_t columns) {
  return Buffer(checked_product(checked_product(rows, columns), int64_t(sizeof(S))));
}

// The scan with its states gathered: what inference needs, and training's tape holds.
template <class S>
void allocate_states(const CpuTape<S>& tape, bool training, SavedScan<S>& scan) {
  const Layout& layout = tape.weights->kernels.layout;
  const int64_t H = tape.weights->stack.H, B = tape.order.B, total = tape.order.rows(false).total();
  const int64_t stride = layout.state_stride(H);
  for (int state = 0; state < layout.states; ++state) {
    scan.initial[state] = room<S>(B, stride);
    if (training) scan.history[state] = room<S>(total, stride);
  }
  if (!training) scan.history[0] = room<S>(2 * B, stride);
  if (training) scan.keep = room<S>(total, layout.keep_stride(H));
}

template <class S>
class ForwardCall {
 public:
  ForwardCall(CpuTape<S>& tape, const ForwardArgs& args)
      : tape_(tape), args_(args), stack_(tape.weights->stack), layout_(tape.weights->kernels.layout) {
    const int scans = args.training ? stack_.L * stack_.D : stack_.D;  // inference reuses one layer's room
    tape.scans.resize(size_t(scans));
    for (SavedScan<S>& scan : tape.scans) allocate_states(tape, args.training, scan);
    const int inputs = args.training ? stack_.L - 1 : std::min(stack_.L - 1, 2);  // two take turns
    for (int i = 0; i < inputs; ++i)
      tape.inputs.push_back(room<S>(checked_product(args.T, args.B), stack_.H * stack_.D));
    for (int layer = 0; layer < stack_.L; ++layer) {
      plans_.push_back(plan_forward(tape.shape(layer), thread_limit()));
      threads_ = std::max(threads_, plans_.back().threads);
      if (!args.training && plans_.back().chunk_steps > 0)
        chunk_rows_ = std::max(chunk_rows_, plans_.back().chunk_steps * args.B);
    }
    if (chunk_rows_ > 0) chunk_ = room<S>(chunk_rows_, layout_.keep_stride(stack_.H));
  }

  int threads() const { return threads_; }

  void run(const Worker& worker) const {
    for (int layer = 0; layer < stack_.L; ++layer) {
      const Sequence y = output(layer);
      for (int direction = 0; direction < stack_.D; ++direction) {
        if (!run_scan(worker, layer, direction, y)) return;
      }
      finish_layer(worker, layer, y);
      if (!worker.wait()) return;
    }
  }

 private:
  Buffer& slot(int layer) const { return tape_.inputs[size_t(args_.training ? layer : layer % 2)]; }
  Sequence input(int layer) const {
    if (layer == 0) return args_.x;
    const int64_t width = stack_.H * stack_.D;
    return {slot(layer - 1).template as<S>(), args_.B * width, width};
  }
  Sequence output(int layer) const {
    if (layer == stack_.L - 1) return args_.y;
    const int64_t width = stack_.H * stack_.D;
    return {slot(layer).template as<S>(), args_.B * width, width};
  }

  bool run_scan(const Worker& worker, int layer, int direction, const Sequence& y) const {
    const int index = layer * stack_.D + direction;
    const SavedScan<S>& saved = tape_.scans[size_t(args_.training ? index : direction)];
    const Sequence x = input(layer);
    ForwardScan<S> scan{};
    scan.layout = layout_;
    scan.rows = tape_.order.rows(direction == 1);
    scan.I = stack_.input_size(layer);
    scan.H = stack_.H;
    scan.weights = tape_.weights->scan(layer, direction);
    scan.x = static_cast<const S*>(x.data);
    scan.x_step = x.step;
    scan.x_row = x.row;
    scan.y = static_cast<S*>(const_cast<void*>(y.data)) + direction * stack_.H;
    scan.y_step = y.step;
    scan.y_row = y.row;
    for (int state = 0; state < layout_.states; ++state) {
      scan.initial[state] = saved.initial[state].template as<S>();
      scan.history[state] = saved.history[state].template as<S>();
    }
    scan.keep = saved.keep.template as<S>();
    scan.training = args_.training;
    // A team larger than this layer wants still splits it: its threads are here anyway.
    scan.partition = plans_[size_t(layer)].partition;
    scan.chunk_steps = plans_[size_t(layer)].chunk_steps;
    scan.chunk = chunk_.template as<S>();

    const int64_t begin = worker.begin(args_.B), end = worker.end(args_.B);
    const int64_t stride = scan.state_stride(), offset = int64_t(index) * args_.B * stack_.H;
    const void* given[2] = {args_.h_0, args_.c_0};
    void* wanted[2] = {args_.h_n, args_.c_n};
    for (int state = 0; state < layout_.states; ++state) {
      const S* from = given[state] == nullptr ? nullptr : static_cast<const S*>(given[state]) + offset;
      gather_state(tape_.order, from, stack_.H, stride, scan.initial[state], begin, end);
    }
    if (!worker.wait()) return false;
    tape_.weights->kernels.forward(scan, worker);
    if (!worker.wait()) return false;
    for (int state = 0; state < layout_.states; ++state)
      scatter_final(scan, state, static_cast<S*>(wanted[state]) + offset, begin, end);
    return worker.wait();
  }

  // Each row's state where it ended.
  void scatter_final(const ForwardScan<S>& scan, int state, S* out, int64_t begin, int64_t end) const {
    for (int64_t b = begin; b < end; ++b) {
      const int64_t length = tape_.order.length[size_t(b)];
      const S* last = length == 0 ? scan.initial[state] : scan.next(state, length - 1);
      std::copy_n(last + b * scan.state_stride(), stack_.H, out + tape_.order.row[size_t(b)] * stack_.H);
    }
  }

  void finish_layer(const Worker& worker, int layer, const Sequence& y) const {
    S* data = static_cast<S*>(const_cast<void*>(y.data));
    const int64_t width = stack_.H * stack_.D;
    if (tape_.order.ragged())
      clear_past_end(tape_.order, data, y.step, y.row, width, worker.begin(args_.B), worker.end(args_.B));
    if (args_.training && args_.dropout > 0 && layer + 1 < stack_.L) {
      if (!worker.wait()) return;
      const DropoutMask mask(args_.seed, uint32_t(layer + 1), args_.dropout);
      const int64_t count = args_.T * args_.B * width, begin = worker.begin(count), end = worker.end(count);
      worker.in_blocks(begin, end, 1 << 16,
                       [&](int64_t from, int64_t to) { mask.apply(data + from, data + from, from, to - from); });
    }
  }

  CpuTape<S>& tape_;
  const ForwardArgs& args_;
  const Stack& stack_;
  const Layout& layout_;
  std::vector<Plan> plans_;
  int threads_ = 1;
  int64_t chunk_rows_ = 0;
  Buffer chunk_;
};

}  // namespace

template <class S>
std::shared_ptr<const fastrnn::Tape> run_forward(std::shared_ptr<const Weights<S>> weights, const ForwardArgs& args,
                                                 Interrupt interrupt) {
  auto tape = std::make_shared<CpuTape<S>>(std::move(weights), args);
  {
    const ForwardCall<S> call(*tape, args);
    run_team(call.threads(), interrupt, [&](const Worker& worker) { call.run(worker); });
  }
  return args.training ? tape : nullptr;
}

template std::shared_ptr<const fastrnn::Tape> run_forward(std::shared_ptr<const Weights<float>>, const ForwardArgs&,
                                                          Interrupt);
template std::shared_ptr<const fastrnn::Tape> run_forward(std::shared_ptr<const Weights<double>>, const ForwardArgs&,
                                                          Interrupt);

}  // namespace fastrnn::cpu
