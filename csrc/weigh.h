// From counts to losses and slopes, for Tversky's set functions: `extend_counts` in
// src/lovasz/extension.py, operation by operation, in one pass instead of about 180 operators.
#pragma once

#include <stdint.h>

#include "kernels.h"

namespace LOVASZ_LEVEL {

struct Tversky {
  double alpha, beta, positives;

  double operator()(double fn, double fp) const {
    const double mistakes = alpha * fp + beta * fn;
    const double whole = positives - fn + mistakes;
    // 0/0 is the empty set of an absent class, which costs nothing.
    return whole > 0.0 ? mistakes / whole : 0.0;
  }
};

inline double smaller_of(double a, double b) { return a < b ? a : b; }
inline double larger_of(double a, double b) { return a > b ? a : b; }
inline double one_if_empty(double count) { return count > 0.0 ? count : 1.0; }

inline bool beside(int64_t own, int64_t below, int64_t above) {
  return (own == 0) & (below + above > 0);
}

// An error may be rounded into the bin beside the one in which it was counted. An empty bin has the
// slope of its fuller neighbour, for that may be far from the slope of a single pixel.
template <class Slope>
void take_from_beside(const int64_t *counts, int64_t bins, Slope *slopes) {
  if (bins < 2) return;
  if (beside(counts[0], 0, counts[1])) slopes[0] = slopes[1];
  if (beside(counts[bins - 1], counts[bins - 2], 0)) slopes[bins - 1] = slopes[bins - 2];
  constexpr int64_t block = 256;
  alignas(64) Slope kept[block];
  for (int64_t first = 1; first < bins - 1; first += block) {
    const int64_t size = bins - 1 - first < block ? bins - 1 - first : block;
    const int64_t *own = counts + first;
    Slope *slope = slopes + first;
    for (int64_t i = 0; i < size; ++i) {
      const Slope fuller = own[i + 1] >= own[i - 1] ? slope[i + 1] : slope[i - 1];
      kept[i] = beside(own[i], own[i - 1], own[i + 1]) ? fuller : slope[i];
    }
    // Only bins that are not empty are ever read from, and these are not changed.
    for (int64_t i = 0; i < size; ++i) slope[i] = kept[i];
  }
}

// One class: counts and slopes are (2, B), negatives first; returns the loss.
template <class Slope>
double weigh_class(const int64_t *counts, const lovasz_weighing &w, Slope *slopes) {
  const double *centres = w.centres;
  const int64_t bins = w.bins;
  const double pixel = 1.0 / static_cast<double>(w.unit);  // a power of two: exact
  const int64_t *n = counts, *f = counts + bins;
  Slope *slope_n = slopes, *slope_f = slopes + bins;
  int64_t positives = 0, negatives = 0;
  for (int64_t b = 0; b < bins; ++b) {
    positives += f[b];
    negatives += n[b];
  }
  const double P = pixel * static_cast<double>(positives);
  const double N = pixel * static_cast<double>(negatives);
  const Tversky delta{w.alpha, w.beta, P};

  constexpr int64_t block = 256;
  alignas(64) double F0[block], F1[block], B0[block], B1[block], increase[block];
  double loss = 0.0;
  int64_t F = 0, B = 0;
  for (int64_t end = bins; end > 0; end -= block) {  // from the largest errors down
    const int64_t first = end > block ? end - block : 0;
    const int64_t size = end - first;
    for (int64_t i = size - 1; i >= 0; --i) {
      F0[i] = pixel * static_cast<double>(F);
      B0[i] = pixel * static_cast<double>(B);
      F += f[first + i];
      B += n[first + i];
      F1[i] = pixel * static_cast<double>(F);
      B1[i] = pixel * static_cast<double>(B);
    }
    for (int64_t i = 0; i < size; ++i) {
      const double step_f = one_if_empty(F1[i] - F0[i]), step_n = one_if_empty(B1[i] - B0[i]);
      // An empty bin gets a step of one pixel that stays within the counts that exist.
      const double F_to = smaller_of(F0[i] + step_f, P), F_from = larger_of(F_to - step_f, 0.0);
      const double B_to = smaller_of(B0[i] + step_n, N), B_from = larger_of(B_to - step_n, 0.0);
      const double rise_n = (delta(F0[i], B_to) + delta(F1[i], B_to)) -
                            (delta(F0[i], B_from) + delta(F1[i], B_from));
      const double rise_f = (delta(F_to, B0[i]) + delta(F_to, B1[i])) -
                            (delta(F_from, B0[i]) + delta(F_from, B1[i]));
      slope_n[first + i] = static_cast<Slope>(rise_n / (2.0 * one_if_empty(B_to - B_from)));
      slope_f[first + i] = static_cast<Slope>(rise_f / (2.0 * one_if_empty(F_to - F_from)));
      increase[i] = delta(F1[i], B1[i]) - delta(F0[i], B0[i]);
    }
    for (int64_t i = size - 1; i >= 0; --i) loss += increase[i] * centres[first + i];
  }
  take_from_beside(n, bins, slope_n);
  take_from_beside(f, bins, slope_f);
  return loss;
}

}  // namespace LOVASZ_LEVEL
