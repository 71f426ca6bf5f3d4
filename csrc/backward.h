// The second pass: from slopes, by bin or by pixel, to the gradient of the scores.
#pragma once

#include "cross_entropy.h"
#include "errors.h"
#include "kernels.h"
#include "labels.h"
#include "tile.h"

namespace LOVASZ_LEVEL {

inline float factor_of(const lovasz_slopes &slopes, int64_t c) {
  return slopes.factors == nullptr ? 1.0f : slopes.factors[c];
}

// Softmax: p and the slope s of every class as if the pixel were a negative of each, and the sum of
// p * s over the classes of which it is one. Subtracting the positive later would cost the digits
// that matter where p is near 1.
template <int T>
void negative_slopes(Rows x, int64_t classes, int64_t bins, const int32_t *__restrict label,
                     LogSumExp lse, const lovasz_slopes &slopes, float *__restrict p_out,
                     float *__restrict s_out, float *__restrict sum) {
  const float number = static_cast<float>(bins), last = number - 1.0f;
  for (int t = 0; t < T; ++t) sum[t] = 0.0f;
  for (int64_t c = 0; c < classes; ++c) {
    const float *__restrict row = x.data + c * x.stride;
    const float *__restrict slope = slopes.slopes + 2 * c * bins;
    const float factor = factor_of(slopes, c);
    float *__restrict p_row = p_out + c * padded<T>;
    float *__restrict s_row = s_out + c * padded<T>;
    alignas(64) int32_t bin[T];
    x.prefetch(c);
    for (int t = 0; t < T; ++t) {
      const float h = exp_half(lse.log_probability(t, row[t])), p = h * h;
      bin[t] = bin_of(bounded_position(p, 1.0f - p, number), last);
      p_row[t] = p;
    }
    gather<T>(slope, bin, s_row);
    const int32_t own = static_cast<int32_t>(c);
    for (int t = 0; t < T; ++t) {
      s_row[t] *= factor;
      sum[t] += label[t] == own ? 0.0f : p_row[t] * s_row[t];
    }
  }
}

// The same for the class that the pixel belongs to. Of an ignored pixel, whose p is 0, any class
// will do.
template <int T>
void positive_slopes(const int32_t *label, int64_t bins, const lovasz_slopes &slopes,
                     const float *p, float *s, float *sum) {
  const float last = static_cast<float>(bins - 1);
  const uint32_t row = static_cast<uint32_t>(bins);
  alignas(64) int32_t own[T], at[T];
  alignas(64) uint32_t cell[T];
  alignas(64) float own_p[T], slope[T], factor[T];
  places_in_rows<T>(label, padded<T>, at);
  gather<T>(p, at, own_p);
  for (int t = 0; t < T; ++t) {
    own[t] = label[t] < 0 ? 0 : label[t];
    const float u = bounded_position(1.0f - own_p[t], own_p[t], static_cast<float>(bins));
    const uint32_t bin = static_cast<uint32_t>(bin_of(u, last));
    cell[t] = (2 * static_cast<uint32_t>(own[t]) + 1) * row + bin;
  }
  gather<T>(slopes.slopes, cell, slope);
  if (slopes.factors != nullptr) {
    gather<T>(slopes.factors, own, factor);
    for (int t = 0; t < T; ++t) slope[t] *= factor[t];
  }
  for (int t = 0; t < T; ++t) {
    slope[t] = -slope[t];
    sum[t] += label[t] < 0 ? 0.0f : own_p[t] * slope[t];
  }
  scatter<T>(slope, at, s);
}

// Slopes by pixel of a tile, multiplied by their factors: those of the classes, or where there are
// clouds those of the classes of the cloud that a pixel is of.
template <int T>
struct PixelSlopes {
  const lovasz_inputs &inputs;
  const lovasz_slopes &slopes;
  const int64_t pixel, size;
  const bool of_clouds;
  alignas(64) uint32_t at[T];  // from where on the factors of a pixel are

  PixelSlopes(const lovasz_inputs &read, const lovasz_slopes &given, int64_t first, int64_t count)
      : inputs(read),
        slopes(given),
        pixel(first),
        size(count),
        of_clouds(read.cloud_ids != nullptr && given.factors != nullptr && given.by_pixel) {
    if (!of_clouds) return;
    const uint32_t classes = static_cast<uint32_t>(inputs.classes);
    for (int64_t t = 0; t < T; ++t) {
      at[t] = t < size ? static_cast<uint32_t>(inputs.cloud_ids[pixel + t]) * classes : 0;
    }
  }

  // Those of class c; 0 past the end of the tile.
  void load(int64_t c, float *__restrict out) const {
    const float *slope = slopes.slopes + c * inputs.length + pixel;
    if (size == T) {
      for (int t = 0; t < T; ++t) out[t] = slope[t];
    } else {
      for (int64_t t = 0; t < T; ++t) out[t] = t < size ? slope[t] : 0.0f;
    }
    if (of_clouds) {
      alignas(64) float factor[T];
      gather<T>(slopes.factors + c, at, factor);
      for (int t = 0; t < T; ++t) out[t] *= factor[t];
    } else {
      const float factor = factor_of(slopes, c);
      for (int t = 0; t < T; ++t) out[t] *= factor;
    }
  }
};

// As the two above, from slopes (C, L) by pixel.
template <int T>
void slopes_by_pixel(Rows x, const lovasz_inputs &inputs, const int32_t *__restrict label,
                     LogSumExp lse, const lovasz_slopes &slopes, int64_t pixel, int64_t size,
                     float *__restrict p_out, float *__restrict s_out, float *__restrict sum) {
  const PixelSlopes<T> by_pixel(inputs, slopes, pixel, size);
  for (int t = 0; t < T; ++t) sum[t] = 0.0f;
  for (int64_t c = 0; c < inputs.classes; ++c) {
    const float *__restrict row = x.data + c * x.stride;
    float *__restrict p_row = p_out + c * padded<T>;
    float *__restrict s_row = s_out + c * padded<T>;
    const int32_t own = static_cast<int32_t>(c);
    x.prefetch(c);
    by_pixel.load(c, s_row);
    for (int t = 0; t < T; ++t) {
      const float h = exp_half(lse.log_probability(t, row[t]));
      const float s = label[t] == own ? -s_row[t] : s_row[t];
      p_row[t] = h * h;
      s_row[t] = s;
      sum[t] += h * h * s;
    }
  }
}

// What a tile's gradient is made of.
template <int T>
struct GradientTile {
  const float *p, *s;  // (C, padded)
  const float *sum;    // (T)
  const int32_t *label;
  const CrossEntropySlopes<T> *cross_entropy;  // null without
  const float *weight;                         // (T), of the pixels, or null for ones
};

// The gradient of one class: p * (s - sum), and what cross-entropy adds.
template <int T, bool CrossEntropy>
void gradient_row(const lovasz_inputs &inputs, const GradientTile<T> &tile, int64_t c,
                  float *__restrict out) {
  const float *__restrict p = tile.p + c * padded<T>;
  const float *__restrict s = tile.s + c * padded<T>;
  const float *__restrict sum = tile.sum;
  const int32_t *__restrict label = tile.label;
  const CrossEntropySlopes<T> *__restrict cross_entropy = tile.cross_entropy;
  const float bias = CrossEntropy ? cross_entropy->share * class_weight(inputs, c) : 0.0f;
  const int32_t own = static_cast<int32_t>(c);
  for (int t = 0; t < T; ++t) {
    const float lovasz = p[t] * (s[t] - sum[t]);
    if (CrossEntropy) {
      const float target = label[t] == own ? cross_entropy->own[t] : 0.0f;
      out[t] = lovasz - target - bias * cross_entropy->valid[t];
    } else {
      out[t] = lovasz;
    }
  }
  if (tile.weight == nullptr) return;
  for (int t = 0; t < T; ++t) out[t] *= tile.weight[t];
}

// Log-sum-exp of the pixels, +inf where ignored, so that p is 0; true if some are to be blanked,
// because they have scores that are no numbers.
template <int T>
bool load_lse(const lovasz_inputs &inputs, const int32_t *label, int64_t image, int64_t pixel,
              int64_t size, float *most, float *rest) {
  const double *lse = inputs.lse + image * inputs.length + pixel;
  fetch_after(lse, T);
  for (int64_t t = size; t < T; ++t) most[t] = rest[t] = 0.0f;
  for (int64_t t = 0; t < size; ++t) {
    most[t] = static_cast<float>(lse[t]);
    rest[t] = static_cast<float>(lse[t] - static_cast<double>(most[t]));
  }
  int32_t blank = 0;
  for (int t = 0; t < T; ++t) {
    const bool number = most[t] >= -largest && most[t] <= largest;
    blank |= (label[t] == ignored) & !number;
    most[t] = label[t] == ignored ? infinity : most[t];
  }
  return blank != 0;
}

// Zeros for ignored pixels that hold NaN.
template <int T>
void blank_ignored(int64_t classes, const int32_t *label, float *p, float *s, float *sum) {
  for (int64_t c = 0; c < classes; ++c) {
    for (int t = 0; t < T; ++t) {
      if (label[t] != ignored) continue;
      p[c * padded<T> + t] = s[c * padded<T> + t] = sum[t] = 0.0f;
    }
  }
}

// `total` is the sum of the class weights of cross-entropy; `out` is where the gradient goes.
template <int T, class Out>
void backward_tile(const lovasz_inputs &inputs, Rows x, const lovasz_slopes &slopes, double total,
                   int64_t image, int64_t pixel, int64_t size, const Scratch &scratch,
                   const Out &out) {
  float *p = scratch.a, *s = scratch.b;
  alignas(64) int32_t label[T];
  alignas(64) float most[T], rest[T], sum[T];
  load_labels<T>(inputs, image, pixel, size, label);
  const bool blank = load_lse<T>(inputs, label, image, pixel, size, most, rest);
  const LogSumExp lse{most, rest};
  if (slopes.by_pixel) {
    slopes_by_pixel<T>(x, inputs, label, lse, slopes, pixel, size, p, s, sum);
  } else {
    negative_slopes<T>(x, inputs.classes, inputs.bins, label, lse, slopes, p, s, sum);
    positive_slopes<T>(label, inputs.bins, slopes, p, s, sum);
  }
  if (blank) blank_ignored<T>(inputs.classes, label, p, s, sum);
  alignas(64) float times[T];
  const float *weight = nullptr;
  if (inputs.pixel_weight != nullptr) {
    load_weights<T>(label, weights_from(inputs, inputs.pixel_weight, image, 0, pixel), size, times);
    weight = times;
  }
  if (inputs.cross_entropy) {
    const CrossEntropySlopes<T> cross_entropy(inputs, total, slopes.cross_entropy_scale, label);
    for (int t = 0; t < T; ++t) sum[t] -= cross_entropy.common[t];
    const GradientTile<T> tile{p, s, sum, label, &cross_entropy, weight};
    out.store(scratch.rows,
              [&](int64_t c, float *row) { gradient_row<T, true>(inputs, tile, c, row); });
  } else {
    const GradientTile<T> tile{p, s, sum, label, nullptr, weight};
    out.store(scratch.rows,
              [&](int64_t c, float *row) { gradient_row<T, false>(inputs, tile, c, row); });
  }
}

// The same for a cross-entropy alone: its gradient by a score needs that score and no other, so
// that one loop over the classes is enough.
template <int T, class Out>
void cross_entropy_backward_tile(const lovasz_inputs &inputs, Rows x, double total, float scale,
                                 int64_t image, int64_t pixel, int64_t size, const Scratch &scratch,
                                 const Out &out) {
  alignas(64) int32_t label[T];
  alignas(64) float most[T], rest[T], times[T];
  load_labels<T>(inputs, image, pixel, size, label);
  const bool blank = load_lse<T>(inputs, label, image, pixel, size, most, rest);
  const LogSumExp lse{most, rest};
  CrossEntropySlopes<T> slopes(inputs, total, scale, label);
  if (inputs.pixel_weight != nullptr) {
    load_weights<T>(label, weights_from(inputs, inputs.pixel_weight, image, 0, pixel), size, times);
    for (int t = 0; t < T; ++t) {
      slopes.common[t] *= times[t];
      slopes.own[t] *= times[t];
      slopes.valid[t] *= times[t];
    }
  }
  // Not scratch.rows, which may hold the scores.
  out.store(scratch.a, [&](int64_t c, float *__restrict row) {
    const float *__restrict score = x.data + c * x.stride;
    const float bias = slopes.share * class_weight(inputs, c);
    const int32_t own = static_cast<int32_t>(c);
    x.prefetch(c);
    for (int t = 0; t < T; ++t) {
      const float h = exp_half(lse.log_probability(t, score[t]));
      const float target = label[t] == own ? slopes.own[t] : 0.0f;
      row[t] = h * h * slopes.common[t] - target - bias * slopes.valid[t];
    }
    if (!blank) return;
    for (int t = 0; t < T; ++t) row[t] = label[t] == ignored ? 0.0f : row[t];
  });
}

// Channels: the errors of one, their derivative, and their slopes.
template <int T, int32_t Link>
void channel_slopes(const lovasz_inputs &inputs, const float *__restrict margin,
                    const int32_t *__restrict label, const lovasz_slopes &slopes, int64_t c,
                    float *__restrict error, float *__restrict derivative,
                    float *__restrict slope) {
  const float factor = factor_of(slopes, c);
  const float bins = static_cast<float>(inputs.bins), last = bins - 1.0f;
  const int32_t side = static_cast<int32_t>(inputs.bins);  // from negatives to positives
  alignas(64) int32_t at[T];
  // In one loop, so that one exponential serves them all.
  for (int t = 0; t < T; ++t) {
    error[t] = error_of<Link>(margin[t]);
    derivative[t] = derivative_of<Link>(margin[t]);
    const float u = position_of<Link>(margin[t], bins);
    at[t] = bin_of(u, last) + (label[t] == 1 ? side : 0);
  }
  gather<T>(slopes.slopes + 2 * c * inputs.bins, at, slope);
  for (int t = 0; t < T; ++t) slope[t] *= factor;
}

// The gradient of a channel, T floats.
template <int T, int32_t Link>
void channel_gradient(const lovasz_inputs &inputs, const float *row,
                      const int32_t *__restrict label, const lovasz_slopes &slopes,
                      const PixelSlopes<T> &by_pixel, int64_t image, int64_t c,
                      float *__restrict out) {
  const int64_t pixel = by_pixel.pixel, size = by_pixel.size;
  alignas(64) float margin[T], error[T], derivative[T], slope[T];
  margins<T, Link>(row, label, margin);
  const bool alone = !slopes.by_pixel && inputs.bins == 0;  // the cross-entropy
  if (slopes.by_pixel) {
    by_pixel.load(c, slope);
    for (int t = 0; t < T; ++t) derivative[t] = derivative_of<Link>(margin[t]);
  } else if (alone) {
    for (int t = 0; t < T; ++t) slope[t] = derivative[t] = 0.0f;
  } else {
    channel_slopes<T, Link>(inputs, margin, label, slopes, c, error, derivative, slope);
  }
  for (int t = 0; t < T; ++t) {
    const float value = slope[t] * derivative[t];
    out[t] = label[t] == 1 ? -value : value;
  }
  if (!of_probabilities<Link> && inputs.cross_entropy) {
    if (Link != LOVASZ_SIGMOID || slopes.by_pixel || alone) {
      for (int t = 0; t < T; ++t) error[t] = sigmoid(margin[t]);
    }
    const float scale = slopes.cross_entropy_scale, own = scale * class_weight(inputs, c);
    for (int t = 0; t < T; ++t) out[t] += label[t] == 1 ? -own * error[t] : scale * error[t];
  }
  const float *weight = weights_from(inputs, inputs.pixel_weight, image, c, pixel);
  for (int64_t t = 0; weight != nullptr && t < size; ++t) out[t] *= weight[t];
  for (int t = 0; t < T; ++t) out[t] = label[t] < 0 ? 0.0f : out[t];
}

template <int T, int32_t Link, class Out>
void backward_channels_tile(const lovasz_inputs &inputs, Rows x, const lovasz_slopes &slopes,
                            int64_t image, int64_t pixel, int64_t size, const Scratch &scratch,
                            const Out &out) {
  const ChannelLabels<T, Link> labels(inputs, image, pixel, size);
  const PixelSlopes<T> by_pixel(inputs, slopes, pixel, size);
  // Not scratch.rows: they may hold the scores, which are read until the last channel.
  out.store(scratch.a, [&](int64_t c, float *row) {
    alignas(64) int32_t label[T];
    labels.of(c, label);
    x.prefetch(c);
    channel_gradient<T, Link>(inputs, x.data + c * x.stride, label, slopes, by_pixel, image, c,
                              row);
  });
}

}  // namespace LOVASZ_LEVEL
