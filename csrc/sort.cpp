// The method that sorts: errors as keys, radix sort, slopes.
//
// Errors are floats that are not negative, so their bits order them as integers: 30 bits up to 1,
// and 31 where they have no bound, in three or four passes of ten bits each. An element carries its
// place in the array of slopes, so the sorted row is walked once from the largest error down, and
// every slope is written where its pixel is.
#include <cstring>
#include <utility>

#include "contract.h"
#include "set_function.h"
#include "threads.h"

namespace {

constexpr int digit_bits = 10, most_digits = 4, buckets = 1 << digit_bits;
constexpr uint32_t ignored_key = 0xffffffffu, positive_bit = 0x80000000u;

// key (31 bits), whether positive (1 bit), place (32 bits)
constexpr int place_bits = 32;
constexpr int64_t places = int64_t{1} << place_bits;

inline uint64_t pack(uint32_t bits, int64_t place) {
  return static_cast<uint64_t>(bits & ~positive_bit) << (place_bits + 1) |
         static_cast<uint64_t>(bits >> 31) << place_bits | static_cast<uint64_t>(place);
}
inline uint32_t key_of(uint64_t element) {
  return static_cast<uint32_t>(element >> (place_bits + 1));
}
inline bool is_positive(uint64_t element) { return (element >> place_bits) & 1; }
inline int64_t place_of(uint64_t element) {
  return static_cast<int64_t>(element & (static_cast<uint64_t>(places) - 1));
}
inline uint32_t digit(uint32_t key, int index) {
  return key >> (index * digit_bits) & (buckets - 1);
}

struct Row {
  float *slopes;  // of the first image and the class
  int64_t images, image_stride, length;
};

// Sorts the errors of one class by their last digit on the way from the row to `to`; returns how
// many there are. Ignored pixels get their slope, 0, here.
int64_t scatter_first(const Row &row, int digits, uint32_t (*counts)[buckets], uint64_t *to) {
  std::memset(counts, 0, sizeof(uint32_t) * static_cast<size_t>(digits) * buckets);
  int64_t total = 0;
  for (int64_t n = 0; n < row.images; ++n) {
    const uint32_t *errors = reinterpret_cast<const uint32_t *>(row.slopes + n * row.image_stride);
    for (int64_t l = 0; l < row.length; ++l) {
      if (errors[l] == ignored_key) continue;
      const uint32_t key = errors[l] & ~positive_bit;
      for (int d = 0; d < digits; ++d) ++counts[d][digit(key, d)];
      ++total;
    }
  }
  for (int d = 0; d < digits; ++d) {
    uint32_t start = 0;
    for (int b = 0; b < buckets; ++b) {
      const uint32_t size = counts[d][b];
      counts[d][b] = start;
      start += size;
    }
  }
  for (int64_t n = 0; n < row.images; ++n) {
    const int64_t offset = n * row.image_stride;
    const uint32_t *errors = reinterpret_cast<const uint32_t *>(row.slopes + offset);
    for (int64_t l = 0; l < row.length; ++l) {
      if (errors[l] == ignored_key) {
        row.slopes[offset + l] = 0.0f;
      } else {
        const uint32_t key = errors[l] & ~positive_bit;
        to[counts[0][digit(key, 0)]++] = pack(errors[l], offset + l);
      }
    }
  }
  return total;
}

void scatter(const uint64_t *from, int64_t size, int index, uint32_t *starts, uint64_t *to) {
  for (int64_t i = 0; i < size; ++i) to[starts[digit(key_of(from[i]), index)]++] = from[i];
}

// From the largest error down: slopes of all pixels, and the loss. Pixels with equal errors share
// the mean of "positives first" and "negatives first", as in `extend_sorted`.
double walk(const uint64_t *sorted, int64_t size, const Tversky &delta, float *slopes) {
  const auto delta_at = [&](int64_t fn, int64_t fp) {
    return delta(static_cast<double>(fn), static_cast<double>(fp));
  };
  double loss = 0.0, before = 0.0;
  int64_t F = 0, B = 0;
  for (int64_t i = size - 1; i >= 0;) {
    const uint32_t key = key_of(sorted[i]);
    int64_t first = i;
    int64_t f = is_positive(sorted[i]);
    while (first > 0 && key_of(sorted[first - 1]) == key) f += is_positive(sorted[--first]);
    const int64_t n = i - first + 1 - f;
    const double after = delta_at(F + f, B + n);
    float slope_f, slope_n;
    if (f + n == 1) {  // nearly always, and one division less
      slope_f = slope_n = static_cast<float>(after - before);
    } else if (f == 0 || n == 0) {
      slope_f = slope_n = static_cast<float>((after - before) / static_cast<double>(f + n));
    } else {
      const double by_f = delta_at(F + f, B) - before, by_n = delta_at(F, B + n) - before;
      slope_f =
          static_cast<float>((by_f + (after - before - by_n)) / (2.0 * static_cast<double>(f)));
      slope_n =
          static_cast<float>((by_n + (after - before - by_f)) / (2.0 * static_cast<double>(n)));
    }
    float error;
    std::memcpy(&error, &key, sizeof error);
    loss += (after - before) * static_cast<double>(error);
    for (; i >= first; --i)
      slopes[place_of(sorted[i])] = is_positive(sorted[i]) ? slope_f : slope_n;
    F += f;
    B += n;
    before = after;
  }
  return loss;
}

// Errors of the chunks that this thread takes.
void write_keys(Pass &pass, lovasz_sort_result &result, std::atomic<int64_t> &bad_labels) {
  pass.take_chunks([&](int64_t, int64_t image, int64_t first, int64_t last, float *scratch) {
    lovasz_histograms found{};
    pass.level.keys(&pass.inputs, image, first, last, &found,
                    reinterpret_cast<uint32_t *>(result.slopes), scratch);
    if (found.invalid) {
      __atomic_fetch_add(result.invalid + pass.group(image), found.invalid, __ATOMIC_RELAXED);
    }
    bad_labels += found.bad_labels;
  });
}

// Sorts and extends the rows, one for each group and class, that this thread takes.
void extend_rows(Pass &pass, lovasz_sort_result &result, std::atomic<int64_t> &next_row) {
  const lovasz_inputs &inputs = pass.inputs;
  const int64_t images = inputs.per_image ? 1 : inputs.images;
  const int64_t groups = inputs.per_image ? inputs.images : 1;
  const size_t bytes = static_cast<size_t>(images * inputs.length) * sizeof(uint64_t);
  const bool bounded = inputs.link == LOVASZ_CLASSES || inputs.link == LOVASZ_SIGMOID;
  const int digits = bounded ? 3 : most_digits;
  const Memory first(bytes), second(bytes), counts(most_digits * buckets * sizeof(uint32_t));
  if (first.data == nullptr || second.data == nullptr || counts.data == nullptr) {
    pass.failed = true;
    return;
  }
  lovasz_expect_writes(first.data, static_cast<int64_t>(bytes));
  lovasz_expect_writes(second.data, static_cast<int64_t>(bytes));
  auto *starts = reinterpret_cast<uint32_t (*)[buckets]>(counts.aligned<uint32_t>());
  for (int64_t i = next_row++; i < groups * inputs.classes; i = next_row++) {
    const int64_t group = i / inputs.classes, c = i % inputs.classes;
    const int64_t image_stride = inputs.classes * inputs.length;
    const Row row{result.slopes + group * image_stride + c * inputs.length, images, image_stride,
                  inputs.length};
    uint64_t *a = first.aligned<uint64_t>(), *b = second.aligned<uint64_t>();
    const int64_t size = scatter_first(row, digits, starts, a);
    for (int d = 1; d < digits; ++d, std::swap(a, b)) scatter(a, size, d, starts[d], b);
    int64_t positives = 0;
    for (int64_t k = 0; k < size; ++k) positives += is_positive(a[k]);
    const Tversky delta{result.alpha, result.beta, static_cast<double>(positives)};
    result.losses[i] = walk(a, size, delta, row.slopes);
    result.positives[i] = positives;
    result.pixels[i] = size;
  }
}

}  // namespace

int lovasz_sort_and_extend(const lovasz_inputs *inputs, lovasz_sort_result *result,
                           int32_t threads) {
  if (!contract::kept(*inputs, 0) || result->slopes == nullptr || result->losses == nullptr ||
      result->positives == nullptr || result->pixels == nullptr || result->invalid == nullptr ||
      inputs->offsets != nullptr || inputs->classes > places / inputs->images / inputs->length) {
    return LOVASZ_MISUSE;
  }
  Pass pass(*inputs);
  std::atomic<int64_t> next_row{0}, bad_labels{0};
  pass.on_threads(threads, [&] { write_keys(pass, *result, bad_labels); });
  if (!pass.failed) pass.on_threads(threads, [&] { extend_rows(pass, *result, next_row); });
  result->bad_labels = bad_labels;
  return pass.status();
}
