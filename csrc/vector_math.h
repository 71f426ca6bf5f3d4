// exp and log over arrays, written so that compilers turn plain loops over them into vectors, and
// what the compiler may take for granted of the processor.
#pragma once

#include <stdint.h>
#include <string.h>

// LOVASZ_PORTABLE: nothing, as if it were none of those for which there are intrinsics here.
#if defined(__SSE2__) && !defined(LOVASZ_PORTABLE)
#define LOVASZ_SSE2 1
#include <immintrin.h>
#endif

namespace LOVASZ_LEVEL {

constexpr float infinity = __builtin_inff(), no_number = __builtin_nanf("");
constexpr float largest = 3.4028234663852886e38f;

inline float as_float(int32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

inline int32_t as_bits(float value) {
  int32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

// A polynomial in x, by Horner's rule; the coefficients from the highest power down.
template <class... Lower>
inline float polynomial(float x, float p, Lower... lower) {
  ((p = p * x + lower), ...);
  return p;
}

// exp(z / 2) for z <= 1, within 2 ulp of the float next to z: the square root of a probability is
// what the bins need, and its square is the probability. NaN stays NaN; below -170 it stops at
// 1e-37, whose square is 0.
inline float exp_half(float z) {
  constexpr float log2e_half = 0.72134752044448170368f;
  // Adding 1.5 * 2^23 rounds to an integer; 127 more is the bias of a float's exponent.
  constexpr float magic = 12582912.0f + 127.0f;
  z = -170.0f > z ? -170.0f : z;
  float shifted = z * log2e_half + magic;
  float f = z * log2e_half - (shifted - magic);  // in [-0.5, 0.5]
  // 2^f, minimax in relative error
  const float p =
      polynomial(f, 1.535336188319500e-4f, 1.339887440266574e-3f, 9.618437357674640e-3f,
                 5.550332471162809e-2f, 2.402264791363012e-1f, 6.931472028550421e-1f, 1.0f);
  // A product, not a sum of exponents, because a sum could turn a NaN into a number.
  return p * as_float(static_cast<int32_t>(static_cast<uint32_t>(as_bits(shifted)) << 23));
}

// log(s) for normal positive s; anything else gives some number, callers have looked before.
inline float log_positive(float s) {
  int32_t bits = as_bits(s);
  int32_t exponent = (bits - 0x3f3504f3) >> 23;  // s = 2^exponent * r, r in [sqrt(1/2), sqrt(2))
  float r = as_float(bits - static_cast<int32_t>(static_cast<uint32_t>(exponent) << 23)) - 1.0f;
  float e = static_cast<float>(exponent);
  const float p = polynomial(r, 7.0376836292e-2f, -1.1514610310e-1f, 1.1676998740e-1f,
                             -1.2420140846e-1f, 1.4249322787e-1f, -1.6668057665e-1f,
                             2.0000714765e-1f, -2.4999993993e-1f, 3.3333331174e-1f);
  float square = r * r;
  float tail = r * square * p + e * -2.12194440e-4f - 0.5f * square;
  return r + tail + e * 0.693359375f;
}

// log(1 + e) for e in [0, 1], within 3 ulp, however small e is.
inline float log_one_plus(float e) {
  return polynomial(e, 5.364818498e-3f, -3.006576933e-2f, 7.920449972e-2f, -1.375379860e-1f,
                    1.915365309e-1f, -2.485716343e-1f, 3.332132399e-1f, -4.999964833e-1f, 1.0f) *
         e;
}

// The sum in double precision, in an order that vectors can take.
template <int T>
inline double sum_of(const float *__restrict values) {
  constexpr int quarter = T / 4, few = T / 16;
  double quarters[quarter];
  for (int t = 0; t < quarter; ++t) {
    quarters[t] = (static_cast<double>(values[t]) + static_cast<double>(values[t + quarter])) +
                  (static_cast<double>(values[t + 2 * quarter]) +
                   static_cast<double>(values[t + 3 * quarter]));
  }
  double sum = 0.0;
  for (int t = 0; t < few; ++t) {
    sum += (quarters[t] + quarters[t + few]) + (quarters[t + 2 * few] + quarters[t + 3 * few]);
  }
  return sum;
}

// out = histograms[index]. Four single loads put together and two indices at a time take two thirds
// of the time of AVX-512's gather on Zen 4, and less than half of that of single loads and stores.
template <int T, class Index>
inline void gather(const float *__restrict histograms, const Index *__restrict index,
                   float *__restrict out) {
  static_assert(sizeof(Index) == 4, "two indices are read at a time");
#if defined(LOVASZ_SSE2)
  for (int t = 0; t < T; t += 4) {
    uint64_t i, j;
    memcpy(&i, index + t, sizeof i);
    memcpy(&j, index + t + 2, sizeof j);
    const __m128 first = _mm_load_ss(histograms + static_cast<uint32_t>(i));
    const __m128 second = _mm_load_ss(histograms + (i >> 32));
    const __m128 third = _mm_load_ss(histograms + static_cast<uint32_t>(j));
    const __m128 fourth = _mm_load_ss(histograms + (j >> 32));
    _mm_storeu_ps(out + t,
                  _mm_movelh_ps(_mm_unpacklo_ps(first, second), _mm_unpacklo_ps(third, fourth)));
  }
#else
  for (int t = 0; t < T; ++t) out[t] = histograms[index[t]];
#endif
}

// out[index] = values, two at a time as well; AVX-512's scatter takes longer.
template <int T>
inline void scatter(const float *__restrict values, const int32_t *__restrict index,
                    float *__restrict out) {
#if defined(LOVASZ_SSE2)
  for (int t = 0; t < T; t += 2) {
    uint64_t i, v;
    memcpy(&i, index + t, sizeof i);
    memcpy(&v, values + t, sizeof v);
    const uint32_t bits[2] = {static_cast<uint32_t>(v), static_cast<uint32_t>(v >> 32)};
    memcpy(out + static_cast<uint32_t>(i), &bits[0], sizeof bits[0]);
    memcpy(out + (i >> 32), &bits[1], sizeof bits[1]);
  }
#else
  for (int t = 0; t < T; ++t) out[index[t]] = values[t];
#endif
}

}  // namespace LOVASZ_LEVEL
