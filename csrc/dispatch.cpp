// The entry points: choice of the instruction-set level, threads, and merging of their counts.
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "contract.h"
#include "parallel.h"

namespace {

std::atomic<ParallelFor> parallel_for{nullptr};
std::atomic<const lovasz_kernels *> chosen{nullptr};

#if defined(LOVASZ_X86_LEVELS)
// By their features, because clang knows the names of levels from version 18 on only; no processor
// has these without the others of its level.
bool has_v3() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
}

bool has_v4() {
  return has_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
}
#endif

const lovasz_kernels *best_level() {
#if defined(LOVASZ_X86_LEVELS)
  if (has_v4()) return &lovasz_kernels_v4;
  if (has_v3()) return &lovasz_kernels_v3;
#endif
  return &lovasz_kernels_baseline;
}

struct CountJob {
  const lovasz_problem &problem;
  lovasz_count_result &result;
  const lovasz_kernels &kernels;
  Chunks chunks;
  double *entropy;  // (chunks, 2): added up in the order of chunks, whoever counted them
  std::atomic<int64_t> next{0};
  std::atomic<bool> failed{false};
  std::mutex merging;
};

// Adds a row of a thread's table to that of the result and clears it.
template <class Cell>
void merge_row(Cell *source, int64_t row, int64_t bins, int64_t *out) {
  source[bins - 1] += source[bins];  // an error that rounding carried to 1
  for (int64_t b = 0; b < bins; ++b) out[b] += source[b];
  std::memset(source, 0, static_cast<size_t>(row) * sizeof *source);
}

// Adds a thread's table to the result and clears it.
void merge(CountJob &job, lovasz_table &table, int64_t group) {
  const int64_t bins = job.problem.bins, classes = job.problem.classes;
  std::lock_guard<std::mutex> lock(job.merging);
  for (int64_t i = 0; i < 2 * classes; ++i) {
    const int64_t c = i / 2, side = i % 2;
    int64_t *out = job.result.counts + (group * 2 * classes + i) * bins;
    if (table.masses != nullptr) {
      merge_row(table.masses + (side * classes + c) * table.row, table.row, bins, out);
      continue;
    }
    uint32_t *source = (side == 0 ? table.negatives : table.positives) + c * table.row;
    uint32_t *other = source + table.half;
    for (int64_t b = 0; b < table.row; ++b) source[b] += other[b];
    std::memset(other, 0, static_cast<size_t>(table.row) * sizeof *other);
    merge_row(source, table.row, bins, out);
  }
  job.result.invalid[group] += table.invalid;
  job.result.bad_labels += table.bad_labels;
  table.invalid = table.bad_labels = 0;
}

void count_worker(int64_t, int64_t, void *context) {
  CountJob &job = *static_cast<CountJob *>(context);
  const lovasz_problem &problem = job.problem;
  const int64_t row = (problem.bins + 2 + 15) / 16 * 16;
  const size_t cells = static_cast<size_t>(problem.classes * row);
  Memory counts(4 * cells * sizeof(uint32_t));
  Memory masses(problem.pixel_mass == nullptr ? 0 : 2 * cells * sizeof(int64_t));
  Memory scratch(static_cast<size_t>(lovasz_scratch_floats(problem.classes)) * sizeof(float));
  if (counts.data == nullptr || masses.data == nullptr || scratch.data == nullptr) {
    job.failed = true;
    return;
  }
  uint32_t *first = counts.aligned<uint32_t>();
  int64_t *weighted = problem.pixel_mass == nullptr ? nullptr : masses.aligned<int64_t>();
  lovasz_table table{first, first + cells, static_cast<int64_t>(2 * cells), weighted, row, 0,
                     0,     nullptr};
  int64_t group = -1;
  uint64_t pixels = 0;
  for (int64_t i = job.next++; i < job.chunks.total; i = job.next++) {
    const int64_t image = job.chunks.image(i);
    const int64_t own = problem.per_image ? image : 0;
    // 32-bit counters hold what this thread has seen since it last merged.
    if (group >= 0 && (own != group || pixels > UINT32_MAX / 2)) {
      merge(job, table, group);
      pixels = 0;
    }
    group = own;
    pixels += static_cast<uint64_t>(job.chunks.chunk);
    table.entropy = problem.entropy ? job.entropy + 2 * i : nullptr;
    job.kernels.count(&problem, image, job.chunks.first(i), job.chunks.last(i), &table,
                      scratch.aligned<float>());
  }
  if (group >= 0) merge(job, table, group);
}

struct PushJob {
  const lovasz_problem &problem;
  lovasz_slopes slopes;  // of all groups
  const lovasz_scores &gradient;
  const lovasz_kernels &kernels;
  Chunks chunks;
  std::atomic<int64_t> next{0};
  std::atomic<bool> failed{false};
};

void push_worker(int64_t, int64_t, void *context) {
  PushJob &job = *static_cast<PushJob *>(context);
  const lovasz_problem &problem = job.problem;
  Memory scratch(static_cast<size_t>(lovasz_scratch_floats(problem.classes)) * sizeof(float));
  if (scratch.data == nullptr) {
    job.failed = true;
    return;
  }
  for (int64_t i = job.next++; i < job.chunks.total; i = job.next++) {
    const int64_t image = job.chunks.image(i);
    const int64_t group = problem.per_image ? image : 0;
    const lovasz_slopes slopes =
        job.slopes.behind(group * problem.classes * 2 * problem.bins, group * problem.classes);
    job.kernels.push(&problem, &slopes, &job.gradient, image, job.chunks.first(i),
                     job.chunks.last(i), scratch.aligned<float>());
  }
}

struct WeighJob {
  const lovasz_weighing &weighing;
  const lovasz_kernels &kernels;
};

void weigh_worker(int64_t begin, int64_t end, void *context) {
  const WeighJob &job = *static_cast<WeighJob *>(context);
  for (int64_t row = begin; row < end; ++row) job.kernels.weigh(&job.weighing, row);
}

}  // namespace

const lovasz_kernels &kernels() {
  const lovasz_kernels *level = chosen.load(std::memory_order_acquire);
  if (level == nullptr) {
    level = best_level();
    chosen.store(level, std::memory_order_release);
  }
  return *level;
}

void run(int32_t threads, int64_t tasks, ParallelFunction function, void *context) {
  ParallelFor torch = parallel_for.load(std::memory_order_relaxed);
  if (torch == nullptr || threads <= 1 || tasks <= 1) {
    function(0, tasks, context);
  } else {
    torch(0, tasks, 1, function, context);
  }
}

void lovasz_set_parallel_for(void *address) {
  ParallelFor function = nullptr;
  std::memcpy(&function, &address, sizeof function);
  parallel_for = function;
}

const char *lovasz_level(void) { return kernels().name; }

int lovasz_choose_level(const char *name) {
  const lovasz_kernels *level = nullptr;
  if (std::strcmp(name, "best") == 0) level = best_level();
  if (std::strcmp(name, "baseline") == 0) level = &lovasz_kernels_baseline;
#if defined(LOVASZ_X86_LEVELS)
  if (std::strcmp(name, "v3") == 0 && has_v3()) level = &lovasz_kernels_v3;
  if (std::strcmp(name, "v4") == 0 && has_v4()) level = &lovasz_kernels_v4;
#endif
  if (level == nullptr) return 0;
  chosen = level;
  return 1;
}

int lovasz_count(const lovasz_problem *problem, lovasz_count_result *result, int32_t threads) {
  if (!contract::kept(*problem, 1) || result->counts == nullptr || result->invalid == nullptr) {
    return LOVASZ_MISUSE;
  }
  // The kernels find cells of tables by 32 bits.
  if (problem->classes > UINT32_MAX / 4 / (problem->bins + 18)) return LOVASZ_NO_MEMORY;
  const Chunks chunks(*problem);
  Memory entropy(problem->entropy ? 2 * sizeof(double) * static_cast<size_t>(chunks.total) : 0);
  if (entropy.data == nullptr) return LOVASZ_NO_MEMORY;
  CountJob job{*problem, *result, kernels(), chunks, entropy.aligned<double>(), {}, {}, {}};
  run(threads, job.chunks.workers(threads), count_worker, &job);
  for (int64_t i = 0; problem->entropy && i < chunks.total; ++i) {
    result->entropy[0] += job.entropy[2 * i];
    result->entropy[1] += job.entropy[2 * i + 1];
  }
  return job.failed ? LOVASZ_NO_MEMORY : LOVASZ_OK;
}

void lovasz_weigh(const lovasz_weighing *weighing, int32_t threads) {
  WeighJob job{*weighing, kernels()};
  // Waking a thread takes as long as some thousand bins.
  const bool alone = weighing->rows * weighing->bins < 32768;
  run(alone ? 1 : threads, weighing->rows, weigh_worker, &job);
}

void lovasz_expect_writes(void *data, int64_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr uintptr_t page = 4096;
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(data) + page - 1) & ~(page - 1);
  const uintptr_t end =
      (reinterpret_cast<uintptr_t>(data) + static_cast<uintptr_t>(bytes)) & ~(page - 1);
  if (end > begin) madvise(reinterpret_cast<void *>(begin), end - begin, MADV_HUGEPAGE);
#else
  (void)data;
  (void)bytes;
#endif
}

int lovasz_push(const lovasz_problem *problem, const float *slopes, const float *factors,
                float entropy_scale, const lovasz_scores *gradient, int32_t threads) {
  if (!contract::kept(*problem, 1, slopes, *gradient)) return LOVASZ_MISUSE;
  PushJob job{
      *problem, {slopes, factors, entropy_scale}, *gradient, kernels(), Chunks(*problem), {}, {}};
  run(threads, job.chunks.workers(threads), push_worker, &job);
  return job.failed ? LOVASZ_NO_MEMORY : LOVASZ_OK;
}
