// The second pass: from slopes to the gradient of the scores.
#pragma once

#include "entropy.h"
#include "kernels.h"
#include "labels.h"
#include "tile.h"

namespace LOVASZ_LEVEL {

// p and the slope s of every class as if the pixel were a negative of each, and the sum of p * s
// over the classes of which it is one. Subtracting the positive later would cost the digits that
// matter where p is near 1.
template <int T>
void negative_slopes(Rows x, int64_t classes, int64_t bins, const int32_t *__restrict label,
                     const float *__restrict lse, const lovasz_slopes &slopes,
                     float *__restrict p_out, float *__restrict s_out, float *__restrict sum) {
  const float linear = 0.75f * static_cast<float>(bins);
  const float square = 0.25f * static_cast<float>(bins);
  const float last = static_cast<float>(bins - 1);
  for (int t = 0; t < T; ++t) sum[t] = 0.0f;
  for (int64_t c = 0; c < classes; ++c) {
    const float *__restrict row = x.data + c * x.stride;
    const float *__restrict slope = slopes.slopes + 2 * c * bins;
    const float factor = slopes.factor(c);
    float *__restrict p_row = p_out + c * padded<T>;
    float *__restrict s_row = s_out + c * padded<T>;
    alignas(64) int32_t bin[T];
    x.ahead.fetch(c);
    for (int t = 0; t < T; ++t) {
      const float h = exp_half(row[t] - lse[t]);
      const float u = h * (linear + square * h);
      bin[t] = static_cast<int32_t>(u < last ? u : last);
      p_row[t] = h * h;
    }
    look_up<T>(slope, bin, s_row);
    const int32_t own = static_cast<int32_t>(c);
    for (int t = 0; t < T; ++t) {
      s_row[t] *= factor;
      sum[t] += label[t] == own ? 0.0f : p_row[t] * s_row[t];
    }
  }
}

// The same for the class that the pixel belongs to. Of an ignored pixel, whose p is 0, any class
// will do.
template <int T>
void positive_slopes(const int32_t *label, int64_t bins, const lovasz_slopes &slopes,
                     const float *p, float *s, float *sum) {
  const float last = static_cast<float>(bins - 1);
  const uint32_t row = static_cast<uint32_t>(bins);
  alignas(64) int32_t own[T], at[T];
  alignas(64) uint32_t cell[T];
  alignas(64) float own_p[T], slope[T], factor[T];
  places_in_rows<T>(label, padded<T>, at);
  look_up<T>(p, at, own_p);
  for (int t = 0; t < T; ++t) {
    own[t] = label[t] < 0 ? 0 : label[t];
    float error = 1.0f - own_p[t];
    error = error > 0.0f ? error : 0.0f;
    const float u = (3.0f * __builtin_sqrtf(error) + error) * (0.25f * static_cast<float>(bins));
    const int32_t bin = static_cast<int32_t>(u < last ? u : last);
    cell[t] = (2 * static_cast<uint32_t>(own[t]) + 1) * row + static_cast<uint32_t>(bin);
  }
  look_up<T>(slopes.slopes, cell, slope);
  if (slopes.factors != nullptr) {
    look_up<T>(slopes.factors, own, factor);
    for (int t = 0; t < T; ++t) slope[t] *= factor[t];
  }
  for (int t = 0; t < T; ++t) {
    slope[t] = -slope[t];
    sum[t] += label[t] < 0 ? 0.0f : own_p[t] * slope[t];
  }
  scatter<T>(slope, at, s);
}

// The gradient of one class: p * (s - sum), and what cross-entropy adds, row by row.
template <int T, bool Entropy>
inline float gradient_at(int t, const float *p, const float *s, const float *sum,
                         const int32_t *label, int32_t c, const EntropySlopes<T> *entropy,
                         float bias) {
  const float lovasz = p[t] * (s[t] - sum[t]);
  if (!Entropy) return lovasz;
  return lovasz - (label[t] == c ? entropy->own[t] : 0.0f) - bias * entropy->valid[t];
}

template <int T>
struct PushedTile {
  const float *p, *s;  // (C, padded)
  const float *sum;    // (T)
  const int32_t *label;
  const EntropySlopes<T> *entropy;  // null without cross-entropy
  const float *weight;              // (T), of the pixels, or null for ones
};

template <int T, bool Entropy>
void gradient_row(const lovasz_problem &problem, const PushedTile<T> &tile, int64_t c,
                  float *__restrict out) {
  const float *__restrict p = tile.p + c * padded<T>;
  const float *__restrict s = tile.s + c * padded<T>;
  const float *__restrict sum = tile.sum;
  const int32_t *__restrict label = tile.label;
  const EntropySlopes<T> *__restrict entropy = tile.entropy;
  const float bias = Entropy ? entropy->share * entropy_weight(problem, c) : 0.0f;
  const int32_t own = static_cast<int32_t>(c);
  for (int t = 0; t < T; ++t) {
    out[t] = gradient_at<T, Entropy>(t, p, s, sum, label, own, entropy, bias);
  }
  if (tile.weight == nullptr) return;
  for (int t = 0; t < T; ++t) out[t] *= tile.weight[t];
}

template <int T, bool Entropy, class Score>
void store_gradient(const lovasz_problem &problem, const lovasz_scores &gradient, int64_t image,
                    int64_t pixel, int64_t count, const Scratch &scratch,
                    const PushedTile<T> &tile) {
  store_tile<T, Score>(
      problem, gradient, image, pixel, count, scratch.rows, scratch.strip,
      [&](int64_t c, float *out) { gradient_row<T, Entropy>(problem, tile, c, out); });
}

// Log-sum-exp of the pixels, +inf where ignored, so that p is 0; true if some are to be blanked,
// because they have scores that are no numbers.
template <int T>
bool load_lse(const lovasz_problem &problem, const int32_t *label, int64_t image, int64_t pixel,
              int64_t count, float *lse) {
  const float *lse_in = problem.lse + image * problem.length + pixel;
  fetch_after(lse_in, T);
  for (int64_t t = count; t < T; ++t) lse[t] = 0.0f;
  memcpy(lse, lse_in, static_cast<size_t>(count) * sizeof *lse);
  int32_t blank = 0;
  for (int t = 0; t < T; ++t) {
    const bool number = lse[t] >= -largest && lse[t] <= largest;
    blank |= (label[t] == ignored) & !number;
    lse[t] = label[t] == ignored ? infinity : lse[t];
  }
  return blank != 0;
}

// Zeros for ignored pixels that hold NaN.
template <int T>
void blank_ignored(int64_t classes, const int32_t *label, float *p, float *s, float *sum) {
  for (int64_t c = 0; c < classes; ++c) {
    for (int t = 0; t < T; ++t) {
      if (label[t] != ignored) continue;
      p[c * padded<T> + t] = s[c * padded<T> + t] = sum[t] = 0.0f;
    }
  }
}

template <int T, class Score>
void push_tile(const lovasz_problem &problem, Rows x, const lovasz_slopes &slopes, double total,
               const lovasz_scores &gradient, int64_t image, int64_t pixel, int64_t count,
               const Scratch &scratch) {
  float *p = scratch.a, *s = scratch.b;
  alignas(64) int32_t label[T];
  alignas(64) float lse[T], sum[T];
  load_labels<T>(problem, image, pixel, count, label);
  const bool blank = load_lse<T>(problem, label, image, pixel, count, lse);
  negative_slopes<T>(x, problem.classes, problem.bins, label, lse, slopes, p, s, sum);
  positive_slopes<T>(label, problem.bins, slopes, p, s, sum);
  if (blank) blank_ignored<T>(problem.classes, label, p, s, sum);
  alignas(64) float times[T];
  const float *weight = nullptr;
  if (problem.pixel_weight != nullptr) {
    load_weights<T>(label, weights_from(problem, problem.pixel_weight, image, 0, pixel), count,
                    times);
    weight = times;
  }
  if (problem.entropy) {
    const EntropySlopes<T> entropy(problem, total, slopes.entropy_scale, label);
    for (int t = 0; t < T; ++t) sum[t] -= entropy.common[t];
    store_gradient<T, true, Score>(problem, gradient, image, pixel, count, scratch,
                                   {p, s, sum, label, &entropy, weight});
  } else {
    store_gradient<T, false, Score>(problem, gradient, image, pixel, count, scratch,
                                    {p, s, sum, label, nullptr, weight});
  }
}

}  // namespace LOVASZ_LEVEL
