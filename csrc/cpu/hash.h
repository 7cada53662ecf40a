// The fingerprint of a block of memory: 64 bits that change when any byte does.
//
// Computes   eight independent chains over stripes of eight words: each word is mixed with a key of its
//            place, so that equal words in other places change the sum, then its halves are multiplied
// Shapes     any number of bytes; the last stripe is padded with zeros (lengths are the caller's to mix)
// Work split none: the caller cuts memory into blocks and joins their values in order
// Cost       one read of the block, five vector operations a stripe: as fast as L2 can deliver
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
  V lane[vectors], key[vectors];
  for (int v = 0; v < vectors; ++v) {
    __builtin_memcpy(&lane[v], start + v * count, sizeof(V));
    for (int i = 0; i < count; ++i) key[v][i] = place + uint64_t(v * count + i) * 0xD1B54A32D192ED03;
  }
  const auto stripe = [&](const char* p) FASTRNN_INLINED_LAMBDA {
    for (int v = 0; v < vectors; ++v) {
      V word;
      __builtin_memcpy(&word, p + v * sizeof(V), sizeof(V));
      key[v] += 0x9E3779B97F4A7C15;
      const V keyed = word ^ key[v];
      if constexpr (requires { Isa::multiply_halves(keyed); }) {
        lane[v] += word + Isa::multiply_halves(keyed);
      } else {
        lane[v] += word + (keyed & 0xFFFFFFFF) * (keyed >> 32);
      }
    }
  };
  const char* p = static_cast<const char*>(data);
#pragma GCC unroll 4
  for (; bytes >= 64; bytes -= 64, p += 64) stripe(p);
  if (bytes > 0) {
    char last[64] = {};
    __builtin_memcpy(last, p, size_t(bytes));
    stripe(last);
  }
  uint64_t h = place;
  for (int v = 0; v < vectors; ++v)
    for (int i = 0; i < count; ++i) {
      h = (h ^ lane[v][i] ^ (lane[v][i] >> 29)) * 0xBF58476D1CE4E5B9;
      h ^= h >> 32;
    }
  return h;
}

}  // namespace fastrnn::cpu
