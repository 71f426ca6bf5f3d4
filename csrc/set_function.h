// Tversky's set functions: what false negatives and false positives cost a class. Jaccard's loss
// has alpha = beta = 1.
#pragma once

// Without a name, so that each file has a copy of its own: the linker must not give one of a higher
// instruction-set level to all.
namespace {

struct Tversky {
  double alpha, beta, positives;

  double operator()(double fn, double fp) const {
    const double mistakes = alpha * fp + beta * fn;
    const double whole = positives - fn + mistakes;
    // 0/0 is the empty set of an absent class, which costs nothing.
    return whole > 0.0 ? mistakes / whole : 0.0;
  }
};

// Of soft labels, `positives` being their sum: no more than that can be missed, however many pixels
// are below their label.
struct SoftTversky {
  Tversky of_sum;

  double operator()(double fn, double fp) const {
    return of_sum(fn < of_sum.positives ? fn : of_sum.positives, fp);
  }
};

}  // namespace
