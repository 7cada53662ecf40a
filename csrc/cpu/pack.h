// Packing: the caller's parameters into the order the kernels read them, and weight gradients back.
//
// Computes   pack_window      (gates*H, K)  ->  (panels, K, count, lanes), one window of the slots
//            pack_bias        bias_ih, bias_hh -> (panels, vectors, lanes), summed where both feed
//            transpose_window packed window -> (outputs, panels, count*lanes, width, lanes), the
//                             operand of the product with d_pre; outputs are K in panels of width
//            unpack_window    (panels, rows, vectors, lanes) -> (gates*H, K), the inverse
// Work split by panel: each function handles panels [begin, end), and returns early once the call was
//            stopped.
// Cost       every element is moved once, in squares of 16-byte vectors; blocks of k keep the strided side in L1.
// Limits     no arithmetic but the sum of the two biases; compiled once, for the baseline.
#pragma once

#include "../rnn/layout.h"
#include "threads.h"

namespace fastrnn::cpu {

enum class Window { input, recurrent };

template <class S>
void pack_window(const Layout& layout, Window window, const S* weight, int64_t K, int64_t H, S* packed, int64_t begin,
                 int64_t end, const Worker& worker);

template <class S>
void pack_bias(const Layout& layout, const S* bias_ih, const S* bias_hh, int64_t H, S* packed);

template <class S>
void transpose_window(const Layout& layout, Window window, const S* packed, int64_t K, int64_t H, int width,
                      S* transposed, int64_t begin, int64_t end, const Worker& worker);

// Rows [first, first + K) of the panels' gradients.
template <class S>
void unpack_window(const Layout& layout, Window window, const S* gradients, int64_t rows, int64_t first, int64_t K,
                   int64_t H, S* d_weight, int64_t begin, int64_t end, const Worker& worker);

}  // namespace fastrnn::cpu
