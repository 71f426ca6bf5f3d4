// What lovasz.h asks of its callers, checked at the entry points, so that a wrong stride becomes an
// error code instead of memory that nobody wrote or that belongs to somebody else.
#pragma once

#include <utility>

#include "lovasz.h"

namespace contract {

inline bool within(int64_t value, int64_t lowest, int64_t highest) {
  return value >= lowest && value <= highest;
}

// One of the last two strides is 1; then the kernels know how to read the scores.
inline bool strided(const lovasz_strided &scores) {
  return scores.data != nullptr && (scores.pixel_stride == 1 || scores.class_stride == 1) &&
         scores.image_stride >= 0 && scores.class_stride >= 0 && scores.pixel_stride >= 0;
}

// No two elements in one place: each axis steps over all of those with smaller strides.
inline bool apart(const lovasz_inputs &inputs, const lovasz_strided &gradient) {
  struct Axis {
    int64_t stride, size;
  };
  const int64_t *source = inputs.source;
  const int64_t pixels =
      inputs.upsample == LOVASZ_AS_GIVEN ? inputs.length : source[0] * source[1] * source[2];
  Axis axes[] = {{gradient.image_stride, inputs.images},
                 {gradient.class_stride, inputs.classes},
                 {gradient.pixel_stride, pixels}};
  for (int i = 0; i < 2; ++i) {
    for (int j = 0; j < 2 - i; ++j) {
      if (axes[j].stride > axes[j + 1].stride) std::swap(axes[j], axes[j + 1]);
    }
  }
  int64_t reach = 0;
  for (const Axis &axis : axes) {
    if (axis.size == 1) continue;
    if (axis.stride <= reach) return false;
    reach += axis.stride * (axis.size - 1);
  }
  return true;
}

// Clouds follow one another and leave no point out, or every point is of one of them.
inline bool clouds(const lovasz_inputs &inputs) {
  if (inputs.offsets == nullptr && inputs.cloud_ids == nullptr) return true;
  // The kernels find the factors of a cloud by 32 bits.
  if (inputs.images != 1 || !within(inputs.clouds, 1, UINT32_MAX / inputs.classes)) return false;
  if (inputs.offsets == nullptr) {
    bool inside = true;
    for (int64_t i = 0; i < inputs.length; ++i) {
      inside &= inputs.cloud_ids[i] >= 0 && inputs.cloud_ids[i] < inputs.clouds;
    }
    return inside;
  }
  if (inputs.offsets[0] != 0) return false;
  for (int64_t k = 0; k < inputs.clouds; ++k) {
    if (inputs.offsets[k] > inputs.offsets[k + 1]) return false;
  }
  return inputs.offsets[inputs.clouds] == inputs.length;
}

// Where there are no scores there is nothing to read.
inline bool sized(const lovasz_inputs &inputs) {
  return inputs.images >= 1 && inputs.classes >= 1 && inputs.length >= 1;
}

// Of scores or a gradient that are interpolated the pixels are contiguous floats, and every label
// has one of them; clouds have no resolution.
inline bool upsampled(const lovasz_inputs &inputs, const lovasz_strided &scores) {
  if (inputs.upsample == LOVASZ_AS_GIVEN) return true;
  int64_t pixels = 1;
  for (int axis = 0; axis < 3; ++axis) {
    if (!within(inputs.source[axis], 1, INT32_MAX - 1)) return false;
    if (!within(inputs.size[axis], 1, inputs.length / pixels)) return false;
    pixels *= inputs.size[axis];
  }
  return within(inputs.upsample, LOVASZ_LINEAR, LOVASZ_NEAREST) && pixels == inputs.length &&
         inputs.link < LOVASZ_PROBABILITIES && inputs.score_type == LOVASZ_FLOAT32 &&
         scores.data != nullptr && scores.pixel_stride == 1 && scores.image_stride >= 0 &&
         scores.class_stride >= 0 && inputs.offsets == nullptr && inputs.cloud_ids == nullptr;
}

// What is read of scores.
inline bool scores(const lovasz_inputs &inputs) {
  return strided(inputs.scores) && within(inputs.score_type, LOVASZ_FLOAT32, LOVASZ_FLOAT16) &&
         upsampled(inputs, inputs.scores);
}

// Errors in [0, 1], and predictions that can be added up.
inline bool bounded(const lovasz_inputs &inputs) {
  return inputs.link != LOVASZ_HINGE && inputs.link != LOVASZ_ELU;
}

// Labels are hard, or soft where errors have a bound; those of channels are not made of maps, nor
// smoothed.
inline bool labels(const lovasz_inputs &inputs) {
  const bool classes = inputs.link == LOVASZ_CLASSES || inputs.link == LOVASZ_PROBABILITIES;
  if (inputs.soft.data == nullptr ? inputs.target == nullptr : inputs.target != nullptr) {
    return false;
  }
  if (inputs.soft.data != nullptr &&
      (!strided(inputs.soft) || !bounded(inputs) || inputs.maps != 0)) {
    return false;
  }
  if (inputs.maps != 0 && (inputs.maps < 0 || inputs.mixture == nullptr || !classes)) return false;
  if (inputs.label_smoothing != 0.0f && !classes) return false;
  return inputs.target_stride >= 0 && inputs.target_class_stride >= 0 &&
         (bounded(inputs) || !inputs.regions) && inputs.label_smoothing >= 0.0f &&
         inputs.label_smoothing <= 1.0f &&
         within(inputs.soft_type, LOVASZ_FLOAT32, LOVASZ_FLOAT16) &&
         within(inputs.label_type, LOVASZ_UINT8, LOVASZ_UINT64);
}

// What every pass reads; `bins` is at least this.
inline bool kept(const lovasz_inputs &inputs, int64_t bins) {
  if (!sized(inputs)) return false;
  const bool softmax = inputs.link == LOVASZ_CLASSES;
  const bool places = inputs.weight_image_stride >= 0 && inputs.weight_class_stride >= 0;
  const bool logits = inputs.link < LOVASZ_PROBABILITIES;
  return places && (!softmax || inputs.lse != nullptr) && inputs.bins >= bins && labels(inputs) &&
         (logits || !inputs.cross_entropy) && scores(inputs) &&
         within(inputs.link, LOVASZ_CLASSES, LOVASZ_CHANNEL_PROBABILITIES) && clouds(inputs);
}

// And what is written: the gradient.
inline bool kept(const lovasz_inputs &inputs, int64_t bins, const lovasz_strided &gradient) {
  return kept(inputs, bins) && strided(gradient) && apart(inputs, gradient) &&
         upsampled(inputs, gradient);
}

}  // namespace contract
