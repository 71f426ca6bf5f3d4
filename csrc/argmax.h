// The class with the largest score of each pixel.
#pragma once

#include "kernels.h"
#include "tile.h"

namespace LOVASZ_LEVEL {

template <class Label>
void store_labels(const int32_t *best, int64_t size, Label *out) {
  for (int64_t t = 0; t < size; ++t) out[t] = static_cast<Label>(best[t]);
}

// The first of several that are equal; -1 where one is NaN.
template <int T>
void argmax_tile(const lovasz_inputs &inputs, Rows x, int64_t image, int64_t pixel, int64_t size,
                 const lovasz_labels &labels) {
  alignas(64) float most[T];
  alignas(64) int32_t best[T], number[T];
  for (int t = 0; t < T; ++t) {
    most[t] = x.data[t];
    best[t] = 0;
    number[t] = x.data[t] == x.data[t];
  }
  for (int64_t c = 1; c < inputs.classes; ++c) {
    const float *__restrict row = x.data + c * x.stride;
    const int32_t own = static_cast<int32_t>(c);
    for (int t = 0; t < T; ++t) {
      // By bits: compilers make a branch of a choice.
      const int32_t larger = -static_cast<int32_t>(row[t] > most[t]);
      best[t] ^= (best[t] ^ own) & larger;
      number[t] &= static_cast<int32_t>(row[t] == row[t]);
    }
    for (int t = 0; t < T; ++t) most[t] = row[t] > most[t] ? row[t] : most[t];
  }
  for (int t = 0; t < T; ++t) best[t] = number[t] ? best[t] : -1;
  const int64_t at = image * inputs.length + pixel;
  if (labels.narrow) {
    store_labels(best, size, static_cast<uint8_t *>(labels.data) + at);
  } else {
    store_labels(best, size, static_cast<int64_t *>(labels.data) + at);
  }
}

}  // namespace LOVASZ_LEVEL
