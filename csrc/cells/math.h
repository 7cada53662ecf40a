// placeholder until the activations land
#pragma once
#ifdef __CUDACC__
#define FASTRNN_INLINE __host__ __device__ __forceinline__
#else
#define FASTRNN_INLINE __attribute__((always_inline)) inline
#endif
namespace fastrnn::cells {
template <class V> struct Math;
template <class V> FASTRNN_INLINE V sigmoid(V v) { return Math<V>::sigmoid(v); }
template <class V> FASTRNN_INLINE V tanh(V v) { return Math<V>::tanh(v); }
template <class V> FASTRNN_INLINE V relu(V v) { return Math<V>::relu(v); }
template <class V> FASTRNN_INLINE V fma(V a, V b, V c) { return Math<V>::fma(a, b, c); }
template <class V> FASTRNN_INLINE V broadcast(double s) { return Math<V>::broadcast(s); }
template <class V> FASTRNN_INLINE V where_positive(V v, V a) { return Math<V>::where_positive(v, a); }
}
