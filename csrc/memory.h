// Main memory: asked for before it is needed, written without being read.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "lovasz.h"
#include "vector_math.h"

namespace LOVASZ_LEVEL {

constexpr int64_t cache_line = 64;

// Asks for `size` bytes from `first` on, into the second cache: they would drive out of the first
// what is in use. Past the end of an array this does nothing.
inline void fetch_memory(uintptr_t first, uintptr_t size) {
  for (uintptr_t at = first; at < first + size; at += cache_line) {
    __builtin_prefetch(reinterpret_cast<const void *>(at), 0, 2);
  }
}

// What follows so many elements, as many again.
template <class Value>
inline void fetch_after(const Value *values, int64_t size) {
  fetch_memory(reinterpret_cast<uintptr_t>(values + size),
               static_cast<uintptr_t>(size) * sizeof *values);
}

// The next tile, in as many parts as there are classes: loops over the classes ask for it part by
// part while they compute. The processor's own prefetching does not see it coming, as the rows of a
// tile are short and far apart.
struct Prefetch {
  uintptr_t data;
  uintptr_t stride, size;  // of a part, in bytes

  void operator()(int64_t part) const {
    fetch_memory(data + static_cast<uintptr_t>(part) * stride, size);
  }
};

template <int T, class Score>
inline Prefetch prefetch_of(const lovasz_inputs &inputs, const lovasz_strided &scores,
                            const Score *tile) {
  const uintptr_t data = reinterpret_cast<uintptr_t>(tile + T * scores.pixel_stride);
  const uintptr_t width = sizeof(Score);
  if (scores.pixel_stride == 1) {
    return {data, static_cast<uintptr_t>(scores.class_stride) * width, T * width};
  }
  // Of scores between which others lie, most of what would come is not wanted.
  if (scores.pixel_stride > 2 * inputs.classes) return {data, 0, 0};
  const uintptr_t part = T * static_cast<uintptr_t>(scores.pixel_stride) * width /
                         static_cast<uintptr_t>(inputs.classes);
  return {data, part, part};
}

// A gradient that is larger than the caches is written past them: nobody would find it there, and
// they would read every line before it is overwritten.
template <class Score>
inline bool larger_than_caches(const lovasz_inputs &inputs) {
  constexpr int64_t large = 8 << 20;
  const int64_t scores = inputs.images * inputs.classes * inputs.length;
  return scores * static_cast<int64_t>(sizeof(Score)) >= large;
}

#if defined(LOVASZ_SSE2)
inline void stream_line(const char *from, char *line) {
#if defined(__AVX512F__)
  _mm512_stream_si512(reinterpret_cast<__m512i *>(line), _mm512_loadu_si512(from));
#else
  for (int i = 0; i < cache_line; i += 16) {
    _mm_stream_si128(reinterpret_cast<__m128i *>(line + i),
                     _mm_loadu_si128(reinterpret_cast<const __m128i *>(from + i)));
  }
#endif
}

// What was put past the caches is there for other threads.
inline void finish_stream() { _mm_sfence(); }
#else
inline void stream_line(const char *from, char *line) { memcpy(line, from, cache_line); }
inline void finish_stream() {}
#endif

// Writes `size` elements, past the caches where asked for: whole lines, and what is left at both
// ends as usual.
template <class Score>
inline void stream_store(const Score *values, int64_t size, Score *out, bool past_caches) {
  const char *from = reinterpret_cast<const char *>(values);
  char *to = reinterpret_cast<char *>(out);
  int64_t bytes = size * static_cast<int64_t>(sizeof(Score));
  if (past_caches && bytes >= 2 * cache_line) {
    const int64_t head = -static_cast<int64_t>(reinterpret_cast<uintptr_t>(to)) & (cache_line - 1);
    memcpy(to, from, static_cast<size_t>(head));
    from += head, to += head, bytes -= head;
    for (; bytes >= cache_line; from += cache_line, to += cache_line, bytes -= cache_line) {
      stream_line(from, to);
    }
  }
  memcpy(to, from, static_cast<size_t>(bytes));
}

}  // namespace LOVASZ_LEVEL
