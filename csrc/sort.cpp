// The exact method: errors, radix sort, slopes.
//
// Errors are floats that are not negative, so their bits order them as integers: 30 bits up to 1,
// and 31 where they have no bound, in three or four passes of ten bits each. An element carries its
// place in the array of slopes, so the sorted row is walked once from the largest error down, and
// every slope is written where its pixel is.
#include <cstring>
#include <utility>

#include "contract.h"
#include "parallel.h"

namespace {

constexpr int digit_bits = 10, most_digits = 4, buckets = 1 << digit_bits;
constexpr uint32_t ignored = 0xffffffffu, positive_bit = 0x80000000u;

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

struct ExactJob {
  const lovasz_problem &problem;
  lovasz_exact_result &result;
  Chunks chunks;
  std::atomic<int64_t> next{0};
  std::atomic<int64_t> next_row{0};
  std::atomic<int64_t> bad_labels{0};
  std::atomic<bool> failed{false};
};

void errors_worker(int64_t, int64_t, void *context) {
  ExactJob &job = *static_cast<ExactJob *>(context);
  const lovasz_problem &problem = job.problem;
  Memory scratch(static_cast<size_t>(lovasz_scratch_floats(problem.classes)) * sizeof(float));
  if (scratch.data == nullptr) {
    job.failed = true;
    return;
  }
  for (int64_t i = job.next++; i < job.chunks.total; i = job.next++) {
    const int64_t image = job.chunks.image(i);
    lovasz_table table{};
    kernels().errors(&problem, image, job.chunks.first(i), job.chunks.last(i), &table,
                     reinterpret_cast<uint32_t *>(job.result.slopes), scratch.aligned<float>());
    const int64_t group = problem.per_image ? image : 0;
    if (table.invalid)
      __atomic_fetch_add(job.result.invalid + group, table.invalid, __ATOMIC_RELAXED);
    job.bad_labels += table.bad_labels;
  }
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
      if (errors[l] == ignored) continue;
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
      if (errors[l] == ignored) {
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

struct Tversky {
  double alpha, beta, positives;

  double operator()(int64_t fn, int64_t fp) const {
    const double mistakes = alpha * static_cast<double>(fp) + beta * static_cast<double>(fn);
    const double whole = positives - static_cast<double>(fn) + mistakes;
    return whole > 0.0 ? mistakes / whole : 0.0;
  }
};

// From the largest error down: slopes of all pixels, and the loss. Pixels with equal errors share
// the mean of "positives first" and "negatives first", as in `extend_sorted`.
double walk(const uint64_t *sorted, int64_t size, const Tversky &delta, float *slopes) {
  double loss = 0.0, before = 0.0;
  int64_t F = 0, B = 0;
  for (int64_t i = size - 1; i >= 0;) {
    const uint32_t key = key_of(sorted[i]);
    int64_t first = i;
    int64_t f = is_positive(sorted[i]);
    while (first > 0 && key_of(sorted[first - 1]) == key) f += is_positive(sorted[--first]);
    const int64_t n = i - first + 1 - f;
    const double after = delta(F + f, B + n);
    float slope_f, slope_n;
    if (f + n == 1) {  // nearly always, and one division less
      slope_f = slope_n = static_cast<float>(after - before);
    } else if (f == 0 || n == 0) {
      slope_f = slope_n = static_cast<float>((after - before) / static_cast<double>(f + n));
    } else {
      const double by_f = delta(F + f, B) - before, by_n = delta(F, B + n) - before;
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

void sort_worker(int64_t, int64_t, void *context) {
  ExactJob &job = *static_cast<ExactJob *>(context);
  const lovasz_problem &problem = job.problem;
  const int64_t images = problem.per_image ? 1 : problem.images;
  const int64_t groups = problem.per_image ? problem.images : 1;
  const size_t bytes = static_cast<size_t>(images * problem.length) * sizeof(uint64_t);
  const bool bounded = problem.link == LOVASZ_CLASSES || problem.link == LOVASZ_SIGMOID;
  const int digits = bounded ? 3 : most_digits;
  Memory first(bytes), second(bytes), counts(most_digits * buckets * sizeof(uint32_t));
  if (first.data == nullptr || second.data == nullptr || counts.data == nullptr) {
    job.failed = true;
    return;
  }
  lovasz_expect_writes(first.data, static_cast<int64_t>(bytes));
  lovasz_expect_writes(second.data, static_cast<int64_t>(bytes));
  auto *starts = reinterpret_cast<uint32_t (*)[buckets]>(counts.aligned<uint32_t>());
  for (int64_t i = job.next_row++; i < groups * problem.classes; i = job.next_row++) {
    const int64_t group = i / problem.classes, c = i % problem.classes;
    const int64_t image_stride = problem.classes * problem.length;
    const Row row{job.result.slopes + group * image_stride + c * problem.length, images,
                  image_stride, problem.length};
    uint64_t *a = first.aligned<uint64_t>(), *b = second.aligned<uint64_t>();
    const int64_t size = scatter_first(row, digits, starts, a);
    for (int d = 1; d < digits; ++d, std::swap(a, b)) scatter(a, size, d, starts[d], b);
    int64_t positives = 0;
    for (int64_t k = 0; k < size; ++k) positives += is_positive(a[k]);
    const Tversky delta{job.result.alpha, job.result.beta, static_cast<double>(positives)};
    job.result.losses[i] = walk(a, size, delta, row.slopes);
    job.result.positives[i] = positives;
    job.result.pixels[i] = size;
  }
}

struct PushExactJob {
  const lovasz_problem &problem;
  lovasz_slopes slopes;  // of all images
  const lovasz_scores &gradient;
  Chunks chunks;
  std::atomic<int64_t> next{0};
  std::atomic<bool> failed{false};
};

void push_exact_worker(int64_t, int64_t, void *context) {
  PushExactJob &job = *static_cast<PushExactJob *>(context);
  Memory scratch(static_cast<size_t>(lovasz_scratch_floats(job.problem.classes)) * sizeof(float));
  if (scratch.data == nullptr) {
    job.failed = true;
    return;
  }
  for (int64_t i = job.next++; i < job.chunks.total; i = job.next++) {
    const int64_t image = job.chunks.image(i), classes = job.problem.classes;
    const lovasz_slopes slopes = job.slopes.behind(image * classes * job.problem.length,
                                                   job.problem.per_image ? image * classes : 0);
    kernels().push_exact(&job.problem, &slopes, &job.gradient, image, job.chunks.first(i),
                         job.chunks.last(i), scratch.aligned<float>());
  }
}

}  // namespace

int lovasz_exact(const lovasz_problem *problem, lovasz_exact_result *result, int32_t threads) {
  if (!contract::kept(*problem, 0) || result->slopes == nullptr || result->losses == nullptr ||
      result->positives == nullptr || result->pixels == nullptr || result->invalid == nullptr ||
      problem->classes > places / problem->images / problem->length) {
    return LOVASZ_MISUSE;
  }
  ExactJob job{*problem, *result, Chunks(*problem), {}, {}, {}, {}};
  run(threads, job.chunks.workers(threads), errors_worker, &job);
  if (!job.failed) run(threads, job.chunks.workers(threads), sort_worker, &job);
  result->bad_labels = job.bad_labels;
  return job.failed ? LOVASZ_NO_MEMORY : LOVASZ_OK;
}

int lovasz_push_exact(const lovasz_problem *problem, const float *slopes, const float *factors,
                      const lovasz_scores *gradient, int32_t threads) {
  if (!contract::kept(*problem, 0, slopes, *gradient)) return LOVASZ_MISUSE;
  PushExactJob job{*problem, {slopes, factors, 0.0f}, *gradient, Chunks(*problem), {}, {}};
  run(threads, job.chunks.workers(threads), push_exact_worker, &job);
  return job.failed ? LOVASZ_NO_MEMORY : LOVASZ_OK;
}
