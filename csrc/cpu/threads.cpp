#include "threads.h"

#include <linux/futex.h>
#include <omp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace fastrnn::cpu {
namespace {

constexpr int64_t poll_every = 10'000'000;  // ns between two looks at the interrupt
// Beside a busy Python thread each look waits for the GIL, half a switch interval of 5 ms, and the
// team with it: then they are fewer, and Ctrl-C is still answered within 100 ms.
constexpr int64_t slow_answer = 1'000'000, poll_rarely = 50'000'000;  // ns
// A barrier of a balanced step is met within a few microseconds; past this, the other thread is
// probably not running, and spinning on would keep the core it may be waiting for.
constexpr int64_t spin_for = 30'000;  // ns

int64_t now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return int64_t(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
}

void relax() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

void futex_sleep(std::atomic<uint32_t>* word, uint32_t seen, int64_t nanoseconds) {
  const timespec limit{0, nanoseconds};
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(word), FUTEX_WAIT_PRIVATE, seen, &limit, nullptr, 0);
}

}  // namespace

Team::Team(Interrupt interrupt) : interrupt_(interrupt), next_poll_(now() + poll_every) {}

bool Team::stopped() const { return stop_.load(std::memory_order_relaxed); }

bool Team::poll() {
  if (interrupt_.poll == nullptr) return false;
  const int64_t time = now();
  if (time < next_poll_) return false;
  const bool stop = interrupt_.poll(interrupt_.context);
  const int64_t answered = now();
  next_poll_ = answered + (answered - time > slow_answer ? poll_rarely : poll_every);
  if (stop) {
    stop_.store(true);
    wake_all();
  }
  return stop;
}

void Team::wake_all() {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&generation_), FUTEX_WAKE_PRIVATE, 1 << 20, nullptr, nullptr, 0);
}

bool Team::proceed(int thread) {
  if (thread == 0) poll();
  return !stopped();
}

bool Team::wait(int thread, int size) {
  if (!proceed(thread)) return false;
  const uint32_t seen = generation_.load(std::memory_order_acquire);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size) {
    arrived_.store(0, std::memory_order_relaxed);
    generation_.store(seen + 1, std::memory_order_seq_cst);
    if (sleepers_.load(std::memory_order_seq_cst) > 0) wake_all();
    return !stopped();
  }
  for (int spins = 0; spins < 64; ++spins) {
    if (generation_.load(std::memory_order_acquire) != seen) return !stopped();
    relax();
  }
  const int64_t give_up = now() + spin_for;
  for (;;) {
    for (int spins = 0; spins < 16; ++spins) {
      if (generation_.load(std::memory_order_acquire) != seen) return !stopped();
      if (stopped()) return false;
      relax();
    }
    if (now() >= give_up) break;
  }
  sleepers_.fetch_add(1, std::memory_order_seq_cst);
  while (generation_.load(std::memory_order_seq_cst) == seen && !stopped()) {
    futex_sleep(&generation_, seen, poll_every);
    if (thread == 0) poll();
  }
  sleepers_.fetch_sub(1, std::memory_order_relaxed);
  return !stopped();
}

int this_cpu() { return sched_getcpu(); }

// A worker that slept since the last call is often woken on the caller's CPU while another idles, and the two
// would take turns for the whole call.
void leave_cpu(int cpu) {
  cpu_set_t allowed;
  if (cpu < 0 || sched_getcpu() != cpu || sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  cpu_set_t others = allowed;
  CPU_CLR(cpu, &others);
  if (CPU_COUNT(&others) == 0 || sched_setaffinity(0, sizeof others, &others) != 0) return;
  sched_setaffinity(0, sizeof allowed, &allowed);
}

#if defined(__x86_64__)
FloatMode::FloatMode() : saved_(_mm_getcsr()) {
  constexpr unsigned flush_and_mask = 0x8000 | 0x0040 | 0x1F80;  // FTZ, DAZ, no traps, to nearest
  _mm_setcsr(flush_and_mask);
}
FloatMode::~FloatMode() { _mm_setcsr(unsigned(saved_)); }
#elif defined(__aarch64__)
FloatMode::FloatMode() {
  asm volatile("mrs %0, fpcr" : "=r"(saved_));
  asm volatile("msr fpcr, %0" : : "r"(uint64_t(1) << 24));
}
FloatMode::~FloatMode() { asm volatile("msr fpcr, %0" : : "r"(saved_)); }
#else
FloatMode::FloatMode() : saved_(0) {}
FloatMode::~FloatMode() {}
#endif

namespace {

int cgroup_limit() {
  std::FILE* file = std::fopen("/sys/fs/cgroup/cpu.max", "r");
  if (file == nullptr) return 0;
  char quota[32];
  long period = 0;
  const int read = std::fscanf(file, "%31s %ld", quota, &period);
  std::fclose(file);
  if (read != 2 || quota[0] == 'm' || period <= 0) return 0;  // "max": no quota
  return std::max(1, int((std::atol(quota) + period - 1) / period));
}

struct MachineThreads {
  int count;
  const char* source;
};

// The first count of OMP_NUM_THREADS, "4" or "4,2" for nested regions; 0 where OpenMP ignores the
// variable: it is not set, no list of numbers, or a count is not positive.
long omp_num_threads() {
  const char* text = std::getenv("OMP_NUM_THREADS");
  long first = 0;
  while (text != nullptr) {
    char* end = nullptr;
    const long count = std::strtol(text, &end, 10);
    if (end == text || count <= 0) return 0;
    if (first == 0) first = count;
    while (std::isspace(static_cast<unsigned char>(*end))) ++end;
    if (*end != '\0' && *end != ',') return 0;
    text = *end == ',' ? end + 1 : nullptr;
  }
  return first;
}

MachineThreads machine_threads() {
  const long asked = omp_num_threads();
  if (asked > most_threads) return {most_threads, "OMP_NUM_THREADS, cut to the most that a call may use"};
  if (asked > 0) return {int(asked), "OMP_NUM_THREADS"};
  // libgomp counts the allowed CPUs
  MachineThreads found{std::min(omp_get_num_procs(), most_threads), "affinity"};
  const int quota = cgroup_limit();
  if (quota > 0 && quota < found.count) found = {quota, "cgroup"};
  return found;
}

const MachineThreads& machine() {
  static const MachineThreads found = machine_threads();
  return found;
}

std::atomic<int> user_limit{0};

// The threads of an OpenMP pool do not survive fork, and libgomp waits for them for ever.
std::atomic<bool> forked{false};
[[maybe_unused]] const int registered = pthread_atfork(nullptr, nullptr, [] { forked = true; });

}  // namespace

int thread_limit() {
  if (forked.load(std::memory_order_relaxed) || omp_in_parallel()) return 1;
  const int user = user_limit.load(std::memory_order_relaxed);
  return user > 0 ? user : machine().count;
}

void set_thread_limit(int n) { user_limit = n; }

const char* thread_limit_source() {
  if (forked.load()) return "forked child: one thread, OpenMP pools do not survive fork";
  if (omp_in_parallel()) return "called inside a parallel region: one thread";
  return user_limit.load() > 0 ? "set_num_threads" : machine().source;
}

}  // namespace fastrnn::cpu
