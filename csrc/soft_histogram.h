// The first pass for soft labels, and for the sums of hard ones.
#pragma once

#include "histogram.h"
#include "regions.h"
#include "soft.h"

namespace LOVASZ_LEVEL {

// The weights of pixels that count, 0 of others; null for ones.
template <int T>
const float *times_of(const float *valid, const float *weight, int64_t size, float *times) {
  if (weight == nullptr) return nullptr;
  for (int64_t t = 0; t < size; ++t) times[t] = valid[t] > 0.0f ? weight[t] : 0.0f;
  for (int64_t t = size; t < T; ++t) times[t] = 0.0f;
  return times;
}

// Counts the errors of a class, `complement` being 1 - p; `skip` is 0, or infinity where a pixel
// must not be counted.
template <int T>
void add_soft_cells(const lovasz_inputs &inputs, const float *__restrict p,
                    const float *__restrict complement, const float *__restrict q,
                    const float *__restrict skip, int64_t image, int64_t c, int64_t pixel,
                    int64_t size, lovasz_histograms &histograms) {
  const float bins = static_cast<float>(inputs.bins), discard = bins + 1.0f;
  // From negatives to positives.
  const int32_t side = static_cast<int32_t>(inputs.classes * histograms.row);
  alignas(64) int32_t at[T];
  for (int t = 0; t < T; ++t) {
    const bool under = is_under(p[t], q[t]);
    const float u = soft_position(p[t], complement[t], q[t], under, bins) + skip[t];
    at[t] = bin_of(u, discard) + (under ? side : 0);
  }
  const int64_t *fixed_weight = weights_from(inputs, inputs.fixed_weight, image, c, pixel);
  add_cells<T>(at, c * histograms.row, size, fixed_weight, histograms);
}

// The same for a class of a softmax, from h, and s which is no number where a pixel must not be
// counted: any other could have an error below 0.
template <int T>
void add_class_cells(const lovasz_inputs &inputs, const float *__restrict h,
                     const float *__restrict s, const float *__restrict q, int64_t c, int64_t size,
                     const int64_t *fixed_weight, lovasz_histograms &histograms) {
  const float bins = static_cast<float>(inputs.bins), discard = bins + 1.0f;
  const int32_t side = static_cast<int32_t>(inputs.classes * histograms.row);
  alignas(64) int32_t at[T];
  for (int t = 0; t < T; ++t) {
    const float p = h[t] * h[t] * s[t];
    const bool under = is_under(p, q[t]);
    const float u = soft_position(p, 1.0f - p, q[t], under, bins);
    at[t] = bin_of(u, discard) + (under ? side : 0);
  }
  add_cells<T>(at, c * histograms.row, size, fixed_weight, histograms);
}

// Adds those of class c to the cross-entropies of the pixels.
template <int T>
void add_class_nll(const lovasz_inputs &inputs, const float *__restrict score, LogSumExp lse,
                   const SoftLabels<T> &soft, int64_t c, float *__restrict nll) {
  const float weight = class_weight(inputs, c);
  const float kept = weight * (1.0f - inputs.smoothing);
  const float base = weight * inputs.smoothing / static_cast<float>(inputs.classes);
  for (int t = 0; t < T; ++t) {
    const float share = kept * soft.raw[t] + base * soft.valid[t];
    // Not 0 times infinity of a class that is masked.
    nll[t] -= share > 0.0f ? share * lse.log_probability(t, score[t]) : 0.0f;
  }
}

// Adds the cross-entropy of label maps to that of the chunk; `times` are weights of pixels.
template <int T>
void add_map_cross_entropy(const lovasz_inputs &inputs, Rows x, LogSumExp lse,
                           const SoftLabels<T> &soft, const float *times, int64_t size,
                           double *sums) {
  if (inputs.maps == 0) {
    add_cross_entropy<T>(inputs, x, soft.label, lse, times, size, sums);
    return;
  }
  for (int64_t k = 0; k < soft.maps; ++k) {
    alignas(64) float share[T];
    const float *own = soft.shares_of(k);
    for (int t = 0; t < T; ++t) share[t] = own[t] * (times == nullptr ? 1.0f : times[t]);
    double of_map[2] = {};
    add_cross_entropy<T>(inputs, x, soft.labels_of(k), lse, share, size, of_map);
    sums[0] += of_map[0];
  }
  sums[1] += sum_of<T>(times == nullptr ? soft.valid : times);
}

// The errors and sums of all classes of a softmax, of which h is the square root but for the
// factor s, which is no number where a pixel must not be counted.
template <int T>
void add_soft_classes(const lovasz_inputs &inputs, Rows x, LogSumExp lse, const float *h,
                      const float *__restrict s, SoftLabels<T> &soft, const float *times,
                      const int64_t *fixed_weight, int64_t size, float *nll,
                      lovasz_histograms &histograms) {
  const double pixels = lane_sum<T>(times == nullptr ? soft.valid : times);
  for (int64_t c = 0; c < inputs.classes; ++c) {
    const float *__restrict row = h + c * padded<T>;
    const float *q = soft.template of<true>(c);
    double *sums = histograms.regions + c * LOVASZ_REGION_SUMS;
    if (inputs.bins > 0) {
      add_class_cells<T>(inputs, row, s, q, c, size, fixed_weight, histograms);
    }
    if (inputs.regions) {
      alignas(64) float p[T];
      for (int t = 0; t < T; ++t) {
        const float value = s[t] == s[t] ? row[t] * row[t] * s[t] : 0.0f;
        p[t] = value < 1.0f ? value : 1.0f;
      }
      add_region_sums<T>(p, q, soft.raw, times, pixels, sums);
    } else {
      add_label_sums<T>(soft.raw, times, pixels, soft.kept(), soft.rest(), sums);
    }
    if (nll != nullptr) add_class_nll<T>(inputs, x.data + c * x.stride, lse, soft, c, nll);
  }
  histograms.bad_labels += soft.wrong();
}

// Softmax.
template <int T>
void soft_histogram_tile(const lovasz_inputs &inputs, Rows x, int64_t image, int64_t pixel,
                         int64_t size, lovasz_histograms &histograms, const Scratch &scratch) {
  SoftLabels<T> soft(inputs, image, pixel, size, scratch);
  alignas(64) float m[T], s[T], rest[T], weights[T], nll[T];
  maxima<T>(x, inputs.classes, m);
  exponentials<T>(x, inputs.classes, m, scratch.a, s);
  finish_lse<T>(inputs, soft.label, m, s, image, pixel, size, histograms, rest);
  for (int t = 0; t < T; ++t) {
    const bool counts = soft.valid[t] > 0.0f && s[t] >= 1.0f && s[t] <= largest;
    s[t] = counts ? 1.0f / s[t] : no_number;
    nll[t] = 0.0f;
  }
  const float *weight = weights_from(inputs, inputs.pixel_weight, image, 0, pixel);
  const int64_t *fixed_weight = weights_from(inputs, inputs.fixed_weight, image, 0, pixel);
  const float *times = times_of<T>(soft.valid, weight, size, weights);
  const bool dense_nll = inputs.cross_entropy && soft.maps == 0;
  const LogSumExp lse{m, rest};
  add_soft_classes<T>(inputs, x, lse, scratch.a, s, soft, times, fixed_weight, size,
                      dense_nll ? nll : nullptr, histograms);
  if (!inputs.cross_entropy) return;
  double *sums = histograms.cross_entropy;
  if (soft.maps > 0) return add_map_cross_entropy<T>(inputs, x, lse, soft, times, size, sums);
  if (times != nullptr) {
    for (int t = 0; t < T; ++t) nll[t] *= times[t];
  }
  sums[0] += sum_of<T>(nll);
  sums[1] += sum_of<T>(times == nullptr ? soft.valid : times);
}

// Adds the binary cross-entropies of a channel.
template <int T>
void add_soft_binary_cross_entropy(const float *__restrict nll_0, float *__restrict nll_1,
                                   const float *__restrict q, float positive_weight,
                                   const float *__restrict times, const float *__restrict valid,
                                   double *sums) {
  for (int t = 0; t < T; ++t) {
    const float rest = 1.0f - q[t], w = times[t];
    // Not 0 times infinity.
    const float of_0 = rest > 0.0f ? rest * nll_0[t] : 0.0f;
    const float of_1 = q[t] > 0.0f ? q[t] * (nll_1[t] * positive_weight) : 0.0f;
    nll_1[t] = valid[t] > 0.0f ? w * (of_0 + of_1) : 0.0f;
  }
  sums[0] += sum_of<T>(nll_1);
  sums[1] += sum_of<T>(times);
}

template <int T, int32_t Link>
void soft_histogram_channel(const lovasz_inputs &inputs, const float *row, SoftLabels<T> &soft,
                            int64_t image, int64_t c, int64_t pixel, int64_t size,
                            lovasz_histograms &histograms) {
  alignas(64) float p[T], complement[T], skip[T], weights[T], nll_0[T], nll_1[T];
  const float *q = soft.template of<true>(c);
  const float *weight = weights_from(inputs, inputs.pixel_weight, image, c, pixel);
  const float *times = times_of<T>(soft.valid, weight, size, weights);
  if (inputs.cross_entropy && !of_probabilities<Link>) {
    channel_probabilities<T, Link, true>(row, p, complement, nll_0, nll_1);
    add_soft_binary_cross_entropy<T>(nll_0, nll_1, q, class_weight(inputs, c),
                                     times == nullptr ? soft.valid : times, soft.valid,
                                     histograms.cross_entropy);
  } else {
    channel_probabilities<T, Link, false>(row, p, complement, nullptr, nullptr);
  }
  int32_t invalid = 0;
  for (int t = 0; t < T; ++t) {
    const bool counts = soft.valid[t] > 0.0f;
    invalid += counts & uncountable<Link>(row[t], row[t]);
    p[t] = counts ? p[t] : 0.0f;
    skip[t] = counts ? 0.0f : infinity;
  }
  histograms.invalid += invalid;
  if (inputs.bins > 0) {
    add_soft_cells<T>(inputs, p, complement, q, skip, image, c, pixel, size, histograms);
  }
  const double pixels = lane_sum<T>(times == nullptr ? soft.valid : times);
  add_region_sums<T>(p, q, soft.raw, times, pixels, histograms.regions + c * LOVASZ_REGION_SUMS);
}

template <int T, int32_t Link>
void soft_histogram_channels_tile(const lovasz_inputs &inputs, Rows x, int64_t image, int64_t pixel,
                                  int64_t size, lovasz_histograms &histograms,
                                  const Scratch &scratch) {
  SoftLabels<T> soft(inputs, image, pixel, size, scratch);
  for (int64_t c = 0; c < inputs.classes; ++c) {
    x.prefetch(c);
    soft_histogram_channel<T, Link>(inputs, x.data + c * x.stride, soft, image, c, pixel, size,
                                    histograms);
  }
  histograms.bad_labels += soft.wrong();
}

}  // namespace LOVASZ_LEVEL
