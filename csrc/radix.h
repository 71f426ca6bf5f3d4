// Sorting errors that carry their place: a radix sort from the top, whose digits follow the
// numbers.
//
// Errors are floats that are not negative, so their bits order them as integers. An element is one
// integer of 64 bits: the error, such that the largest comes first, whether the pixel is a
// positive, and the place of its slope. A row is parted by the first digit in main memory; what a
// digit has in common then fits into the caches, where it is sorted and used.
#pragma once

#include <cstdint>
#include <cstring>

namespace {

constexpr uint32_t ignored_key = 0xffffffffu, positive_bit = 0x80000000u;
constexpr uint32_t largest_rank = 0x7fffffffu;

// rank (31 bits, ascending as errors fall), whether positive (1 bit), place (32 bits)
constexpr int place_bits = 32;
constexpr int64_t places = int64_t{1} << place_bits;

inline uint64_t pack(uint32_t key, int64_t place) {
  const uint32_t rank = ~key & largest_rank;
  return static_cast<uint64_t>(rank) << (place_bits + 1) |
         static_cast<uint64_t>(key >> 31) << place_bits | static_cast<uint64_t>(place);
}
inline uint32_t rank_of(uint64_t element) {
  return static_cast<uint32_t>(element >> (place_bits + 1));
}
inline bool is_positive(uint64_t element) { return (element >> place_bits) & 1; }
inline int64_t place_of(uint64_t element) {
  return static_cast<int64_t>(element & (static_cast<uint64_t>(places) - 1));
}
inline float error_of_rank(uint32_t rank) {
  const uint32_t bits = largest_rank - rank;
  float error;
  std::memcpy(&error, &bits, sizeof error);
  return error;
}

// A digit: so many buckets that ranks from the first to the last fall into them in their order.
struct Digit {
  uint32_t first, last;
  int shift, buckets;

  Digit(uint32_t lowest, uint32_t highest, uint32_t most) : first(lowest), last(highest), shift(0) {
    while ((last - first) >> shift >= most) ++shift;
    buckets = static_cast<int>((last - first) >> shift) + 1;
  }
  uint32_t operator()(uint64_t element) const { return (rank_of(element) - first) >> shift; }
  // The ranks of a bucket.
  uint32_t lowest(int bucket) const { return first + (static_cast<uint32_t>(bucket) << shift); }
  uint32_t highest(int bucket) const {
    const uint32_t least = lowest(bucket), width = (uint32_t{1} << shift) - 1;
    return last - least < width ? last : least + width;
  }
};

constexpr int64_t few_elements = 16;     // that are moved into place one by one
constexpr uint32_t most_buckets = 2048;  // their counters fit into the first cache
constexpr int most_digits = 8;           // of at least 5 bits, but for the last

// The counters of the digits.
using Table = uint32_t[most_buckets];

// Asks for what will be written. Stores wait for each other, so one that finds its line in no cache
// keeps all that come after it.
inline void fetch_to_write(const void *address) {
#if defined(__GNUC__)
  __builtin_prefetch(address, 1);
#else
  (void)address;
#endif
}

inline void insert_sorted(uint64_t *elements, int64_t size) {
  for (int64_t i = 1; i < size; ++i) {
    const uint64_t element = elements[i];
    const uint32_t rank = rank_of(element);
    int64_t at = i;
    for (; at > 0 && rank_of(elements[at - 1]) > rank; --at) elements[at] = elements[at - 1];
    elements[at] = element;
  }
}

inline void sort_closely(uint64_t *from, uint64_t *to, int64_t size, Table *tables);

// The elements of `from`, which is overwritten, in the order of their ranks in `to`, which is in
// cache. Ranks are from the lowest to the highest.
inline void sort_elements(uint64_t *from, uint64_t *to, int64_t size, uint32_t lowest,
                          uint32_t highest, Table *tables) {
  if (size <= few_elements || lowest == highest) {
    std::memcpy(to, from, static_cast<size_t>(size) * sizeof *to);
    if (lowest != highest) insert_sorted(to, size);
    return;
  }
  uint32_t wanted = 32;
  while (wanted < size && wanted < most_buckets) wanted *= 2;
  const Digit digit(lowest, highest, wanted);
  uint32_t *ends = *tables;
  std::memset(ends, 0, static_cast<size_t>(digit.buckets) * sizeof *ends);
  for (int64_t i = 0; i < size; ++i) ++ends[digit(from[i])];
  uint32_t start = 0, most = 0;
  for (int b = 0; b < digit.buckets; ++b) {
    const uint32_t number = ends[b];
    ends[b] = start;
    start += number;
    most = number > most ? number : most;
  }
  for (int64_t i = 0; i < size; ++i) to[ends[digit(from[i])]++] = from[i];
  if (digit.shift == 0) return;
  start = 0;
  for (int b = 0; most > few_elements && b < digit.buckets; start = ends[b++]) {
    const int64_t part = ends[b] - start;
    if (part > few_elements) sort_closely(to + start, from + start, part, tables + 1);
  }
  insert_sorted(to, size);
}

// Elements that are so many because their ranks lie close together, in place.
inline void sort_closely(uint64_t *elements, uint64_t *others, int64_t size, Table *tables) {
  uint32_t lowest = largest_rank, highest = 0;
  for (int64_t i = 0; i < size; ++i) {
    const uint32_t rank = rank_of(elements[i]);
    lowest = rank < lowest ? rank : lowest;
    highest = rank > highest ? rank : highest;
  }
  if (lowest == highest) return;
  sort_elements(elements, others, size, lowest, highest, tables);
  std::memcpy(elements, others, static_cast<size_t>(size) * sizeof *elements);
}

}  // namespace
