// Tiles: T pixels of one image, with all their classes, small enough to stay in cache.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "convert.h"
#include "lovasz.h"

namespace LOVASZ_LEVEL {

// Rows of T floats, one for each class, at `data + c * stride`.
struct Rows {
  const float *data;
  ptrdiff_t stride;
};

template <class Score>
inline const Score *score_address(const lovasz_scores &scores, int64_t image, int64_t pixel) {
  return static_cast<const Score *>(scores.data) + image * scores.image_stride +
         pixel * scores.pixel_stride;
}

template <int T, class Score>
void load_rows(const Score *source, int64_t stride, int64_t classes, int64_t count, float *buffer) {
  for (int64_t c = 0; c < classes; ++c) {
    const Score *row = source + c * stride;
    float *out = buffer + c * T;
    if (count == T) {
      for (int t = 0; t < T; ++t) out[t] = widen(row[t]);
    } else {
      for (int64_t t = 0; t < count; ++t) out[t] = widen(row[t]);
      for (int64_t t = count; t < T; ++t) out[t] = 0.0f;
    }
  }
}

template <int T, class Score>
void load_columns(const Score *source, int64_t stride, int64_t classes, int64_t count,
                  float *buffer) {
  for (int64_t c = 0; c < classes; ++c) {
    float *out = buffer + c * T;
    const Score *column = source + c;
    for (int64_t t = 0; t < count; ++t) out[t] = widen(column[t * stride]);
    for (int64_t t = count; t < T; ++t) out[t] = 0.0f;
  }
}

// The scores of a tile as rows of floats: in place where they lie so already, else in `buffer`.
template <int T, class Score>
Rows load_tile(const lovasz_problem &problem, int64_t image, int64_t pixel, int64_t count,
               float *buffer) {
  const lovasz_scores &scores = problem.scores;
  const Score *source = score_address<Score>(scores, image, pixel);
  if (scores.pixel_stride == 1) {
    load_rows<T>(source, scores.class_stride, problem.classes, count, buffer);
  } else {
    load_columns<T>(source, scores.pixel_stride, problem.classes, count, buffer);
  }
  return Rows{buffer, T};
}

template <int T>
Rows load_tile_float(const lovasz_problem &problem, int64_t image, int64_t pixel, int64_t count,
                     float *buffer) {
  const lovasz_scores &scores = problem.scores;
  if (scores.pixel_stride == 1 && count == T) {
    return Rows{score_address<float>(scores, image, pixel),
                static_cast<ptrdiff_t>(scores.class_stride)};
  }
  return load_tile<T, float>(problem, image, pixel, count, buffer);
}
}  // namespace LOVASZ_LEVEL
