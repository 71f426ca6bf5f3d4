// Tiles: T pixels of one image, with all their classes, small enough to stay in cache.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "float16.h"
#include "kernels.h"
#include "memory.h"

namespace LOVASZ_LEVEL {

// Rows of T floats, one for each class, at `data + c * stride`, and what comes after them.
struct Rows {
  const float *data;
  ptrdiff_t stride;
  Prefetch prefetch;
};

// How far rows of the working memory lie apart: at a power of two their beginnings would all
// compete for the same few places in the first cache.
template <int T>
constexpr ptrdiff_t padded = T + lovasz_padding;

// The working memory of a thread.
struct Scratch {
  float *a, *b, *rows;  // (C, padded)
  float *strip;         // (2, 16, C)
  float *soft;          // the labels of the tile, see soft.h

  Scratch(const lovasz_inputs &inputs, float *memory) {
    const int64_t array = inputs.classes * (lovasz_tile_pixels + lovasz_padding);
    a = memory;
    b = a + array;
    rows = b + array;
    strip = rows + array;
    soft = strip + 2 * 16 * inputs.classes;
  }
};

template <class Score>
inline Score *score_address(const lovasz_strided &scores, int64_t image, int64_t pixel) {
  Score *data = static_cast<Score *>(const_cast<void *>(scores.data));
  return data + image * scores.image_stride + pixel * scores.pixel_stride;
}

template <int T, class Score>
void load_rows(const Score *source, int64_t stride, int64_t classes, int64_t size, float *rows) {
  for (int64_t c = 0; c < classes; ++c) {
    const Score *row = source + c * stride;
    float *out = rows + c * padded<T>;
    if (size == T) {
      for (int t = 0; t < T; ++t) out[t] = widen(row[t]);
    } else {
      for (int64_t t = 0; t < size; ++t) out[t] = widen(row[t]);
      for (int64_t t = size; t < T; ++t) out[t] = 0.0f;
    }
  }
}

// So many points at a time, that their classes stay in the first cache until all are taken apart.
constexpr int64_t strip = 16;

// to[j][i] = from[i][j] for a matrix of `height` rows, four by four where it goes.
inline void transpose(const float *from, int64_t from_stride, int64_t height, int64_t width,
                      float *to, int64_t to_stride) {
  int64_t i = 0;
#if defined(LOVASZ_SSE2)
  for (; i + 4 <= height; i += 4) {
    int64_t j = 0;
    for (; j + 4 <= width; j += 4) {
      __m128 z[4];
      for (int k = 0; k < 4; ++k) z[k] = _mm_loadu_ps(from + (i + k) * from_stride + j);
      _MM_TRANSPOSE4_PS(z[0], z[1], z[2], z[3]);
      for (int k = 0; k < 4; ++k) _mm_storeu_ps(to + (j + k) * to_stride + i, z[k]);
    }
    for (; j < width; ++j) {
      for (int k = 0; k < 4; ++k) to[j * to_stride + i + k] = from[(i + k) * from_stride + j];
    }
  }
#endif
  for (; i < height; ++i) {
    for (int64_t j = 0; j < width; ++j) to[j * to_stride + i] = from[i * from_stride + j];
  }
}

// `size` points of a strip to rows; what a row has beyond them becomes 0.
inline void strip_to_rows(const float *points, int64_t stride, int64_t classes, int64_t size,
                          float *rows, int64_t row_stride) {
  transpose(points, stride, size, classes, rows, row_stride);
  if (size == strip) return;
  for (int64_t c = 0; c < classes; ++c) {
    for (int64_t t = size; t < strip; ++t) rows[c * row_stride + t] = 0.0f;
  }
}

// The scores of a strip as floats: in place, or each point after the other in `buffer`.
struct Points {
  const float *data;
  int64_t stride;
};

inline Points points_of(const float *source, int64_t stride, int64_t, int64_t, float *) {
  return {source, stride};
}

template <class Score>
inline Points points_of(const Score *source, int64_t stride, int64_t classes, int64_t size,
                        float *buffer) {
  // One loop where no scores lie between those of two points: points with few classes are short.
  const int64_t pieces = stride == classes ? 1 : size;
  const int64_t length = stride == classes ? size * classes : classes;
  for (int64_t i = 0; i < pieces; ++i) {
    for (int64_t j = 0; j < length; ++j) buffer[i * length + j] = widen(source[i * stride + j]);
  }
  return {buffer, classes};
}

template <int T, class Score>
void load_points(const Score *source, int64_t stride, int64_t classes, int64_t size,
                 float *strip_buffer, float *rows) {
  for (int64_t first = 0; first < T; first += strip) {
    const int64_t left = size - first > 0 ? size - first : 0;
    const int64_t part = left < strip ? left : strip;
    const Points points = points_of(source + first * stride, stride, classes, part, strip_buffer);
    strip_to_rows(points.data, points.stride, classes, part, rows + first, padded<T>);
  }
}

// The scores of a tile, or soft labels, as rows of floats: in place where they lie so already.
template <int T, class Score>
Rows load_tile(const lovasz_inputs &inputs, const lovasz_strided &scores, int64_t image,
               int64_t pixel, int64_t size, float *strip_buffer, float *rows) {
  const Score *source = score_address<const Score>(scores, image, pixel);
  const Prefetch prefetch = prefetch_of<T>(inputs, scores, source);
  if (scores.pixel_stride != 1) {
    load_points<T>(source, scores.pixel_stride, inputs.classes, size, strip_buffer, rows);
  } else if (sizeof(Score) == sizeof(float) && size == T) {
    return Rows{reinterpret_cast<const float *>(source),
                static_cast<ptrdiff_t>(scores.class_stride), prefetch};
  } else {
    load_rows<T>(source, scores.class_stride, inputs.classes, size, rows);
  }
  return Rows{rows, padded<T>, prefetch};
}

// Floats in the type of the gradient: as they are, or in `buffer`.
inline const float *narrowed(const float *values, int64_t, float *) { return values; }

template <class Score>
inline const Score *narrowed(const float *values, int64_t size, Score *buffer) {
  for (int64_t i = 0; i < size; ++i) buffer[i] = narrow<Score>(values[i]);
  return buffer;
}

// Rows of the working memory to points `stride` apart.
template <int T, class Score>
void store_points(const float *rows, int64_t classes, int64_t size, Score *out, int64_t stride,
                  float *buffer, bool past_caches) {
  Score *narrow_buffer = reinterpret_cast<Score *>(buffer + strip * classes);
  for (int64_t first = 0; first < size; first += strip) {
    const int64_t part = size - first < strip ? size - first : strip;
    transpose(rows + first, padded<T>, classes, part, buffer, classes);
    const Score *points = narrowed(buffer, part * classes, narrow_buffer);
    // In one piece, unless points of other images lie between these.
    const int64_t pieces = stride == classes ? 1 : part;
    const int64_t length = stride == classes ? part * classes : classes;
    for (int64_t i = 0; i < pieces; ++i) {
      stream_store(points + i * length, length, out + (first + i) * stride, past_caches);
    }
  }
}

// Stores the gradient of a tile, of which row(c, out) writes T floats for class c. `rows` is memory
// for a tile.
template <int T, class Score, class Row>
void store_tile(const lovasz_inputs &inputs, const lovasz_strided &gradient, int64_t image,
                int64_t pixel, int64_t size, float *rows, float *strip_buffer, Row row) {
  Score *out = score_address<Score>(gradient, image, pixel);
  const bool past_caches = larger_than_caches<Score>(inputs);
  if (gradient.pixel_stride == 1) {
    const bool direct = sizeof(Score) == sizeof(float) && size == T && !past_caches;
    for (int64_t c = 0; c < inputs.classes; ++c) {
      alignas(64) float values[T];
      alignas(64) Score buffer[T];
      Score *to = out + c * gradient.class_stride;
      row(c, direct ? reinterpret_cast<float *>(to) : values);
      if (!direct) stream_store(narrowed(values, T, buffer), size, to, past_caches);
    }
  } else {
    for (int64_t c = 0; c < inputs.classes; ++c) row(c, rows + c * padded<T>);
    store_points<T>(rows, inputs.classes, size, out, gradient.pixel_stride, strip_buffer,
                    past_caches);
  }
}

}  // namespace LOVASZ_LEVEL
