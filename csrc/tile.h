// Tiles: T pixels of one image, with all their classes, small enough to stay in cache.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "convert.h"
#include "kernels.h"
#include "memory.h"
#include "transpose.h"

namespace LOVASZ_LEVEL {

// Rows of T floats, one for each class, at `data + c * stride`, and what comes after them.
struct Rows {
  const float *data;
  ptrdiff_t stride;
  Ahead ahead;
};

// How far rows of the working memory lie apart: at a power of two their beginnings would all
// compete for the same few places in the first cache.
template <int T>
constexpr ptrdiff_t padded = T + lovasz_padding;

// The working memory of a thread.
struct Scratch {
  float *a, *b, *rows;  // (C, padded)
  float *strip;         // (2, 16, C)

  Scratch(const lovasz_problem &problem, float *memory) {
    const int64_t array = problem.classes * (lovasz_tile_pixels + lovasz_padding);
    a = memory;
    b = a + array;
    rows = b + array;
    strip = rows + array;
  }
};

template <class Score>
inline Score *score_address(const lovasz_scores &scores, int64_t image, int64_t pixel) {
  Score *data = static_cast<Score *>(const_cast<void *>(scores.data));
  return data + image * scores.image_stride + pixel * scores.pixel_stride;
}

template <int T, class Score>
void load_rows(const Score *source, int64_t stride, int64_t classes, int64_t count, float *rows) {
  for (int64_t c = 0; c < classes; ++c) {
    const Score *row = source + c * stride;
    float *out = rows + c * padded<T>;
    if (count == T) {
      for (int t = 0; t < T; ++t) out[t] = widen(row[t]);
    } else {
      for (int64_t t = 0; t < count; ++t) out[t] = widen(row[t]);
      for (int64_t t = count; t < T; ++t) out[t] = 0.0f;
    }
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
void load_points(const Score *source, int64_t stride, int64_t classes, int64_t count,
                 const Scratch &scratch) {
  for (int64_t first = 0; first < T; first += strip) {
    const int64_t left = count - first > 0 ? count - first : 0;
    const int64_t size = left < strip ? left : strip;
    const Points points = points_of(source + first * stride, stride, classes, size, scratch.strip);
    strip_to_rows(points.data, points.stride, classes, size, scratch.rows + first, padded<T>);
  }
}

// The scores of a tile as rows of floats: in place where they lie so already.
template <int T, class Score>
Rows load_tile(const lovasz_problem &problem, int64_t image, int64_t pixel, int64_t count,
               const Scratch &scratch) {
  const lovasz_scores &scores = problem.scores;
  const Score *source = score_address<const Score>(scores, image, pixel);
  const Ahead ahead = ahead_of<T>(problem, source);
  if (scores.pixel_stride != 1) {
    load_points<T>(source, scores.pixel_stride, problem.classes, count, scratch);
  } else if (sizeof(Score) == sizeof(float) && count == T) {
    return Rows{reinterpret_cast<const float *>(source),
                static_cast<ptrdiff_t>(scores.class_stride), ahead};
  } else {
    load_rows<T>(source, scores.class_stride, problem.classes, count, scratch.rows);
  }
  return Rows{scratch.rows, padded<T>, ahead};
}

// Floats in the type of the gradient: as they are, or in `buffer`.
inline const float *narrowed(const float *values, int64_t, float *) { return values; }

template <class Score>
inline const Score *narrowed(const float *values, int64_t count, Score *buffer) {
  for (int64_t i = 0; i < count; ++i) buffer[i] = narrow<Score>(values[i]);
  return buffer;
}

// Rows of the working memory to points `stride` apart.
template <int T, class Score>
void store_points(const float *rows, int64_t classes, int64_t count, Score *out, int64_t stride,
                  float *buffer, bool past) {
  Score *narrow_buffer = reinterpret_cast<Score *>(buffer + strip * classes);
  for (int64_t first = 0; first < count; first += strip) {
    const int64_t size = count - first < strip ? count - first : strip;
    transpose(rows + first, padded<T>, classes, size, buffer, classes);
    const Score *points = narrowed(buffer, size * classes, narrow_buffer);
    // In one piece, unless points of other images lie between these.
    const int64_t pieces = stride == classes ? 1 : size;
    const int64_t length = stride == classes ? size * classes : classes;
    for (int64_t i = 0; i < pieces; ++i) {
      put(points + i * length, length, out + (first + i) * stride, past);
    }
  }
}

// Stores the gradient of a tile, of which row(c, out) writes T floats for class c. `rows` is memory
// for a tile.
template <int T, class Score, class Row>
void store_tile(const lovasz_problem &problem, const lovasz_scores &gradient, int64_t image,
                int64_t pixel, int64_t count, float *rows, float *strip_buffer, Row row) {
  Score *out = score_address<Score>(gradient, image, pixel);
  const bool past = past_caches<Score>(problem);
  if (gradient.pixel_stride == 1) {
    const bool direct = sizeof(Score) == sizeof(float) && count == T && !past;
    for (int64_t c = 0; c < problem.classes; ++c) {
      alignas(64) float values[T];
      alignas(64) Score buffer[T];
      Score *to = out + c * gradient.class_stride;
      row(c, direct ? reinterpret_cast<float *>(to) : values);
      if (!direct) put(narrowed(values, T, buffer), count, to, past);
    }
  } else {
    for (int64_t c = 0; c < problem.classes; ++c) row(c, rows + c * padded<T>);
    store_points<T>(rows, problem.classes, count, out, gradient.pixel_stride, strip_buffer, past);
  }
}

}  // namespace LOVASZ_LEVEL
