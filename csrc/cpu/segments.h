// How a training call that recomputes cuts its scans in time (Chen et al. 2016, one level).
//
// Forward keeps the states of every row at the borders alone. Backward, from the last segment to the
// first, runs the forward kernel over a segment again, into room for one segment, and then its own. A
// call that recomputes nothing is one segment whose saved values stay on the tape.
//
// A segment is whole backward chunks: weight gradients are summed in the same pieces, hence the same bits.
#pragma once

#include <vector>

#include "../rnn/problem.h"
#include "plan.h"

namespace fastrnn::cpu {

struct Segment {
  int64_t first, last;  // steps
  int64_t border;       // packed rows of the borders before this one: its own has a row per row alive at `first`
  int turn;             // which of two workspaces the segment's last chunk takes; see BackwardScan
};

struct Segments {
  std::vector<Segment> list;  // in the order of time; at least one
  int64_t border_rows;        // of all borders of a scan; the first has all B rows
  int64_t most_rows;          // of the largest segment
  int64_t most_steps;
};

// How a call cuts each of its `scans` scans. recompute: as in ForwardArgs.
Segments segments_of(const Rows& rows, const ScanShape& shape, int64_t scans, int64_t recompute);

}  // namespace fastrnn::cpu
