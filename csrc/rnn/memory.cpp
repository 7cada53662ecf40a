#include "memory.h"

#include <pthread.h>
#include <sys/mman.h>

#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

namespace fastrnn {
namespace {

constexpr int64_t small_alignment = 64;
constexpr int64_t huge_page = int64_t(2) << 20;
constexpr int64_t cache_limit = int64_t(1) << 30;  // kept for reuse, all threads together

struct Block {
  void* data;
  int64_t capacity;
};

struct Cache {
  std::mutex mutex;
  std::vector<Block> blocks;
  int64_t bytes = 0;
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
    if (best >= 0) {
      const Block found = kept.blocks[best];
      kept.blocks[best] = kept.blocks.back();
      kept.blocks.pop_back();
      kept.bytes -= found.capacity;
      return found;
    }
  }
  void* data = std::aligned_alloc(size_t(alignment), size_t(rounded));
  if (data == nullptr) throw std::bad_alloc();
  if (bytes >= huge_page) madvise(data, size_t(rounded), MADV_HUGEPAGE);  // advice: may be refused
  return {data, rounded};
}

void give(Block block) {
  {
    Cache& kept = cache();
    std::lock_guard<std::mutex> lock(kept.mutex);
    if (kept.bytes + block.capacity <= cache_limit && kept.blocks.size() < 256) {
      kept.blocks.push_back(block);
      kept.bytes += block.capacity;
      return;
    }
  }
  std::free(block.data);
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
