// From scores to errors, and to the bin in which an error is counted. Both passes have to agree on
// the bin, so this is the one place that knows it.
//
// Multilabel: everything is a function of the margin, which is the score, times -1 where the label
// is 1: it grows with the error.
#pragma once

#include "lovasz.h"
#include "vector_math.h"

namespace LOVASZ_LEVEL {

constexpr float largest_error = 65535.0f;  // that is counted, where errors have no bound

// Where among the bins an error in [0, 1] lies: (3 sqrt(e) + e) / 4 of them.
inline float bounded_position(float error, float bins) {
  return (3.0f * __builtin_sqrtf(error) + error) * (0.25f * bins);
}

// The same for the probability p of a class to which the pixel does not belong. Softmax begins with
// h = exp((x - m) / 2), and sqrt(p) = h * sqrt(1 / s) for any m and s = sum of h^2: two factors for
// each pixel, and no square root for each class.
inline float linear_factor(float bins, float inverse_sum) {
  return 0.75f * bins * __builtin_sqrtf(inverse_sum);
}
inline float square_factor(float bins, float inverse_sum) { return 0.25f * bins * inverse_sum; }
inline float root_position(float h, float linear, float square) {
  return h * (linear + square * h);
}

// And for an error of any size: bin 0 for 0, then by the logarithm.
inline float unbounded_position(float error, float bins) {
  constexpr float log2e = 1.4426950408889634f;
  const float logarithm = log2e * log_positive(1.0f + error);
  return error > 0.0f ? 1.0f + logarithm * ((bins - 1.0f) / 16.0f) : 0.0f;
}

template <int32_t Link>
inline float position_of(float error, float bins) {
  return Link == LOVASZ_SIGMOID ? bounded_position(error, bins) : unbounded_position(error, bins);
}

// The bin of a position, `last` for those beyond it and for NaN.
inline int32_t bin_of(float position, float last) {
  return static_cast<int32_t>(position < last ? position : last);
}

// The error of the class to which a pixel belongs.
inline float positive_error(float p) {
  const float error = 1.0f - p;
  return error > 0.0f ? error : 0.0f;
}

template <int32_t Link>
inline float error_of(float margin) {
  const float a = 1.0f + margin;
  if (Link == LOVASZ_HINGE) return a > 0.0f ? a : 0.0f;
  if (Link == LOVASZ_ELU) {
    const float h = exp_half(a < 0.0f ? a : 0.0f);
    return a > 0.0f ? a + 1.0f : h * h;
  }
  const float h = exp_half(margin < 0.0f ? margin : -margin);
  const float e = h * h;
  return (margin < 0.0f ? e : 1.0f) / (1.0f + e);
}

// Derivative of the error by the margin.
template <int32_t Link>
inline float derivative_of(float margin) {
  const float a = 1.0f + margin;
  if (Link == LOVASZ_HINGE) return a > 0.0f ? 1.0f : 0.0f;
  const float exponent = Link == LOVASZ_ELU ? a : margin;
  const float h = exp_half(exponent < 0.0f ? exponent : -exponent);
  const float e = h * h;
  if (Link == LOVASZ_ELU) return a > 0.0f ? 1.0f : e;
  return e / ((1.0f + e) * (1.0f + e));
}

template <int32_t Link>
inline bool not_a_number(float margin) {
  if (Link == LOVASZ_SIGMOID) return margin != margin;
  return !(1.0f + margin + (Link == LOVASZ_ELU ? 1.0f : 0.0f) < largest_error);
}

inline float sigmoid(float margin) { return error_of<LOVASZ_SIGMOID>(margin); }

// The margins of a channel.
template <int T>
void signed_scores(const float *__restrict row, const int32_t *__restrict label,
                   float *__restrict margin) {
  for (int t = 0; t < T; ++t) margin[t] = label[t] == 1 ? -row[t] : row[t];
}

}  // namespace LOVASZ_LEVEL
