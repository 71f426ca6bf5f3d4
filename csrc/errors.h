// From scores to errors, and to the bin in which an error is counted. Both passes have to agree on
// the bin, so this is the one place that knows it.
//
// Where classes do not share a softmax, everything is a function of the margin: the score, times -1
// where the label is 1, so that it grows with the error. Of a probability, which is kept in [0, 1],
// the sign alone tells the error, 1 - p of -p and p of p, also of 0.
#pragma once

#include "lovasz.h"
#include "vector_math.h"

namespace LOVASZ_LEVEL {

constexpr float largest_error = 65535.0f;  // that is counted, where errors have no bound
constexpr float tolerance = 1e-2f;  // by which probabilities may leave [0, 1], from their rounding

template <int32_t Link>
constexpr bool of_probabilities =
    Link == LOVASZ_PROBABILITIES || Link == LOVASZ_CHANNEL_PROBABILITIES;
template <int32_t Link>
constexpr bool unbounded = Link == LOVASZ_HINGE || Link == LOVASZ_ELU;

// The fourth root, linear between powers of two: the logarithm of a float, which is exponent and
// mantissa, is divided by four. Of what rounding has carried below 0 it is next to 0.
inline float fourth_root(float value) { return as_float((as_bits(value) >> 2) + 0x2fa00000); }

// Where among the bins an error in [0, 1] lies, as in src/lovasz/core/bins.py, from t: the error,
// or where it is folded 1 less the error. `complement` is that difference for whoever has both, and
// may have more digits than were left of it.
inline float folded_position(float t, bool folded, float bins) {
  const float place = (2.25f * t + fourth_root(t)) * (0.25f * bins);
  return folded ? bins - place : place;
}
inline float bounded_position(float error, float complement, float bins) {
  return folded_position(error < complement ? error : complement, !(error < complement), bins);
}

// And for an error of any size: bin 0 for 0, then by the mean of e / (e + 4) and of the logarithm
// of e and 1/64, of which 22 powers of two are counted, linear between them as well.
inline float unbounded_position(float error, float bins) {
  constexpr float offset = 0.015625f, octave = 1.1920929e-7f / 22.0f;
  const float octaves = octave * static_cast<float>(as_bits(error + offset) - as_bits(offset));
  const float place = 1.0f + (error / (error + 4.0f) + octaves) * (0.5f * (bins - 1.0f));
  return error > 0.0f ? place : 0.0f;
}

// The log-sum-exp of the pixels of a tile, in two parts: of a score that is nearly as large as it
// is the difference has all digits, and 1 less its probability has them too.
struct LogSumExp {
  const float *most, *rest;
  float log_probability(int t, float score) const { return (score - most[t]) - rest[t]; }
};

// Soft labels: whether the prediction is below the label, so that it is counted with the positives;
// of a label of 1 it always is, as it is of a hard one.
inline bool is_under(float p, float q) { return (p < q) | (q >= 1.0f); }

// Where the error |p - q| lies, with `complement` as 1 - p. Both differences have the digits that
// they have of hard labels, whose counts are these to the bit.
inline float soft_position(float p, float complement, float q, bool under, float bins) {
  const float shift = under ? 1.0f - q : q;
  const float error = (under ? complement : p) - shift;
  return bounded_position(error, (under ? p : complement) + shift, bins);
}

// The bin of a position, `last` for those beyond it and for NaN.
inline int32_t bin_of(float position, float last) {
  return static_cast<int32_t>(position < last ? position : last);
}

// 1 / (1 + exp(size)), which has all of its digits however small it is; for sizes from 0 on.
inline float sigmoid_of_minus(float size) {
  const float h = exp_half(-size), e = h * h;
  return e / (1.0f + e);
}

template <int32_t Link>
inline float error_of(float margin) {
  if (of_probabilities<Link>) return as_bits(margin) < 0 ? 1.0f + margin : margin;
  const float a = 1.0f + margin;
  if (Link == LOVASZ_HINGE) return a > 0.0f ? a : 0.0f;
  if (Link == LOVASZ_ELU) {
    const float h = exp_half(a < 0.0f ? a : 0.0f);
    return a > 0.0f ? a + 1.0f : h * h;
  }
  const float t = sigmoid_of_minus(margin < 0.0f ? -margin : margin);
  return margin < 0.0f ? t : 1.0f - t;
}

// Derivative of the error by the margin.
template <int32_t Link>
inline float derivative_of(float margin) {
  if (of_probabilities<Link>) return 1.0f;
  const float a = 1.0f + margin;
  if (Link == LOVASZ_HINGE) return a > 0.0f ? 1.0f : 0.0f;
  const float exponent = Link == LOVASZ_ELU ? a : margin;
  const float h = exp_half(exponent < 0.0f ? exponent : -exponent);
  const float e = h * h;
  if (Link == LOVASZ_ELU) return a > 0.0f ? 1.0f : e;
  return e / ((1.0f + e) * (1.0f + e));
}

// Where among the bins the error lies.
template <int32_t Link>
inline float position_of(float margin, float bins) {
  if (unbounded<Link>) return unbounded_position(error_of<Link>(margin), bins);
  if (of_probabilities<Link>) {
    const float p = __builtin_fabsf(margin), other = 1.0f - p;
    const bool positive = as_bits(margin) < 0;
    return bounded_position(positive ? other : p, positive ? p : other, bins);
  }
  return folded_position(sigmoid_of_minus(margin < 0.0f ? -margin : margin), !(margin < 0.0f),
                         bins);
}

// Whether a score has no error that can be counted.
template <int32_t Link>
inline bool uncountable(float score, float margin) {
  if (of_probabilities<Link>) return !(score >= -tolerance && score <= 1.0f + tolerance);
  if (Link == LOVASZ_SIGMOID) return margin != margin;
  return !(1.0f + margin + (Link == LOVASZ_ELU ? 1.0f : 0.0f) < largest_error);
}

// Whether it has none that can be sorted. A NaN is told from the score: what the hinge makes of it
// is a number.
template <int32_t Link>
inline bool unsortable(float score, float margin, float error) {
  if (of_probabilities<Link>) return uncountable<Link>(score, margin);
  return !(margin == margin && error < infinity);
}

inline float sigmoid(float margin) { return error_of<LOVASZ_SIGMOID>(margin); }

// A NaN, which is reported, becomes 0.
inline float in_range(float p) { return p > 0.0f ? (p < 1.0f ? p : 1.0f) : 0.0f; }

// The margins of a channel.
template <int T, int32_t Link>
void margins(const float *__restrict row, const int32_t *__restrict label,
             float *__restrict margin) {
  for (int t = 0; t < T; ++t) {
    const float score = of_probabilities<Link> ? in_range(row[t]) : row[t];
    margin[t] = label[t] == 1 ? -score : score;
  }
}

}  // namespace LOVASZ_LEVEL
