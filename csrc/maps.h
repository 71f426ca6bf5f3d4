// Softmax with label maps: mixtures of them, and smoothed labels.
//
// Of all classes but those that a map names q is the same number, so that both passes go as they go
// for hard labels: over all classes as if no map named them, and then over those that one does.
// Sums of predictions are left to soft_histogram.h and soft_backward.h, which have q of every
// class.
#pragma once

#include "soft_backward.h"
#include "soft_histogram.h"

namespace LOVASZ_LEVEL {

// Counts the errors of all classes, as if no map named them.
template <int T>
void add_unnamed(const float *__restrict h, const lovasz_inputs &inputs, int64_t size, float rest,
                 const float *__restrict inverse, const int64_t *fixed_weight,
                 lovasz_histograms &histograms) {
  const float bins = static_cast<float>(inputs.bins), discard = bins + 1.0f;
  if (rest == 0.0f) {
    add_negatives<T>(h, inputs.classes, size, bins, inverse, fixed_weight, histograms);
    return;
  }
  const int32_t side = static_cast<int32_t>(inputs.classes * histograms.row);
  for (int64_t c = 0; c < inputs.classes; ++c) {
    const float *__restrict row = h + c * padded<T>;
    alignas(64) int32_t at[T];
    for (int t = 0; t < T; ++t) {
      const float p = row[t] * row[t] * inverse[t];
      const bool under = is_under(p, rest);
      const float u = soft_position(p, 1.0f - p, rest, under, bins);
      at[t] = bin_of(u, discard) + (under ? side : 0);
    }
    add_cells<T>(at, c * histograms.row, size, fixed_weight, histograms);
  }
}

// Counts those of the classes that map k names and none before it; `own` is their h.
template <int T>
void add_named(const lovasz_inputs &inputs, const SoftLabels<T> &soft, int64_t k,
               const float *__restrict own, const float *__restrict inverse, int64_t size,
               const int64_t *fixed_weight, lovasz_histograms &histograms) {
  const float bins = static_cast<float>(inputs.bins), discard = bins + 1.0f;
  const int32_t row = static_cast<int32_t>(histograms.row);
  const int32_t side = static_cast<int32_t>(inputs.classes * histograms.row);
  const int32_t *__restrict label = soft.named_by(k), *__restrict first = soft.first_of(k);
  const float *__restrict q = soft.q_of(k);
  alignas(64) int32_t cell[T];
  for (int t = 0; t < T; ++t) {
    const float p = own[t] * own[t] * inverse[t];
    const bool under = is_under(p, q[t]);
    const float u = soft_position(p, 1.0f - p, q[t], under, bins);
    const int32_t found = label[t] * row + bin_of(u, discard) + (under ? side : 0);
    cell[t] = (first[t] != 0) & (label[t] >= 0) ? found : row - 1;  // which is read by nobody
  }
  add_cells<T>(cell, 0, size, fixed_weight, histograms);
}

// The sums of the labels. Four of a class in turn, because neighbours like to have the same label,
// and an addition has to wait for the one before it.
template <int T>
void add_map_sums(const lovasz_inputs &inputs, const SoftLabels<T> &soft, const float *times,
                  double *sums) {
  float *numbers = soft.numbers();
  const int64_t classes = inputs.classes;
  alignas(64) int32_t at[T];
  alignas(64) float summand[T];
  for (int64_t i = 0; i < 4 * classes; ++i) numbers[i] = 0.0f;
  for (int64_t k = 0; k < soft.maps; ++k) {
    const int32_t *__restrict label = soft.labels_of(k);
    const float *__restrict share = soft.shares_of(k);
    for (int t = 0; t < T; ++t) {
      at[t] = 4 * (label[t] < 0 ? 0 : label[t]);  // without a share
      summand[t] = times == nullptr ? share[t] : share[t] * times[t];
    }
    for (int t = 0; t < T; t += 4) {
      for (int i = 0; i < 4; ++i) numbers[at[t + i] + i] += summand[t + i];
    }
  }
  const double pixels = lane_sum<T>(times == nullptr ? soft.valid : times);
  for (int64_t c = 0; c < classes; ++c) {
    const float *own = numbers + 4 * c;
    const float raw = (own[0] + own[1]) + (own[2] + own[3]);
    add_label_total(raw, pixels, soft.kept(), soft.rest(), sums + c * LOVASZ_REGION_SUMS);
  }
}

// What rows have at the classes that maps name.
template <int T>
void take_named(const SoftLabels<T> &soft, const float *rows) {
  soft.find_named();
  alignas(64) int32_t at[T];
  for (int64_t k = 0; k < soft.maps; ++k) {
    places_in_rows<T>(soft.named_by(k), padded<T>, at);
    gather<T>(rows, at, soft.row_of(k));
  }
}

template <int T>
void map_histogram_tile(const lovasz_inputs &inputs, Rows x, int64_t image, int64_t pixel,
                        int64_t size, lovasz_histograms &histograms, const Scratch &scratch) {
  const SoftLabels<T> soft(inputs, image, pixel, size, scratch);
  alignas(64) float m[T], s[T], rest[T], weights[T], taken[T];
  alignas(64) int32_t at[T];
  float *h = scratch.a;
  maxima<T>(x, inputs.classes, m);
  exponentials<T>(x, inputs.classes, m, h, s);
  finish_lse<T>(inputs, soft.label, m, s, image, pixel, size, histograms, rest);
  const float *weight = weights_from(inputs, inputs.pixel_weight, image, 0, pixel);
  const float *times = times_of<T>(soft.valid, weight, size, weights);
  if (inputs.cross_entropy) {
    add_map_cross_entropy<T>(inputs, x, {m, rest}, soft, times, size, histograms.cross_entropy);
  }
  add_map_sums<T>(inputs, soft, times, histograms.regions);
  if (inputs.bins == 0) return;
  // An ignored pixel lands in `discard`, and so do classes that are named.
  for (int t = 0; t < T; ++t) s[t] = soft.label[t] == ignored ? no_number : 1.0f / s[t];
  take_named<T>(soft, h);
  for (int64_t k = 0; k < soft.maps; ++k) {
    const int32_t *label = soft.named_by(k);
    const float *own = soft.row_of(k);
    for (int t = 0; t < T; ++t) taken[t] = label[t] < 0 ? own[t] : infinity;
    places_in_rows<T>(label, padded<T>, at);
    scatter<T>(taken, at, h);
  }
  const int64_t *fixed_weight = weights_from(inputs, inputs.fixed_weight, image, 0, pixel);
  add_unnamed<T>(h, inputs, size, soft.rest(), s, fixed_weight, histograms);
  for (int64_t k = 0; k < soft.maps; ++k) {
    add_named<T>(inputs, soft, k, soft.row_of(k), s, size, fixed_weight, histograms);
  }
}

// p of all classes.
template <int T>
void map_probabilities(Rows x, int64_t classes, LogSumExp lse, float *p_out) {
  for (int64_t c = 0; c < classes; ++c) {
    const float *__restrict row = x.data + c * x.stride;
    float *__restrict p = p_out + c * padded<T>;
    x.prefetch(c);
    for (int t = 0; t < T; ++t) {
      const float h = exp_half(lse.log_probability(t, row[t]));
      p[t] = h * h;
    }
  }
}

// The slopes of all classes as if no map named them, and the sum of p times them.
template <int T>
void unnamed_slopes(const lovasz_inputs &inputs, const lovasz_slopes &slopes, float rest,
                    const float *__restrict p_rows, float *__restrict s_out,
                    float *__restrict sum) {
  const float bins = static_cast<float>(inputs.bins), last = bins - 1.0f;
  const int32_t side = static_cast<int32_t>(inputs.bins);
  for (int t = 0; t < T; ++t) sum[t] = 0.0f;
  for (int64_t c = 0; c < inputs.classes; ++c) {
    const float *__restrict p = p_rows + c * padded<T>;
    float *__restrict slope = s_out + c * padded<T>;
    const float factor = factor_of(slopes, c);
    alignas(64) int32_t at[T];
    if (rest == 0.0f) {
      for (int t = 0; t < T; ++t) at[t] = bin_of(bounded_position(p[t], 1.0f - p[t], bins), last);
      gather<T>(slopes.slopes + 2 * c * inputs.bins, at, slope);
      for (int t = 0; t < T; ++t) {
        slope[t] *= factor;
        sum[t] += p[t] * slope[t];
      }
      continue;
    }
    for (int t = 0; t < T; ++t) {
      const bool under = is_under(p[t], rest);
      const float u = soft_position(p[t], 1.0f - p[t], rest, under, bins);
      at[t] = bin_of(u, last) + (under ? side : 0);
    }
    gather<T>(slopes.slopes + 2 * c * inputs.bins, at, slope);
    for (int t = 0; t < T; ++t) {
      slope[t] *= is_under(p[t], rest) ? -factor : factor;
      sum[t] += p[t] * slope[t];
    }
  }
}

// Those of the classes that map k names, whose p is `own`. Where another map has named one before,
// they are the same.
template <int T>
void named_slopes(const lovasz_inputs &inputs, const lovasz_slopes &slopes,
                  const SoftLabels<T> &soft, int64_t k, const float *__restrict own, float *p_rows,
                  float *s_rows, float *__restrict sum) {
  const float bins = static_cast<float>(inputs.bins), last = bins - 1.0f;
  const int32_t row = static_cast<int32_t>(inputs.bins);
  const int32_t *__restrict named = soft.named_by(k), *__restrict first = soft.first_of(k);
  const float *__restrict q = soft.q_of(k);
  alignas(64) int32_t label[T], at[T], cell[T];
  alignas(64) float slope[T], factor[T];
  places_in_rows<T>(named, padded<T>, at);
  for (int t = 0; t < T; ++t) {
    label[t] = named[t] < 0 ? 0 : named[t];
    const bool under = is_under(own[t], q[t]);
    const float u = soft_position(own[t], 1.0f - own[t], q[t], under, bins);
    cell[t] = (2 * label[t] + (under ? 1 : 0)) * row + bin_of(u, last);
  }
  gather<T>(slopes.slopes, cell, slope);
  if (slopes.factors != nullptr) {
    gather<T>(slopes.factors, label, factor);
    for (int t = 0; t < T; ++t) slope[t] *= factor[t];
  }
  for (int t = 0; t < T; ++t) {
    slope[t] = is_under(own[t], q[t]) ? -slope[t] : slope[t];
    sum[t] += first[t] != 0 ? own[t] * slope[t] : 0.0f;
  }
  scatter<T>(own, at, p_rows);
  scatter<T>(slope, at, s_rows);
}

// The cross-entropy of label maps: what each of them takes from the class that it names, and what
// all classes have in common.
template <int T>
struct MapCrossEntropy {
  alignas(64) float common[T];
  float share;  // of label smoothing, for each unit of class weight

  // Takes the places of the shares of the maps.
  MapCrossEntropy(const lovasz_inputs &inputs, const SoftLabels<T> &soft, double total,
                  float scale) {
    share = scale * inputs.smoothing / static_cast<float>(inputs.classes);
    const float all = share * static_cast<float>(total), kept = scale * (1.0f - inputs.smoothing);
    for (int t = 0; t < T; ++t) common[t] = soft.valid[t] * all;
    for (int64_t k = 0; k < soft.maps; ++k) {
      const int32_t *label = soft.labels_of(k);
      const float *part = soft.shares_of(k);
      float *own = soft.row_of(k);
      for (int t = 0; t < T; ++t) {
        const float weight = class_weight(inputs, label[t] < 0 ? 0 : label[t]);
        own[t] = kept * weight * part[t];
        common[t] += own[t];
      }
    }
  }

  // Subtracts from the gradient of class c.
  void subtract(const lovasz_inputs &inputs, const SoftLabels<T> &soft, int64_t c,
                float *__restrict out) const {
    const float bias = share * class_weight(inputs, c);
    const int32_t own = static_cast<int32_t>(c);
    for (int64_t k = 0; k < soft.maps; ++k) {
      const int32_t *__restrict label = soft.labels_of(k);
      const float *__restrict part = soft.row_of(k);
      for (int t = 0; t < T; ++t) out[t] -= label[t] == own ? part[t] : 0.0f;
    }
    if (bias == 0.0f) return;
    for (int t = 0; t < T; ++t) out[t] -= bias * soft.valid[t];
  }
};

// `total` is the sum of the class weights of cross-entropy.
template <int T, class Out>
void map_backward_tile(const lovasz_inputs &inputs, Rows x, const lovasz_slopes &slopes,
                       double total, int64_t image, int64_t pixel, int64_t size,
                       const Scratch &scratch, const Out &out) {
  const SoftLabels<T> soft(inputs, image, pixel, size, scratch);
  float *p = scratch.a, *s = scratch.b;
  alignas(64) float most[T], rest[T], sum[T], nothing[T], times[T];
  alignas(64) int32_t at[T];
  const bool blank = load_lse<T>(inputs, soft.label, image, pixel, size, most, rest);
  map_probabilities<T>(x, inputs.classes, {most, rest}, p);
  for (int t = 0; t < T; ++t) nothing[t] = 0.0f;
  take_named<T>(soft, p);
  for (int64_t k = 0; k < soft.maps; ++k) {
    places_in_rows<T>(soft.named_by(k), padded<T>, at);
    scatter<T>(nothing, at, p);
  }
  unnamed_slopes<T>(inputs, slopes, soft.rest(), p, s, sum);
  for (int64_t k = 0; k < soft.maps; ++k) {
    named_slopes<T>(inputs, slopes, soft, k, soft.row_of(k), p, s, sum);
  }
  if (blank) blank_ignored<T>(inputs.classes, soft.label, p, s, sum);
  const float *weight = weights_from(inputs, inputs.pixel_weight, image, 0, pixel);
  const float *own_times = times_of<T>(soft.valid, weight, size, times);
  const auto store = [&](const MapCrossEntropy<T> *cross_entropy) {
    out.store(scratch.rows, [&](int64_t c, float *__restrict row) {
      const float *__restrict p_row = p + c * padded<T>;
      const float *__restrict s_row = s + c * padded<T>;
      for (int t = 0; t < T; ++t) row[t] = p_row[t] * (s_row[t] - sum[t]);
      if (cross_entropy != nullptr) cross_entropy->subtract(inputs, soft, c, row);
      if (own_times == nullptr) return;
      for (int t = 0; t < T; ++t) row[t] *= own_times[t];
    });
  };
  if (!inputs.cross_entropy) return store(nullptr);
  const MapCrossEntropy<T> cross_entropy(inputs, soft, total, slopes.cross_entropy_scale);
  for (int t = 0; t < T; ++t) sum[t] -= cross_entropy.common[t];
  store(&cross_entropy);
}

}  // namespace LOVASZ_LEVEL
