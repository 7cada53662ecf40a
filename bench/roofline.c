/* The machine's ceilings: independent fused multiply-adds on registers, and reads of a buffer in
 * order, nothing else. Compiled on first use by native.py.
 *
 * Accumulators: a core with P multiply-add ports of latency L needs P*L independent chains to keep
 * them busy (2*4 on today's x86, 4*4 on the widest ARM cores). 12 chains and 2 constants fit the 16
 * registers of AVX2; machines with 32 registers run 24. The additions of a read have ports and
 * latency of their own to hide: as many chains again.
 */
#if defined(__AVX512F__)
#define LANES 16
#define CHAINS 24
#elif defined(__AVX__)
#define LANES 8
#define CHAINS 12
#elif defined(__aarch64__)
#define LANES 4
#define CHAINS 24
#else
#define LANES 4
#define CHAINS 12
#endif

typedef float vector __attribute__((vector_size(LANES * sizeof(float))));

/* Floating-point operations done by fma_peak(repeats, ...). */
double fma_peak_flops(long repeats) { return 2.0 * LANES * CHAINS * (double)repeats; }

/* factor = 1 and addend = 0 keep the chains finite; they are arguments so that nothing folds. */
float fma_peak(long repeats, float factor, float addend) {
  vector chain[CHAINS], f = factor - (vector){0}, a = addend - (vector){0}, sum = (vector){0};
  for (int i = 0; i < CHAINS; ++i) chain[i] = (float)i - (vector){0};
  for (long r = 0; r < repeats; ++r) {
#pragma GCC unroll 24
    for (int i = 0; i < CHAINS; ++i) chain[i] = chain[i] * f + a;
  }
  for (int i = 0; i < CHAINS; ++i) sum += chain[i];
  float total = 0;
  for (int i = 0; i < LANES; ++i) total += sum[i];
  return total;
}

/* Numbers that one turn of read_stream's loop takes: `count` below is a multiple of it. */
long read_stream_block(void) { return LANES * CHAINS; }

/* Adds up a buffer, `repeats` times over; the sum is returned so that nothing is left out. */
float read_stream(const float *data, long count, long repeats) {
  vector chain[CHAINS], sum = (vector){0};
  for (int i = 0; i < CHAINS; ++i) chain[i] = (vector){0};
  for (long r = 0; r < repeats; ++r) {
    for (long n = 0; n < count; n += LANES * CHAINS) {
#pragma GCC unroll 24
      for (int i = 0; i < CHAINS; ++i) chain[i] += *(const vector *)(data + n + i * LANES);
    }
  }
  for (int i = 0; i < CHAINS; ++i) sum += chain[i];
  float total = 0;
  for (int i = 0; i < LANES; ++i) total += sum[i];
  return total;
}
