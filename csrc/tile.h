// Tiles: T pixels of one image, with all their classes, small enough to stay in cache.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "convert.h"
#include "kernels.h"
#include "memory.h"

namespace LOVASZ_LEVEL {

// Rows of T floats, one for each class, at `data + c * stride`, and what comes after them.
struct Rows {
  const float *data;
  ptrdiff_t stride;
  Ahead ahead;
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

// Four classes of a strip at once, as far as they go; returns the first class that is left.
template <class Score>
inline int64_t load_quads(const Score *, int64_t, int64_t, float *, int64_t) {
  return 0;
}
template <class Score>
inline int64_t store_quads(const float *, int64_t, int64_t, Score *, int64_t) {
  return 0;
}

#if defined(__AVX512F__)
// Transposes the 4 x 4 floats in each of the four lanes of 128 bits.
inline void transpose_lanes(__m512 *z) {
  const __m512 a = _mm512_unpacklo_ps(z[0], z[1]), b = _mm512_unpackhi_ps(z[0], z[1]);
  const __m512 c = _mm512_unpacklo_ps(z[2], z[3]), d = _mm512_unpackhi_ps(z[2], z[3]);
  z[0] = _mm512_shuffle_ps(a, c, 0x44);
  z[1] = _mm512_shuffle_ps(a, c, 0xee);
  z[2] = _mm512_shuffle_ps(b, d, 0x44);
  z[3] = _mm512_shuffle_ps(b, d, 0xee);
}

inline int64_t load_quads(const float *source, int64_t stride, int64_t classes, float *out,
                          int64_t out_stride) {
  int64_t c = 0;
  for (; c + 4 <= classes; c += 4) {
    __m512 z[4];
    for (int k = 0; k < 4; ++k) {  // lane j holds pixel 4 j + k
      const float *from = source + k * stride + c;
      z[k] = _mm512_castps128_ps512(_mm_loadu_ps(from));
      z[k] = _mm512_insertf32x4(z[k], _mm_loadu_ps(from + 4 * stride), 1);
      z[k] = _mm512_insertf32x4(z[k], _mm_loadu_ps(from + 8 * stride), 2);
      z[k] = _mm512_insertf32x4(z[k], _mm_loadu_ps(from + 12 * stride), 3);
    }
    transpose_lanes(z);
    for (int k = 0; k < 4; ++k) _mm512_storeu_ps(out + (c + k) * out_stride, z[k]);
  }
  return c;
}

inline int64_t store_quads(const float *rows, int64_t row_stride, int64_t classes, float *out,
                           int64_t stride) {
  int64_t c = 0;
  for (; c + 4 <= classes; c += 4) {
    __m512 z[4];
    for (int k = 0; k < 4; ++k) z[k] = _mm512_loadu_ps(rows + (c + k) * row_stride);
    transpose_lanes(z);
    for (int k = 0; k < 4; ++k) {
      float *to = out + k * stride + c;
      _mm_storeu_ps(to, _mm512_castps512_ps128(z[k]));
      _mm_storeu_ps(to + 4 * stride, _mm512_extractf32x4_ps(z[k], 1));
      _mm_storeu_ps(to + 8 * stride, _mm512_extractf32x4_ps(z[k], 2));
      _mm_storeu_ps(to + 12 * stride, _mm512_extractf32x4_ps(z[k], 3));
    }
  }
  return c;
}
#endif

template <int T, class Score>
void load_columns(const Score *source, int64_t stride, int64_t classes, int64_t count,
                  float *buffer) {
  for (int64_t first = 0; first < T; first += strip) {
    const Score *from = source + first * stride;
    if (first + strip <= count) {
      int64_t c = load_quads(from, stride, classes, buffer + first, padded<T>);
      for (; c < classes; ++c) load_strip(from + c, stride, buffer + c * padded<T> + first);
    } else {
      for (int64_t c = 0; c < classes; ++c) {
        for (int64_t t = 0; t < strip; ++t) {
          buffer[c * padded<T> + first + t] = first + t < count ? widen(from[t * stride + c]) : 0.0f;
        }
      }
    }
  }
}

// Padded rows to pixels whose classes lie next to each other, strip by strip as `load_columns`.
template <int T, class Score>
void rows_to_columns(const float *rows, int64_t classes, int64_t count, Score *out, int64_t stride) {
  for (int64_t first = 0; first < count; first += strip) {
    const int64_t size = count - first < strip ? count - first : strip;
    Score *to = out + first * stride;
    int64_t c = size == strip ? store_quads(rows + first, padded<T>, classes, to, stride) : 0;
    for (; c < classes; ++c) {
      const float *row = rows + c * padded<T> + first;
      if (size == strip) {
        for (int64_t t = 0; t < strip; ++t) to[t * stride + c] = narrow<Score>(row[t]);
      } else {
        for (int64_t t = 0; t < size; ++t) to[t * stride + c] = narrow<Score>(row[t]);
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
  return Rows{buffer, padded<T>, ahead_of<T>(problem, source)};
}

template <int T>
Rows load_tile_float(const lovasz_problem &problem, int64_t image, int64_t pixel, int64_t count,
                     float *buffer) {
  const lovasz_scores &scores = problem.scores;
  if (scores.pixel_stride == 1 && count == T) {
    const float *source = score_address<float>(scores, image, pixel);
    return Rows{source, static_cast<ptrdiff_t>(scores.class_stride), ahead_of<T>(problem, source)};
  }
  return load_tile<T, float>(problem, image, pixel, count, buffer);
}
}  // namespace LOVASZ_LEVEL
