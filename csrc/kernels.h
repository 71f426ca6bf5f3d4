// What every instruction-set level offers to the entry points. Plain C types only.
#pragma once

#include <stdint.h>

#include "lovasz.h"

// The most pixels of a tile. Chunks and working memory are made for it.
constexpr int64_t lovasz_tile_pixels = 256;

// The histograms of one thread: for each class a row of bins for negatives and one for positives.
struct lovasz_histograms {
  uint32_t *negatives;  // (C, row)
  uint32_t *positives;  // (C, row), right behind them
  int64_t half;         // second histograms lie so far behind the first
  int64_t *weighted;    // (2, C, row) instead of these where pixels have weights, else null
  int64_t row;          // bins, then one for an error of 1, one for what must not be counted
  int64_t invalid, bad_labels;
  double *cross_entropy;  // sums of the current chunk
  double *regions;        // (C, 8), those of its pixels of the current group
};

struct lovasz_slopes {
  const float *slopes;  // (C, 2, B), or (C, L) of the image if by pixel
  // (C), what they are multiplied by, or null for ones; by pixel (clouds, C) where there are
  // clouds.
  const float *factors;
  float cross_entropy_scale;
  bool by_pixel;
  const double *by_regions;  // (C, 8), or null
};

// Of each output along an axis the two sources between which it lies, and their weights.
struct lovasz_axis {
  int64_t source, size;
  const int32_t *lower, *upper;              // (size)
  const float *lower_weight, *upper_weight;  // (size)
  bool single;                               // outputs are their lower source
};

struct lovasz_grid {
  lovasz_axis axes[3];  // depth, height, width
};

constexpr int64_t lovasz_padding = 16;

// Whether labels are soft; only then they are read by kernels that know of such.
static inline bool lovasz_is_soft(const lovasz_inputs *inputs) {
  return inputs->soft.data != nullptr || inputs->maps > 0 || inputs->label_smoothing > 0.0f;
}

// Number of floats of working memory for the labels of a tile: an array, or six rows for each map
// and four sums for each class.
static inline int64_t lovasz_soft_floats(const lovasz_inputs *inputs) {
  if (inputs->soft.data != nullptr) {
    return inputs->classes * (lovasz_tile_pixels + lovasz_padding);
  }
  // A multiple of 16, as all of these, so that what comes behind is aligned.
  return 6 * lovasz_tile_pixels * (inputs->maps > 0 ? inputs->maps : 1) +
         (4 * inputs->classes + 15) / 16 * 16;
}

// And for a tile: three arrays, sixteen points twice, and the labels.
static inline int64_t lovasz_scratch_floats(const lovasz_inputs *inputs) {
  return inputs->classes * (3 * (lovasz_tile_pixels + lovasz_padding) + 2 * 16) +
         lovasz_soft_floats(inputs);
}

// And behind them for scores that are interpolated: four arrays, and a source row twice.
static inline int64_t lovasz_enlarged_floats(const lovasz_inputs *inputs) {
  return inputs->classes * 4 * (lovasz_tile_pixels + lovasz_padding) +
         2 * (inputs->source[2] + lovasz_padding);
}

// How labels are found, and where they are written to.
struct lovasz_labels {
  const float *lines;  // (2, C), factors and offsets of the scores, or null
  void *data;          // (N, L), or of channels (N, C, L), int64, or uint8 if narrow
  bool narrow;
};

// All but the last take the tiles of pixels [first, last) of one image. The grid is null unless
// scores are interpolated.
struct lovasz_kernels {
  const char *name;
  void (*histogram)(const lovasz_inputs *, const lovasz_grid *, int64_t image, int64_t first,
                    int64_t last, lovasz_histograms *, float *scratch);
  void (*backward)(const lovasz_inputs *, const lovasz_grid *, const lovasz_slopes *,
                   const lovasz_strided *gradient, int64_t image, int64_t first, int64_t last,
                   float *scratch);
  // Errors (N, C, L) as keys of the sort.
  void (*keys)(const lovasz_inputs *, const lovasz_grid *, int64_t image, int64_t first,
               int64_t last, lovasz_histograms *, uint32_t *keys, float *scratch);
  void (*argmax)(const lovasz_inputs *, const lovasz_grid *, int64_t image, int64_t first,
                 int64_t last, const lovasz_labels *, float *scratch);
  void (*extend)(const lovasz_extension *, int64_t row);
};

extern "C" const lovasz_kernels lovasz_kernels_baseline;
#if defined(LOVASZ_X86_LEVELS)
extern "C" const lovasz_kernels lovasz_kernels_v3;
extern "C" const lovasz_kernels lovasz_kernels_v4;
#endif
