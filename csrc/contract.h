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
  Axis axes[] = {{gradient.image_stride, inputs.images},
                 {gradient.class_stride, inputs.classes},
                 {gradient.pixel_stride, inputs.length}};
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

// What every pass reads; `bins` is at least this. Where there are no scores there is nothing to
// read.
inline bool kept(const lovasz_inputs &inputs, int64_t bins) {
  if (inputs.images < 1 || inputs.classes < 1 || inputs.length < 1) return false;
  const bool softmax = inputs.link == LOVASZ_CLASSES;
  const bool places = strided(inputs.scores) && inputs.target != nullptr &&
                      inputs.target_stride >= 0 && inputs.target_class_stride >= 0 &&
                      inputs.weight_image_stride >= 0 && inputs.weight_class_stride >= 0;
  const bool logits = softmax || inputs.link == LOVASZ_SIGMOID;
  return places && (!softmax || inputs.lse != nullptr) && inputs.bins >= bins &&
         (logits || !inputs.cross_entropy) &&
         within(inputs.score_type, LOVASZ_FLOAT32, LOVASZ_FLOAT16) &&
         within(inputs.label_type, LOVASZ_UINT8, LOVASZ_UINT64) &&
         within(inputs.link, LOVASZ_CLASSES, LOVASZ_CHANNEL_PROBABILITIES) && clouds(inputs);
}

// And what is written: the gradient.
inline bool kept(const lovasz_inputs &inputs, int64_t bins, const float *slopes,
                 const lovasz_strided &gradient) {
  return kept(inputs, bins) && slopes != nullptr && strided(gradient) && apart(inputs, gradient);
}

}  // namespace contract
