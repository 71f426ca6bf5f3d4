// What every instruction-set level offers to the dispatcher. Plain C types only.
#pragma once

#include <stdint.h>

#include "lovasz.h"

// The most pixels of a tile. Chunks and working memory are made for it.
constexpr int64_t lovasz_tile_pixels = 256;

// Counts of one thread: for each class a row of bins for negatives and one for positives.
struct lovasz_table {
  uint32_t *negatives;  // (C, row)
  uint32_t *positives;  // (C, row), right behind them
  int64_t half;         // second tables lie so far behind the first
  int64_t *masses;      // (2, C, row) instead of these where pixels have weights, else null
  int64_t row;          // bins, then one for an error of 1, one for what must not be counted
  int64_t invalid, bad_labels;
  double *entropy;  // sums of the current chunk
};

struct lovasz_slopes {
  const float *slopes;   // (C, 2, B), or by pixel (C, L) of the image
  const float *factors;  // (C), what they are multiplied by, or null for ones
  float entropy_scale;

  float factor(int64_t c) const { return factors == nullptr ? 1.0f : factors[c]; }
  // Those of another group or image, so many elements further on.
  lovasz_slopes behind(int64_t slope, int64_t factor) const {
    return {slopes + slope, factors == nullptr ? nullptr : factors + factor, entropy_scale};
  }
};

constexpr int64_t lovasz_padding = 16;

// Number of floats of working memory for a tile: three arrays, and sixteen points twice.
static inline int64_t lovasz_scratch_floats(int64_t classes) {
  return classes * (3 * (lovasz_tile_pixels + lovasz_padding) + 2 * 16);
}

struct lovasz_kernels {
  const char *name;
  // Tiles of pixels [first, last) of one image.
  void (*count)(const lovasz_problem *, int64_t image, int64_t first, int64_t last, lovasz_table *,
                float *scratch);
  void (*push)(const lovasz_problem *, const lovasz_slopes *, const lovasz_scores *gradient,
               int64_t image, int64_t first, int64_t last, float *scratch);
  // Errors (N, C, L) as bits, and the gradient from slopes (N, C, L).
  void (*errors)(const lovasz_problem *, int64_t image, int64_t first, int64_t last, lovasz_table *,
                 uint32_t *errors, float *scratch);
  void (*push_exact)(const lovasz_problem *, const lovasz_slopes *, const lovasz_scores *gradient,
                     int64_t image, int64_t first, int64_t last, float *scratch);
  void (*weigh)(const lovasz_weighing *, int64_t row);
};

extern "C" const lovasz_kernels lovasz_kernels_baseline;
#if defined(LOVASZ_X86_LEVELS)
extern "C" const lovasz_kernels lovasz_kernels_v3;
extern "C" const lovasz_kernels lovasz_kernels_v4;
#endif
