// The fingerprint of a block of memory: 64 bits that change when any byte does.
//
// Computes   32 independent sums over groups of four stripes of eight words: each word is mixed with a key of
//            its place, so that equal words in other places change a sum, then its halves are multiplied
// Shapes     any number of bytes; what is left of the last group is padded with zeros (lengths are the caller's to mix)
// Work split none: the caller cuts memory into blocks and joins their values in order
// Cost       one read of the block in four streams, five vector operations a stripe and one a group
// Limits     the same value on every ISA; not built to withstand who looks for two equal ones
#pragma once

#include "products.h"

namespace fastrnn::cpu {

template <class Isa>
static uint64_t hash(const void* data, int64_t bytes, uint64_t place) {
  typedef typename Isa::template Vec<uint64_t>::type V;
  constexpr int count = int(sizeof(V) / 8), vectors = 64 / int(sizeof(V));
  alignas(64)
      const uint64_t start[8] = {0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63,
                                 0x27D4EB2F165667C5, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F, 0xE7037ED1A0B428DB};
  constexpr int stripes = 4, group_bytes = stripes * 64;
  V lanes[stripes][vectors], key[vectors];
  for (int v = 0; v < vectors; ++v) {
    for (int s = 0; s < stripes; ++s) __builtin_memcpy(&lanes[s][v], start + v * count, sizeof(V));
    for (int i = 0; i < count; ++i) key[v][i] = place + uint64_t(v * count + i) * 0xD1B54A32D192ED03;
  }
  // One key for the four stripes of a group: their sums are apart.
  const auto group = [&](const char* p, int64_t apart) FASTRNN_INLINED_LAMBDA {
    for (int v = 0; v < vectors; ++v) {
      key[v] += 0x9E3779B97F4A7C15;
      for (int s = 0; s < stripes; ++s) {
        V word;
        __builtin_memcpy(&word, p + s * apart + v * sizeof(V), sizeof(V));
        const V keyed = word ^ key[v];
        if constexpr (requires { Isa::multiply_halves(keyed); }) {
          lanes[s][v] += word + Isa::multiply_halves(keyed);
        } else {
          lanes[s][v] += word + (keyed & 0xFFFFFFFF) * (keyed >> 32);
        }
      }
    }
  };
  const char* p = static_cast<const char*>(data);
  const int64_t quarter = bytes / group_bytes * 64;
#pragma GCC unroll 2
  for (int64_t i = 0; i < quarter; i += 64) group(p + i, quarter);
  p += 4 * quarter;
  bytes -= 4 * quarter;
  if (bytes > 0) {
    char last[group_bytes] = {};
    __builtin_memcpy(last, p, size_t(bytes));
    group(last, 64);
  }
  V* const lane = lanes[0];
  for (int s = 1; s < stripes; ++s)
    for (int v = 0; v < vectors; ++v) lane[v] = (lane[v] ^ (lane[v] >> 29)) * 0x94D049BB133111EB + lanes[s][v];
  uint64_t h = place;
  for (int v = 0; v < vectors; ++v)
    for (int i = 0; i < count; ++i) {
      h = (h ^ lane[v][i] ^ (lane[v][i] >> 29)) * 0xBF58476D1CE4E5B9;
      h ^= h >> 32;
    }
  return h;
}

}  // namespace fastrnn::cpu
