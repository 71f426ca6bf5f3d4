// Where the outputs of an interpolation lie among its sources, and bands of outputs for threads to
// take. Not for level.cpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels.h"

// The tables of one axis, as src/lovasz/core/upsampling.py defines them.
struct Axis {
  int64_t source, size;
  bool single;
  std::vector<int32_t> lower, upper;
  std::vector<float> lower_weight, upper_weight;

  Axis(int64_t from, int64_t to, int32_t mode)
      : source(from),
        size(to),
        single(mode == LOVASZ_NEAREST || (from == 1 && to == 1)),
        lower(static_cast<size_t>(to)),
        upper(lower),
        lower_weight(static_cast<size_t>(to), 1.0f),
        upper_weight(static_cast<size_t>(to), 0.0f) {
    for (int64_t x = 0; x < size; ++x) {
      const size_t at = static_cast<size_t>(x);
      const double place = mode == LOVASZ_NEAREST ? nearest(x) : linear(x, mode);
      const int32_t last = static_cast<int32_t>(source - 1);
      lower[at] = std::min(static_cast<int32_t>(place), last);
      upper[at] = single ? lower[at] : std::min(lower[at] + 1, last);
      if (single) continue;
      // In double, because of a place far from the first one a float has lost digits.
      const double share = place - lower[at];
      lower_weight[at] = static_cast<float>(1.0 - share);
      upper_weight[at] = static_cast<float>(share);
    }
  }

  double linear(int64_t x, int32_t mode) const {
    const double n = static_cast<double>(source), of = static_cast<double>(size);
    if (mode == LOVASZ_LINEAR_ALIGN_CORNERS) {
      return size == 1 ? 0.0 : static_cast<double>(x) * ((n - 1.0) / (of - 1.0));
    }
    return std::max(0.0, (static_cast<double>(x) + 0.5) * (n / of) - 0.5);
  }

  // In float, as torch computes it: which one is the nearest may depend on that.
  double nearest(int64_t x) const {
    const float ratio = static_cast<float>(source) / static_cast<float>(size);
    return std::floor(static_cast<float>(x) * ratio);
  }

  lovasz_axis view() const {
    return {source, size, lower.data(), upper.data(), lower_weight.data(), upper_weight.data(),
            single};
  }
};

// The tables of all axes, and bands: contiguous parts of the pixels of an image. Two that are no
// neighbours have no source in common, so that those with even numbers may add to the gradient at
// the same time, and afterwards those with odd ones, and no sum depends on the threads.
struct Grid {
  Axis depth, height, width;
  lovasz_grid tables;
  std::vector<int64_t> edges;  // (bands + 1) first pixels

  explicit Grid(const lovasz_inputs &inputs)
      : depth(inputs.source[0], inputs.size[0], inputs.upsample),
        height(inputs.source[1], inputs.size[1], inputs.upsample),
        width(inputs.source[2], inputs.size[2], inputs.upsample),
        tables{{depth.view(), height.view(), width.view()}} {
    const Axis *axis = &width;
    int64_t pixels = 1;  // of one output of that axis
    if (inputs.size[0] > 1) {
      axis = &depth;
      pixels = inputs.size[1] * inputs.size[2];
    } else if (inputs.size[1] > 1) {
      axis = &height;
      pixels = inputs.size[2];
    }
    cut(*axis, pixels, std::max<int64_t>(1, 64 / inputs.images));
  }
  int64_t bands() const { return static_cast<int64_t>(edges.size()) - 1; }

 private:
  // About as many bands as wanted, of whole intervals: outputs with the same lower source.
  void cut(const Axis &axis, int64_t pixels, int64_t wanted) {
    std::vector<int64_t> begins;
    for (int64_t x = 0; x < axis.size; ++x) {
      const size_t at = static_cast<size_t>(x);
      if (x == 0 || axis.lower[at] != axis.lower[at - 1]) begins.push_back(x);
    }
    const size_t step =
        (begins.size() + static_cast<size_t>(wanted) - 1) / static_cast<size_t>(wanted);
    for (size_t i = 0; i < begins.size(); i += step) edges.push_back(begins[i] * pixels);
    edges.push_back(axis.size * pixels);
  }
};
