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

// What a training forward keeps for backward, in memory of its own or in the caller's reserve. Immutable:
// backward may run any number of times.
class Tape {
 public:
  virtual ~Tape() = default;
  virtual int64_t bytes() const = 0;
  virtual const PackedStack& packed() const = 0;
  virtual const ForwardArgs& args() const = 0;
};

// Streaming inference: the states of S streams through a stack of one direction, and all the memory that
// its steps need. One thread at a time.
class Stepper {
 public:
  virtual ~Stepper() = default;
  virtual int64_t streams() const = 0;
  virtual const PackedStack& packed() const = 0;
  // Takes other weights of the same stack; the states stay.
  virtual void set_packed(std::shared_ptr<const PackedStack>) = 0;

  // T steps over x (T, S, I) into y (T, S, H), which must not share memory. Allocates nothing and opens no
  // parallel region. Throws Interrupted between two steps: the states are then those after the first one.
  virtual void run(int64_t T, const Sequence& x, const Sequence& y, Interrupt) = 0;
  // state 0 is h, 1 is c: (L, S, H), C-contiguous. Null is zeros; mask (S,) chooses streams, null is all.
  virtual void get_state(int state, void* out) const = 0;
  virtual void set_state(int state, const void* values, const bool* mask) = 0;
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
  // The tape of an earlier training forward with the same weights and arguments, whose reserve is given again.
  virtual std::shared_ptr<const Tape> tape(std::shared_ptr<const PackedStack>, const ForwardArgs&) = 0;
  virtual void backward(const Tape&, const BackwardArgs&, Interrupt) = 0;
  // For a stack of one direction.
  virtual std::unique_ptr<Stepper> stepper(std::shared_ptr<const PackedStack>, int64_t streams) = 0;
  // recompute: as in ForwardArgs.
  virtual Facts plan(const PackedStack&, int64_t T, int64_t B, bool training, int64_t recompute) = 0;
};

struct Interrupted {};

Backend& cpu_backend();
bool has_cuda_backend();  // GPUs have a seam of their own, rnn/device_scan.h

}  // namespace fastrnn
