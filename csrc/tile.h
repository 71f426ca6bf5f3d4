// Tiles: T pixels of one image, with all their classes, small enough to stay in cache.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "convert.h"
#include "kernels.h"

namespace LOVASZ_LEVEL {

// Rows of T floats, one for each class, at `data + c * stride`.
struct Rows {
  const float *data;
  ptrdiff_t stride;
};

template <int T>
constexpr ptrdiff_t padded = T + lovasz_padding;

template <class Score>
inline const Score *score_address(const lovasz_scores &scores, int64_t image, int64_t pixel) {
  return static_cast<const Score *>(scores.data) + image * scores.image_stride +
         pixel * scores.pixel_stride;
}

template <int T, class Score>
void load_rows(const Score *source, int64_t stride, int64_t classes, int64_t count, float *buffer) {
  for (int64_t c = 0; c < classes; ++c) {
    const Score *row = source + c * stride;
    float *out = buffer + c * padded<T>;
    if (count == T) {
      for (int t = 0; t < T; ++t) out[t] = widen(row[t]);
    } else {
      for (int64_t t = 0; t < count; ++t) out[t] = widen(row[t]);
      for (int64_t t = count; t < T; ++t) out[t] = 0.0f;
    }
  }
}

// Sixteen pixels at a time, so that their classes, which lie next to each other, stay in the first
// cache until all of them have been taken apart.
constexpr int64_t strip = 16;

template <class Score>
inline void load_strip(const Score *source, int64_t stride, float *out) {
  for (int64_t t = 0; t < strip; ++t) out[t] = widen(source[t * stride]);
}

#if defined(__AVX512F__)
inline void load_strip(const float *source, int64_t stride, float *out) {
  const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  const __m512i index = _mm512_mullo_epi32(lane, _mm512_set1_epi32(static_cast<int>(stride)));
  _mm512_storeu_ps(out, _mm512_mask_i32gather_ps(_mm512_setzero_ps(), 0xffff, index, source, 4));
}
#endif

template <int T, class Score>
void load_columns(const Score *source, int64_t stride, int64_t classes, int64_t count,
                  float *buffer) {
  const bool near = stride < (int64_t{1} << 27);  // sixteen strides fit the gather's index
  for (int64_t first = 0; first < T; first += strip) {
    const Score *from = source + first * stride;
    if (first + strip <= count && near) {
      for (int64_t c = 0; c < classes; ++c) load_strip(from + c, stride, buffer + c * padded<T> + first);
    } else {
      for (int64_t c = 0; c < classes; ++c) {
        for (int64_t t = 0; t < strip; ++t) {
          buffer[c * padded<T> + first + t] = first + t < count ? widen(from[t * stride + c]) : 0.0f;
        }
      }
    }
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
  return Rows{buffer, padded<T>};
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
