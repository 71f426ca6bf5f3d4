// The first pass: scores to errors, errors to bins, bins to histograms.
#pragma once

#include "cross_entropy.h"
#include "errors.h"
#include "kernels.h"
#include "labels.h"
#include "tile.h"

namespace LOVASZ_LEVEL {

// Counts the pixels of a tile, each in the cell `at` behind `first`. Past the end of a tile all are
// ignored, so that their cells are read by nobody; weights are there for `size` pixels alone.
template <int T, class Index>
inline void add_cells(const Index *at, int64_t first, int64_t size, const int64_t *fixed_weight,
                      lovasz_histograms &histograms) {
  if (fixed_weight != nullptr) {
    int64_t *weighted = histograms.weighted + first;
    for (int64_t t = 0; t < size; ++t) weighted[at[t]] += fixed_weight[t];
    return;
  }
  // Two histograms in turn, because neighbours like to share a cell and an increment has to wait
  // for the one before it.
  uint32_t *counts = histograms.negatives + first, *others = counts + histograms.half;
  for (int t = 0; t < T; t += 2) {
    ++counts[at[t]];
    ++others[at[t + 1]];
  }
}

// Maxima over the classes. A NaN may be passed over here: it stays in the sum.
template <int T>
void maxima(Rows x, int64_t classes, float *__restrict m) {
  for (int t = 0; t < T; ++t) m[t] = x.data[t];
  for (int64_t c = 1; c < classes; ++c) {
    const float *__restrict row = x.data + c * x.stride;
    for (int t = 0; t < T; ++t) m[t] = row[t] > m[t] ? row[t] : m[t];
  }
}

// h = exp((x - m) / 2), unless it is null and not kept, and s = sum of h^2.
template <int T, bool Keep = true>
void exponentials(Rows x, int64_t classes, const float *__restrict m, float *__restrict h,
                  float *__restrict s) {
  for (int t = 0; t < T; ++t) s[t] = 0.0f;
  for (int64_t c = 0; c < classes; ++c) {
    const float *__restrict row = x.data + c * x.stride;
    float *__restrict out = Keep ? h + c * padded<T> : nullptr;
    x.prefetch(c);
    for (int t = 0; t < T; ++t) {
      const float e = exp_half(row[t] - m[t]);
      if (Keep) out[t] = e;
      s[t] += e * e;
    }
  }
}

// Adds the bins of all the classes, as if every pixel were a negative of each.
template <int T>
void add_negatives(const float *__restrict h, int64_t classes, int64_t size, float bins,
                   const float *__restrict inverse, const int64_t *fixed_weight,
                   lovasz_histograms &histograms) {
  const float discard = bins + 1.0f;
  for (int64_t c = 0; c < classes; ++c) {
    const float *__restrict row = h + c * padded<T>;
    alignas(64) int32_t bin[T];
    for (int t = 0; t < T; ++t) {
      const float p = row[t] * row[t] * inverse[t];
      bin[t] = bin_of(bounded_position(p, 1.0f - p, bins), discard);
    }
    add_cells<T>(bin, c * histograms.row, size, fixed_weight, histograms);
  }
}

// Log-sum-exp, of which `rest` is what it is more than the maximum, and what is wrong with pixels.
template <int T>
void finish_lse(const lovasz_inputs &inputs, const int32_t *label, const float *m, const float *s,
                int64_t image, int64_t pixel, int64_t size, lovasz_histograms &histograms,
                float *rest) {
  for (int t = 0; t < T; ++t) rest[t] = log_positive(s[t]);
  double *lse_out = inputs.lse + image * inputs.length + pixel;
  int64_t invalid = 0, bad_labels = 0;
  for (int64_t t = 0; t < size; ++t) {
    // s is at least 1 unless there is no largest score: NaN, +inf, or -inf everywhere.
    const bool number = s[t] >= 1.0f && s[t] <= largest;
    const double lse = static_cast<double>(m[t]) + static_cast<double>(rest[t]);
    lse_out[t] = number ? lse : __builtin_nan("");
    invalid += label[t] != ignored && !number;
    bad_labels += label[t] == outside;
  }
  histograms.invalid += invalid;
  histograms.bad_labels += bad_labels;
}

// The same, and the cross-entropy.
template <int T>
void finish_pixels(const lovasz_inputs &inputs, Rows x, const int32_t *label, const float *m,
                   const float *s, int64_t image, int64_t pixel, int64_t size,
                   lovasz_histograms &histograms) {
  alignas(64) float rest[T];
  finish_lse<T>(inputs, label, m, s, image, pixel, size, histograms, rest);
  if (!inputs.cross_entropy) return;
  const float *weight = weights_from(inputs, inputs.pixel_weight, image, 0, pixel);
  add_cross_entropy<T>(inputs, x, label, {m, rest}, weight, size, histograms.cross_entropy);
}

// A cross-entropy alone: nothing is counted.
template <int T>
void cross_entropy_tile(const lovasz_inputs &inputs, Rows x, int64_t image, int64_t pixel,
                        int64_t size, lovasz_histograms &histograms) {
  alignas(64) int32_t label[T];
  alignas(64) float m[T], s[T];
  load_labels<T>(inputs, image, pixel, size, label);
  maxima<T>(x, inputs.classes, m);
  exponentials<T, false>(x, inputs.classes, m, nullptr, s);
  finish_pixels<T>(inputs, x, label, m, s, image, pixel, size, histograms);
}

// Adds the positives by their bins, `discard` for what must not be counted.
template <int T>
void add_positives(const int32_t *__restrict label, const int32_t *__restrict bin, int64_t classes,
                   int64_t size, const int64_t *fixed_weight, lovasz_histograms &histograms) {
  const uint32_t row = static_cast<uint32_t>(histograms.row);
  alignas(64) uint32_t cell[T];  // the last of a row is read by nobody
  for (int t = 0; t < T; ++t) {
    const uint32_t own = static_cast<uint32_t>(label[t]) * row + static_cast<uint32_t>(bin[t]);
    cell[t] = label[t] < 0 ? row - 1 : own;
  }
  add_cells<T>(cell, classes * histograms.row, size, fixed_weight, histograms);
}

template <int T>
void histogram_tile(const lovasz_inputs &inputs, Rows x, int64_t image, int64_t pixel, int64_t size,
                    lovasz_histograms &histograms, float *h) {
  const int64_t classes = inputs.classes;
  const float bins = static_cast<float>(inputs.bins);
  const float discard = bins + 1.0f;
  alignas(64) int32_t label[T], at[T], positive_bin[T];
  alignas(64) float m[T], s[T], inverse[T], own[T], taken[T];

  load_labels<T>(inputs, image, pixel, size, label);
  maxima<T>(x, classes, m);
  exponentials<T>(x, classes, m, h, s);

  finish_pixels<T>(inputs, x, label, m, s, image, pixel, size, histograms);

  // An ignored pixel lands in `discard`.
  for (int t = 0; t < T; ++t) {
    inverse[t] = label[t] == ignored ? infinity : 1.0f / s[t];
  }
  // Positives are taken out of the negatives by an h that lands in `discard` as well.
  places_in_rows<T>(label, padded<T>, at);
  gather<T>(h, at, own);
  for (int t = 0; t < T; ++t) taken[t] = label[t] < 0 ? own[t] : infinity;
  scatter<T>(taken, at, h);
  const int64_t *fixed_weight = weights_from(inputs, inputs.fixed_weight, image, 0, pixel);
  add_negatives<T>(h, classes, size, bins, inverse, fixed_weight, histograms);

  for (int t = 0; t < T; ++t) {
    const float p = own[t] * own[t] * inverse[t];
    positive_bin[t] = bin_of(bounded_position(1.0f - p, p, bins), discard);
  }
  add_positives<T>(label, positive_bin, classes, size, fixed_weight, histograms);
}

// Channels: bins of the errors, those of positives `side` further on, and with CrossEntropy the
// binary cross-entropy of each pixel: in one loop, so that one exponential serves both.
template <int T, int32_t Link, bool CrossEntropy>
void channel_bins(const float *__restrict margin, const int32_t *__restrict label, float bins,
                  int32_t side, int32_t *__restrict at, float *__restrict nll) {
  const float discard = bins + 1.0f;
  for (int t = 0; t < T; ++t) {
    const float u = position_of<Link>(margin[t], bins);
    at[t] = bin_of(label[t] >= 0 ? u : discard, discard) + (label[t] == 1 ? side : 0);
    if (CrossEntropy) nll[t] = softplus(margin[t]);
  }
}

template <int T, int32_t Link>
void histogram_channel(const lovasz_inputs &inputs, const float *row,
                       const int32_t *__restrict label, int64_t image, int64_t c, int64_t pixel,
                       int64_t size, lovasz_histograms &histograms) {
  const float bins = static_cast<float>(inputs.bins);
  // From negatives to positives.
  const int32_t side = static_cast<int32_t>(inputs.classes * histograms.row);
  alignas(64) int32_t at[T];
  alignas(64) float margin[T];
  margins<T, Link>(row, label, margin);
  if (!of_probabilities<Link> && inputs.cross_entropy) {
    alignas(64) float nll[T];
    channel_bins<T, Link, true>(margin, label, bins, side, at, nll);
    const float *weight = weights_from(inputs, inputs.pixel_weight, image, c, pixel);
    add_binary_cross_entropy<T>(nll, label, class_weight(inputs, c), weight, size,
                                histograms.cross_entropy);
  } else {
    channel_bins<T, Link, false>(margin, label, bins, side, at, nullptr);
  }
  int32_t invalid = 0, bad_labels = 0;
  for (int t = 0; t < T; ++t) {
    invalid += (label[t] != ignored) & uncountable<Link>(row[t], margin[t]);
    bad_labels += label[t] == outside;
  }
  histograms.invalid += invalid;
  histograms.bad_labels += bad_labels;
  if (inputs.bins == 0) return;  // the cross-entropy alone
  const int64_t *fixed_weight = weights_from(inputs, inputs.fixed_weight, image, c, pixel);
  add_cells<T>(at, c * histograms.row, size, fixed_weight, histograms);
}

template <int T, int32_t Link>
void histogram_channels_tile(const lovasz_inputs &inputs, Rows x, int64_t image, int64_t pixel,
                             int64_t size, lovasz_histograms &histograms) {
  const ChannelLabels<T, Link> labels(inputs, image, pixel, size);
  for (int64_t c = 0; c < inputs.classes; ++c) {
    alignas(64) int32_t label[T];
    labels.of(c, label);
    x.prefetch(c);
    histogram_channel<T, Link>(inputs, x.data + c * x.stride, label, image, c, pixel, size,
                               histograms);
  }
}

}  // namespace LOVASZ_LEVEL
