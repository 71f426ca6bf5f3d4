// Channels that are sets of their own: the two passes, channel by channel.
#pragma once

#include "kernels.h"
#include "labels.h"
#include "table.h"
#include "tile.h"

namespace LOVASZ_LEVEL {

constexpr float largest_error = 65535.0f;  // that is counted, where errors have no bound

// Everything is a function of the score times -1 where the label is 1: it grows with the error.
template <int32_t Link>
inline float error_of(float toward) {
  const float a = 1.0f + toward;
  if (Link == LOVASZ_HINGE) return a > 0.0f ? a : 0.0f;
  if (Link == LOVASZ_ELU) {
    const float h = exp_half(a < 0.0f ? a : 0.0f);
    return a > 0.0f ? a + 1.0f : h * h;
  }
  const float h = exp_half(toward < 0.0f ? toward : -toward);
  const float e = h * h;
  return (toward < 0.0f ? e : 1.0f) / (1.0f + e);
}

// Derivative of the error.
template <int32_t Link>
inline float rate_of(float toward) {
  const float a = 1.0f + toward;
  if (Link == LOVASZ_HINGE) return a > 0.0f ? 1.0f : 0.0f;
  const float exponent = Link == LOVASZ_ELU ? a : toward;
  const float h = exp_half(exponent < 0.0f ? exponent : -exponent);
  const float e = h * h;
  if (Link == LOVASZ_ELU) return a > 0.0f ? 1.0f : e;
  return e / ((1.0f + e) * (1.0f + e));
}

// Where among the bins an error lies; both passes have to agree.
template <int32_t Link>
inline float position_of(float error, float bins) {
  if (Link == LOVASZ_SIGMOID) return (3.0f * __builtin_sqrtf(error) + error) * (0.25f * bins);
  constexpr float log2e = 1.4426950408889634f;
  const float logarithm = log2e * log_positive(1.0f + error);
  return error > 0.0f ? 1.0f + logarithm * ((bins - 1.0f) / 16.0f) : 0.0f;
}

template <int32_t Link>
inline bool no_number(float toward) {
  if (Link == LOVASZ_SIGMOID) return toward != toward;
  return !(1.0f + toward + (Link == LOVASZ_ELU ? 1.0f : 0.0f) < largest_error);
}

// log(1 + exp(toward)), the binary cross-entropy.
inline float softplus(float toward) {
  const float h = exp_half(toward < 0.0f ? toward : -toward);
  return (toward > 0.0f ? toward : 0.0f) + log_one_plus(h * h);
}

inline float sigmoid(float toward) { return error_of<LOVASZ_SIGMOID>(toward); }

inline float positive_weight(const lovasz_problem &problem, int64_t c) {
  return problem.entropy_weight == nullptr ? 1.0f : problem.entropy_weight[c];
}

// The scores of a channel with the sign of their labels.
template <int T>
void turn(const float *__restrict row, const int32_t *__restrict label, float *__restrict toward) {
  for (int t = 0; t < T; ++t) toward[t] = label[t] == 1 ? -row[t] : row[t];
}

// Bins of the errors, those of positives `side` further on, and with Entropy the binary
// cross-entropy of each pixel: in one loop, so that one exponential serves both.
template <int T, int32_t Link, bool Entropy>
void channel_bins(const float *__restrict toward, const int32_t *__restrict label, float bins,
                  int32_t side, int32_t *__restrict at, float *__restrict surprise) {
  const float discard = bins + 1.0f;
  for (int t = 0; t < T; ++t) {
    const float u = position_of<Link>(error_of<Link>(toward[t]), bins);
    const float kept = label[t] >= 0 && u < discard ? u : discard;
    at[t] = static_cast<int32_t>(kept) + (label[t] == 1 ? side : 0);
    if (Entropy) surprise[t] = softplus(toward[t]);
  }
}

template <int T>
void add_channel_entropy(float *__restrict surprise, const int32_t *__restrict label, float own,
                         const float *weight, int64_t count, double *sums) {
  alignas(64) float times[T];
  load_weights<T>(label, weight, count, times);
  for (int t = 0; t < T; ++t) {
    const float weighted = times[t] * (surprise[t] * (label[t] == 1 ? own : 1.0f));
    surprise[t] = label[t] < 0 ? 0.0f : weighted;
  }
  sums[0] += sum_of<T>(surprise);
  sums[1] += sum_of<T>(times);
}

template <int T, int32_t Link>
void count_channel(const lovasz_problem &problem, const float *row, int64_t image, int64_t c,
                   int64_t pixel, int64_t count, lovasz_table &table) {
  const float bins = static_cast<float>(problem.bins);
  const int32_t side =
      static_cast<int32_t>(problem.classes * table.row);  // from negatives to positives
  alignas(64) int32_t label[T], at[T];
  alignas(64) float toward[T];
  load_channel_labels<T>(problem, image, c, pixel, count, label);
  turn<T>(row, label, toward);
  if (problem.entropy) {
    alignas(64) float surprise[T];
    channel_bins<T, Link, true>(toward, label, bins, side, at, surprise);
    const float *weight = weights_from(problem, problem.pixel_weight, image, c, pixel);
    add_channel_entropy<T>(surprise, label, positive_weight(problem, c), weight, count,
                           table.entropy);
  } else {
    channel_bins<T, Link, false>(toward, label, bins, side, at, nullptr);
  }
  int32_t invalid = 0, bad_labels = 0;
  for (int t = 0; t < T; ++t) {
    invalid += (label[t] != ignored) & no_number<Link>(toward[t]);
    bad_labels += label[t] == outside;
  }
  table.invalid += invalid;
  table.bad_labels += bad_labels;
  const int64_t *mass = weights_from(problem, problem.pixel_mass, image, c, pixel);
  add_cells<T>(at, c * table.row, count, mass, table);
}

// The gradient of a channel, T floats.
template <int T, int32_t Link>
void push_channel(const lovasz_problem &problem, const float *row, const lovasz_slopes &slopes,
                  int64_t image, int64_t c, int64_t pixel, int64_t count, float *__restrict out) {
  const float bins = static_cast<float>(problem.bins), last = bins - 1.0f;
  alignas(64) int32_t label[T], at[T];
  alignas(64) float toward[T], error[T], rate[T], slope[T];
  load_channel_labels<T>(problem, image, c, pixel, count, label);
  turn<T>(row, label, toward);
  // In one loop, so that one exponential serves them all.
  for (int t = 0; t < T; ++t) {
    error[t] = error_of<Link>(toward[t]);
    rate[t] = rate_of<Link>(toward[t]);
    const float u = position_of<Link>(error[t], bins);
    const int32_t bin = static_cast<int32_t>(u < last ? u : last);  // NaN: last
    at[t] = bin + (label[t] == 1 ? static_cast<int32_t>(problem.bins) : 0);
  }
  look_up<T>(slopes.slopes + 2 * c * problem.bins, at, slope);
  const float factor = slopes.factor(c);
  for (int t = 0; t < T; ++t) {
    const float pushed = slope[t] * factor * rate[t];
    out[t] = label[t] == 1 ? -pushed : pushed;
  }
  if (problem.entropy) {
    const float scale = slopes.entropy_scale, own = scale * positive_weight(problem, c);
    for (int t = 0; t < T; ++t) {
      const float missed = Link == LOVASZ_SIGMOID ? error[t] : sigmoid(toward[t]);
      out[t] += label[t] == 1 ? -own * missed : scale * missed;
    }
  }
  const float *weight = weights_from(problem, problem.pixel_weight, image, c, pixel);
  for (int64_t t = 0; weight != nullptr && t < count; ++t) out[t] *= weight[t];
  for (int t = 0; t < T; ++t) out[t] = label[t] < 0 ? 0.0f : out[t];
}

// The rows of the working memory may hold the scores, which are read until the last channel.
template <int T, class Score, class Push>
void store_channels(const lovasz_problem &problem, const lovasz_scores &gradient, int64_t image,
                    int64_t pixel, int64_t count, const Scratch &scratch, Push push) {
  store_tile<T, Score>(problem, gradient, image, pixel, count, scratch.a, scratch.strip, push);
}

template <int T, class Score, int32_t Link>
void push_channels_tile(const lovasz_problem &problem, Rows x, const lovasz_slopes &slopes,
                        const lovasz_scores &gradient, int64_t image, int64_t pixel, int64_t count,
                        const Scratch &scratch) {
  store_channels<T, Score>(
      problem, gradient, image, pixel, count, scratch, [&](int64_t c, float *out) {
        x.ahead.fetch(c);
        push_channel<T, Link>(problem, x.data + c * x.stride, slopes, image, c, pixel, count, out);
      });
}

template <int T, int32_t Link>
void count_channels_tile(const lovasz_problem &problem, Rows x, int64_t image, int64_t pixel,
                         int64_t count, lovasz_table &table) {
  for (int64_t c = 0; c < problem.classes; ++c) {
    x.ahead.fetch(c);
    count_channel<T, Link>(problem, x.data + c * x.stride, image, c, pixel, count, table);
  }
}

}  // namespace LOVASZ_LEVEL
