#include "segments.h"

#include <algorithm>
#include <cmath>

namespace fastrnn::cpu {
namespace {

Segments one_segment(const Rows& rows) { return {{{0, rows.steps, 0, 0}}, rows.B, rows.total(), rows.steps}; }

// Segments of at least `steps` steps (the first in time may be shorter), rounded up to whole chunks.
Segments cut_segments(const Rows& rows, int64_t chunk_rows, int64_t steps) {
  Segments cut{{}, 0, 0, 0};
  for (int64_t last = rows.steps, chunks = 0; last > 0;) {
    Segment segment{last, last, 0, int(chunks % 2)};
    for (; segment.first > 0 && last - segment.first < steps; ++chunks)
      segment.first = rows.chunk_first(segment.first, chunk_rows);
    cut.most_rows = std::max(cut.most_rows, rows.offset[last] - rows.offset[segment.first]);
    cut.most_steps = std::max(cut.most_steps, last - segment.first);
    last = segment.first;
    cut.list.push_back(segment);
  }
  if (cut.list.empty()) return one_segment(rows);
  std::reverse(cut.list.begin(), cut.list.end());
  for (Segment& segment : cut.list) {
    segment.border = cut.border_rows;
    cut.border_rows += segment.first == 0 ? rows.B : rows.active[segment.first];
  }
  return cut;
}

// The steps with which borders and workspace together take the least memory: with k steps a segment, all
// scans keep total / k rows of states each, and one segment after the other fills k * B rows of all values.
int64_t best_segment_steps(const ScanShape& shape, int64_t scans) {
  const double border = double(shape.layout.states * shape.layout.state_stride(shape.H));
  const double step = border + double(shape.layout.keep_stride(shape.H));
  const double length = double(shape.total) / double(std::max<int64_t>(shape.B, 1));  // mean, of a row
  return std::max<int64_t>(1, std::llround(std::sqrt(double(scans) * length * border / step)));
}

}  // namespace

Segments segments_of(const Rows& rows, const ScanShape& shape, int64_t scans, int64_t recompute) {
  if (recompute == keep_everything) return one_segment(rows);
  const int64_t steps = recompute == best_segments ? best_segment_steps(shape, scans) : recompute;
  return cut_segments(rows, backward_chunk_rows(shape), steps);
}

}  // namespace fastrnn::cpu
