// The C interface of the CPU kernels: what Python calls through ctypes.
//
// Nothing of torch is included or linked. Tensors arrive as pointers and strides (in elements), and
// the threads are those of who calls: torch's own through the address of its exported
// `torch_parallel_for`, or for JAX, through jax_ffi.cpp, XLA's.
#pragma once

#include <stdint.h>

#if defined(_WIN32)
#define LOVASZ_API __declspec(dllexport)
#else
#define LOVASZ_API __attribute__((visibility("default")))
#endif

// Changes with everything that a binding has to know: a struct, an enumeration, a function.
#define LOVASZ_ABI 7

enum lovasz_score_type { LOVASZ_FLOAT32 = 0, LOVASZ_BFLOAT16 = 1, LOVASZ_FLOAT16 = 2 };

// What turns a score into an error: classes share a softmax, the channels of multilabel have each
// their own; of probabilities nothing is to be computed.
enum lovasz_link {
  LOVASZ_CLASSES = 0,
  LOVASZ_SIGMOID = 1,
  LOVASZ_HINGE = 2,
  LOVASZ_ELU = 3,
  LOVASZ_PROBABILITIES = 4,         // of classes
  LOVASZ_CHANNEL_PROBABILITIES = 5  // of multilabel
};

// How scores are interpolated to the pixels of the labels, as src/lovasz/core/upsampling.py has it.
enum lovasz_upsample {
  LOVASZ_AS_GIVEN = 0,  // there is one for each pixel
  LOVASZ_LINEAR = 1,
  LOVASZ_LINEAR_ALIGN_CORNERS = 2,
  LOVASZ_NEAREST = 3
};

enum lovasz_label_type {
  LOVASZ_UINT8 = 0,  // and bool
  LOVASZ_INT8 = 1,
  LOVASZ_UINT16 = 2,
  LOVASZ_INT16 = 3,
  LOVASZ_UINT32 = 4,
  LOVASZ_INT32 = 5,
  LOVASZ_INT64 = 6,
  LOVASZ_UINT64 = 7
};

// Scores (N, C, L). One of the last two strides is 1, or the axis has one element.
struct lovasz_strided {
  const void *data;
  int64_t image_stride, class_stride, pixel_stride;
};

// What both passes read.
struct lovasz_inputs {
  struct lovasz_strided scores;
  const void *target;  // (N, L), or for multilabel (N, C, L), pixels contiguous
  int64_t target_stride;
  int64_t images, classes, length;
  int64_t bins;
  int64_t ignore_index;
  // (N, L) contiguous, written by the first pass and read by the second; unused without softmax.
  // As double: the digits of a float end where 1 less a confident probability begins.
  double *lse;
  int32_t score_type, label_type;
  int32_t has_ignore_index;
  int32_t per_image;          // counts or slopes have a row for every image
  int32_t cross_entropy;      // whether to compute it too, of classes or sigmoids
  float smoothing;            // label smoothing
  const float *class_weight;  // (C), of cross-entropy, or null for ones
  // Weights of pixels (N, L) or (N, C, L), or null for ones: as numbers, and for the first pass in
  // fixed point, as they are counted. Pixels are contiguous.
  const float *pixel_weight;
  const int64_t *fixed_weight;
  int64_t weight_image_stride, weight_class_stride;
  int64_t target_class_stride;  // of multilabel
  int32_t link;
  // Clouds of points that lie one after the other in the only image, or null: those of cloud k are
  // offsets[k] to offsets[k + 1] - 1, and each cloud is a group. Ascending from 0 to `length`.
  const int64_t *offsets;  // (clouds + 1)
  int64_t clouds;
  // In the place of offsets for the second pass with slopes by pixel: the cloud of each point, in
  // any order.
  const int64_t *cloud_ids;  // (length)
  // Unless as given, scores and their gradient are float32 (N, C, source) of depth, height and
  // width, the last three contiguous, and `length` is that of all pixels of `size`.
  int32_t upsample;
  int64_t source[3], size[3];
  // Soft labels (N, C, L) in the place of the target, strided and of a type as scores are, or null.
  // Pixels of weight 0 are ignored, and of channels elements equal to the ignore index.
  struct lovasz_strided soft;
  int32_t soft_type;
  // Or the mean of several label maps (N, maps, L), `target_class_stride` apart: of those that are
  // not ignored, by the weights `mixture` (N, maps). 0 where the target is as above.
  int32_t maps;
  const float *mixture;
  float label_smoothing;  // of the errors and of the sums, not of the cross-entropy
  int32_t regions;        // whether the first pass adds up predictions, and not soft labels alone
};

// Sums of a group and class, of prediction p, soft label q, and the weight w of a pixel.
enum lovasz_region_sums {
  LOVASZ_SUM_P = 0,           // w p
  LOVASZ_SUM_Q = 1,           // w q
  LOVASZ_SUM_PQ = 2,          // w p q
  LOVASZ_SUM_DIFFERENCE = 3,  // w |p - q|
  LOVASZ_SUM_PP = 4,          // w p p
  LOVASZ_SUM_QQ = 5,          // w q q
  LOVASZ_SUM_LABELS = 6,      // w q before label smoothing
  LOVASZ_SUM_PIXELS = 7,      // w
  LOVASZ_REGION_SUMS = 8
};

struct lovasz_histogram_result {
  int64_t *counts;          // (G, C, 2, B), zero on entry
  int64_t *invalid;         // (G), zero on entry: pixels whose scores are no numbers
  int64_t bad_labels;       // pixels whose label is neither a class nor ignored
  double cross_entropy[2];  // weighted sum of the cross-entropies, sum of the weights
  // (G, C, 8), zero on entry; of hard labels null unless asked for, of soft ones then without the
  // sums of anything but labels and pixels.
  double *regions;
};

// Losses, and slopes by pixel, of Tversky's set functions from errors that were sorted.
struct lovasz_sort_result {
  float *slopes;       // (N, C, L)
  double *losses;      // (G, C)
  int64_t *positives;  // (G, C)
  int64_t *pixels;     // (G, C), not ignored
  int64_t *invalid;    // (G), zero on entry
  double alpha, beta;
  int64_t unit;       // of the weights in fixed point: what one pixel counts
  int32_t symmetric;  // mean of the extensions for the set of a channel and for its complement
  int64_t bad_labels;
};

// Losses, and slopes by bin, of Tversky's set functions from counts.
struct lovasz_extension {
  const int64_t *counts;  // (rows, 2, B), a row for each group and class
  const double *centres;  // (B), the error that each bin stands for
  double *losses;         // (rows)
  void *slopes;           // (rows, 2, B) float, or double if wide
  uint8_t *present;       // (2, rows), whether there are pixels, and pixels of the class
  int64_t rows, bins;
  int64_t unit;  // what one pixel counts
  double alpha, beta;
  int32_t wide;
  // (rows) sums of the soft labels of a class, or null where labels are hard. More than that of the
  // pixels below their label cannot be missed.
  const double *positives;
};

// From the losses of classes to their sum or mean.
struct lovasz_reduction {
  const double *losses;    // (G, C)
  const uint8_t *active;   // (G, C), 1 for classes that take part
  const int64_t *invalid;  // (G), invalid pixels
  const void *weight;      // (C), or null for ones
  void *factors;           // (G, C)
  const double *sums;      // (2), of cross-entropies and of their weights, or null
  void *total;             // float, or double if wide, as are weight, factors and the next two
  void *cross_entropy;     // with sums: the mean cross-entropy
  void *by_sum;            // with sums: its derivative by the first of them
  int64_t groups, classes;
  int32_t mean;       // over the classes of a group, not a sum
  int32_t normalize;  // divide by the weights of the classes, not by their number
  int32_t per_image;  // mean over the groups in which a class counts
  int32_t wide;
};

#ifdef __cplusplus
extern "C" {
#endif

// LOVASZ_ABI, then the size of every struct of this file and the offsets of its fields, in bytes.
LOVASZ_API const int64_t *lovasz_layout(int64_t *count);

// Address of torch_parallel_for, or null for one thread.
LOVASZ_API void lovasz_set_parallel_for(void *address);
// A loop of the same kind for calls of this thread alone, before that one; null takes it back.
LOVASZ_API void lovasz_lend_parallel_for(void *address);
// Instruction-set level in use: baseline, v3 or v4. To choose one by its name, or "best": 0 if this
// processor lacks it.
LOVASZ_API const char *lovasz_level(void);
LOVASZ_API int lovasz_choose_level(const char *name);

// What the functions below return.
enum lovasz_status {
  LOVASZ_OK = 0,
  LOVASZ_MOVED = 1,       // of lovasz_clouds
  LOVASZ_NO_MEMORY = -1,  // for their histograms
  LOVASZ_MISUSE = -2      // an argument that this file does not allow; nothing was read or written
};

// Where clouds begin, `offsets` (clouds + 1), from the number of the cloud of each point (length).
// Unless the numbers ascend: LOVASZ_MOVED, and the points in an order in which they do, and the
// place of each point in that order (length).
LOVASZ_API int lovasz_clouds(const int64_t *ids, int64_t length, int64_t clouds, int64_t *offsets,
                             int64_t *order, int64_t *places);
// The class with the largest score of each pixel, (N, L); for links of channels whether the score
// of each is above 0, (N, C, L). As int64, or uint8 if `narrow`; -1, or 255, where a score is NaN.
// `lines` (2, C) are factors, by which scores are multiplied before, and what is added then, or
// null. Of the inputs the scores, their link and how they are interpolated are read.
LOVASZ_API int lovasz_argmax(const struct lovasz_inputs *, const float *lines, void *labels,
                             int32_t narrow, int32_t threads);
// The first pass: errors into bins; into none, if there are 0 and a cross-entropy or regions are
// asked for.
LOVASZ_API int lovasz_histogram(const struct lovasz_inputs *, struct lovasz_histogram_result *,
                                int32_t threads);
LOVASZ_API void lovasz_extend(const struct lovasz_extension *, int32_t threads);
// Both of these in one, without bins; `bins` may be 0.
LOVASZ_API int lovasz_sort_and_extend(const struct lovasz_inputs *, struct lovasz_sort_result *,
                                      int32_t threads);
LOVASZ_API void lovasz_reduce(const struct lovasz_reduction *);
// The second pass. Slopes are (G, C, 2, B), or (N, C, L) if `by_pixel`, where `bins` may be 0;
// `factors` (G, C) is what the slopes of a class are multiplied by, or null for ones;
// `cross_entropy_scale` the derivative by the sum of the cross-entropies. `gradient` has strides as
// scores have them, and no two elements in one place. It is multiplied by the weights of the
// pixels, where there are any. To the gradient of scores that are interpolated it is added.
// `by_regions` (G, C, 8) are derivatives by the sums of the first pass, of which those by Σ w p,
// Σ w p q, Σ w |p - q| and Σ w p p are read, or null; not together with numbers of clouds.
LOVASZ_API int lovasz_backward(const struct lovasz_inputs *, const float *slopes, int32_t by_pixel,
                               const float *factors, float cross_entropy_scale,
                               const double *by_regions, const struct lovasz_strided *gradient,
                               int32_t threads);

// Tells the system that all of this fresh memory will be written, so that it may use large pages.
LOVASZ_API void lovasz_expect_writes(void *data, int64_t bytes);

#ifdef __cplusplus
}
#endif
