// Which points are of which cloud: by their numbers, in any order, to clouds that lie one after the
// other, by counting.
#include <cstring>

#include "lovasz.h"

int lovasz_clouds(const int64_t *ids, int64_t length, int64_t clouds, int64_t *offsets,
                  int64_t *order, int64_t *places) {
  std::memset(offsets, 0, static_cast<size_t>(clouds + 1) * sizeof *offsets);
  int64_t before = 0;
  bool ascending = true;
  // Run by run: a counter that is used again has to wait for itself.
  for (int64_t i = 0, end; i < length; i = end) {
    const int64_t cloud = ids[i];
    if (cloud < 0 || cloud >= clouds) return LOVASZ_MISUSE;
    for (end = i + 1; end < length && ids[end] == cloud;) ++end;
    offsets[cloud + 1] += end - i;
    ascending &= before <= cloud;
    before = cloud;
  }
  for (int64_t k = 0; k < clouds; ++k) offsets[k + 1] += offsets[k];
  if (ascending) return LOVASZ_OK;
  // From the last point on, each takes the last place of its cloud that is left, so that ends
  // become beginnings: those of the clouds one further on.
  for (int64_t i = length - 1; i >= 0; --i) {
    const int64_t place = --offsets[ids[i] + 1];
    order[place] = i;
    places[i] = place;
  }
  std::memmove(offsets, offsets + 1, static_cast<size_t>(clouds) * sizeof *offsets);
  offsets[clouds] = length;
  return LOVASZ_MOVED;
}
