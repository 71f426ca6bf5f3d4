// The entry points: choice of the instruction-set level, threads, and merging of their histograms.
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "contract.h"
#include "threads.h"

namespace {

std::atomic<ParallelFor> parallel_for{nullptr};
thread_local ParallelFor lent = nullptr;
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

struct HistogramPass : Pass {
  lovasz_histogram_result &result;
  // Added up in the order of chunks, whoever counted them.
  double *cross_entropy;          // (chunks, 2)
  double *region_sums = nullptr;  // (slots, C, 8), see `slot`
  // So that threads seldom wait for each other where each has clouds of its own.
  std::mutex merging[64];
  std::atomic<int64_t> bad_labels{0};

  HistogramPass(const lovasz_inputs &read, lovasz_histogram_result &written)
      : Pass(read), result(written) {}
  void count();
  void merge(lovasz_histograms &own, int64_t group);
  void add_regions();
  int64_t row_of_regions() const { return inputs.classes * LOVASZ_REGION_SUMS; }
  // Of a chunk and a group. The clouds of a chunk begin with the last one of the chunk before, or
  // behind it, so that no two of them have a slot in common.
  int64_t slot(int64_t chunk, int64_t group) const {
    return chunk + (inputs.offsets == nullptr ? 0 : group);
  }
  int64_t slots() const { return chunks.total + (inputs.offsets == nullptr ? 0 : inputs.clouds); }
};

// Adds a row of a thread's histograms, which is the sum of two, to that of the result, and clears
// it for what this thread counts next.
void merge_row(uint32_t *__restrict source, uint32_t *__restrict other, int64_t row, int64_t bins,
               int64_t *__restrict out) {
  for (int64_t b = 0; b < bins; ++b) {
    out[b] += source[b] + other[b];
    source[b] = other[b] = 0;
  }
  out[bins - 1] += source[bins] + other[bins];  // an error that rounding carried to 1
  for (int64_t b = bins; b < row; ++b) source[b] = other[b] = 0;
}

void merge_row(int64_t *__restrict source, int64_t row, int64_t bins, int64_t *__restrict out) {
  for (int64_t b = 0; b < bins; ++b) out[b] += source[b];
  out[bins - 1] += source[bins];
  std::memset(source, 0, static_cast<size_t>(row) * sizeof *source);
}

// Adds a thread's histograms to the result.
void HistogramPass::merge(lovasz_histograms &own, int64_t group) {
  const int64_t bins = inputs.bins, classes = inputs.classes, row = own.row;
  std::lock_guard<std::mutex> lock(merging[group % 64]);
  for (int64_t i = 0; bins > 0 && i < 2 * classes; ++i) {
    const int64_t c = i / 2, side = i % 2;
    int64_t *out = result.counts + (group * 2 * classes + i) * bins;
    if (own.weighted != nullptr) {
      merge_row(own.weighted + (side * classes + c) * row, row, bins, out);
      continue;
    }
    uint32_t *source = (side == 0 ? own.negatives : own.positives) + c * row;
    merge_row(source, source + own.half, row, bins, out);
  }
  result.invalid[group] += own.invalid;
  bad_labels += own.bad_labels;
  own.invalid = own.bad_labels = 0;
}

void HistogramPass::count() {
  const int64_t row = (inputs.bins + 2 + 15) / 16 * 16;
  const size_t cells = static_cast<size_t>(inputs.classes * row);
  const bool fixed = inputs.fixed_weight != nullptr;
  const Memory counts(4 * cells * sizeof(uint32_t));
  const Memory weighted(fixed ? 2 * cells * sizeof(int64_t) : 0);
  if (counts.data == nullptr || weighted.data == nullptr) {
    failed = true;
    return;
  }
  uint32_t *negatives = counts.aligned<uint32_t>();
  lovasz_histograms own{};
  own.negatives = negatives;
  own.positives = negatives + cells;
  own.half = static_cast<int64_t>(2 * cells);
  own.weighted = fixed ? weighted.aligned<int64_t>() : nullptr;
  own.row = row;
  int64_t current = -1;
  uint64_t pixels = 0;
  take_chunks([&](int64_t index, int64_t image, int64_t first, int64_t last, float *scratch) {
    own.cross_entropy = inputs.cross_entropy ? cross_entropy + 2 * index : nullptr;
    each_group(image, first, last, [&](int64_t group, int64_t begin, int64_t end) {
      // 32-bit counters hold what this thread has counted since it last merged.
      if (current >= 0 && (current != group || pixels > UINT32_MAX / 2)) {
        merge(own, current);
        pixels = 0;
      }
      current = group;
      pixels += static_cast<uint64_t>(end - begin);
      own.regions =
          region_sums == nullptr ? nullptr : region_sums + slot(index, group) * row_of_regions();
      level.histogram(&inputs, grid, image, begin, end, &own, scratch);
    });
  });
  if (current >= 0) merge(own, current);
}

void HistogramPass::add_regions() {
  const int64_t row = row_of_regions();
  for (int64_t i = 0; i < chunks.total; ++i) {
    each_group(chunks.image(i), chunks.first(i), chunks.last(i),
               [&](int64_t group, int64_t, int64_t) {
                 const double *from = region_sums + slot(i, group) * row;
                 double *to = result.regions + group * row;
                 for (int64_t k = 0; k < row; ++k) to[k] += from[k];
               });
  }
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
  ParallelFor loop = lent != nullptr ? lent : parallel_for.load(std::memory_order_relaxed);
  if (loop == nullptr || threads <= 1 || tasks <= 1) {
    function(0, tasks, context);
  } else {
    loop(0, tasks, 1, function, context);
  }
}

void lovasz_set_parallel_for(void *address) {
  ParallelFor function = nullptr;
  std::memcpy(&function, &address, sizeof function);
  parallel_for = function;
}

void lovasz_lend_parallel_for(void *address) { std::memcpy(&lent, &address, sizeof lent); }

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

int lovasz_histogram(const lovasz_inputs *inputs, lovasz_histogram_result *result,
                     int32_t threads) {
  const bool regions = inputs->regions || lovasz_is_soft(inputs);
  const bool counted = inputs->bins > 0 || !(inputs->cross_entropy || inputs->regions);
  if (!contract::kept(*inputs, counted) || (counted && result->counts == nullptr) ||
      result->invalid == nullptr || (regions && result->regions == nullptr)) {
    return LOVASZ_MISUSE;
  }
  // The kernels find cells of histograms by 32 bits.
  if (inputs->classes > UINT32_MAX / 4 / (inputs->bins + 18)) return LOVASZ_NO_MEMORY;
  HistogramPass pass(*inputs, *result);
  const int64_t sums = inputs->cross_entropy ? pass.chunks.total : 0;
  const Memory cross_entropy(2 * sizeof(double) * static_cast<size_t>(sums));
  if (cross_entropy.data == nullptr) return LOVASZ_NO_MEMORY;
  pass.cross_entropy = cross_entropy.aligned<double>();
  const int64_t numbers = regions ? pass.slots() * pass.row_of_regions() : 0;
  const Memory region_sums(sizeof(double) * static_cast<size_t>(numbers));
  if (region_sums.data == nullptr) return LOVASZ_NO_MEMORY;
  if (regions) pass.region_sums = region_sums.aligned<double>();
  pass.on_threads(threads, [&] { pass.count(); });
  if (regions && !pass.failed) pass.add_regions();
  for (int64_t i = 0; i < sums; ++i) {
    result->cross_entropy[0] += pass.cross_entropy[2 * i];
    result->cross_entropy[1] += pass.cross_entropy[2 * i + 1];
  }
  result->bad_labels = pass.bad_labels;
  return pass.status();
}

void lovasz_extend(const lovasz_extension *extension, int32_t threads) {
  const lovasz_kernels &level = kernels();
  // Waking a thread takes as long as some thousand bins.
  const bool alone = extension->rows * extension->bins < 32768;
  run(alone ? 1 : threads, extension->rows, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) level.extend(extension, row);
  });
}

int lovasz_backward(const lovasz_inputs *inputs, const float *slopes, int32_t by_pixel,
                    const float *factors, float cross_entropy_scale, const double *by_regions,
                    const lovasz_strided *gradient, int32_t threads) {
  if (!contract::kept(*inputs, 0, *gradient)) return LOVASZ_MISUSE;
  if (slopes == nullptr && (by_pixel || inputs->bins > 0)) return LOVASZ_MISUSE;
  if (by_regions != nullptr && (inputs->cloud_ids != nullptr || !contract::bounded(*inputs))) {
    return LOVASZ_MISUSE;
  }
  Pass pass(*inputs);
  const int64_t classes = inputs->classes;
  const auto factors_of = [&](int64_t group) {
    return factors == nullptr ? nullptr : factors + group * classes;
  };
  const auto regions_of = [&](int64_t group) {
    return by_regions == nullptr ? nullptr : by_regions + group * classes * LOVASZ_REGION_SUMS;
  };
  pass.in_halves(threads, [&] {
    pass.take_chunks([&](int64_t, int64_t image, int64_t first, int64_t last, float *scratch) {
      // Clouds may be so small that whole tiles have to be taken from many of them at once.
      if (by_pixel) {
        const lovasz_slopes own{slopes + image * inputs->length * classes,
                                factors_of(pass.group(image)), cross_entropy_scale, true,
                                regions_of(pass.group(image))};
        pass.level.backward(inputs, pass.grid, &own, gradient, image, first, last, scratch);
        return;
      }
      pass.each_group(image, first, last, [&](int64_t group, int64_t begin, int64_t end) {
        const lovasz_slopes own{slopes + group * classes * 2 * inputs->bins, factors_of(group),
                                cross_entropy_scale, false, regions_of(group)};
        pass.level.backward(inputs, pass.grid, &own, gradient, image, begin, end, scratch);
      });
    });
  });
  return pass.status();
}

int lovasz_argmax(const lovasz_inputs *inputs, const float *lines, void *labels, int32_t narrow,
                  int32_t threads) {
  if (!contract::sized(*inputs) || !contract::scores(*inputs) || labels == nullptr ||
      !contract::within(inputs->link, LOVASZ_CLASSES, LOVASZ_CHANNEL_PROBABILITIES)) {
    return LOVASZ_MISUSE;
  }
  Pass pass(*inputs);
  const lovasz_labels out{lines, labels, narrow != 0};
  pass.on_threads(threads, [&] {
    pass.take_chunks([&](int64_t, int64_t image, int64_t first, int64_t last, float *scratch) {
      pass.level.argmax(inputs, pass.grid, image, first, last, &out, scratch);
    });
  });
  return pass.status();
}

void lovasz_expect_writes(void *data, int64_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr uintptr_t page = 4096;
  // In less no large page has room, and the call takes longer than a thousand bins.
  if (bytes < int64_t{1} << 21) return;
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(data) + page - 1) & ~(page - 1);
  const uintptr_t end =
      (reinterpret_cast<uintptr_t>(data) + static_cast<uintptr_t>(bytes)) & ~(page - 1);
  if (end > begin) madvise(reinterpret_cast<void *>(begin), end - begin, MADV_HUGEPAGE);
#else
  (void)data;
  (void)bytes;
#endif
}
