// The seam between the problem and the machines. A backend that is not built in is a file with the
// same symbol (cuda/backend_absent.cpp), not an #ifdef.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "problem.h"

namespace fastrnn {

// One version of a stack's parameters in a backend's own order. Immutable: calls share it freely.
class PackedStack {
 public:
  explicit PackedStack(Stack stack) : stack(std::move(stack)) {}
  virtual ~PackedStack() = default;
  virtual int64_t bytes() const = 0;
  const Stack stack;
};

// What a training forward keeps for backward. Immutable: backward may run any number of times.
class Tape {
 public:
  virtual ~Tape() = default;
  virtual int64_t bytes() const = 0;
  virtual const PackedStack& packed() const = 0;
  virtual const ForwardArgs& args() const = 0;
};

using Facts = std::vector<std::pair<std::string, std::string>>;

struct Backend {
  virtual ~Backend() = default;

  // All three throw Interrupted when `interrupt` stopped the call.

  // Packs the parameters (torch's order), or returns `previous` if they have not changed.
  virtual std::shared_ptr<const PackedStack> pack(const Stack&, const std::vector<const void*>& params,
                                                  std::shared_ptr<const PackedStack> previous, Interrupt) = 0;
  // The tape is null in inference.
  virtual std::shared_ptr<const Tape> forward(std::shared_ptr<const PackedStack>, const ForwardArgs&, Interrupt) = 0;
  virtual void backward(const Tape&, const BackwardArgs&, Interrupt) = 0;
  virtual Facts plan(const Stack&, int64_t T, int64_t B, bool training) = 0;
};

struct Interrupted {};

Backend& cpu_backend();
Backend& cuda_backend();  // throws std::runtime_error, one sentence, where there are no CUDA kernels
bool has_cuda_backend();

}  // namespace fastrnn
