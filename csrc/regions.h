// Sums of predictions and labels, of which losses such as Dice are made, and derivatives by them.
#pragma once

#include <stdint.h>
#include <string.h>

#include "lovasz.h"

namespace LOVASZ_LEVEL {

// A vector of the processor: sums that stay in registers are not what compilers make of arrays.
#if defined(__AVX512F__)
constexpr int lane_bytes = 64;
#elif defined(__AVX__)
constexpr int lane_bytes = 32;
#else
constexpr int lane_bytes = 16;
#endif
constexpr int sum_lanes = lane_bytes / static_cast<int>(sizeof(float));
typedef float Lanes __attribute__((vector_size(lane_bytes)));
typedef int32_t IntegerLanes __attribute__((vector_size(lane_bytes)));

inline Lanes lanes_from(const float *values) {
  Lanes lanes;
  memcpy(&lanes, values, sizeof lanes);
  return lanes;
}

inline Lanes magnitude_of(Lanes lanes) {
  return reinterpret_cast<Lanes>(reinterpret_cast<IntegerLanes>(lanes) & 0x7fffffff);
}

inline double total_of(const Lanes &lanes) {
  float values[sum_lanes];
  memcpy(values, &lanes, sizeof values);
  double halves[sum_lanes / 2];
  for (int i = 0; i < sum_lanes / 2; ++i) {
    halves[i] = static_cast<double>(values[i]) + static_cast<double>(values[i + sum_lanes / 2]);
  }
  for (int width = sum_lanes / 4; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) halves[i] += halves[i + width];
  }
  return halves[0];
}

// The sum of T numbers, in single precision but for the last ones.
template <int T>
double lane_sum(const float *values) {
  Lanes sum = {};
  for (int t = 0; t < T; t += sum_lanes) sum += lanes_from(values + t);
  return total_of(sum);
}

// Adds the sums of T pixels of a class, which are 0 where a pixel is ignored. In single precision
// for a tile of a class, then in double precision.
template <int T, bool Weighted, bool Smoothed>
void add_region_sums_as(const float *p_row, const float *q_row, const float *raw,
                        const float *times, double *sums) {
  Lanes p_sum = {}, q_sum = {}, pq_sum = {}, d_sum = {}, pp_sum = {}, qq_sum = {}, raw_sum = {};
  for (int t = 0; t < T; t += sum_lanes) {
    const Lanes p = lanes_from(p_row + t), q = lanes_from(q_row + t);
    Lanes wp = p, wq = q, d = magnitude_of(p - q);
    if (Weighted) {
      const Lanes w = lanes_from(times + t);
      wp *= w;
      wq *= w;
      d *= w;
      if (Smoothed) raw_sum += w * lanes_from(raw + t);
    } else if (Smoothed) {
      raw_sum += lanes_from(raw + t);
    }
    p_sum += wp;
    q_sum += wq;
    pq_sum += wp * q;
    d_sum += d;
    pp_sum += wp * p;
    qq_sum += wq * q;
  }
  const double q_total = total_of(q_sum);
  sums[LOVASZ_SUM_P] += total_of(p_sum);
  sums[LOVASZ_SUM_Q] += q_total;
  sums[LOVASZ_SUM_PQ] += total_of(pq_sum);
  sums[LOVASZ_SUM_DIFFERENCE] += total_of(d_sum);
  sums[LOVASZ_SUM_PP] += total_of(pp_sum);
  sums[LOVASZ_SUM_QQ] += total_of(qq_sum);
  sums[LOVASZ_SUM_LABELS] += Smoothed ? total_of(raw_sum) : q_total;
}

// `raw` are the labels before smoothing, `times` the weights of the pixels, or null for ones, and
// `pixels` their sum.
template <int T>
void add_region_sums(const float *p, const float *q, const float *raw, const float *times,
                     double pixels, double *sums) {
  sums[LOVASZ_SUM_PIXELS] += pixels;
  const bool smoothed = raw != q;
  if (times != nullptr) {
    if (smoothed) return add_region_sums_as<T, true, true>(p, q, raw, times, sums);
    return add_region_sums_as<T, true, false>(p, q, raw, times, sums);
  }
  if (smoothed) return add_region_sums_as<T, false, true>(p, q, raw, times, sums);
  add_region_sums_as<T, false, false>(p, q, raw, times, sums);
}

// Adds the sums of labels alone, from those before label smoothing, of which they are `kept` times
// as much and `rest` for each pixel.
inline void add_label_total(double raw, double pixels, float kept, float rest, double *sums) {
  sums[LOVASZ_SUM_PIXELS] += pixels;
  sums[LOVASZ_SUM_LABELS] += raw;
  sums[LOVASZ_SUM_Q] += static_cast<double>(kept) * raw + static_cast<double>(rest) * pixels;
}

template <int T>
void add_label_sums(const float *raw, const float *times, double pixels, float kept, float rest,
                    double *sums) {
  Lanes sum = {};
  if (times == nullptr) {
    for (int t = 0; t < T; t += sum_lanes) sum += lanes_from(raw + t);
  } else {
    for (int t = 0; t < T; t += sum_lanes) sum += lanes_from(raw + t) * lanes_from(times + t);
  }
  add_label_total(total_of(sum), pixels, kept, rest, sums);
}

// Adds to `slope` what predictions p change by the sums of their class.
template <int T>
void add_by_regions(const double *by, const float *__restrict p, const float *__restrict q,
                    float *__restrict slope) {
  const float constant = static_cast<float>(by[LOVASZ_SUM_P]);
  const float by_q = static_cast<float>(by[LOVASZ_SUM_PQ]);
  const float by_p = static_cast<float>(2.0 * by[LOVASZ_SUM_PP]);
  const float by_sign = static_cast<float>(by[LOVASZ_SUM_DIFFERENCE]);
  for (int t = 0; t < T; ++t) slope[t] += constant + by_q * q[t] + by_p * p[t];
  if (by_sign == 0.0f) return;
  for (int t = 0; t < T; ++t) {
    slope[t] += (p[t] > q[t] ? by_sign : 0.0f) - (p[t] < q[t] ? by_sign : 0.0f);
  }
}

}  // namespace LOVASZ_LEVEL
