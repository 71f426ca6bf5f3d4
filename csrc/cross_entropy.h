// Cross-entropy as torch defines it, from what the two passes hold anyway.
//
// With softmax, pixel i of class y adds (1 - e) w_y (lse - x_y) + e/C sum_c w_c (lse - x_c), with e
// the label smoothing, and w_y to the sum of weights. Multilabel has the binary cross-entropy,
// where w_c is the weight of the positives of channel c.
#pragma once

#include "errors.h"
#include "labels.h"
#include "tile.h"

namespace LOVASZ_LEVEL {

inline float class_weight(const lovasz_inputs &inputs, int64_t c) {
  return inputs.class_weight == nullptr ? 1.0f : inputs.class_weight[c];
}

inline double total_class_weight(const lovasz_inputs &inputs) {
  double total = 0.0;
  for (int64_t c = 0; c < inputs.classes; ++c) total += class_weight(inputs, c);
  return total;
}

// Adds the cross-entropies of a tile to sums[0] and their weights to sums[1].
template <int T>
void add_cross_entropy(const lovasz_inputs &inputs, Rows x, const int32_t *label, LogSumExp lse,
                       const float *pixel_weight, int64_t size, double *sums) {
  alignas(64) float smooth[T];
  const float share = inputs.smoothing / static_cast<float>(inputs.classes);
  if (inputs.smoothing > 0.0f) {
    for (int t = 0; t < T; ++t) smooth[t] = 0.0f;
    for (int64_t c = 0; c < inputs.classes; ++c) {
      const float w = share * class_weight(inputs, c);
      const float *row = x.data + c * x.stride;
      for (int t = 0; t < T; ++t) smooth[t] -= w * lse.log_probability(t, row[t]);
    }
  }
  alignas(64) float times[T], nll[T];
  load_weights<T>(label, pixel_weight, size, times);
  for (int t = 0; t < T; ++t) {
    const int64_t c = label[t] < 0 ? 0 : label[t];
    nll[t] = -lse.log_probability(t, x.data[c * x.stride + t]) * class_weight(inputs, c);
  }
  for (int t = 0; t < T; ++t) {
    const float smoothed = inputs.smoothing > 0.0f ? smooth[t] : 0.0f;
    const float weighted = times[t] * ((1.0f - inputs.smoothing) * nll[t] + smoothed);
    nll[t] = label[t] < 0 ? 0.0f : weighted;
  }
  sums[0] += sum_of<T>(nll);
  if (inputs.class_weight != nullptr) {
    for (int t = 0; t < T; ++t) times[t] *= inputs.class_weight[label[t] < 0 ? 0 : label[t]];
  }
  sums[1] += sum_of<T>(times);
}

// The derivative by score c is p_c * common - [c = y] own - share * w_c, per pixel.
template <int T>
struct CrossEntropySlopes {
  alignas(64) float common[T], own[T], valid[T];
  float share;  // for each unit of class weight

  CrossEntropySlopes(const lovasz_inputs &inputs, double total, float scale, const int32_t *label) {
    share = scale * inputs.smoothing / static_cast<float>(inputs.classes);
    for (int t = 0; t < T; ++t) {
      valid[t] = label[t] < 0 ? 0.0f : 1.0f;
      own[t] =
          label[t] < 0 ? 0.0f : scale * (1.0f - inputs.smoothing) * class_weight(inputs, label[t]);
      common[t] = valid[t] * (own[t] + share * static_cast<float>(total));
    }
  }
};

// log(1 + exp(margin)), the binary cross-entropy.
inline float softplus(float margin) {
  const float h = exp_half(margin < 0.0f ? margin : -margin);
  return (margin > 0.0f ? margin : 0.0f) + log_one_plus(h * h);
}

// Adds those of a channel, `nll`, which are overwritten.
template <int T>
void add_binary_cross_entropy(float *__restrict nll, const int32_t *__restrict label,
                              float positive_weight, const float *pixel_weight, int64_t size,
                              double *sums) {
  alignas(64) float times[T];
  load_weights<T>(label, pixel_weight, size, times);
  for (int t = 0; t < T; ++t) {
    const float weighted = times[t] * (nll[t] * (label[t] == 1 ? positive_weight : 1.0f));
    nll[t] = label[t] < 0 ? 0.0f : weighted;
  }
  sums[0] += sum_of<T>(nll);
  sums[1] += sum_of<T>(times);
}

}  // namespace LOVASZ_LEVEL
