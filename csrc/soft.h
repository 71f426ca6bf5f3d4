// Soft labels of a tile, class by class: loaded, or made on the fly from label maps, of which there
// may be one.
//
// Whoever asks for them sees q in [0, 1], 0 where a pixel is ignored, and need not know where it
// comes from.
#pragma once

#include "errors.h"
#include "labels.h"
#include "tile.h"

namespace LOVASZ_LEVEL {

inline bool of_classes(const lovasz_inputs &inputs) {
  return inputs.link == LOVASZ_CLASSES || inputs.link == LOVASZ_PROBABILITIES;
}

template <int T>
class SoftLabels {
 public:
  // Of the class that was last asked for: before label smoothing, and whether pixels count, 1 or 0,
  // which with classes is the same for all of them.
  alignas(64) float raw[T], valid[T];
  // With classes, of each pixel: `ignored`, `outside`, or a class that it may be of.
  alignas(64) int32_t label[T];
  int64_t maps;  // label maps, or 0

  SoftLabels(const lovasz_inputs &read, int64_t n, int64_t first, int64_t count,
             const Scratch &scratch)
      : maps(read.soft.data != nullptr ? 0
             : read.maps > 0           ? read.maps
                                       : 1),
        inputs(read),
        image(n),
        pixel(first),
        size(count),
        channels(!of_classes(read)),
        smoothed(read.label_smoothing > 0.0f),
        base(read.label_smoothing / static_cast<float>(read.classes)),
        memory(scratch.soft) {
    if (maps == 0) load_dense(scratch);
    if (channels) return;
    if (maps == 0) {
      load_weightless();
    } else {
      load_maps();
    }
    for (int t = 0; t < T; ++t) valid[t] = label[t] < 0 ? 0.0f : 1.0f;
  }
  SoftLabels(const SoftLabels &) = delete;
  SoftLabels &operator=(const SoftLabels &) = delete;

  // The labels of class c. With Check what is wrong with them is noted too.
  template <bool Check>
  const float *of(int64_t c) {
    if (maps == 0) {
      dense.prefetch(c);
      if (channels) find_ignored(c, dense.data + c * dense.stride);
      dense_row<Check>(dense.data + c * dense.stride);
    } else if (channels) {
      channel_row<Check>(c);
    } else {
      map_row(c);
    }
    if (!smoothed) return raw;
    for (int t = 0; t < T; ++t) smooth[t] = kept() * raw[t] + base * valid[t];
    return smooth;
  }

  // Of map k: the labels, and the part that a pixel is of them.
  const int32_t *labels_of(int64_t k) const { return integers(k, 0); }
  const float *shares_of(int64_t k) const { return row(k, 1); }
  // After `find_named`: the class that it names at a pixel, which if it is ignored is the `label`,
  // q of that, and whether it is the first to name it, 1 or 0.
  const int32_t *named_by(int64_t k) const { return integers(k, 2); }
  const float *q_of(int64_t k) const { return row(k, 3); }
  const int32_t *first_of(int64_t k) const { return integers(k, 4); }
  // Working memory: a row for each map, and four numbers for each class.
  float *row_of(int64_t k) const { return row(k, 5); }
  float *numbers() const { return memory + 6 * maps * T; }

  void find_named() const {
    for (int64_t k = 0; k < maps; ++k) {
      const int32_t *__restrict mine = labels_of(k);
      int32_t *__restrict named = integers(k, 2), *__restrict first = integers(k, 4);
      float *__restrict q = row(k, 3);
      for (int t = 0; t < T; ++t) {
        named[t] = mine[t] < 0 ? label[t] : mine[t];
        first[t] = mine[t] >= 0;
        q[t] = 0.0f;
      }
      for (int64_t j = 0; j < maps; ++j) add_share(j, named, q, j < k ? first : nullptr);
      if (!smoothed) continue;
      for (int t = 0; t < T; ++t) q[t] = kept() * q[t] + base;
    }
  }
  // q is `kept` times what it is before label smoothing, and `rest`, which is all that it is of
  // classes that no map names.
  float kept() const { return 1.0f - inputs.label_smoothing; }
  float rest() const { return base; }

  // Pixels whose labels are none, when all classes have been asked for.
  int64_t wrong() const {
    const bool of_maps = maps > 0 && !channels;
    int64_t pixels = 0;
    for (int t = 0; t < T; ++t) {
      const bool none = of_maps && label[t] == outside;
      pixels += none | (bad[t] != 0) | !(sum[t] <= 1.0f + tolerance);  // NaN too
    }
    return pixels;
  }

 private:
  float *row(int64_t k, int64_t i) const { return memory + (6 * k + i) * T; }
  int32_t *integers(int64_t k, int64_t i) const { return reinterpret_cast<int32_t *>(row(k, i)); }

  // Adds the share of map j in the classes `named`, and takes those that it names from the `first`.
  void add_share(int64_t j, const int32_t *__restrict named, float *__restrict q,
                 int32_t *__restrict first) const {
    const int32_t *__restrict other = labels_of(j);
    const float *__restrict share = shares_of(j);
    for (int t = 0; t < T; ++t) q[t] += other[t] == named[t] ? share[t] : 0.0f;
    if (first == nullptr) return;
    for (int t = 0; t < T; ++t) first[t] &= static_cast<int32_t>(other[t] != named[t]);
  }

  void load_dense(const Scratch &scratch) {
    switch (inputs.soft_type) {
      case LOVASZ_FLOAT32:
        dense = load_tile<T, float>(inputs, inputs.soft, image, pixel, size, scratch.strip, memory);
        break;
      case LOVASZ_BFLOAT16:
        dense =
            load_tile<T, bfloat16>(inputs, inputs.soft, image, pixel, size, scratch.strip, memory);
        break;
      default:
        dense =
            load_tile<T, float16>(inputs, inputs.soft, image, pixel, size, scratch.strip, memory);
    }
  }

  void load_weightless() {
    const float *weight = weights_from(inputs, inputs.pixel_weight, image, 0, pixel);
    for (int64_t t = 0; t < T; ++t) label[t] = t < size ? 0 : ignored;
    if (weight == nullptr) return;
    for (int64_t t = 0; t < size; ++t) label[t] = weight[t] == 0.0f ? ignored : 0;
  }

  // The maps that are not ignored at a pixel share it by their weights; where only maps without
  // weight are left, it is ignored.
  void load_maps() {
    alignas(64) float total[T];
    for (int t = 0; t < T; ++t) total[t] = 0.0f;
    for (int t = 0; t < T; ++t) label[t] = ignored;
    const float *weight = maps > 1 ? inputs.mixture + image * maps : nullptr;
    for (int64_t k = 0; k < maps; ++k) {
      int32_t *__restrict own = integers(k, 0);
      float *__restrict share = row(k, 1);
      const int64_t first = image * inputs.target_stride + k * inputs.target_class_stride;
      load_labels_at<T>(inputs, first + pixel, inputs.classes, size, own);
      const float times = weight == nullptr ? 1.0f : weight[k];
      for (int t = 0; t < T; ++t) {
        share[t] = own[t] < 0 ? 0.0f : times;
        total[t] += share[t];
        const int32_t found = label[t] == ignored ? own[t] : label[t];
        label[t] = own[t] == outside ? outside : found;
      }
    }
    if (maps == 1) return;
    for (int t = 0; t < T; ++t) {
      const bool some = total[t] > 0.0f;
      label[t] = label[t] >= 0 && !some ? ignored : label[t];
      total[t] = some ? 1.0f / total[t] : 0.0f;
    }
    for (int64_t k = 0; k < maps; ++k) {
      float *__restrict share = row(k, 1);
      for (int t = 0; t < T; ++t) share[t] *= total[t];
    }
  }

  void map_row(int64_t c) {
    const int32_t own = static_cast<int32_t>(c);
    const int32_t *__restrict first = labels_of(0);
    const float *__restrict first_share = shares_of(0);
    for (int t = 0; t < T; ++t) raw[t] = first[t] == own ? first_share[t] : 0.0f;
    for (int64_t k = 1; k < maps; ++k) {
      const int32_t *__restrict other = labels_of(k);
      const float *__restrict share = shares_of(k);
      for (int t = 0; t < T; ++t) raw[t] += other[t] == own ? share[t] : 0.0f;
    }
  }

  template <bool Check>
  void channel_row(int64_t c) {
    load_channel_labels<T>(inputs, image, c, pixel, size, label);
    for (int t = 0; t < T; ++t) {
      raw[t] = label[t] == 1 ? 1.0f : 0.0f;
      valid[t] = label[t] < 0 ? 0.0f : 1.0f;
      if (Check) bad[t] |= label[t] == outside;
    }
  }

  // Elements of channel c, of which each pixel may have some.
  void find_ignored(int64_t c, const float *__restrict row) {
    const bool some = inputs.has_ignore_index != 0;
    const float ignore_index = some ? static_cast<float>(inputs.ignore_index) : 0.0f;
    for (int64_t t = 0; t < T; ++t) {
      valid[t] = t < size && !(some && row[t] == ignore_index) ? 1.0f : 0.0f;
    }
    const float *weight = weights_from(inputs, inputs.pixel_weight, image, c, pixel);
    if (weight == nullptr) return;
    for (int64_t t = 0; t < size; ++t) valid[t] = weight[t] == 0.0f ? 0.0f : valid[t];
  }

  template <bool Check>
  void dense_row(const float *__restrict row) {
    for (int t = 0; t < T; ++t) {
      const float q = valid[t] > 0.0f ? row[t] : 0.0f;
      raw[t] = in_range(q);
      if (!Check) continue;
      // Of classes their sum tells what is too large, and what is no number.
      bad[t] |= static_cast<int32_t>(!(q >= -tolerance));
      sum[t] = channels ? (q > sum[t] ? q : sum[t]) : sum[t] + q;
    }
  }

  const lovasz_inputs &inputs;
  const int64_t image, pixel, size;
  const bool channels, smoothed;
  const float base;
  float *const memory;
  Rows dense{nullptr, 0, {0, 0, 0}};
  alignas(64) float smooth[T], sum[T] = {};
  alignas(64) int32_t bad[T] = {};
};

// Probabilities of a channel and what is left to 1, each with its own digits; with CrossEntropy of
// logits also what a label of 0 and one of 1 cost.
template <int T, int32_t Link, bool CrossEntropy>
void channel_probabilities(const float *__restrict row, float *__restrict p,
                           float *__restrict complement, float *__restrict nll_0,
                           float *__restrict nll_1) {
  if (of_probabilities<Link>) {
    for (int t = 0; t < T; ++t) {
      p[t] = in_range(row[t]);
      complement[t] = 1.0f - p[t];
    }
    return;
  }
  for (int t = 0; t < T; ++t) {
    const float x = row[t], h = exp_half(x < 0.0f ? x : -x), e = h * h;
    const float tail = e / (1.0f + e);
    p[t] = x < 0.0f ? tail : 1.0f - tail;
    complement[t] = x < 0.0f ? 1.0f - tail : tail;
    if (!CrossEntropy) continue;
    const float rest = log_one_plus(e);
    nll_0[t] = (x > 0.0f ? x : 0.0f) + rest;
    nll_1[t] = (x < 0.0f ? -x : 0.0f) + rest;
  }
}

}  // namespace LOVASZ_LEVEL
