// From the losses of the classes to the loss, as `reduce` in src/lovasz/kernels/reference.py.
#include <limits>

#include "lovasz.h"

namespace {

// Images of which a mean is taken: those in which a class counts, and those of which nothing is
// known, so that the mean is not either.
double images_of(const lovasz_reduction &r) {
  int64_t images = 0;
  for (int64_t g = 0; g < r.groups; ++g) {
    bool counts = r.invalid[g] > 0;
    for (int64_t c = 0; c < r.classes; ++c) counts |= r.active[g * r.classes + c] != 0;
    images += counts;
  }
  return images > 1 ? static_cast<double>(images) : 1.0;
}

// What the factors of a group are divided by.
template <class Real>
double share_of(const lovasz_reduction &r, const uint8_t *active) {
  const Real *weight = r.normalize ? static_cast<const Real *>(r.weight) : nullptr;
  double sum = 0.0;
  for (int64_t c = 0; c < r.classes; ++c) {
    if (active[c]) sum += weight == nullptr ? 1.0 : static_cast<double>(weight[c]);
  }
  return sum > 0.0 ? sum : 1.0;
}

template <class Real>
void reduce(const lovasz_reduction &r) {
  const Real *weight = static_cast<const Real *>(r.weight);
  const double images = r.mean && r.per_image ? images_of(r) : 1.0;
  double total = 0.0;
  for (int64_t g = 0; g < r.groups; ++g) {
    const uint8_t *active = r.active + g * r.classes;
    const double *losses = r.losses + g * r.classes;
    Real *factors = static_cast<Real *>(r.factors) + g * r.classes;
    const double share = r.mean ? share_of<Real>(r, active) : 1.0;
    double row = 0.0;
    for (int64_t c = 0; c < r.classes; ++c) {
      const double own = weight == nullptr ? 1.0 : static_cast<double>(weight[c]);
      factors[c] = static_cast<Real>(active[c] ? own / share / images : 0.0);
      if (r.invalid[g] > 0) factors[c] = std::numeric_limits<Real>::quiet_NaN();
      row += losses[c] * static_cast<double>(factors[c]);
    }
    total += row;
  }
  *static_cast<Real *>(r.total) = static_cast<Real>(total);
  if (r.sums == nullptr) return;
  // The mean of nothing is 0.
  const double divisor = r.sums[1] <= 0.0 ? std::numeric_limits<double>::infinity() : r.sums[1];
  *static_cast<Real *>(r.cross_entropy) = static_cast<Real>(r.sums[0] / divisor);
  *static_cast<Real *>(r.by_sum) = static_cast<Real>(1.0 / divisor);
}

}  // namespace

void lovasz_reduce(const lovasz_reduction *reduction) {
  if (reduction->wide) {
    reduce<double>(*reduction);
  } else {
    reduce<float>(*reduction);
  }
}
