// The cost model: how many threads one scan takes and what each of them owns.
#pragma once

#include "scan.h"

namespace fastrnn::cpu {

struct ScanShape {
  Layout layout;
  int tile_rows;
  int64_t element_size;
  int64_t I, H, B, steps, total;  // total = rows of all steps
};

struct Plan {
  int threads;
  Partition partition;
  int64_t chunk_steps;  // 0: the input product joins the recurrent one
  double microseconds;  // what the model expects; ranks choices, promises nothing
  const char* reason;
};

Plan plan_forward(const ScanShape& shape, int thread_limit);
Plan plan_backward(const ScanShape& shape, int thread_limit);

// Rows of d_pre that one chunk of a backward scan holds. Depends on the problem alone: it cuts sums.
int64_t backward_chunk_rows(const ScanShape& shape);

}  // namespace fastrnn::cpu
