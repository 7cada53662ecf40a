// Workspaces that outlive a call.
//
// Fresh pages cost more than the arithmetic on them, so freed blocks are kept (bounded) and handed
// out again. Blocks are aligned for vectors; large ones are aligned to 2 MB and marked for huge
// pages. Thread safe; safe in a forked child.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>

namespace fastrnn {

// a * b, or std::bad_alloc where the product does not fit: no request may wrap round.
int64_t checked_product(int64_t a, int64_t b);

class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(int64_t bytes);
  ~Buffer();
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  template <class S>
  S* as() const {
    return static_cast<S*>(data_);
  }
  int64_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  int64_t bytes_ = 0;     // asked for
  int64_t capacity_ = 0;  // got
};

int64_t release_cached_memory();  // frees every block that is not in use; bytes freed

}  // namespace fastrnn
