// From sorted errors to the slopes of their pixels and their part of the loss.
#pragma once

#include "lovasz.h"
#include "radix.h"
#include "set_function.h"

namespace {

// The errors of one group and class, to become slopes.
struct Row {
  float *slopes;  // of the first image and the class
  int64_t images, image_stride, length;
  const int64_t *weight;  // likewise, or null for ones
  int64_t weight_image_stride;

  int64_t pixels() const { return images * length; }
  int64_t weight_at(int64_t place) const {
    if (images == 1) return weight[place];
    const int64_t image = place / image_stride;
    return weight[image * weight_image_stride + place - image * image_stride];
  }
  // Calls visit(place, size) for the pieces of pixels [first, last).
  template <class Visit>
  void each_piece(int64_t first, int64_t last, Visit visit) const {
    while (first < last) {
      const int64_t image = first / length, end = (image + 1) * length;
      const int64_t size = (last < end ? last : end) - first;
      visit(image * image_stride + first - image * length, size);
      first += size;
    }
  }
};

// Numbers of pixels, or their weights in fixed point.
struct Sums {
  int64_t positives, negatives;
};

// What a set of mispredicted pixels costs: of the class, or the mean of that and of the cost to its
// complement, whose positives are the negatives.
template <bool Symmetric>
struct Cost {
  Tversky own, other;
  double unit;

  Cost(const lovasz_sort_result &result, Sums all, double unit_of)
      : own{result.alpha, result.beta, unit_of * static_cast<double>(all.positives)},
        other{result.alpha, result.beta, unit_of * static_cast<double>(all.negatives)},
        unit(unit_of) {}
  double operator()(int64_t positives, int64_t negatives) const {
    const double f = unit * static_cast<double>(positives);
    const double n = unit * static_cast<double>(negatives);
    return Symmetric ? 0.5 * (own(f, n) + other(n, f)) : own(f, n);
  }
};

// From the largest error down: slopes of the pixels, and their part of the loss. Pixels with equal
// errors share the mean of "positives first" and "negatives first", as in `extend_sorted`.
template <bool Weighted, bool Symmetric>
double walk(const uint64_t *sorted, int64_t size, const Cost<Symmetric> &cost, Sums passed,
            const Row &row) {
  constexpr int64_t ahead = 32;
  double loss = 0.0, before = cost(passed.positives, passed.negatives);
  for (int64_t i = 0; i < size;) {
    if (i + ahead < size) fetch_to_write(row.slopes + place_of(sorted[i + ahead]));
    const uint32_t rank = rank_of(sorted[i]);
    int64_t end = i, f = 0, n = 0;
    do {
      const int64_t own = Weighted ? row.weight_at(place_of(sorted[end])) : 1;
      f += is_positive(sorted[end]) ? own : 0;
      n += is_positive(sorted[end]) ? 0 : own;
    } while (++end < size && rank_of(sorted[end]) == rank);
    const int64_t F = passed.positives, B = passed.negatives;
    passed.positives += f;
    passed.negatives += n;
    const double after = cost(passed.positives, passed.negatives);
    const double increase = after - before;
    loss += increase * static_cast<double>(error_of_rank(rank));
    if (end == i + 1) {  // nearly always, and one division less
      row.slopes[place_of(sorted[i])] = static_cast<float>(increase);
    } else {
      double by_f = increase, by_n = increase;  // of one kind alone
      if (f > 0 && n > 0) {
        const double f_first = cost(F + f, B) - before, n_first = cost(F, B + n) - before;
        by_f = 0.5 * (f_first + (increase - n_first));
        by_n = 0.5 * (n_first + (increase - f_first));
      }
      const double slope_f = by_f / static_cast<double>(f > 0 ? f : 1);
      const double slope_n = by_n / static_cast<double>(n > 0 ? n : 1);
      for (int64_t k = i; k < end; ++k) {
        const int64_t place = place_of(sorted[k]);
        const double slope = is_positive(sorted[k]) ? slope_f : slope_n;
        const double times = Weighted ? static_cast<double>(row.weight_at(place)) : 1.0;
        row.slopes[place] = static_cast<float>(slope * times);
      }
    }
    i = end;
    before = after;
  }
  return loss;
}

double walk_row(const uint64_t *sorted, int64_t size, const lovasz_sort_result &result, Sums all,
                Sums passed, const Row &row) {
  const double unit = 1.0 / static_cast<double>(result.unit);
  const bool weighted = row.weight != nullptr;
  if (result.symmetric) {
    const Cost<true> cost(result, all, unit);
    return weighted ? walk<true>(sorted, size, cost, passed, row)
                    : walk<false>(sorted, size, cost, passed, row);
  }
  const Cost<false> cost(result, all, unit);
  return weighted ? walk<true>(sorted, size, cost, passed, row)
                  : walk<false>(sorted, size, cost, passed, row);
}

}  // namespace
