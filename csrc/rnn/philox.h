// Philox4x32-10 (Salmon et al., SC 2011): random words as a pure function of (key, counter), so a
// mask is never stored: it is drawn again in backward, on any machine, by any thread.
#pragma once

#include <cmath>
#include <cstdint>

namespace fastrnn {

struct Philox {
  uint32_t word[4];
};

inline Philox philox(uint64_t key, uint64_t index, uint32_t stream) {
  uint32_t c0 = uint32_t(index), c1 = uint32_t(index >> 32), c2 = stream, c3 = 0;
  uint32_t k0 = uint32_t(key), k1 = uint32_t(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t(0xD2511F53u) * c0;
    const uint64_t p1 = uint64_t(0xCD9E8D57u) * c2;
    c0 = uint32_t(p1 >> 32) ^ c1 ^ k0;
    c1 = uint32_t(p1);
    c2 = uint32_t(p0 >> 32) ^ c3 ^ k1;
    c3 = uint32_t(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// The inverted-dropout mask of the input of layer `stream`: element e is kept iff the top 24 bits
// of its word reach p * 2^24, and a kept element is scaled by 1 / (1 - p).
struct DropoutMask {
  uint64_t key;
  uint32_t stream;
  uint32_t threshold;
  double scale;

  DropoutMask(uint64_t seed, uint32_t layer, double p)
      : key(seed),
        stream(layer),
        threshold(uint32_t(std::ceil(p * 16777216.0))),
        scale(p < 1 ? 1.0 / (1.0 - p) : 0.0) {}

  // out[0, count) = mask of elements [first, first + count), times in where given.
  template <class S>
  void apply(const S* in, S* out, int64_t first, int64_t count) const {
    const S kept = S(scale);
    for (int64_t done = 0; done < count;) {
      const uint64_t element = uint64_t(first + done);
      const Philox random = philox(key, element >> 2, stream);
      for (uint32_t lane = uint32_t(element & 3); lane < 4 && done < count; ++lane, ++done) {
        const S factor = (random.word[lane] >> 8) >= threshold ? kept : S(0);
        out[done] = in != nullptr ? in[done] * factor : factor;
      }
    }
  }
};

}  // namespace fastrnn
