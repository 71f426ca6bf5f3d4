// Main memory: asked for before it is needed.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lovasz.h"

namespace LOVASZ_LEVEL {

constexpr int64_t cache_line = 64;

// The next tile, in as many parts as there are classes: loops over the classes ask for it part by
// part while they compute. The processor's own prefetching does not see it coming, as the rows of a
// tile are short and far apart. What lies past the end of the scores is asked for as well, which
// does nothing.
struct Ahead {
  uintptr_t data;
  uintptr_t stride, size;  // of a part, in bytes

  void fetch(int64_t part) const {
    const uintptr_t first = data + static_cast<uintptr_t>(part) * stride;
    for (uintptr_t at = first; at < first + size; at += cache_line) {
      __builtin_prefetch(reinterpret_cast<const void *>(at), 0, 2);
    }
  }
};

template <int T, class Score>
inline Ahead ahead_of(const lovasz_problem &problem, const Score *tile) {
  const lovasz_scores &scores = problem.scores;
  const uintptr_t data = reinterpret_cast<uintptr_t>(tile + T * scores.pixel_stride);
  const uintptr_t width = sizeof(Score);
  if (scores.pixel_stride == 1) {
    return {data, static_cast<uintptr_t>(scores.class_stride) * width, T * width};
  }
  // Of scores between which others lie, most of what would come is not wanted.
  if (scores.pixel_stride > 2 * problem.classes) return {data, 0, 0};
  const uintptr_t part = T * static_cast<uintptr_t>(scores.pixel_stride) * width /
                         static_cast<uintptr_t>(problem.classes);
  return {data, part, part};
}

}  // namespace LOVASZ_LEVEL
