// From counts to losses and slopes, for Tversky's set functions: `extend_counts` in
// src/lovasz/core/extension.py, in one pass instead of about 180 operators. What that computes
// twice is computed once, but every operation rounds as there; only the losses are added up in
// another order.
#pragma once

#include <stdint.h>

#include "kernels.h"
#include "set_function.h"

namespace LOVASZ_LEVEL {

inline double one_if_empty(double count) { return count > 0.0 ? count : 1.0; }

// The step in which the slope of a bin is taken: that of the bin, or of an empty one a pixel, or
// what there is of one. It begins or ends at the bin, so that the Δ of a bin are among those at the
// ends of its steps.
struct Step {
  double low, high;
  bool from_high, to_high;  // whether the bin begins, and ends, at the high end of the step

  Step(double before, double after, double most) {
    const bool empty = before == after, last = before >= most;
    const double less = before - 1.0 > 0.0 ? before - 1.0 : 0.0;
    const double more = before + 1.0 < most ? before + 1.0 : most;
    from_high = empty & last;
    to_high = !empty | last;
    low = from_high ? less : before;
    high = empty ? more : after;
  }
  double size() const { return one_if_empty(high - low); }
};

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
double extend_class(const int64_t *counts, const lovasz_extension &e, Slope *slopes,
                    uint8_t *present) {
  const double *centres = e.centres;
  const int64_t bins = e.bins;
  const double pixel = 1.0 / static_cast<double>(e.unit);  // a power of two: exact
  const int64_t *n = counts, *f = counts + bins;
  Slope *slope_n = slopes, *slope_f = slopes + bins;
  int64_t positives = 0, negatives = 0;
  for (int64_t b = 0; b < bins; ++b) {
    positives += f[b];
    negatives += n[b];
  }
  present[0] = positives + negatives > 0;
  present[e.rows] = positives > 0;
  const double P = pixel * static_cast<double>(positives);
  const double N = pixel * static_cast<double>(negatives);
  const Tversky delta{e.alpha, e.beta, P};

  constexpr int64_t block = 256, lanes = 8;
  alignas(64) double F[block + 1], B[block + 1], summands[block];
  double loss[lanes] = {};
  int64_t passed_f = 0, passed_n = 0;
  for (int64_t end = bins; end > 0; end -= block) {  // from the largest errors down
    const int64_t first = end > block ? end - block : 0;
    const int64_t size = end - first;
    F[size] = pixel * static_cast<double>(passed_f);
    B[size] = pixel * static_cast<double>(passed_n);
    for (int64_t i = size - 1; i >= 0; --i) {
      passed_f += f[first + i];
      passed_n += n[first + i];
      F[i] = pixel * static_cast<double>(passed_f);
      B[i] = pixel * static_cast<double>(passed_n);
    }
    for (int64_t i = 0; i < size; ++i) {
      const Step step_f(F[i + 1], F[i], P), step_n(B[i + 1], B[i], N);
      const double low_low = delta(step_f.low, step_n.low),
                   low_high = delta(step_f.low, step_n.high);
      const double high_low = delta(step_f.high, step_n.low);
      const double high_high = delta(step_f.high, step_n.high);
      // Δ before the bin and after it in F, at either end of the step in B; and the other way round
      const double f0_low = step_f.from_high ? high_low : low_low;
      const double f0_high = step_f.from_high ? high_high : low_high;
      const double f1_low = step_f.to_high ? high_low : low_low;
      const double f1_high = step_f.to_high ? high_high : low_high;
      const double n0_low = step_n.from_high ? low_high : low_low;
      const double n0_high = step_n.from_high ? high_high : high_low;
      const double n1_low = step_n.to_high ? low_high : low_low;
      const double n1_high = step_n.to_high ? high_high : high_low;
      const double rise_n = (f0_high + f1_high) - (f0_low + f1_low);
      const double rise_f = (n0_high + n1_high) - (n0_low + n1_low);
      slope_n[first + i] = static_cast<Slope>(rise_n / (2.0 * step_n.size()));
      slope_f[first + i] = static_cast<Slope>(rise_f / (2.0 * step_f.size()));
      const double before = step_n.from_high ? f0_high : f0_low;
      const double after = step_n.to_high ? f1_high : f1_low;
      summands[i] = (after - before) * centres[first + i];
    }
    // The same order on all processors.
    int64_t i = 0;
    for (; i + lanes <= size; i += lanes)
      for (int64_t lane = 0; lane < lanes; ++lane) loss[lane] += summands[i + lane];
    for (; i < size; ++i) loss[0] += summands[i];
  }
  take_from_beside(n, bins, slope_n);
  take_from_beside(f, bins, slope_f);
  double sum = 0.0;
  for (double part : loss) sum += part;
  return sum;
}

}  // namespace LOVASZ_LEVEL
