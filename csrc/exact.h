// The exact method's two passes over the scores: errors of every pixel and class, which sort.cpp
// turns into slopes in place, and the gradient from these.
#pragma once

#include "channels.h"
#include "count.h"
#include "push.h"

namespace LOVASZ_LEVEL {

// Errors in [0, 1] as bits: the sign marks a positive, all ones an ignored pixel.
template <int T>
void errors_tile(const lovasz_problem &problem, Rows x, int64_t image, int64_t pixel, int64_t count,
                 lovasz_table &table, float *h, uint32_t *errors) {
  const int64_t classes = problem.classes;
  alignas(64) int32_t label[T];
  alignas(64) float m[T], s[T];
  load_labels<T>(problem, image, pixel, count, label);
  maxima<T>(x, classes, m);
  exponentials<T>(x, classes, m, h, s);
  finish_pixels<T>(problem, x, label, m, s, image, pixel, count, table);
  for (int t = 0; t < T; ++t) s[t] = 1.0f / s[t];
  uint32_t *out = errors + image * classes * problem.length + pixel;
  for (int64_t c = 0; c < classes; ++c) {
    const float *__restrict row = h + c * padded<T>;
    uint32_t *__restrict out_row = out + c * problem.length;
    const int32_t own = static_cast<int32_t>(c);
    alignas(64) uint32_t bits[T];
    for (int t = 0; t < T; ++t) {
      float p = row[t] * row[t] * s[t];
      p = p < 1.0f ? p : 1.0f;  // NaN: 1, its pixel is reported
      const uint32_t positive = static_cast<uint32_t>(as_bits(1.0f - p)) | 0x80000000u;
      const uint32_t negative = static_cast<uint32_t>(as_bits(p));
      const uint32_t value = label[t] == own ? positive : negative;
      bits[t] = label[t] == ignored ? 0xffffffffu : value;
    }
    if (count == T) {
      for (int t = 0; t < T; ++t) out_row[t] = bits[t];
    } else {
      for (int64_t t = 0; t < count; ++t) out_row[t] = bits[t];
    }
  }
}

// The same for channels, whose errors may be any that are not negative.
template <int T, int32_t Link>
void channel_errors_tile(const lovasz_problem &problem, Rows x, int64_t image, int64_t pixel,
                         int64_t count, lovasz_table &table, uint32_t *errors) {
  for (int64_t c = 0; c < problem.classes; ++c) {
    alignas(64) int32_t label[T];
    alignas(64) float toward[T];
    alignas(64) uint32_t bits[T];
    x.ahead.fetch(c);
    load_channel_labels<T>(problem, image, c, pixel, count, label);
    turn<T>(x.data + c * x.stride, label, toward);
    int32_t invalid = 0, bad_labels = 0;
    for (int t = 0; t < T; ++t) {
      // A NaN is told from the score: what the hinge makes of it is a number.
      const float error = error_of<Link>(toward[t]);
      const bool number = toward[t] == toward[t] && error < infinity;
      const uint32_t value = static_cast<uint32_t>(as_bits(number ? error : 0.0f));
      bits[t] = label[t] == ignored ? 0xffffffffu : value | (label[t] == 1 ? 0x80000000u : 0u);
      invalid += (label[t] != ignored) & !number;
      bad_labels += label[t] == outside;
    }
    table.invalid += invalid;
    table.bad_labels += bad_labels;
    uint32_t *out = errors + (image * problem.classes + c) * problem.length + pixel;
    memcpy(out, bits, static_cast<size_t>(count) * sizeof *bits);
  }
}

// As `negative_slopes` and `positive_slopes`, from slopes (C, L) by pixel.
template <int T>
void slopes_by_pixel(Rows x, const lovasz_problem &problem, const int32_t *__restrict label,
                     const float *__restrict lse, const lovasz_slopes &slopes, int64_t pixel,
                     int64_t count, float *__restrict p_out, float *__restrict s_out,
                     float *__restrict sum) {
  for (int t = 0; t < T; ++t) sum[t] = 0.0f;
  for (int64_t c = 0; c < problem.classes; ++c) {
    const float *__restrict row = x.data + c * x.stride;
    const float *__restrict slope = slopes.slopes + c * problem.length + pixel;
    const float factor = slopes.factor(c);
    float *__restrict p_row = p_out + c * padded<T>;
    float *__restrict s_row = s_out + c * padded<T>;
    const int32_t own = static_cast<int32_t>(c);
    x.ahead.fetch(c);
    if (count == T) {
      for (int t = 0; t < T; ++t) s_row[t] = slope[t];
    } else {
      for (int64_t t = 0; t < T; ++t) s_row[t] = t < count ? slope[t] : 0.0f;
    }
    for (int t = 0; t < T; ++t) {
      const float h = exp_half(row[t] - lse[t]);
      const float s = label[t] == own ? -s_row[t] * factor : s_row[t] * factor;
      p_row[t] = h * h;
      s_row[t] = s;
      sum[t] += h * h * s;
    }
  }
}

template <int T, class Score>
void push_exact_tile(const lovasz_problem &problem, Rows x, const lovasz_slopes &slopes,
                     const lovasz_scores &gradient, int64_t image, int64_t pixel, int64_t count,
                     const Scratch &scratch) {
  float *p = scratch.a, *s = scratch.b;
  alignas(64) int32_t label[T];
  alignas(64) float lse[T], sum[T];
  load_labels<T>(problem, image, pixel, count, label);
  const bool blank = load_lse<T>(problem, label, image, pixel, count, lse);
  slopes_by_pixel<T>(x, problem, label, lse, slopes, pixel, count, p, s, sum);
  if (blank) blank_ignored<T>(problem.classes, label, p, s, sum);
  store_gradient<T, false, Score>(problem, gradient, image, pixel, count, scratch,
                                  {p, s, sum, label, nullptr, nullptr});
}

template <int T, class Score, int32_t Link>
void push_exact_channels_tile(const lovasz_problem &problem, Rows x, const lovasz_slopes &slopes,
                              const lovasz_scores &gradient, int64_t image, int64_t pixel,
                              int64_t count, const Scratch &scratch) {
  store_channels<T, Score>(problem, gradient, image, pixel, count, scratch,
                           [&](int64_t c, float *out) {
                             const float *slope = slopes.slopes + c * problem.length + pixel;
                             const float factor = slopes.factor(c);
                             alignas(64) int32_t label[T];
                             alignas(64) float toward[T];
                             x.ahead.fetch(c);
                             load_channel_labels<T>(problem, image, c, pixel, count, label);
                             turn<T>(x.data + c * x.stride, label, toward);
                             for (int64_t t = 0; t < count; ++t) {
                               const float pushed = slope[t] * factor * rate_of<Link>(toward[t]);
                               out[t] = label[t] < 0 ? 0.0f : label[t] == 1 ? -pushed : pushed;
                             }
                             for (int64_t t = count; t < T; ++t) out[t] = 0.0f;
                           });
}

}  // namespace LOVASZ_LEVEL
