// Cross-entropy as torch defines it, from what the two passes hold anyway.
//
// Pixel i of class y adds (1 - e) w_y (lse - x_y) + e/C sum_c w_c (lse - x_c), with e the label
// smoothing, and w_y to the sum of weights.
#pragma once

#include "labels.h"
#include "tile.h"

namespace LOVASZ_LEVEL {

inline float entropy_weight(const lovasz_problem &problem, int64_t c) {
  return problem.entropy_weight == nullptr ? 1.0f : problem.entropy_weight[c];
}

inline double total_entropy_weight(const lovasz_problem &problem) {
  double total = 0.0;
  for (int64_t c = 0; c < problem.classes; ++c) total += entropy_weight(problem, c);
  return total;
}

// Adds the cross-entropies of a tile to sums[0] and their weights to sums[1].
template <int T>
void add_entropy(const lovasz_problem &problem, Rows x, const int32_t *label, const float *lse,
                 const float *pixel_weight, int64_t count, double *sums) {
  alignas(64) float smooth[T];
  const float share = problem.smoothing / static_cast<float>(problem.classes);
  if (problem.smoothing > 0.0f) {
    for (int t = 0; t < T; ++t) smooth[t] = 0.0f;
    for (int64_t c = 0; c < problem.classes; ++c) {
      const float w = share * entropy_weight(problem, c);
      const float *row = x.data + c * x.stride;
      for (int t = 0; t < T; ++t) smooth[t] += w * (lse[t] - row[t]);
    }
  }
  alignas(64) float times[T], surprise[T];
  load_weights<T>(label, pixel_weight, count, times);
  for (int t = 0; t < T; ++t) {
    const int64_t c = label[t] < 0 ? 0 : label[t];
    surprise[t] = (lse[t] - x.data[c * x.stride + t]) * entropy_weight(problem, c);
  }
  for (int t = 0; t < T; ++t) {
    const float smoothed = problem.smoothing > 0.0f ? smooth[t] : 0.0f;
    const float weighted = times[t] * ((1.0f - problem.smoothing) * surprise[t] + smoothed);
    surprise[t] = label[t] < 0 ? 0.0f : weighted;
  }
  sums[0] += sum_of<T>(surprise);
  if (problem.entropy_weight != nullptr) {
    for (int t = 0; t < T; ++t) times[t] *= problem.entropy_weight[label[t] < 0 ? 0 : label[t]];
  }
  sums[1] += sum_of<T>(times);
}

// The derivative by score c is p_c * common - [c = y] own - share * w_c, per pixel.
template <int T>
struct EntropySlopes {
  alignas(64) float common[T], own[T], valid[T];
  float share;  // for each unit of class weight

  EntropySlopes(const lovasz_problem &problem, double total, float scale, const int32_t *label) {
    share = scale * problem.smoothing / static_cast<float>(problem.classes);
    for (int t = 0; t < T; ++t) {
      valid[t] = label[t] < 0 ? 0.0f : 1.0f;
      own[t] = label[t] < 0
                   ? 0.0f
                   : scale * (1.0f - problem.smoothing) * entropy_weight(problem, label[t]);
      common[t] = valid[t] * (own[t] + share * static_cast<float>(total));
    }
  }
};

}  // namespace LOVASZ_LEVEL
