// The CPU behind the seam of rnn/backend.h: dtype to template, nothing else.
#include <cstdio>
#include <stdexcept>

#include "dispatch.h"
#include "stepper.h"
#include "tape.h"

namespace fastrnn {
namespace cpu {
namespace {

template <class S>
std::shared_ptr<const PackedStack> pack_as(const Stack& stack, const std::vector<const void*>& params,
                                           const std::shared_ptr<const PackedStack>& previous, Interrupt interrupt) {
  const CellKernels<S>& kernels = kernels_of<S>(stack.cell);
  const uint64_t print = fingerprint<S>(stack, kernels.layout.gates, params, interrupt);
  if (const auto* old = dynamic_cast<const Weights<S>*>(previous.get())) {
    const Stack& was = old->stack;
    const bool same_stack = was.cell == stack.cell && was.I == stack.I && was.H == stack.H && was.L == stack.L &&
                            was.D == stack.D && was.bias == stack.bias;
    if (&old->kernels == &kernels && same_stack && old->fingerprint == print) return previous;
  }
  return std::make_shared<const Weights<S>>(stack, kernels, params, print, interrupt);
}

template <class S>
std::shared_ptr<const fastrnn::Tape> forward_as(const std::shared_ptr<const PackedStack>& packed,
                                                const ForwardArgs& args, Interrupt interrupt) {
  return run_forward(std::static_pointer_cast<const Weights<S>>(packed), args, interrupt);
}

template <class S>
std::shared_ptr<const fastrnn::Tape> tape_as(const std::shared_ptr<const PackedStack>& packed,
                                             const ForwardArgs& args) {
  return std::make_shared<const CpuTape<S>>(std::static_pointer_cast<const Weights<S>>(packed), args);
}

std::string megabytes(double bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f MB", bytes / 1e6);
  return text;
}

// What a tape holds of all scans, with recomputation and without.
template <class S>
std::string recompute_fact(const Stack& stack, const Layout& layout, const Segments& cut, int64_t total, int64_t B) {
  const double state = double(layout.states * layout.state_stride(stack.H)) * double(sizeof(S));
  const double saved = state + double(layout.keep_stride(stack.H)) * double(sizeof(S));
  const double scans = double(stack.L) * stack.D;
  return std::to_string(cut.list.size()) + (cut.list.size() == 1 ? " segment" : " segments") + " of up to " +
         std::to_string(cut.most_steps) + (cut.most_steps == 1 ? " step" : " steps") + ", of scans the tape keeps " +
         megabytes(scans * double(cut.border_rows) * state) + " instead of " +
         megabytes(scans * (double(B) * state + double(total) * saved)) + "; backward fills " +
         megabytes(double(cut.most_rows) * saved) + " a segment";
}

template <class S>
Facts plan_as(const PackedStack& packed, int64_t T, int64_t B, bool training, int64_t recompute) {
  const Stack& stack = packed.stack;
  const CellKernels<S>& kernels = static_cast<const Weights<S>&>(packed).kernels;
  Facts facts{{"backend", "cpu"}, {"isa", kernels.isa}, {"cell", stack.cell}, {"dtype", name_of(stack.dtype)}};
  const Layout& layout = kernels.layout;
  facts.emplace_back("tile", std::to_string(kernels.tile_rows) + " rows x " + std::to_string(layout.vectors()) +
                                 " vectors of " + std::to_string(layout.lanes) + " lanes");
  facts.emplace_back("thread limit", std::to_string(thread_limit()) + " (" + thread_limit_source() + ")");
  const auto add = [&](const std::string& name, const Plan& plan, const std::string& more) {
    facts.emplace_back(
        name, std::to_string(plan.threads) + (plan.threads == 1 ? " thread; " : " threads; ") + plan.reason + more);
  };
  for (int layer = 0; layer < stack.L; ++layer) {
    const ScanShape shape{layout, kernels.tile_rows, int64_t(sizeof(S)), stack.input_size(layer), stack.H, B, T, T * B};
    const std::string of = stack.L == 1 ? "" : " layer " + std::to_string(layer);
    const Plan forward = plan_forward(shape, thread_limit());
    add("forward" + of, forward,
        forward.chunk_steps > 0 ? "; the input product runs ahead over " + std::to_string(forward.chunk_steps) +
                                      (forward.chunk_steps == 1 ? " step" : " steps")
                                : "; the input product joins the recurrent one");
    if (training)
      add("backward" + of, plan_backward(shape, thread_limit()),
          "; weight gradients in chunks of " + std::to_string(backward_chunk_rows(shape)) + " rows");
  }
  if (training && recompute != keep_everything) {
    const RowOrder order(T, B, nullptr);
    const ScanShape shape{layout, kernels.tile_rows, int64_t(sizeof(S)), stack.I, stack.H, B, T, T * B};
    const Segments cut = segments_of(order.rows(false), shape, int64_t(stack.L) * stack.D, recompute);
    facts.emplace_back("recompute", recompute_fact<S>(stack, layout, cut, T * B, B));
  }
  return facts;
}

class CpuBackend : public Backend {
 public:
  std::shared_ptr<const PackedStack> pack(const Stack& stack, const std::vector<const void*>& params,
                                          std::shared_ptr<const PackedStack> previous, Interrupt interrupt) override {
    return stack.dtype == DType::float32 ? pack_as<float>(stack, params, previous, interrupt)
                                         : pack_as<double>(stack, params, previous, interrupt);
  }
  std::shared_ptr<const fastrnn::Tape> forward(std::shared_ptr<const PackedStack> packed, const ForwardArgs& args,
                                               Interrupt interrupt) override {
    return packed->stack.dtype == DType::float32 ? forward_as<float>(packed, args, interrupt)
                                                 : forward_as<double>(packed, args, interrupt);
  }
  std::shared_ptr<const fastrnn::Tape> tape(std::shared_ptr<const PackedStack> packed,
                                            const ForwardArgs& args) override {
    return packed->stack.dtype == DType::float32 ? tape_as<float>(packed, args) : tape_as<double>(packed, args);
  }
  void backward(const fastrnn::Tape& tape, const BackwardArgs& args, Interrupt interrupt) override {
    if (tape.packed().stack.dtype == DType::float32) {
      run_backward(static_cast<const CpuTape<float>&>(tape), args, interrupt);
    } else {
      run_backward(static_cast<const CpuTape<double>&>(tape), args, interrupt);
    }
  }
  std::unique_ptr<fastrnn::Stepper> stepper(std::shared_ptr<const PackedStack> packed, int64_t streams) override {
    if (packed->stack.dtype == DType::float32)
      return std::make_unique<CpuStepper<float>>(std::static_pointer_cast<const Weights<float>>(packed), streams);
    return std::make_unique<CpuStepper<double>>(std::static_pointer_cast<const Weights<double>>(packed), streams);
  }
  Facts plan(const PackedStack& packed, int64_t T, int64_t B, bool training, int64_t recompute) override {
    return packed.stack.dtype == DType::float32 ? plan_as<float>(packed, T, B, training, recompute)
                                                : plan_as<double>(packed, T, B, training, recompute);
  }
};

}  // namespace
}  // namespace cpu

Backend& cpu_backend() {
  static cpu::CpuBackend backend;
  return backend;
}

}  // namespace fastrnn
