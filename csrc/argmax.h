// Labels of scores without a loss: the class with the largest score of each pixel, or for each
// channel whether its score is above 0. A line for each class may make the scores others before.
#pragma once

#include "kernels.h"
#include "memory.h"
#include "tile.h"
#include "vector_math.h"

namespace LOVASZ_LEVEL {

template <class Label>
void store_labels(const int32_t *found, int64_t size, Label *out, bool past_caches) {
  alignas(64) Label labels[lovasz_tile_pixels];
  for (int64_t t = 0; t < size; ++t) labels[t] = static_cast<Label>(found[t]);
  stream_store(labels, size, out, past_caches);
}

inline void store_labels(const lovasz_inputs &inputs, const lovasz_labels &labels,
                         const int32_t *found, int64_t at, int64_t size) {
  if (labels.narrow) {
    store_labels(found, size, static_cast<uint8_t *>(labels.data) + at,
                 larger_than_caches<uint8_t>(inputs));
  } else {
    store_labels(found, size, static_cast<int64_t *>(labels.data) + at,
                 larger_than_caches<int64_t>(inputs));
  }
}

struct Line {
  float factor, offset;

  Line(const lovasz_inputs &inputs, const lovasz_labels &labels, int64_t c)
      : factor(labels.lines == nullptr ? 1.0f : labels.lines[c]),
        offset(labels.lines == nullptr ? 0.0f : labels.lines[inputs.classes + c]) {}
  float operator()(float score) const { return factor * score + offset; }
};

// The first of several that are equal; -1 where one is NaN.
template <int T>
void argmax_tile(const lovasz_inputs &inputs, Rows x, int64_t image, int64_t pixel, int64_t size,
                 const lovasz_labels &labels) {
  alignas(64) float most[T];
  alignas(64) int32_t best[T], number[T];
  for (int t = 0; t < T; ++t) {
    most[t] = -infinity;
    best[t] = 0;
    number[t] = 1;
  }
  for (int64_t c = 0; c < inputs.classes; ++c) {
    x.prefetch(c);
    const float *__restrict row = x.data + c * x.stride;
    const Line line(inputs, labels, c);
    const int32_t own = static_cast<int32_t>(c);
    for (int t = 0; t < T; ++t) {
      const float score = line(row[t]);
      // By bits: compilers make a branch of a choice.
      const int32_t larger = -static_cast<int32_t>(score > most[t]);
      best[t] ^= (best[t] ^ own) & larger;
      number[t] &= static_cast<int32_t>(row[t] == row[t]);
      most[t] = score > most[t] ? score : most[t];
    }
  }
  for (int t = 0; t < T; ++t) best[t] = number[t] ? best[t] : -1;
  store_labels(inputs, labels, best, image * inputs.length + pixel, size);
}

// 1 above 0, 0 elsewhere, and -1 where a score is NaN.
template <int T>
void above_tile(const lovasz_inputs &inputs, Rows x, int64_t image, int64_t pixel, int64_t size,
                const lovasz_labels &labels) {
  for (int64_t c = 0; c < inputs.classes; ++c) {
    x.prefetch(c);
    const float *__restrict row = x.data + c * x.stride;
    const Line line(inputs, labels, c);
    alignas(64) int32_t found[T];
    for (int t = 0; t < T; ++t) {
      found[t] = static_cast<int32_t>(line(row[t]) > 0.0f) - static_cast<int32_t>(row[t] != row[t]);
    }
    store_labels(inputs, labels, found, (image * inputs.classes + c) * inputs.length + pixel, size);
  }
}

}  // namespace LOVASZ_LEVEL
