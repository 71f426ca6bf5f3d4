// Where errors are counted.
#pragma once

#include <stdint.h>

#include "kernels.h"

namespace LOVASZ_LEVEL {

// Counts the pixels of a tile, each in the cell `at` behind `first`. Past the end of a tile all are
// ignored, so that their cells are read by nobody; weights are there for `count` pixels alone.
template <int T, class Index>
inline void add_cells(const Index *at, int64_t first, int64_t count, const int64_t *mass,
                      lovasz_table &table) {
  if (mass != nullptr) {
    int64_t *masses = table.masses + first;
    for (int64_t t = 0; t < count; ++t) masses[at[t]] += mass[t];
    return;
  }
  // Two tables in turn, because neighbours like to share a cell and an increment has to wait for
  // the one before it.
  uint32_t *counts = table.negatives + first, *others = counts + table.half;
  for (int t = 0; t < T; t += 2) {
    ++counts[at[t]];
    ++others[at[t + 1]];
  }
}

}  // namespace LOVASZ_LEVEL
