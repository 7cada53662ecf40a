// A forward call: memory first, then one parallel region over all layers and directions.
#include <algorithm>

#include "../rnn/philox.h"
#include "tape.h"
#include "team.h"

namespace fastrnn::cpu {
namespace {

template <class S>
class ForwardCall {
 public:
  ForwardCall(const CpuTape<S>& tape, const ForwardArgs& args)
      : tape_(tape),
        args_(args),
        stack_(tape.weights->stack),
        layout_(tape.weights->kernels.layout),
        saves_(args.training && !tape.recomputes) {
    const int64_t stride = layout_.state_stride(stack_.H);
    if (!saves_) {  // one scan's room serves all
      for (int state = 0; state < layout_.states; ++state) initial_[state] = room<S>(args.B, stride);
      turns_ = room<S>(2 * args.B, stride);
    }
    for (int layer = 0; layer < stack_.L; ++layer) {
      plans_.push_back(plan_forward(tape.shape(layer), thread_limit()));
      threads_ = std::max(threads_, plans_.back().threads);
      if (!saves_ && plans_.back().chunk_steps > 0)
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
  Sequence output(int layer) const { return layer == stack_.L - 1 ? args_.y : tape_.input(layer + 1); }

  bool run_scan(const Worker& worker, int layer, int direction, const Sequence& y) const {
    const int index = layer * stack_.D + direction;
    const SavedScan<S>* saved = args_.training ? &tape_.scans[size_t(index)] : nullptr;
    ForwardScan<S> scan = tape_.forward_scan(layer, direction, plans_[size_t(layer)]);
    scan.y = static_cast<S*>(const_cast<void*>(y.data)) + direction * stack_.H;
    scan.y_step = y.step;
    scan.y_row = y.row;
    for (int state = 0; state < layout_.states; ++state) {
      scan.initial[state] = saves_ ? saved->borders[state] : initial_[state].template as<S>();
      if (saves_) scan.history[state] = saved->history[state];
    }
    if (saves_) scan.keep = saved->keep;
    if (!saves_) scan.history[0] = turns_.template as<S>();
    scan.training = saves_;
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
    for (const Segment& segment : tape_.segments.list) {
      scan.first = segment.first;
      scan.last = segment.last;
      if (tape_.recomputes) save_border(scan, segment, *saved, worker);
      tape_.weights->kernels.forward(scan, worker);
      if (!worker.wait()) return false;
    }
    for (int state = 0; state < layout_.states; ++state)
      scatter_final(scan, state, static_cast<S*>(wanted[state]) + offset, begin, end);
    return worker.wait();
  }

  // The states before a segment. A thread copies what it alone is about to overwrite: no meeting.
  void save_border(const ForwardScan<S>& scan, const Segment& segment, const SavedScan<S>& saved,
                   const Worker& worker) const {
    const Share share = scan.share(worker);
    const int64_t stride = scan.state_stride(), alive = scan.first == 0 ? args_.B : scan.rows.active[scan.first];
    const int64_t units = layout_.panel_units(), begin = share.panel_begin * units, end = share.panel_end * units;
    for (int state = 0; state < layout_.states; ++state) {
      const S* from = scan.prev(state, scan.first);
      S* to = saved.borders[state] + segment.border * stride;
      for (int64_t b = share.row_begin; b < std::min(share.row_end, alive); ++b)
        std::copy(from + b * stride + begin, from + b * stride + end, to + b * stride + begin);
    }
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

  const CpuTape<S>& tape_;
  const ForwardArgs& args_;
  const Stack& stack_;
  const Layout& layout_;
  const bool saves_;  // what backward reads goes to the tape now
  Buffer initial_[2], turns_;  // else: c in place, h by turns
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
