// Points first: between classes that lie next to each other and rows of points.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "processor.h"

namespace LOVASZ_LEVEL {

// So many points at a time, that their classes stay in the first cache until all are taken apart.
constexpr int64_t strip = 16;

#if defined(LOVASZ_SSE2)
// Four classes of a strip at once, as far as they go; returns the first class that is left.
inline int64_t quads_to_rows(const float *points, int64_t stride, int64_t classes, float *rows,
                             int64_t row_stride) {
  int64_t c = 0;
  for (; c + 4 <= classes; c += 4) {
    for (int t = 0; t < strip; t += 4) {
      __m128 z[4];
      for (int k = 0; k < 4; ++k) z[k] = _mm_loadu_ps(points + (t + k) * stride + c);
      _MM_TRANSPOSE4_PS(z[0], z[1], z[2], z[3]);
      for (int k = 0; k < 4; ++k) _mm_storeu_ps(rows + (c + k) * row_stride + t, z[k]);
    }
  }
  return c;
}

inline int64_t quads_to_points(const float *rows, int64_t row_stride, int64_t classes, float *points,
                               int64_t stride) {
  int64_t c = 0;
  for (; c + 4 <= classes; c += 4) {
    for (int t = 0; t < strip; t += 4) {
      __m128 z[4];
      for (int k = 0; k < 4; ++k) z[k] = _mm_loadu_ps(rows + (c + k) * row_stride + t);
      _MM_TRANSPOSE4_PS(z[0], z[1], z[2], z[3]);
      for (int k = 0; k < 4; ++k) _mm_storeu_ps(points + (t + k) * stride + c, z[k]);
    }
  }
  return c;
}
#else
inline int64_t quads_to_rows(const float *, int64_t, int64_t, float *, int64_t) { return 0; }
inline int64_t quads_to_points(const float *, int64_t, int64_t, float *, int64_t) { return 0; }
#endif

// `size` points of a strip to rows; what a row has beyond them becomes 0.
inline void strip_to_rows(const float *points, int64_t stride, int64_t classes, int64_t size,
                          float *rows, int64_t row_stride) {
  if (size == strip) {
    int64_t c = quads_to_rows(points, stride, classes, rows, row_stride);
    for (; c < classes; ++c) {
      float *row = rows + c * row_stride;
      for (int64_t t = 0; t < strip; ++t) row[t] = points[t * stride + c];
    }
    return;
  }
  for (int64_t c = 0; c < classes; ++c) {
    float *row = rows + c * row_stride;
    for (int64_t t = 0; t < strip; ++t) row[t] = t < size ? points[t * stride + c] : 0.0f;
  }
}

// The first `size` points of a strip from rows, a point after the other.
inline void strip_to_points(const float *rows, int64_t row_stride, int64_t classes, int64_t size,
                            float *points) {
  int64_t c = size == strip ? quads_to_points(rows, row_stride, classes, points, classes) : 0;
  for (; c < classes; ++c) {
    const float *row = rows + c * row_stride;
    for (int64_t t = 0; t < size; ++t) points[t * classes + c] = row[t];
  }
}

}  // namespace LOVASZ_LEVEL
