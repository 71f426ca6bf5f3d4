// Points first: between classes that lie next to each other and rows of points.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "processor.h"

namespace LOVASZ_LEVEL {

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

}  // namespace LOVASZ_LEVEL
