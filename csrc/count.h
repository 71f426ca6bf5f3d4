// The first pass: softmax, errors, bins, histograms.
#pragma once

#include "entropy.h"
#include "kernels.h"
#include "labels.h"
#include "table.h"
#include "tile.h"

namespace LOVASZ_LEVEL {

// Maxima over the classes. A NaN may be passed over here: it stays in the sum.
template <int T>
void maxima(Rows x, int64_t classes, float *__restrict m) {
  for (int t = 0; t < T; ++t) m[t] = x.data[t];
  for (int64_t c = 1; c < classes; ++c) {
    const float *__restrict row = x.data + c * x.stride;
    for (int t = 0; t < T; ++t) m[t] = row[t] > m[t] ? row[t] : m[t];
  }
}

// h = exp((x - m) / 2) and s = sum of h^2.
template <int T>
void exponentials(Rows x, int64_t classes, const float *__restrict m, float *__restrict h,
                  float *__restrict s) {
  for (int t = 0; t < T; ++t) s[t] = 0.0f;
  for (int64_t c = 0; c < classes; ++c) {
    const float *__restrict row = x.data + c * x.stride;
    float *__restrict out = h + c * padded<T>;
    x.ahead.fetch(c);
    for (int t = 0; t < T; ++t) {
      const float e = exp_half(row[t] - m[t]);
      out[t] = e;
      s[t] += e * e;
    }
  }
}

// Adds the bins of all the classes, as if every pixel were a negative of each.
template <int T>
void count_negatives(const float *__restrict h, int64_t classes, int64_t count, float discard,
                     const float *__restrict linear, const float *__restrict square,
                     const int64_t *mass, lovasz_table &table) {
  for (int64_t c = 0; c < classes; ++c) {
    const float *__restrict row = h + c * padded<T>;
    alignas(64) int32_t bin[T];
    for (int t = 0; t < T; ++t) {
      const float u = row[t] * (linear[t] + square[t] * row[t]);
      bin[t] = static_cast<int32_t>(u < discard ? u : discard);  // NaN: discard
    }
    add_cells<T>(bin, c * table.row, count, mass, table);
  }
}

// Log-sum-exp, cross-entropy, and what is wrong with pixels.
template <int T>
void finish_pixels(const lovasz_problem &problem, Rows x, const int32_t *label, const float *m,
                   const float *s, int64_t image, int64_t pixel, int64_t count,
                   lovasz_table &table) {
  alignas(64) float lse[T];
  for (int t = 0; t < T; ++t) lse[t] = m[t] + log_positive(s[t]);
  float *lse_out = problem.lse + image * problem.length + pixel;
  int64_t invalid = 0, bad_labels = 0;
  for (int64_t t = 0; t < count; ++t) {
    // s is at least 1 unless there is no largest score: NaN, +inf, or -inf everywhere.
    const bool number = s[t] >= 1.0f && s[t] <= largest;
    lse_out[t] = number ? lse[t] : __builtin_nanf("");
    invalid += label[t] != ignored && !number;
    bad_labels += label[t] == outside;
  }
  if (problem.entropy) {
    const float *weight = weights_from(problem, problem.pixel_weight, image, 0, pixel);
    add_entropy<T>(problem, x, label, lse, weight, count, table.entropy);
  }
  table.invalid += invalid;
  table.bad_labels += bad_labels;
}

// Adds the positives by their bins, `discard` for what must not be counted.
template <int T>
void count_positives(const int32_t *__restrict label, const int32_t *__restrict bin,
                     int64_t classes, int64_t count, const int64_t *mass, lovasz_table &table) {
  const uint32_t row = static_cast<uint32_t>(table.row);
  alignas(64) uint32_t cell[T];  // the last of a row is read by nobody
  for (int t = 0; t < T; ++t) {
    const uint32_t counted = static_cast<uint32_t>(label[t]) * row + static_cast<uint32_t>(bin[t]);
    cell[t] = label[t] < 0 ? row - 1 : counted;
  }
  add_cells<T>(cell, classes * table.row, count, mass, table);
}

template <int T>
void count_tile(const lovasz_problem &problem, Rows x, int64_t image, int64_t pixel, int64_t count,
                lovasz_table &table, float *h) {
  const int64_t classes = problem.classes;
  const float bins = static_cast<float>(problem.bins);
  const float discard = bins + 1.0f;
  alignas(64) int32_t label[T], at[T], positive_bin[T];
  alignas(64) float m[T], s[T], linear[T], square[T], own[T], taken[T];

  load_labels<T>(problem, image, pixel, count, label);
  maxima<T>(x, classes, m);
  exponentials<T>(x, classes, m, h, s);

  finish_pixels<T>(problem, x, label, m, s, image, pixel, count, table);

  // u * B for p = h^2 / s, as h * (linear + square * h); an ignored pixel lands in `discard`.
  for (int t = 0; t < T; ++t) {
    const float inverse = label[t] == ignored ? infinity : 1.0f / s[t];
    linear[t] = 0.75f * bins * __builtin_sqrtf(inverse);
    square[t] = 0.25f * bins * inverse;
  }
  // Positives are taken out of the negatives by an h that lands in `discard` as well.
  places_in_rows<T>(label, padded<T>, at);
  look_up<T>(h, at, own);
  for (int t = 0; t < T; ++t) taken[t] = label[t] < 0 ? own[t] : infinity;
  scatter<T>(taken, at, h);
  const int64_t *mass = weights_from(problem, problem.pixel_mass, image, 0, pixel);
  count_negatives<T>(h, classes, count, discard, linear, square, mass, table);

  for (int t = 0; t < T; ++t) {
    float error = 1.0f - own[t] * own[t] / s[t];
    error = error > 0.0f ? error : 0.0f;
    const float u = (3.0f * __builtin_sqrtf(error) + error) * (0.25f * bins);
    positive_bin[t] = static_cast<int32_t>(u < discard ? u : discard);
  }
  count_positives<T>(label, positive_bin, classes, count, mass, table);
}

}  // namespace LOVASZ_LEVEL
