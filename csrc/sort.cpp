// The method that sorts: errors as keys, radix sort, slopes.
//
// A row has the errors of one group and class. Its first digit parts it into buckets, and the
// counts of the buckets say what comes before each: so they can be sorted and extended by any
// thread, one after the other from the largest error down, and every slope is written where its
// pixel is. Small rows are sorted at once.
#include <algorithm>
#include <mutex>

#include "contract.h"
#include "radix.h"
#include "threads.h"
#include "walk.h"

namespace {

constexpr int64_t small_row = 4096;  // fits into the first cache
constexpr int first_buckets = 4096;
constexpr int64_t shared_row = 1 << 16;  // is worth waking threads for
constexpr int64_t bucket_size = 256;     // elements, about

// What the pixels of a row, or of a part of it, have.
struct Found {
  int64_t pixels = 0, positives = 0;
  uint32_t smallest_positive = ignored_key & ~positive_bit, smallest = smallest_positive;
  uint32_t largest = 0;

  void add(const Found &other) {
    pixels += other.pixels;
    positives += other.positives;
    if (other.smallest_positive < smallest_positive) smallest_positive = other.smallest_positive;
    if (other.smallest < smallest) smallest = other.smallest;
    if (other.largest > largest) largest = other.largest;
  }
  void scan(const uint32_t *keys, int64_t size) {
    constexpr uint32_t none = ignored_key & ~positive_bit;
    uint32_t counted = 0, of_class = 0;
    int32_t lowest_positive = static_cast<int32_t>(none), lowest = lowest_positive, highest = 0;
    for (int64_t l = 0; l < size; ++l) {
      const int32_t key = static_cast<int32_t>(keys[l] & ~positive_bit);
      const bool valid = key != static_cast<int32_t>(none);
      const bool positive = static_cast<int32_t>(keys[l]) < 0;
      const int32_t own = positive ? key : static_cast<int32_t>(none);
      counted += valid;
      of_class += valid & positive;
      lowest_positive = own < lowest_positive ? own : lowest_positive;
      lowest = key < lowest ? key : lowest;
      const int32_t high = valid ? key : 0;
      highest = high > highest ? high : highest;
    }
    Found part;
    part.pixels = counted;
    part.positives = of_class;
    part.smallest_positive = static_cast<uint32_t>(lowest_positive);
    part.smallest = static_cast<uint32_t>(lowest);
    part.largest = static_cast<uint32_t>(highest);
    add(part);
  }
};

// Elements of a part of a row by their first digit: how many, and behind bit 32 how many of them
// are positives; then where the next one goes. Their weights, where there are any.
struct Counters {
  int64_t size;
  uint64_t numbers[first_buckets];
  Sums weights[first_buckets];
};

struct Bucket {
  int64_t begin, size;
  Sums passed;  // before it
  double loss;
};

// What a thread has in its caches.
struct Desk {
  uint64_t sorted[small_row];
  Table tables[most_digits];
};

// Working memory for rows of so many pixels, of which several threads take parts.
struct Working {
  const Memory elements, others, counters, buckets, desks;

  Working(int64_t pixels, int64_t parts)
      : elements(bytes(pixels), false),
        others(bytes(pixels), false),
        counters(pixels <= small_row ? 0 : static_cast<size_t>(parts) * sizeof(Counters), false),
        buckets(pixels <= small_row ? 0 : first_buckets * sizeof(Bucket), false),
        desks(static_cast<size_t>(parts) * sizeof(Desk), false) {
    if (failed()) return;
    lovasz_expect_writes(elements.data, static_cast<int64_t>(bytes(pixels)));
    lovasz_expect_writes(others.data, static_cast<int64_t>(bytes(pixels)));
  }
  // One more, which `collect` may write without keeping it.
  static size_t bytes(int64_t pixels) {
    return (static_cast<size_t>(pixels) + 1) * sizeof(uint64_t);
  }
  bool failed() const {
    return elements.data == nullptr || others.data == nullptr || counters.data == nullptr ||
           buckets.data == nullptr || desks.data == nullptr;
  }
};

// One row, by one thread or by several, which take parts of it and then buckets.
struct RowSort {
  const Row &row;
  const lovasz_sort_result &result;
  const Working &working;
  const int64_t parts;
  uint64_t *const elements = working.elements.aligned<uint64_t>();
  uint64_t *const others = working.others.aligned<uint64_t>();
  Counters *const counters = working.counters.aligned<Counters>();
  Bucket *const buckets = working.buckets.aligned<Bucket>();
  Desk *const desks = working.desks.aligned<Desk>();
  Found found{};
  Sums all{};  // found, in units
  double loss = 0.0;

  void extend();

 private:
  int64_t begin(int64_t part) const { return row.pixels() * part / parts; }
  const uint32_t *keys(int64_t place) const {
    return reinterpret_cast<const uint32_t *>(row.slopes) + place;
  }
  // Calls work(part) for each part, by a thread of its own where there are several.
  template <class Work>
  void each_part(const Work &work) const {
    run(static_cast<int32_t>(parts), parts, [&](int64_t from, int64_t to) {
      for (int64_t part = from; part < to; ++part) work(part);
    });
  }
  void find();
  uint32_t least() const;
  int64_t collect(int64_t part, uint32_t least) const;
  void count(int64_t part, const Digit &digit) const;
  void place_buckets(const Digit &digit);
  void scatter(int64_t part, const Digit &digit) const;
  void extend_at_once(const Digit &whole, int64_t size);
  void extend_buckets(const Digit &digit);
};

void RowSort::find() {
  std::mutex adding;
  each_part([&](int64_t part) {
    Found own;
    row.each_piece(begin(part), begin(part + 1),
                   [&](int64_t place, int64_t size) { own.scan(keys(place), size); });
    std::lock_guard<std::mutex> lock(adding);
    found.add(own);
  });
}

// The smallest key that has to be sorted. Once all positives are mispredicted the cost stays what
// it is, so negatives with smaller errors than any positive have slopes of 0; and where there is no
// positive, all but those of the largest error.
uint32_t RowSort::least() const {
  if (found.pixels == 0) return found.largest;
  if (result.symmetric || !(result.beta > 0.0)) return found.smallest;
  return found.positives > 0 ? found.smallest_positive : found.largest;
}

// Elements of a part, in the order of their places; slopes of 0 for the other pixels.
int64_t RowSort::collect(int64_t part, uint32_t least) const {
  uint64_t *out = elements + begin(part);
  int64_t size = 0;
  const uint32_t range = found.largest - least;
  row.each_piece(begin(part), begin(part + 1), [&](int64_t first, int64_t length) {
    const uint32_t *key = keys(first);
    float *slopes = row.slopes + first;
    for (int64_t l = 0; l < length; ++l) {
      const uint32_t own = key[l];
      slopes[l] = 0.0f;
      out[size] = pack(own, first + l);
      size += (own & ~positive_bit) - least <= range;
    }
  });
  return size;
}

void RowSort::count(int64_t part, const Digit &digit) const {
  Counters &own = counters[part];
  const uint64_t *from = elements + begin(part);
  const int64_t size = own.size;
  std::memset(own.numbers, 0, static_cast<size_t>(digit.buckets) * sizeof *own.numbers);
  for (int64_t i = 0; i < size; ++i) {
    own.numbers[digit(from[i])] += 1 | static_cast<uint64_t>(is_positive(from[i])) << 32;
  }
  if (row.weight == nullptr) return;
  std::memset(own.weights, 0, static_cast<size_t>(digit.buckets) * sizeof *own.weights);
  for (int64_t i = 0; i < size; ++i) {
    Sums &sums = own.weights[digit(from[i])];
    (is_positive(from[i]) ? sums.positives : sums.negatives) += row.weight_at(place_of(from[i]));
  }
}

// From the counts of all parts to where the elements of each go, and to what comes before buckets.
void RowSort::place_buckets(const Digit &digit) {
  int64_t begin = 0;
  Sums passed{};
  for (int b = 0; b < digit.buckets; ++b) {
    buckets[b] = {begin, 0, passed, 0.0};
    for (int64_t part = 0; part < parts; ++part) {
      Counters &own = counters[part];
      const int64_t number = static_cast<int64_t>(own.numbers[b] & UINT32_MAX);
      const int64_t positives = static_cast<int64_t>(own.numbers[b] >> 32);
      const Sums units =
          row.weight == nullptr ? Sums{positives, number - positives} : own.weights[b];
      own.numbers[b] = static_cast<uint64_t>(begin);
      begin += number;
      passed.positives += units.positives;
      passed.negatives += units.negatives;
    }
    buckets[b].size = begin - buckets[b].begin;
  }
  all = passed;
}

void RowSort::scatter(int64_t part, const Digit &digit) const {
  uint64_t *next = counters[part].numbers;
  const uint64_t *from = elements + begin(part);
  constexpr int64_t ahead = 64;
  uint64_t to[ahead];
  for (int64_t i = 0; i < counters[part].size; i += ahead) {
    const int64_t some = std::min(ahead, counters[part].size - i);
    for (int64_t k = 0; k < some; ++k) {
      to[k] = next[digit(from[i + k])]++;
      fetch_to_write(others + to[k]);
    }
    for (int64_t k = 0; k < some; ++k) others[to[k]] = from[i + k];
  }
}

void RowSort::extend_at_once(const Digit &whole, int64_t size) {
  uint64_t *sorted = desks->sorted;
  sort_elements(elements, sorted, size, whole.first, whole.last, desks->tables);
  for (int64_t i = 0; i < size; ++i) {
    const int64_t own = row.weight == nullptr ? 1 : row.weight_at(place_of(sorted[i]));
    (is_positive(sorted[i]) ? all.positives : all.negatives) += own;
  }
  loss = walk_row(sorted, size, result, all, Sums{}, row);
}

void RowSort::extend_buckets(const Digit &digit) {
  std::atomic<int> next{0};
  each_part([&](int64_t part) {
    Desk &desk = desks[part];
    for (int b = next++; b < digit.buckets; b = next++) {
      Bucket &own = buckets[b];
      if (own.size == 0) continue;
      uint64_t *sorted = own.size <= small_row ? desk.sorted : elements + own.begin;
      sort_elements(others + own.begin, sorted, own.size, digit.lowest(b), digit.highest(b),
                    desk.tables);
      own.loss = walk_row(sorted, own.size, result, all, own.passed, row);
    }
  });
  for (int b = 0; b < digit.buckets; ++b) loss += buckets[b].loss;
}

void RowSort::extend() {
  find();
  const uint32_t smallest = least();
  const bool at_once = row.pixels() <= small_row;
  // Sums must not depend on the number of threads, so the buckets do not.
  uint32_t most = 1;
  while (!at_once && most < first_buckets && most * bucket_size < found.pixels) most *= 2;
  const Digit digit(largest_rank - found.largest, largest_rank - smallest, most);
  if (at_once) {
    extend_at_once(digit, collect(0, smallest));
    return;
  }
  each_part([&](int64_t part) {
    counters[part].size = collect(part, smallest);
    count(part, digit);
  });
  place_buckets(digit);
  each_part([&](int64_t part) { scatter(part, digit); });
  extend_buckets(digit);
}

// The rows of all groups and classes, and who sorts them.
struct SortPass : Pass {
  lovasz_sort_result &result;
  const int32_t threads;
  std::atomic<int64_t> bad_labels{0};

  SortPass(const lovasz_inputs &read, lovasz_sort_result &written, int32_t threads_of)
      : Pass(read), result(written), threads(threads_of) {}
  void write_keys();
  void extend();

 private:
  const bool of_clouds = inputs.offsets != nullptr;
  const int64_t groups = of_clouds ? inputs.clouds : inputs.per_image ? inputs.images : 1;
  const int64_t rows = groups * inputs.classes;
  // Threads share a row that one of them would still be at when the others have done the rest.
  const int64_t fair =
      std::max(inputs.classes * inputs.images * inputs.length / (4 * threads), shared_row);

  Row row(int64_t index) const;
  bool shared(const Row &row) const { return threads > 1 && row.pixels() > fair; }
  void extend_row(int64_t index, const Row &row, const Working &working, int64_t parts);
  void extend_own_rows(int64_t pixels, std::atomic<int64_t> &next);
};

// Errors of the chunks that this thread takes.
void SortPass::write_keys() {
  take_chunks([&](int64_t, int64_t image, int64_t first, int64_t last, float *scratch) {
    const auto keys = [&](int64_t begin, int64_t end) {
      lovasz_histograms found{};
      level.keys(&inputs, grid, image, begin, end, &found,
                 reinterpret_cast<uint32_t *>(result.slopes), scratch);
      return found;
    };
    const lovasz_histograms found = keys(first, last);
    bad_labels += found.bad_labels;
    if (found.invalid == 0) return;
    each_group(image, first, last, [&](int64_t group, int64_t begin, int64_t end) {
      const int64_t invalid = of_clouds ? keys(begin, end).invalid : found.invalid;
      __atomic_fetch_add(result.invalid + group, invalid, __ATOMIC_RELAXED);
    });
  });
}

// Class by class, because the clouds of a class lie next to each other.
Row SortPass::row(int64_t index) const {
  const int64_t c = index / groups, group = index % groups;
  const int64_t image = of_clouds ? 0 : group, begin = of_clouds ? inputs.offsets[group] : 0;
  const int64_t length = of_clouds ? inputs.offsets[group + 1] - begin : inputs.length;
  const int64_t images = inputs.per_image ? 1 : inputs.images;
  const int64_t stride = inputs.classes * inputs.length;
  const int64_t *weight = inputs.fixed_weight;
  if (weight != nullptr) {
    weight += image * inputs.weight_image_stride + c * inputs.weight_class_stride + begin;
  }
  float *slopes = result.slopes + image * stride + c * inputs.length + begin;
  return {slopes, images, stride, length, weight, inputs.weight_image_stride};
}

void SortPass::extend_row(int64_t index, const Row &row, const Working &working, int64_t parts) {
  RowSort sort{row, result, working, parts};
  sort.extend();
  const int64_t to = index % groups * inputs.classes + index / groups;
  result.losses[to] = sort.loss;
  result.positives[to] = sort.found.positives;
  result.pixels[to] = sort.found.pixels;
}

void SortPass::extend_own_rows(int64_t pixels, std::atomic<int64_t> &next) {
  const Working working(pixels, 1);
  if (working.failed()) {
    failed = true;
    return;
  }
  const int64_t some = 1 + rows / 4096;  // to ask less often where there are very many
  for (int64_t first = next.fetch_add(some); first < rows; first = next.fetch_add(some)) {
    for (int64_t i = first; i < std::min(first + some, rows); ++i) {
      const Row own = row(i);
      if (!shared(own)) extend_row(i, own, working, 1);
    }
  }
}

void SortPass::extend() {
  int64_t shared_pixels = 0, own_pixels = 0, own_rows = 0;
  for (int64_t i = 0; i < rows; ++i) {
    const Row own = row(i);
    int64_t &pixels = shared(own) ? shared_pixels : own_pixels;
    own_rows += !shared(own);
    pixels = std::max(pixels, own.pixels());
  }
  if (shared_pixels > 0) {
    const Working working(shared_pixels, threads);
    if (working.failed()) {
      failed = true;
      return;
    }
    for (int64_t i = 0; i < rows; ++i) {
      const Row own = row(i);
      if (shared(own)) extend_row(i, own, working, threads);
    }
  }
  std::atomic<int64_t> next{0};
  run(threads, std::min<int64_t>(threads, own_rows),
      [&](int64_t, int64_t) { extend_own_rows(own_pixels, next); });
}

}  // namespace

int lovasz_sort_and_extend(const lovasz_inputs *inputs, lovasz_sort_result *result,
                           int32_t threads) {
  if (!contract::kept(*inputs, 0) || inputs->cross_entropy || result->slopes == nullptr ||
      result->losses == nullptr || result->positives == nullptr || result->pixels == nullptr ||
      result->invalid == nullptr || result->unit < 1 ||
      inputs->classes > (places - 1) / inputs->images / inputs->length) {
    return LOVASZ_MISUSE;
  }
  SortPass pass(*inputs, *result, std::max(threads, 1));
  pass.on_threads(threads, [&] { pass.write_keys(); });
  if (!pass.failed) pass.extend();
  result->bad_labels = pass.bad_labels;
  return pass.status();
}
