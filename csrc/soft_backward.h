// The second pass for soft labels, and for losses of sums: from slopes, and from derivatives by the
// sums, to the gradient of the scores.
#pragma once

#include "backward.h"
#include "regions.h"
#include "soft.h"

namespace LOVASZ_LEVEL {

// Derivatives of the errors of a class by its predictions p, times their slopes; `complement` is
// 1 - p.
template <int T>
void soft_slopes(const lovasz_inputs &inputs, const lovasz_slopes &slopes, int64_t c,
                 const float *__restrict p, const float *__restrict complement,
                 const float *__restrict q, float *__restrict slope) {
  const float bins = static_cast<float>(inputs.bins), last = bins - 1.0f;
  const float factor = factor_of(slopes, c);
  const int32_t side = static_cast<int32_t>(inputs.bins);  // from negatives to positives
  alignas(64) int32_t at[T];
  for (int t = 0; t < T; ++t) {
    const bool under = is_under(p[t], q[t]);
    at[t] =
        bin_of(soft_position(p[t], complement[t], q[t], under, bins), last) + (under ? side : 0);
  }
  gather<T>(slopes.slopes + 2 * c * inputs.bins, at, slope);
  for (int t = 0; t < T; ++t) slope[t] *= is_under(p[t], q[t]) ? -factor : factor;
}

// The derivatives by the predictions of class c: of errors, of which each has a slope or its bin
// has one, and of sums.
template <int T>
void rising_slopes(const lovasz_inputs &inputs, const lovasz_slopes &slopes,
                   const PixelSlopes<T> &by_pixel, int64_t c, const float *__restrict p,
                   const float *__restrict complement, const float *__restrict q,
                   float *__restrict slope) {
  if (slopes.by_pixel) {
    by_pixel.load(c, slope);
    for (int t = 0; t < T; ++t) slope[t] = is_under(p[t], q[t]) ? -slope[t] : slope[t];
  } else if (inputs.bins > 0) {
    soft_slopes<T>(inputs, slopes, c, p, complement, q, slope);
  } else {
    for (int t = 0; t < T; ++t) slope[t] = 0.0f;
  }
  if (slopes.by_regions == nullptr) return;
  add_by_regions<T>(slopes.by_regions + c * LOVASZ_REGION_SUMS, p, q, slope);
}

// What the gradients of all classes of a pixel have in common. With r the derivatives by p, that by
// score c is p_c (r_c - Σ p_k r_k). Where one p is nearly 1 that is the difference of two numbers
// next to each other; relative to the r of that class, whose own difference is 0, both are small.
template <int T>
struct SoftPull {
  // No two p of a pixel are that large, whatever their rounding.
  static constexpr float large = 0.75f;
  alignas(64) float most[T], rest[T];  // see LogSumExp
  alignas(64) float sum[T] = {};       // Σ p r, relative to the pivot at last
  alignas(64) float others[T] = {};    // Σ p without that of the pivot
  alignas(64) float pivot[T] = {};     // r of a class whose p is large, or 0
  alignas(64) float entropy[T] = {};   // weights of classes times labels, of the cross-entropy

  // Adds class c, with slopes of errors that become derivatives by p.
  void add_slopes(const float *__restrict p, const float *__restrict q, float factor,
                  float *__restrict slope) {
    for (int t = 0; t < T; ++t) {
      const float r = slope[t] * (is_under(p[t], q[t]) ? -factor : factor);
      const bool is_pivot = p[t] > large;
      slope[t] = r;
      sum[t] += is_pivot ? 0.0f : p[t] * r;
      others[t] += is_pivot ? 0.0f : p[t];
      pivot[t] = is_pivot ? r : pivot[t];
    }
  }
  // The same with derivatives by p.
  void add(const float *__restrict p, const float *__restrict r) {
    for (int t = 0; t < T; ++t) {
      const bool is_pivot = p[t] > large;
      sum[t] += is_pivot ? 0.0f : p[t] * r[t];
      others[t] += is_pivot ? 0.0f : p[t];
      pivot[t] = is_pivot ? r[t] : pivot[t];
    }
  }
  void add_cross_entropy(const float *__restrict label, float weight) {
    for (int t = 0; t < T; ++t) entropy[t] += weight * label[t];
  }
  void finish(float scale) {
    for (int t = 0; t < T; ++t) sum[t] -= pivot[t] * others[t] + scale * entropy[t];
  }
};

// The labels of the cross-entropy, whose smoothing is its own.
template <int T>
void cross_entropy_labels(const lovasz_inputs &inputs, const SoftLabels<T> &soft,
                          float *__restrict label) {
  const float kept = 1.0f - inputs.smoothing;
  const float base = inputs.smoothing / static_cast<float>(inputs.classes);
  for (int t = 0; t < T; ++t) label[t] = kept * soft.raw[t] + base * soft.valid[t];
}

// The probabilities of a class, and slopes of its errors by their bins.
template <int T>
void class_slopes(const lovasz_inputs &inputs, const float *__restrict score, LogSumExp lse,
                  const float *__restrict valid, const float *__restrict q, const float *slopes,
                  float *__restrict p, float *slope) {
  const float bins = static_cast<float>(inputs.bins), last = bins - 1.0f;
  const int32_t side = static_cast<int32_t>(inputs.bins);
  alignas(64) int32_t at[T];
  for (int t = 0; t < T; ++t) {
    const float h = exp_half(lse.log_probability(t, score[t]));
    const float own = valid[t] > 0.0f ? h * h : 0.0f;
    const bool under = is_under(own, q[t]);
    at[t] = bin_of(soft_position(own, 1.0f - own, q[t], under, bins), last) + (under ? side : 0);
    p[t] = own;
  }
  gather<T>(slopes, at, slope);
}

// Probabilities and slopes of a tile, and what all classes share.
template <int T>
void soft_pull(const lovasz_inputs &inputs, Rows x, const lovasz_slopes &slopes,
               SoftLabels<T> &soft, int64_t image, int64_t pixel, int64_t size,
               const Scratch &scratch, SoftPull<T> &pull) {
  load_lse<T>(inputs, soft.label, image, pixel, size, pull.most, pull.rest);
  const PixelSlopes<T> by_pixel(inputs, slopes, pixel, size);
  const LogSumExp lse{pull.most, pull.rest};
  const bool by_bin = !slopes.by_pixel && inputs.bins > 0 && slopes.by_regions == nullptr;
  for (int64_t c = 0; c < inputs.classes; ++c) {
    const float *__restrict row = x.data + c * x.stride;
    float *__restrict p = scratch.a + c * padded<T>;
    float *__restrict slope = scratch.b + c * padded<T>;
    alignas(64) float other[T];
    x.prefetch(c);
    const float *q = soft.template of<false>(c);
    if (by_bin) {
      class_slopes<T>(inputs, row, lse, soft.valid, q, slopes.slopes + 2 * c * inputs.bins, p,
                      slope);
      pull.add_slopes(p, q, factor_of(slopes, c), slope);
    } else {
      for (int t = 0; t < T; ++t) {
        const float h = exp_half(lse.log_probability(t, row[t]));
        p[t] = soft.valid[t] > 0.0f ? h * h : 0.0f;
        other[t] = 1.0f - p[t];
      }
      rising_slopes<T>(inputs, slopes, by_pixel, c, p, other, q, slope);
      pull.add(p, slope);
    }
    if (!inputs.cross_entropy) continue;
    cross_entropy_labels<T>(inputs, soft, other);
    pull.add_cross_entropy(other, class_weight(inputs, c));
  }
  pull.finish(slopes.cross_entropy_scale);
}

// Softmax. `out` is where the gradient goes.
template <int T, class Out>
void soft_backward_tile(const lovasz_inputs &inputs, Rows x, const lovasz_slopes &slopes,
                        int64_t image, int64_t pixel, int64_t size, const Scratch &scratch,
                        const Out &out) {
  SoftLabels<T> soft(inputs, image, pixel, size, scratch);
  SoftPull<T> pull;
  soft_pull<T>(inputs, x, slopes, soft, image, pixel, size, scratch, pull);
  alignas(64) float times[T];
  const float *weight = weights_from(inputs, inputs.pixel_weight, image, 0, pixel);
  load_weights<T>(soft.label, weight, size, times);
  out.store(scratch.rows, [&](int64_t c, float *__restrict row) {
    const float *__restrict p = scratch.a + c * padded<T>;
    const float *__restrict slope = scratch.b + c * padded<T>;
    if (inputs.cross_entropy) {
      const float scale = slopes.cross_entropy_scale * class_weight(inputs, c);
      const float kept = scale * (1.0f - inputs.smoothing);
      const float base = scale * inputs.smoothing / static_cast<float>(inputs.classes);
      soft.template of<false>(c);
      for (int t = 0; t < T; ++t) {
        const float value = p[t] * ((slope[t] - pull.pivot[t]) - pull.sum[t]);
        const float all = value - (kept * soft.raw[t] + base);
        row[t] = soft.valid[t] > 0.0f ? all * times[t] : 0.0f;
      }
      return;
    }
    for (int t = 0; t < T; ++t) {
      const float value = p[t] * ((slope[t] - pull.pivot[t]) - pull.sum[t]);
      row[t] = soft.valid[t] > 0.0f ? value * times[t] : 0.0f;
    }
  });
}

// The gradient of a channel.
template <int T, int32_t Link>
void soft_channel_gradient(const lovasz_inputs &inputs, const float *score, SoftLabels<T> &soft,
                           const lovasz_slopes &slopes, const PixelSlopes<T> &by_pixel,
                           int64_t image, int64_t c, float *__restrict out) {
  alignas(64) float p[T], complement[T];
  const float *q = soft.template of<false>(c);
  channel_probabilities<T, Link, false>(score, p, complement, nullptr, nullptr);
  rising_slopes<T>(inputs, slopes, by_pixel, c, p, complement, q, out);
  if (!of_probabilities<Link>) {
    for (int t = 0; t < T; ++t) out[t] *= p[t] * complement[t];
    if (inputs.cross_entropy) {
      const float scale = slopes.cross_entropy_scale, own = scale * class_weight(inputs, c);
      for (int t = 0; t < T; ++t) {
        out[t] += scale * ((1.0f - q[t]) * p[t]) - own * (q[t] * complement[t]);
      }
    }
  }
  const float *weight = weights_from(inputs, inputs.pixel_weight, image, c, by_pixel.pixel);
  for (int64_t t = 0; weight != nullptr && t < by_pixel.size; ++t) out[t] *= weight[t];
  for (int t = 0; t < T; ++t) out[t] = soft.valid[t] > 0.0f ? out[t] : 0.0f;
}

template <int T, int32_t Link, class Out>
void soft_backward_channels_tile(const lovasz_inputs &inputs, Rows x, const lovasz_slopes &slopes,
                                 int64_t image, int64_t pixel, int64_t size, const Scratch &scratch,
                                 const Out &out) {
  SoftLabels<T> soft(inputs, image, pixel, size, scratch);
  const PixelSlopes<T> by_pixel(inputs, slopes, pixel, size);
  // Not scratch.rows: they may hold the scores, which are read until the last channel.
  out.store(scratch.a, [&](int64_t c, float *row) {
    x.prefetch(c);
    soft_channel_gradient<T, Link>(inputs, x.data + c * x.stride, soft, slopes, by_pixel, image, c,
                                   row);
  });
}

}  // namespace LOVASZ_LEVEL
