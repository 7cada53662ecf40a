// One parallel region per call.
#pragma once

#include <omp.h>

#include "../rnn/backend.h"
#include "threads.h"

namespace fastrnn::cpu {

// body(worker) on every member; throws Interrupted after all have left if the call was stopped.
// Members must not throw: whatever can fail (memory above all) happens before.
template <class Body>
void run_team(int threads, Interrupt interrupt, const Body& body) {
  Team team(interrupt);
  if (threads <= 1) {
    const FloatMode mode;
    body(Worker{&team, 0, 1});
  } else {
    const int caller_cpu = this_cpu();
#pragma omp parallel num_threads(threads)
    {
      const FloatMode mode;
      const Worker worker{&team, omp_get_thread_num(), omp_get_num_threads()};
      if (worker.thread != 0) leave_cpu(caller_cpu);
      body(worker);
      worker.wait();  // the caller keeps answering Ctrl-C while the others finish
    }
  }
  if (team.stopped()) throw Interrupted{};
}

}  // namespace fastrnn::cpu
