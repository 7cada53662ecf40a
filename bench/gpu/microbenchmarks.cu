// What a GPU's parts cost: the numbers that set the borders of the tiers (csrc/cuda/plan.h). Prints one JSON object.
//
//   nvcc -std=c++17 -O3 -arch=native microbenchmarks.cu && ./a.out
//
// Every cost is the slope between a short and a long run of one kernel, so that launching it drops out, and the least
// of some tries. No wait is endless: blocks that wait for each other run cooperatively or in one cluster, so all of
// them are in flight, and a wait that outlasts `wait_limit_ns` ends its kernel with status "timed out". What was
// handed over is compared with what was sent: "stale data" says that a memory order is not what it should be.
#include <cooperative_groups.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr unsigned long long wait_limit_ns = 200'000'000;
constexpr int line = 16;  // 64-bit flags to a line of 128 bytes
constexpr int threads = 256;
enum Outcome { fine = 0, timed_out = 1, stale = 2 };

__device__ unsigned long long now_ns() {
  unsigned long long time;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(time));
  return time;
}

// Whether it was seen before the deadline. The clock is read now and then: reading it costs more than a look.
template <class Seen>
__device__ bool wait_until(const Seen& seen, unsigned long long deadline) {
  for (unsigned looks = 1; !seen(); ++looks)
    if (looks % 256 == 0 && now_ns() > deadline) return false;
  return true;
}

__device__ void release(unsigned long long* flag, unsigned long long value) {
  asm volatile("st.release.gpu.global.u64 [%0], %1;" ::"l"(flag), "l"(value) : "memory");
}

__device__ unsigned long long acquire(const unsigned long long* flag) {
  unsigned long long value;
  asm volatile("ld.acquire.gpu.global.u64 %0, [%1];" : "=l"(value) : "l"(flag) : "memory");
  return value;
}

// ---- between blocks, through L2 ----

// Block 0 and block `peer` answer each other; a round is two hops.
__global__ void ping_pong(unsigned long long* flags, int rounds, int peer, int* outcome) {
  const bool first = blockIdx.x == 0, second = int(blockIdx.x) == peer;
  if (threadIdx.x != 0 || (!first && !second)) return;
  unsigned long long *mine = flags + (first ? 0 : line), *theirs = flags + (first ? line : 0);
  const unsigned long long deadline = now_ns() + wait_limit_ns;
  for (unsigned long long round = 1; round <= static_cast<unsigned long long>(rounds); ++round) {
    if (first) release(mine, round);
    if (!wait_until([&] { return acquire(theirs) >= round; }, deadline)) {
      *outcome = timed_out;
      return;
    }
    if (second) release(mine, round);
  }
}

// What the grid tier does between steps: all blocks write a slice, say so, wait for all others, read all slices.
// Two buffers are enough: a block begins round r + 2 after all have finished reading round r.
__global__ void hand_over(unsigned long long* flags, uint4* data, int slice, int rounds, int* outcome) {
  const unsigned long long deadline = now_ns() + wait_limit_ns;
  const int all = slice * int(gridDim.x);
  for (unsigned round = 1; round <= unsigned(rounds); ++round) {
    uint4* buffer = data + (round & 1) * all;
    for (int i = int(threadIdx.x); i < slice; i += threads)
      buffer[int(blockIdx.x) * slice + i] = make_uint4(round, round, round, round);
    __syncthreads();
    if (threadIdx.x == 0) {
      __threadfence();
      release(flags + blockIdx.x, round);
    }
    bool seen = true;
    for (unsigned peer = threadIdx.x; peer < gridDim.x && seen; peer += threads)
      seen = wait_until([&] { return acquire(flags + peer) >= round; }, deadline);
    if (__syncthreads_and(seen) == 0) {
      if (threadIdx.x == 0) *outcome = timed_out;
      return;  // whoever waits for this block meets the same deadline
    }
    bool right = true;
    for (int i = int(threadIdx.x); i < all; i += threads) {
      const uint4 got = __ldcg(buffer + i);
      right = right && got.x == round && got.y == round && got.z == round && got.w == round;
    }
    if (!right) *outcome = stale;
  }
}

// All blocks take part in every round, and the launch is cooperative: this cannot wait for ever.
__global__ void grid_barrier(int rounds) {
  const auto grid = cooperative_groups::this_grid();
  for (int round = 0; round < rounds; ++round) grid.sync();
}

// ---- between blocks of a cluster, through distributed shared memory (compute capability 9.0) ----

constexpr int most_pushed = 2048;  // 16-byte pieces in one buffer of `exchange`: 32 KB

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

__device__ uint32_t shared_address(const void* p) { return uint32_t(__cvta_generic_to_shared(p)); }

__device__ uint32_t of_peer(uint32_t address, uint32_t rank) {
  uint32_t mapped;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(mapped) : "r"(address), "r"(rank));
  return mapped;
}

// 16 bytes into a peer's memory; its barrier counts them.
__device__ void push(uint32_t to, uint32_t value, uint32_t barrier) {
  asm volatile(
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%1, %1, %1, %1}, [%2];" ::"r"(to),
      "r"(value), "r"(barrier)
      : "memory");
}

__device__ void init_barrier(uint32_t barrier) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(barrier) : "memory");
}

// The phase ends when so many bytes have come.
__device__ void expect(uint32_t barrier, uint32_t bytes) {
  asm volatile("{ .reg .b64 state; mbarrier.arrive.expect_tx.shared::cta.b64 state, [%0], %1; }" ::"r"(barrier),
               "r"(bytes)
               : "memory");
}

__device__ bool phase_ended(uint32_t barrier, uint32_t parity) {
  uint32_t ended;
  asm volatile(
      "{ .reg .pred p; mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
      : "=r"(ended)
      : "r"(barrier), "r"(parity)
      : "memory");
  return ended != 0;
}

__device__ uint32_t cluster_rank() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %cluster_ctarank;" : "=r"(rank));
  return rank;
}

__device__ uint32_t cluster_size() {
  uint32_t size;
  asm volatile("mov.u32 %0, %cluster_nctarank;" : "=r"(size));
  return size;
}

// All threads of all blocks; the barriers' initialisation and all memory are seen behind it.
__device__ void meet_cluster() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("barrier.cluster.arrive.release; barrier.cluster.wait.acquire;" ::: "memory");
}

#endif

// A token goes around: a round is as many hops as the cluster has blocks.
__global__ void token_ring(int rounds, int* outcome) {
#if __CUDA_ARCH__ >= 900
  __shared__ __align__(16) uint4 token;
  __shared__ __align__(8) uint64_t barrier;
  const uint32_t rank = cluster_rank(), size = cluster_size(), own = shared_address(&barrier);
  if (threadIdx.x == 0) {
    init_barrier(own);
    expect(own, 16);
  }
  __syncthreads();
  meet_cluster();
  if (threadIdx.x == 0) {
    const uint32_t next = (rank + 1) % size, to = of_peer(shared_address(&token), next), there = of_peer(own, next);
    const unsigned long long deadline = now_ns() + wait_limit_ns;
    for (uint32_t round = 1; round <= uint32_t(rounds); ++round) {
      if (rank == 0) push(to, round, there);
      if (!wait_until([&] { return phase_ended(own, (round - 1) & 1); }, deadline)) {
        *outcome = timed_out;
        break;
      }
      if (*reinterpret_cast<volatile uint32_t*>(&token.x) != round) *outcome = stale;
      if (round < uint32_t(rounds)) expect(own, 16);
      if (rank != 0) push(to, round, there);
    }
  }
  meet_cluster();  // nobody leaves while its memory may still be written
#else
  (void)rounds, (void)outcome;
#endif
}

// What a cluster tier would do between steps: every block pushes its slice into all others and waits for theirs.
// Round r has barrier and buffer r & 1: a peer is at most one round ahead, for it needs this block's slice of r + 1.
__global__ void exchange(int slice, int rounds, int* outcome) {
#if __CUDA_ARCH__ >= 900
  extern __shared__ __align__(16) uint4 received[];  // (2, blocks, slice)
  __shared__ __align__(8) uint64_t barriers[2];
  const uint32_t rank = cluster_rank(), size = cluster_size(), bytes = uint32_t(slice) * 16 * (size - 1);
  const int all = slice * int(size);
  if (threadIdx.x < 2) {
    init_barrier(shared_address(&barriers[threadIdx.x]));
    expect(shared_address(&barriers[threadIdx.x]), bytes);
  }
  __syncthreads();
  meet_cluster();
  const unsigned long long deadline = now_ns() + wait_limit_ns;
  for (uint32_t round = 0; round < uint32_t(rounds); ++round) {
    uint4* buffer = received + (round & 1) * all;
    const uint32_t own = shared_address(&barriers[round & 1]);
    for (int i = int(threadIdx.x); i < slice * int(size - 1); i += threads) {
      const uint32_t peer = (rank + 1 + uint32_t(i / slice)) % size;
      push(of_peer(shared_address(buffer + int(rank) * slice + i % slice), peer), round, of_peer(own, peer));
    }
    const bool seen = wait_until([&] { return phase_ended(own, round >> 1 & 1); }, deadline);
    if (__syncthreads_and(seen) == 0) {
      if (threadIdx.x == 0) *outcome = timed_out;
      break;
    }
    if (threadIdx.x == 0) expect(own, bytes);
    bool right = true;
    for (int i = int(threadIdx.x); i < all; i += threads)
      right = right && (i / slice == int(rank) || buffer[i].w == round);
    if (!right) *outcome = stale;
    __syncthreads();
  }
  meet_cluster();
#else
  (void)slice, (void)rounds, (void)outcome;
#endif
}

__global__ void cluster_barrier(int rounds) {
#if __CUDA_ARCH__ >= 900
  for (int round = 0; round < rounds; ++round)
    asm volatile("barrier.cluster.arrive.release; barrier.cluster.wait.acquire;" ::: "memory");
#else
  (void)rounds;
#endif
}

// ---- memory ----

// All blocks together read the buffer, `passes` times; past the first-level cache.
__global__ void read_shared_out(const uint4* data, int64_t pieces, int passes, unsigned* sink) {
  unsigned sum = 0;
  const int64_t step = int64_t(gridDim.x) * blockDim.x;
  for (int pass = 0; pass < passes; ++pass) {
#pragma unroll 8
    for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < pieces; i += step) {
      const uint4 got = __ldcg(data + i);
      sum += got.x ^ got.y ^ got.z ^ got.w;
    }
  }
  if (sum == 0xFFFFFFFFu) *sink = sum;
}

// Every block reads all of the buffer, as every block of the grid tier reads all of h.
__global__ void read_everywhere(const uint4* data, int pieces, int passes, unsigned* sink) {
  unsigned sum = 0;
  for (int pass = 0; pass < passes; ++pass) {
#pragma unroll 8
    for (int i = int(threadIdx.x); i < pieces; i += int(blockDim.x)) {
      const uint4 got = __ldcg(data + i);
      sum += got.x ^ got.y ^ got.z ^ got.w;
    }
  }
  if (sum == 0xFFFFFFFFu) *sink = sum;
}

// Each load's address is the one before's result.
__global__ void chase(const uint32_t* next, uint32_t first, int steps, unsigned* sink) {
  uint32_t at = first;
  for (int i = 0; i < steps; ++i) at = __ldcg(next + at);
  if (at == 0xFFFFFFFFu) *sink = at;
}

__global__ void chase_in_shared(int steps, unsigned* sink) {
  __shared__ uint32_t next[1024];
  for (int i = int(threadIdx.x); i < 1024; i += int(blockDim.x)) next[i] = uint32_t(i + 33) % 1024;
  __syncthreads();
  uint32_t at = 0;
  for (int i = 0; i < steps; ++i) at = *const_cast<volatile uint32_t*>(next + at);
  if (at == 0xFFFFFFFFu) *sink = at;
}

// 16 bytes a thread and load, neighbouring threads neighbouring pieces.
__global__ void read_in_shared(int passes, unsigned* sink) {
  __shared__ uint4 data[2048];
  for (int i = int(threadIdx.x); i < 2048; i += int(blockDim.x)) data[i] = make_uint4(1, 2, 3, 4);
  __syncthreads();
  unsigned sum = 0;
  const uint32_t base = uint32_t(__cvta_generic_to_shared(data)) + threadIdx.x * 16;
  for (int pass = 0; pass < passes; ++pass) {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      uint4 got;
      asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                   : "=r"(got.x), "=r"(got.y), "=r"(got.z), "=r"(got.w)
                   : "r"(base + uint32_t(i) * threads * 16));
      sum += got.x ^ got.y ^ got.z ^ got.w;
    }
  }
  if (sum == 0xFFFFFFFFu) *sink = sum;
}

// ---- within a block ----

__global__ void block_barrier(int rounds) {
  for (int round = 0; round < rounds; ++round) __syncthreads();
}

__global__ void multiply_add(int rounds, float* sink) {
  float sums[8];
  for (int i = 0; i < 8; ++i) sums[i] = float(i + int(threadIdx.x));
  for (int round = 0; round < rounds; ++round)
#pragma unroll
    for (int i = 0; i < 8; ++i) sums[i] = __fmaf_rn(sums[i], 0.999f, 0.001f);
  float all = 0;
  for (const float sum : sums) all += sum;
  if (all == -1.0f) *sink = all;
}

__global__ void clocks(long long* found) {
  const unsigned long long start = now_ns();
  const long long first = clock64();
  while (now_ns() - start < 20'000'000) continue;  // 20 ms, whatever else happens
  found[0] = clock64() - first;
  found[1] = static_cast<long long>(now_ns() - start);
}

__global__ void nothing() {}

// ---- the host's part ----

void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess)
    throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error) + " (" + cudaGetErrorName(error) +
                             ")");
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < 32 ? ' ' : c;
  }
  return out + "\"";
}

std::string number(double value) {
  if (!std::isfinite(value)) return "null";  // JSON has no infinity
  char text[64];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

// Device memory for the length of a program, zeroed.
void* room(size_t bytes) {
  void* memory = nullptr;
  check(cudaMalloc(&memory, bytes), "allocating");
  check(cudaMemset(memory, 0, bytes), "zeroing");
  return memory;
}

class Benchmark {
 public:
  Benchmark() {
    check(cudaGetDeviceProperties(&facts_, 0), "asking for the device");
    check(cudaEventCreate(&start_), "making an event");
    check(cudaEventCreate(&end_), "making an event");
    outcome_ = static_cast<int*>(room(sizeof(int)));
    sink_ = static_cast<unsigned*>(room(sizeof(unsigned)));
    flags_ = static_cast<unsigned long long*>(room(flag_bytes));
    auto* found = static_cast<long long*>(room(2 * sizeof(long long)));
    for (int i = 0; i < 3; ++i) clocks<<<1, 1>>>(found);  // the clock rises while there is work
    long long read[2];
    check(cudaMemcpy(read, found, sizeof read, cudaMemcpyDeviceToHost), "measuring the clock");
    ghz_ = double(read[0]) / double(read[1]);
  }

  void run_all() {
    launches();
    through_l2();
    if (facts_.major >= 9) within_clusters();
    memory();
    within_a_block();
  }

  std::string json(const std::string& error) const {
    int driver = 0, runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    std::string out = "{\"device\": {\"name\": " + quoted(facts_.name);
    const std::pair<const char*, double> numbers[] = {{"compute_capability", facts_.major * 10 + facts_.minor},
                                                      {"processors", facts_.multiProcessorCount},
                                                      {"l2_bytes", facts_.l2CacheSize},
                                                      {"memory_bytes", double(facts_.totalGlobalMem)},
                                                      {"clock_ghz", ghz_},
                                                      {"driver", driver},
                                                      {"runtime", runtime}};
    for (const auto& [name, value] : numbers) out += std::string(", \"") + name + "\": " + number(value);
    out += "},\n \"error\": " + (error.empty() ? "null" : quoted(error)) + ",\n \"costs\": [";
    for (size_t i = 0; i < costs_.size(); ++i) out += (i == 0 ? "\n  " : ",\n  ") + costs_[i];
    return out + "\n ]}\n";
  }

 private:
  static constexpr size_t flag_bytes = 8192 * sizeof(unsigned long long);
  using Launch = std::function<void(int rounds)>;

  // Milliseconds of one launch.
  double once(const Launch& launch, int rounds) {
    check(cudaMemsetAsync(flags_, 0, flag_bytes), "zeroing flags");
    check(cudaEventRecord(start_), "recording");
    launch(rounds);
    check(cudaGetLastError(), "launching");
    check(cudaEventRecord(end_), "recording");
    check(cudaEventSynchronize(end_), "waiting for a kernel");
    float ms = 0;
    check(cudaEventElapsedTime(&ms, start_, end_), "reading the time");
    return ms;
  }

  // Nanoseconds of a round, the least of some tries, and what became of the waits.
  std::pair<double, int> slope(const Launch& launch, int few, int many) {
    check(cudaMemset(outcome_, 0, sizeof(int)), "zeroing");
    once(launch, few);  // loads the kernel
    double shorter = 1e30, longer = 1e30;
    int outcome = fine;
    for (int i = 0; i < 5 && outcome != timed_out; ++i) {
      shorter = std::min(shorter, once(launch, few));
      longer = std::min(longer, once(launch, many));
      check(cudaMemcpy(&outcome, outcome_, sizeof outcome, cudaMemcpyDeviceToHost), "reading an outcome");
    }
    return {(longer - shorter) * 1e6 / (many - few), outcome};
  }

  void add(const char* name, double value, const char* unit, const std::string& sizes, int outcome = fine) {
    const char* status = outcome == fine ? "measured" : outcome == stale ? "stale data" : "timed out";
    costs_.push_back(std::string("{\"name\": \"") + name +
                     "\", \"value\": " + (outcome == timed_out ? "null" : number(value)) + ", \"unit\": \"" + unit +
                     "\", \"sizes\": {" + sizes + "}, \"status\": \"" + status + "\"}");
  }

  static std::string size(const char* name, double value) { return std::string("\"") + name + "\": " + number(value); }

  template <class... Args>
  static void cooperative(void (*kernel)(Args...), int blocks, Args... args) {
    void* given[] = {&args...};
    check(cudaLaunchCooperativeKernel(reinterpret_cast<const void*>(kernel), dim3(unsigned(blocks)), dim3(threads),
                                      given, 0, nullptr),
          "launching cooperatively");
  }

  void launches() {
    const auto in_a_row = [](int rounds) {
      for (int i = 0; i < rounds; ++i) nothing<<<1, 32>>>();
    };
    add("launch after launch on a stream", slope(in_a_row, 100, 2000).first, "ns", "");
    const auto cooperatively = [](int rounds) {
      for (int i = 0; i < rounds; ++i) cooperative(&grid_barrier, 2, 0);
    };
    add("cooperative launch after launch", slope(cooperatively, 100, 1000).first, "ns", size("blocks", 2));
    cudaStream_t stream;
    cudaGraph_t graph;
    cudaGraphExec_t ready;
    check(cudaStreamCreate(&stream), "making a stream");
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), "capturing");
    for (int i = 0; i < 200; ++i) nothing<<<1, 32, 0, stream>>>();
    check(cudaStreamEndCapture(stream, &graph), "capturing");
    check(cudaGraphInstantiate(&ready, graph, 0), "instantiating a graph");
    const auto replayed = [&](int rounds) {
      for (int i = 0; i < rounds; ++i) check(cudaGraphLaunch(ready, nullptr), "launching a graph");
    };
    add("kernel after kernel in a graph", slope(replayed, 2, 10).first / 200, "ns", size("kernels", 200));
    check(cudaGraphExecDestroy(ready), "freeing a graph");
    check(cudaGraphDestroy(graph), "freeing a graph");
    check(cudaStreamDestroy(stream), "freeing a stream");
  }

  void through_l2() {
    const int all = facts_.multiProcessorCount;
    for (const int peer : {1, all / 2, all - 1}) {
      const auto [ns, outcome] =
          slope([&](int rounds) { cooperative(&ping_pong, all, flags_, rounds, peer, outcome_); }, 200, 4000);
      add("flag hop", ns / 2, "ns", size("peer", peer), outcome);
    }
    auto* data = static_cast<uint4*>(room(size_t(2) << 20));
    for (const int blocks : {2, 8, 33, 66, all}) {
      for (const int bytes : {0, 4096, 32768, 131072}) {  // of h, all blocks' slices together
        if (blocks > all) continue;
        const int slice = (bytes / 16 + blocks - 1) / blocks;
        const auto [ns, outcome] = slope(
            [&](int rounds) { cooperative(&hand_over, blocks, flags_, data, slice, rounds, outcome_); }, 100, 2000);
        add("hand-over", ns, "ns", size("blocks", blocks) + ", " + size("bytes", slice * 16.0 * blocks), outcome);
      }
      add("grid barrier", slope([&](int rounds) { cooperative(&grid_barrier, blocks, rounds); }, 100, 2000).first, "ns",
          size("blocks", blocks));
    }
    check(cudaFree(data), "freeing");
  }

  void within_clusters() {
    for (const int blocks : {2, 4, 8, 16}) {
      cudaLaunchConfig_t config{};
      cudaLaunchAttribute of_cluster{};
      of_cluster.id = cudaLaunchAttributeClusterDimension;
      of_cluster.val.clusterDim.x = unsigned(blocks);
      of_cluster.val.clusterDim.y = of_cluster.val.clusterDim.z = 1;
      config.attrs = &of_cluster;
      config.numAttrs = 1;
      config.blockDim = dim3(threads);
      config.gridDim = dim3(unsigned(blocks));
      const size_t most_shared = 2 * most_pushed * sizeof(uint4);
      for (const void* kernel : {reinterpret_cast<const void*>(&token_ring), reinterpret_cast<const void*>(&exchange),
                                 reinterpret_cast<const void*>(&cluster_barrier)})
        check(cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, blocks > 8),
              "allowing clusters of 16");
      check(cudaFuncSetAttribute(reinterpret_cast<const void*>(&exchange), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 int(most_shared)),
            "reserving shared memory");
      config.dynamicSmemBytes = most_shared;
      int resident = 0;
      if (cudaOccupancyMaxActiveClusters(&resident, &exchange, &config) != cudaSuccess) resident = 0;
      cudaGetLastError();
      add("clusters at once", resident, "clusters",
          size("blocks", blocks) + ", " + size("shared_bytes", double(most_shared)));
      if (resident == 0) continue;
      config.dynamicSmemBytes = 0;
      const auto launch = [&](auto kernel, auto... args) {
        check(cudaLaunchKernelEx(&config, kernel, args...), "launching clusters");
      };
      const std::string of = size("blocks", blocks);
      const auto ring = slope([&](int rounds) { launch(&token_ring, rounds, outcome_); }, 100, 2000);
      add("cluster ring hop", ring.first / blocks, "ns", of, ring.second);
      add("cluster barrier", slope([&](int rounds) { launch(&cluster_barrier, rounds); }, 100, 2000).first, "ns", of);
      for (const int clusters : {1, resident}) {
        for (const int bytes : {1024, 8192, 32768}) {  // of h, all blocks' slices together
          const int slice = bytes / 16 / blocks;
          config.gridDim = dim3(unsigned(blocks * clusters));
          config.dynamicSmemBytes = 2 * size_t(bytes);
          const auto all = slope([&](int rounds) { launch(&exchange, slice, rounds, outcome_); }, 100, 2000);
          add("cluster exchange", all.first, "ns", of + ", " + size("clusters", clusters) + ", " + size("bytes", bytes),
              all.second);
        }
      }
    }
  }

  void memory() {
    const int all = facts_.multiProcessorCount;
    const auto rate = [&](const char* name, double bytes_a_round, const Launch& launch, int few, int many) {
      const double gb_s = bytes_a_round / slope(launch, few, many).first;
      add(name, gb_s, "GB/s", size("bytes", bytes_a_round));
      return gb_s;
    };
    size_t free_bytes = 0, total = 0;
    check(cudaMemGetInfo(&free_bytes, &total), "asking for free memory");
    const size_t large = std::min(free_bytes / 4, size_t(2) << 30) / 16 * 16;
    auto* data = static_cast<uint4*>(room(large));
    const auto read = [&](size_t bytes) {
      return [this, all, data, bytes](int passes) {
        read_shared_out<<<unsigned(all * 4), 512>>>(data, int64_t(bytes / 16), passes, sink_);
      };
    };
    rate("read from HBM", double(large), read(large), 1, 3);
    const size_t half_of_l2 = size_t(facts_.l2CacheSize) / 4;  // a half of the half that is near
    const double l2 = rate("read from L2", double(half_of_l2), read(half_of_l2), 20, 200);
    add("read from L2", l2 / ghz_ / all, "bytes/clock/processor", size("bytes", double(half_of_l2)));
    for (const int bytes : {4096, 32768, 131072}) {
      const double ns =
          slope([&](int passes) { read_everywhere<<<unsigned(all), 512>>>(data, bytes / 16, passes, sink_); }, 100,
                1000)
              .first;
      add("all read the same", bytes / ns / ghz_, "bytes/clock/processor", size("bytes", bytes));
    }
    for (const size_t bytes : {size_t(1) << 20, size_t(512) << 20}) {  // from L2; from HBM
      if (bytes > large) continue;
      const auto count = uint32_t(bytes / 4), stride = uint32_t(bytes > (1u << 24) ? 1048609 * 32 : 4129);
      std::vector<uint32_t> next(count);
      for (uint32_t i = 0; i < count; ++i) next[i] = uint32_t((uint64_t(i) + stride) % count);
      check(cudaMemcpy(data, next.data(), bytes, cudaMemcpyHostToDevice), "writing addresses");
      uint32_t start = 0;
      const auto launch = [&](int steps) {
        start = (start + 1000003 * 16) % count;  // elsewhere every time, or what came from HBM would lie in L2
        chase<<<1, 1>>>(reinterpret_cast<uint32_t*>(data), start, steps, sink_);
      };
      const double ns = slope(launch, 300, 4000).first;
      add("load after load", ns, "ns", size("bytes", double(bytes)));
    }
    check(cudaFree(data), "freeing");
  }

  void within_a_block() {
    const int all = facts_.multiProcessorCount;
    add("load after load in shared memory",
        slope([&](int n) { chase_in_shared<<<1, 32>>>(n, sink_); }, 1000, 20000).first, "ns", "");
    const double shared =
        slope([&](int n) { read_in_shared<<<unsigned(all), threads>>>(n, sink_); }, 1000, 10000).first;
    add("read from shared memory", 8.0 * threads * 16 / shared / ghz_, "bytes/clock/processor",
        size("threads", threads));
    for (const int count : {128, 256, 512})
      add("barrier of a block",
          slope([&](int n) { block_barrier<<<unsigned(all), unsigned(count)>>>(n); }, 1000, 20000).first, "ns",
          size("threads", count));
    const double ns =
        slope([&](int n) { multiply_add<<<unsigned(all), 512>>>(n, reinterpret_cast<float*>(sink_)); }, 1000, 20000)
            .first;
    add("float multiply-adds", 8.0 * 512 / ns / ghz_, "per clock and processor", size("threads", 512));
  }

  cudaDeviceProp facts_{};
  cudaEvent_t start_{}, end_{};
  int* outcome_ = nullptr;
  unsigned* sink_ = nullptr;
  unsigned long long* flags_ = nullptr;
  double ghz_ = 0;
  std::vector<std::string> costs_;
};

}  // namespace

int main() {
  try {
    Benchmark benchmark;
    std::string error;
    try {
      benchmark.run_all();
    } catch (const std::exception& thrown) {
      error = thrown.what();  // what was measured before is printed all the same
    }
    std::fputs(benchmark.json(error).c_str(), stdout);
    return error.empty() ? 0 : 1;
  } catch (const std::exception& thrown) {
    std::fprintf(stderr, "microbenchmarks: %s\n", thrown.what());
    return 1;
  }
}
