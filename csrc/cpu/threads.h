// The threads of one call: a barrier that spins briefly and then sleeps, the stop flag, denormals.
//
// Nothing here is inline: objects of every ISA share it, so it is compiled once, for the baseline.
#pragma once

#include <atomic>
#include <cstdint>

#include "../cells/math.h"
#include "../rnn/problem.h"

namespace fastrnn::cpu {

// Shared by the team of one call.
class Team {
 public:
  explicit Team(Interrupt interrupt);

  // All `size` members meet. False once the call was stopped: return at once, results are void.
  bool wait(int thread, int size);

  // Between pieces of work that need no meeting. Thread 0 asks the interrupt every 10 ms, or every
  // 50 ms when the answer is slow.
  bool proceed(int thread);

  bool stopped() const;

 private:
  bool poll();
  void wake_all();

  Interrupt interrupt_;
  int64_t next_poll_;
  alignas(64) std::atomic<uint32_t> generation_{0};
  alignas(64) std::atomic<int> arrived_{0};
  std::atomic<int> sleepers_{0};
  std::atomic<bool> stop_{false};
};

// What one thread knows of its place.
struct Worker {
  Team* team;
  int thread, size;
  FASTRNN_INLINE bool wait() const { return size == 1 ? team->proceed(thread) : team->wait(thread, size); }
  FASTRNN_INLINE bool proceed() const { return team->proceed(thread); }

  // body(first, last) over [begin, end), proceeding after every `block`. False once stopped.
  template <class Body>
  FASTRNN_INLINE bool in_blocks(int64_t begin, int64_t end, int64_t block, const Body& body) const {
    while (begin < end) {
      const int64_t last = end - begin > block ? begin + block : end;
      body(begin, last);
      begin = last;
      if (begin < end && !proceed()) return false;
    }
    return true;
  }

  // This thread's part of `count` things, in order, sizes differing by one at most.
  FASTRNN_INLINE int64_t begin(int64_t count) const { return count * thread / size; }
  FASTRNN_INLINE int64_t end(int64_t count) const { return count * (thread + 1) / size; }
};

// Flush-to-zero and round-to-nearest while alive, the caller's mode after.
class FloatMode {
 public:
  FloatMode();
  ~FloatMode();
  FloatMode(const FloatMode&) = delete;

 private:
  uint64_t saved_;
};

int this_cpu();
// The calling thread moves to another of its CPUs if it runs on this one; its affinity stays.
void leave_cpu(int cpu);

constexpr int most_threads = 1024;  // more than any machine has cores; larger counts are mistakes
int thread_limit();              // threads a call may use now
void set_thread_limit(int n);    // 0 = the machine's own: OMP_NUM_THREADS, affinity, cgroup
const char* thread_limit_source();

}  // namespace fastrnn::cpu
