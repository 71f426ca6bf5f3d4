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
  uint32_t first;
  int shift, buckets;

  Digit(uint32_t lowest, uint32_t last, uint32_t most) : first(lowest), shift(0) {
    while ((last - first) >> shift >= most) ++shift;
    buckets = static_cast<int>((last - first) >> shift) + 1;
  }
  uint32_t operator()(uint64_t element) const { return (rank_of(element) - first) >> shift; }
};

constexpr int64_t few_elements = 24;     // that are moved into place one by one
constexpr uint32_t most_buckets = 2048;  // their counters fit into the first cache
constexpr int most_digits = 8;           // of at least 5 bits, but for the last

// The counters of the digits.
using Table = uint32_t[most_buckets];

inline void insert_sorted(uint64_t *elements, int64_t size) {
  for (int64_t i = 1; i < size; ++i) {
    const uint64_t element = elements[i];
    const uint32_t rank = rank_of(element);
    int64_t at = i;
    for (; at > 0 && rank_of(elements[at - 1]) > rank; --at) elements[at] = elements[at - 1];
    elements[at] = element;
  }
}

// The elements of `from`, which is overwritten, in the order of their ranks in `to`.
inline void sort_elements(uint64_t *from, uint64_t *to, int64_t size, Table *tables) {
  uint64_t lowest = UINT64_MAX, highest = 0;
  for (int64_t i = 0; i < size; ++i) {
    lowest = from[i] < lowest ? from[i] : lowest;
    highest = from[i] > highest ? from[i] : highest;
  }
  if (size <= few_elements || rank_of(lowest) == rank_of(highest)) {
    std::memcpy(to, from, static_cast<size_t>(size) * sizeof *to);
    if (size <= few_elements) insert_sorted(to, size);
    return;
  }
  uint32_t wanted = 32;
  while (wanted < size && wanted < most_buckets) wanted *= 2;
  const Digit digit(rank_of(lowest), rank_of(highest), wanted);
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
  if (digit.shift > 0 && most > few_elements) {
    start = 0;
    for (int b = 0; b < digit.buckets; start = ends[b++]) {
      const int64_t part = ends[b] - start;
      if (part <= few_elements) continue;
      sort_elements(to + start, from + start, part, tables + 1);
      std::memcpy(to + start, from + start, static_cast<size_t>(part) * sizeof *to);
    }
  }
  insert_sorted(to, size);
}

}  // namespace
