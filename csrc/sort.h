// The first pass of the sort: errors of every pixel and class as keys, which sort.cpp turns into
// slopes in place.
#pragma once

#include "histogram.h"

namespace LOVASZ_LEVEL {

constexpr uint32_t ignored_key = 0xffffffffu, positive_bit = 0x80000000u;

// A pixel that counts nothing is as one that is ignored.
template <class Value>
inline void drop_weightless(const int64_t *fixed_weight, int64_t size, Value none, Value *values) {
  if (fixed_weight == nullptr) return;
  for (int64_t t = 0; t < size; ++t) values[t] = fixed_weight[t] == 0 ? none : values[t];
}

// Errors in [0, 1] as bits: the sign marks a positive, all ones an ignored pixel.
template <int T>
void keys_tile(const lovasz_inputs &inputs, Rows x, int64_t image, int64_t pixel, int64_t size,
               lovasz_histograms &histograms, float *h, uint32_t *keys) {
  const int64_t classes = inputs.classes;
  alignas(64) int32_t label[T];
  alignas(64) float m[T], s[T];
  load_labels<T>(inputs, image, pixel, size, label);
  maxima<T>(x, classes, m);
  exponentials<T>(x, classes, m, h, s);
  finish_pixels<T>(inputs, x, label, m, s, image, pixel, size, histograms);
  drop_weightless(weights_from(inputs, inputs.fixed_weight, image, 0, pixel), size, ignored, label);
  for (int t = 0; t < T; ++t) s[t] = 1.0f / s[t];
  uint32_t *out = keys + image * classes * inputs.length + pixel;
  for (int64_t c = 0; c < classes; ++c) {
    const float *__restrict row = h + c * padded<T>;
    uint32_t *__restrict out_row = out + c * inputs.length;
    const int32_t own = static_cast<int32_t>(c);
    alignas(64) uint32_t bits[T];
    for (int t = 0; t < T; ++t) {
      float p = row[t] * row[t] * s[t];
      p = p < 1.0f ? p : 1.0f;  // NaN: 1, its pixel is reported
      const uint32_t positive = static_cast<uint32_t>(as_bits(1.0f - p)) | positive_bit;
      const uint32_t negative = static_cast<uint32_t>(as_bits(p));
      const uint32_t value = label[t] == own ? positive : negative;
      bits[t] = label[t] == ignored ? ignored_key : value;
    }
    if (size == T) {
      for (int t = 0; t < T; ++t) out_row[t] = bits[t];
    } else {
      for (int64_t t = 0; t < size; ++t) out_row[t] = bits[t];
    }
  }
}

// Channels: the same, of errors that may be any that are not negative.
template <int T, int32_t Link>
void channel_keys_tile(const lovasz_inputs &inputs, Rows x, int64_t image, int64_t pixel,
                       int64_t size, lovasz_histograms &histograms, uint32_t *keys) {
  const ChannelLabels<T, Link> labels(inputs, image, pixel, size);
  for (int64_t c = 0; c < inputs.classes; ++c) {
    const float *row = x.data + c * x.stride;
    alignas(64) int32_t label[T];
    alignas(64) float margin[T];
    alignas(64) uint32_t bits[T];
    x.prefetch(c);
    labels.of(c, label);
    margins<T, Link>(row, label, margin);
    int32_t invalid = 0, bad_labels = 0;
    for (int t = 0; t < T; ++t) {
      const float error = error_of<Link>(margin[t]);
      const bool number = !unsortable<Link>(row[t], margin[t], error);
      const uint32_t value = static_cast<uint32_t>(as_bits(number ? error : 0.0f));
      bits[t] = label[t] == ignored ? ignored_key : value | (label[t] == 1 ? positive_bit : 0u);
      invalid += (label[t] != ignored) & !number;
      bad_labels += label[t] == outside;
    }
    histograms.invalid += invalid;
    histograms.bad_labels += bad_labels;
    const int64_t *weight = weights_from(inputs, inputs.fixed_weight, image, c, pixel);
    drop_weightless(weight, size, ignored_key, bits);
    uint32_t *out = keys + (image * inputs.classes + c) * inputs.length + pixel;
    memcpy(out, bits, static_cast<size_t>(size) * sizeof *bits);
  }
}

}  // namespace LOVASZ_LEVEL
