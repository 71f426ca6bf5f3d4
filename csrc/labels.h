// The labels of a tile.
#pragma once

#include <stdint.h>

#include "lovasz.h"
#include "memory.h"

namespace LOVASZ_LEVEL {

constexpr int32_t ignored = -1;  // an ignored pixel, or one past the end of the tile
constexpr int32_t outside = -2;  // a label that is neither a class nor ignored

// Narrow labels are compared in 32 bits: twice and four times as many at once.
template <class Label, class Wide>
void load_labels_as(const Label *source, const lovasz_inputs &inputs, int64_t classes, int64_t size,
                    int32_t *labels) {
  const Wide end = static_cast<Wide>(classes),
             ignore_index = static_cast<Wide>(inputs.ignore_index);
  // An index that no label can have is as none.
  const bool has_ignore_index = inputs.has_ignore_index != 0 && ignore_index == inputs.ignore_index;
  for (int64_t t = 0; t < size; ++t) {
    // Labels past the range of int64 wrap to negative numbers, as they do in torch.
    const Wide value = static_cast<Wide>(source[t]);
    const int32_t label = value >= 0 && value < end ? static_cast<int32_t>(value) : outside;
    labels[t] = has_ignore_index && value == ignore_index ? ignored : label;
  }
}

template <class Label>
void load_labels_of(const Label *source, const lovasz_inputs &inputs, int64_t classes, int64_t size,
                    int32_t *labels) {
  fetch_after(source, size);
  if (sizeof(Label) < sizeof(int32_t)) {
    load_labels_as<Label, int32_t>(source, inputs, classes, size, labels);
  } else {
    load_labels_as<Label, int64_t>(source, inputs, classes, size, labels);
  }
}

template <int T>
void load_labels_at(const lovasz_inputs &inputs, int64_t first, int64_t classes, int64_t size,
                    int32_t *labels) {
  switch (inputs.label_type) {
#define LOVASZ_LABELS(name, type)                                                           \
  case name:                                                                                \
    load_labels_of(static_cast<const type *>(inputs.target) + first, inputs, classes, size, \
                   labels);                                                                 \
    break;
    LOVASZ_LABELS(LOVASZ_UINT8, uint8_t)
    LOVASZ_LABELS(LOVASZ_INT8, int8_t)
    LOVASZ_LABELS(LOVASZ_UINT16, uint16_t)
    LOVASZ_LABELS(LOVASZ_INT16, int16_t)
    LOVASZ_LABELS(LOVASZ_UINT32, uint32_t)
    LOVASZ_LABELS(LOVASZ_INT32, int32_t)
    LOVASZ_LABELS(LOVASZ_INT64, int64_t)
    LOVASZ_LABELS(LOVASZ_UINT64, uint64_t)
#undef LOVASZ_LABELS
  }
  for (int64_t t = size; t < T; ++t) labels[t] = ignored;
}

template <int T>
void load_labels(const lovasz_inputs &inputs, int64_t image, int64_t pixel, int64_t size,
                 int32_t *labels) {
  const int64_t first = image * inputs.target_stride + pixel;
  load_labels_at<T>(inputs, first, inputs.classes, size, labels);
}

// 0 or 1 for the pixels of a channel.
template <int T>
void load_channel_labels(const lovasz_inputs &inputs, int64_t image, int64_t c, int64_t pixel,
                         int64_t size, int32_t *labels) {
  const int64_t channel = image * inputs.target_stride + c * inputs.target_class_stride;
  load_labels_at<T>(inputs, channel + pixel, 2, size, labels);
}

// The labels of a tile, for one channel after the other. Classes are channels whose label is
// whether a pixel belongs to them.
template <int T, int32_t Link>
struct ChannelLabels {
  const lovasz_inputs &inputs;
  int64_t image, pixel, size;
  alignas(64) int32_t classes[T];  // of the pixels, where they have one label

  ChannelLabels(const lovasz_inputs &read, int64_t n, int64_t first, int64_t number)
      : inputs(read), image(n), pixel(first), size(number) {
    if (Link == LOVASZ_PROBABILITIES) load_labels<T>(inputs, image, pixel, size, classes);
  }
  void of(int64_t c, int32_t *__restrict label) const {
    if (Link != LOVASZ_PROBABILITIES) {
      load_channel_labels<T>(inputs, image, c, pixel, size, label);
      return;
    }
    const int32_t own = static_cast<int32_t>(c);
    for (int t = 0; t < T; ++t) label[t] = classes[t] < 0 ? classes[t] : classes[t] == own;
  }
};

// From where on the weights of pixels are read, as numbers or in the units that are counted; null
// for ones. For classes c is 0.
template <class Weight>
inline const Weight *weights_from(const lovasz_inputs &inputs, const Weight *weights, int64_t image,
                                  int64_t c, int64_t pixel) {
  if (weights == nullptr) return nullptr;
  return weights + image * inputs.weight_image_stride + c * inputs.weight_class_stride + pixel;
}

// The weights of pixels, from their first on or ones where null; 0 where the label is none.
template <int T>
void load_weights(const int32_t *label, const float *weight, int64_t size, float *times) {
  if (weight == nullptr) {
    for (int t = 0; t < T; ++t) times[t] = label[t] < 0 ? 0.0f : 1.0f;
    return;
  }
  for (int64_t t = 0; t < size; ++t) times[t] = label[t] < 0 ? 0.0f : weight[t];
  for (int64_t t = size; t < T; ++t) times[t] = 0.0f;
}

// Where the class of each pixel is found in rows that lie `stride` apart; anywhere for other
// labels.
template <int T>
inline void places_in_rows(const int32_t *label, int32_t stride, int32_t *at) {
  for (int t = 0; t < T; ++t) at[t] = (label[t] < 0 ? 0 : label[t]) * stride + t;
}

}  // namespace LOVASZ_LEVEL
