// From counts to losses and slopes, for Tversky's set functions: `extend_histogram` in
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
  constexpr int64_t group = 32;
  int64_t first = 1;
  for (; first + group < bins; first += group) {
    const int64_t *own = counts + first;
    Slope *slope = slopes + first;
    int64_t some = 0;
    for (int64_t i = 0; i < group; ++i) some += beside(own[i], own[i - 1], own[i + 1]);
    if (some == 0) continue;
    Slope kept[group];
    for (int64_t i = 0; i < group; ++i) {
      const Slope fuller = own[i + 1] >= own[i - 1] ? slope[i + 1] : slope[i - 1];
      kept[i] = beside(own[i], own[i - 1], own[i + 1]) ? fuller : slope[i];
    }
    // Only bins that are not empty are ever read from, and these are not changed.
    for (int64_t i = 0; i < group; ++i) slope[i] = kept[i];
  }
  for (int64_t b = first; b < bins - 1; ++b) {
    if (!beside(counts[b], counts[b - 1], counts[b + 1])) continue;
    slopes[b] = counts[b + 1] >= counts[b - 1] ? slopes[b + 1] : slopes[b - 1];
  }
}

// A class while it is extended, a block of bins at a time.
template <class Slope, class Delta>
struct ClassExtension {
  // A group is what is looked at for shortcuts: many of its bins are alike. Of 16, gcc 12 takes the
  // loops apart before it makes vectors of them.
  static constexpr int64_t block = 256, group = 32;
  const Delta delta;
  const double positives, negatives;  // of the class
  // Pixels with errors above a bin, and Δ of those, from the lower edge of the block on.
  alignas(64) double F[block + 1], B[block + 1];
  alignas(64) double summands[block];
  double top;  // Δ at the upper edge of the group

  // Any bins, 6 divisions for each.
  void extend_bins(int64_t first, int64_t last, Slope *slope_n, Slope *slope_f,
                   const double *centres) {
    for (int64_t i = first; i < last; ++i) {
      const Step step_f(F[i + 1], F[i], positives), step_n(B[i + 1], B[i], negatives);
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
      slope_n[i] = static_cast<Slope>(rise_n / (2.0 * step_n.size()));
      slope_f[i] = static_cast<Slope>(rise_f / (2.0 * step_f.size()));
      const double before = step_n.from_high ? f0_high : f0_low;
      const double after = step_n.to_high ? f1_high : f1_low;
      summands[i] = (after - before) * centres[i];
    }
    top = delta(F[first], B[first]);
  }

  template <bool Negatives>
  double delta_at(double moving, double still) const {
    return Negatives ? delta(still, moving) : delta(moving, still);
  }

  // A group of bins without positives, or without negatives: the Δ between two bins are those of
  // both, and a step of the others goes to the same number everywhere. 3 or 4 divisions for each.
  template <bool Negatives>
  void extend_side(const double *moving, double most, double still, double most_still, Slope *slope,
                   Slope *slope_still, const double *centres, double *summand) {
    const Step step(still, still, most_still);
    const bool down = step.to_high;
    const double other = down ? step.low : step.high;
    alignas(64) double at[group + 1], beside_it[group + 1];
    int64_t empty = 0;
    for (int64_t i = 0; i < group; ++i) {
      at[i] = delta_at<Negatives>(moving[i], still);
      beside_it[i] = delta_at<Negatives>(moving[i], other);
      empty += moving[i] == moving[i + 1];
    }
    at[group] = top;
    beside_it[group] = delta_at<Negatives>(moving[group], other);
    const double sign = down ? -0.5 : 0.5, size = step.size();
    for (int64_t i = 0; i < group; ++i) {
      const double rise = (beside_it[i] + beside_it[i + 1]) - (at[i] + at[i + 1]);
      summand[i] = (at[i] - at[i + 1]) * centres[i];
      slope_still[i] = static_cast<Slope>(sign * rise);
    }
    if (size != 1.0) {
      for (int64_t i = 0; i < group; ++i) {
        const double rise = (beside_it[i] + beside_it[i + 1]) - (at[i] + at[i + 1]);
        slope_still[i] = static_cast<Slope>(sign * rise / size);
      }
    }
    if (empty == 0) {
      for (int64_t i = 0; i < group; ++i) {
        slope[i] = static_cast<Slope>((at[i] - at[i + 1]) / (moving[i] - moving[i + 1]));
      }
    } else {
      for (int64_t i = 0; i < group; ++i) {
        const Step own(moving[i + 1], moving[i], most);
        const double low = own.from_high ? delta_at<Negatives>(own.low, still) : at[i + 1];
        const double high = own.to_high ? at[i] : delta_at<Negatives>(own.high, still);
        slope[i] = static_cast<Slope>((high - low) / own.size());
      }
    }
    top = at[0];
  }

  // Bins without pixels, all alike.
  void extend_nothing(int64_t first, Slope *slope_n, Slope *slope_f) {
    const Step step_f(F[first], F[first], positives), step_n(B[first], B[first], negatives);
    const double n = delta(F[first], step_n.high) - delta(F[first], step_n.low);
    const double f = delta(step_f.high, B[first]) - delta(step_f.low, B[first]);
    const Slope own_n = static_cast<Slope>(n / step_n.size());
    const Slope own_f = static_cast<Slope>(f / step_f.size());
    for (int64_t i = first; i < first + group; ++i) {
      slope_n[i] = own_n;
      slope_f[i] = own_f;
      summands[i] = 0.0;
    }
  }

  // The first `size` bins of the block, from the largest errors down.
  void extend_block(int64_t size, Slope *slope_n, Slope *slope_f, const double *centres) {
    int64_t first = size / group * group;
    top = delta(F[size], B[size]);
    if (first < size) extend_bins(first, size, slope_n, slope_f, centres);
    while (first > 0) {
      first -= group;
      const bool no_f = F[first] == F[first + group], no_n = B[first] == B[first + group];
      if (no_f && no_n) {
        extend_nothing(first, slope_n, slope_f);
      } else if (no_f) {
        extend_side<true>(B + first, negatives, F[first], positives, slope_n + first,
                          slope_f + first, centres + first, summands + first);
      } else if (no_n) {
        extend_side<false>(F + first, positives, B[first], negatives, slope_f + first,
                           slope_n + first, centres + first, summands + first);
      } else {
        extend_bins(first, first + group, slope_n, slope_f, centres);
      }
    }
  }
};

// How many pixels of a class there are, those with and without it, counts being (2, B), negatives
// first.
struct ClassCounts {
  double pixel;  // that one counts
  double positives, negatives;

  ClassCounts(const int64_t *counts, const lovasz_extension &e, uint8_t *present)
      : pixel(1.0 / static_cast<double>(e.unit)) {  // a power of two: exact
    const int64_t *n = counts, *f = counts + e.bins;
    int64_t with = 0, without = 0;
    for (int64_t b = 0; b < e.bins; ++b) {
      with += f[b];
      without += n[b];
    }
    present[0] = with + without > 0;
    present[e.rows] = with > 0;
    positives = pixel * static_cast<double>(with);
    negatives = pixel * static_cast<double>(without);
  }
};

// One class: slopes are (2, B) as counts are; returns the loss.
template <class Slope, class Delta>
double extend_class(const int64_t *counts, const lovasz_extension &e, const ClassCounts &of_class,
                    Delta delta, Slope *slopes) {
  const int64_t bins = e.bins;
  const double pixel = of_class.pixel;
  const int64_t *n = counts, *f = counts + bins;
  Slope *slope_n = slopes, *slope_f = slopes + bins;
  ClassExtension<Slope, Delta> extension{delta, of_class.positives, of_class.negatives, {}, {}, {},
                                         0.0};

  constexpr int64_t block = ClassExtension<Slope, Delta>::block, lanes = 8;
  double loss[lanes] = {};
  int64_t passed_f = 0, passed_n = 0;
  for (int64_t end = bins; end > 0; end -= block) {  // from the largest errors down
    const int64_t first = end > block ? end - block : 0;
    const int64_t size = end - first;
    double *F = extension.F, *B = extension.B;
    F[size] = pixel * static_cast<double>(passed_f);
    B[size] = pixel * static_cast<double>(passed_n);
    for (int64_t i = size - 1; i >= 0; --i) {
      passed_f += f[first + i];
      passed_n += n[first + i];
      F[i] = pixel * static_cast<double>(passed_f);
      B[i] = pixel * static_cast<double>(passed_n);
    }
    extension.extend_block(size, slope_n + first, slope_f + first, e.centres + first);
    // The same order on all processors.
    const double *summands = extension.summands;
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
