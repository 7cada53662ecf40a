#include "memory.h"

#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

namespace fastrnn {
namespace {

constexpr int64_t small_alignment = 64;
constexpr int64_t huge_page = int64_t(2) << 20;
constexpr int64_t cache_limit = int64_t(1) << 30;  // kept for reuse, all threads together
// A block that so many others came back after has no user any more: it makes room when there is none. Younger
// ones stay, for in a loop that needs more than the limit the oldest is the one that is wanted next.
constexpr int64_t stale_after = 64;

struct Block {
  void* data;
  int64_t capacity;
  int64_t given = 0;  // the cache's count when it came back
};

struct Cache {
  std::mutex mutex;
  std::vector<Block> blocks;
  int64_t bytes = 0, gives = 0;

  bool holds(int64_t capacity) const { return bytes + capacity <= cache_limit && blocks.size() < 256; }

  Block remove(size_t index) {
    const Block found = blocks[index];
    blocks[index] = blocks.back();
    blocks.pop_back();
    bytes -= found.capacity;
    return found;
  }
};

// Never destroyed: tapes may be freed by the interpreter after static destructors ran.
Cache& cache() {
  static Cache* instance = [] {
    Cache* made = new Cache;
    pthread_atfork([] { cache().mutex.lock(); }, [] { cache().mutex.unlock(); }, [] { cache().mutex.unlock(); });
    return made;
  }();
  return *instance;
}

Block take(int64_t bytes) {
  const int64_t alignment = bytes >= huge_page ? huge_page : small_alignment;
  const int64_t rounded = (bytes + alignment - 1) / alignment * alignment;
  {
    Cache& kept = cache();
    std::lock_guard<std::mutex> lock(kept.mutex);
    int best = -1;
    for (int i = 0; i < int(kept.blocks.size()); ++i) {
      const int64_t capacity = kept.blocks[i].capacity;
      const bool fits = capacity >= rounded && capacity <= rounded + rounded / 4 + 4096;
      if (fits && (best < 0 || capacity < kept.blocks[best].capacity)) best = i;
    }
    if (best >= 0) return kept.remove(size_t(best));
  }
  void* data = std::aligned_alloc(size_t(alignment), size_t(rounded));
  if (data == nullptr) throw std::bad_alloc();
  if (bytes >= huge_page) madvise(data, size_t(rounded), MADV_HUGEPAGE);  // advice: may be refused
  return {data, rounded};
}

void give(Block block) {
  for (bool counted = false;; counted = true) {
    void* unused = block.data;
    bool is_stale = false;
    {
      Cache& kept = cache();
      std::lock_guard<std::mutex> lock(kept.mutex);
      if (!counted) block.given = ++kept.gives;
      if (kept.holds(block.capacity)) {
        kept.blocks.push_back(block);
        kept.bytes += block.capacity;
        return;
      }
      const auto oldest = std::min_element(kept.blocks.begin(), kept.blocks.end(),
                                           [](const Block& a, const Block& b) { return a.given < b.given; });
      is_stale = oldest != kept.blocks.end() && block.given - oldest->given > stale_after;
      if (is_stale) unused = kept.remove(size_t(oldest - kept.blocks.begin())).data;
    }
    std::free(unused);
    if (!is_stale) return;
  }
}

}  // namespace

int64_t checked_product(int64_t a, int64_t b) {
  int64_t product;
  constexpr int64_t most = int64_t(1) << 56;
  if (__builtin_mul_overflow(a, b, &product) || product > most) throw std::bad_alloc();
  return product;
}

Buffer::Buffer(int64_t bytes) : bytes_(bytes) {
  if (bytes <= 0) return;
  const Block block = take(bytes);
  data_ = block.data;
  capacity_ = block.capacity;
}

Buffer::~Buffer() {
  if (data_ != nullptr) give({data_, capacity_});
}

Buffer::Buffer(Buffer&& other) noexcept : data_(other.data_), bytes_(other.bytes_), capacity_(other.capacity_) {
  other.data_ = nullptr;
  other.bytes_ = other.capacity_ = 0;
}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  if (this != &other) {
    if (data_ != nullptr) give({data_, capacity_});
    data_ = other.data_;
    bytes_ = other.bytes_;
    capacity_ = other.capacity_;
    other.data_ = nullptr;
    other.bytes_ = other.capacity_ = 0;
  }
  return *this;
}

int64_t release_cached_memory() {
  std::vector<Block> blocks;
  int64_t bytes = 0;
  {
    Cache& kept = cache();
    std::lock_guard<std::mutex> lock(kept.mutex);
    blocks.swap(kept.blocks);
    bytes = kept.bytes;
    kept.bytes = 0;
  }
  for (const Block& block : blocks) std::free(block.data);
  return bytes;
}

}  // namespace fastrnn
