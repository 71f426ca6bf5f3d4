// The kernels of one instruction-set level. Compiled several times, each with its own flags, and
// LOVASZ_LEVEL as the name that keeps the copies apart. No header with inline functions of the
// standard library may be included here: the linker would keep one copy for all levels, and that
// could be the one that this processor cannot run.
#include "count.h"
#include "push.h"
#include "weigh.h"

namespace LOVASZ_LEVEL {
namespace {

template <int T, class Score>
Rows rows_of(const lovasz_problem &problem, int64_t image, int64_t pixel, int64_t count,
             float *buffer) {
  return load_tile<T, Score>(problem, image, pixel, count, buffer);
}

template <int T>
Rows rows_of_float(const lovasz_problem &problem, int64_t image, int64_t pixel, int64_t count,
                   float *buffer) {
  return load_tile_float<T>(problem, image, pixel, count, buffer);
}

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

template <int T>
void count_tiles(const lovasz_problem &problem, int64_t image, int64_t first, int64_t last,
                 lovasz_table &table, float *scratch) {
  float *h = scratch, *buffer = scratch + problem.classes * T;
  for (int64_t pixel = first; pixel < last; pixel += T) {
    const int64_t count = smaller(T, last - pixel);
    Rows x{};
    switch (problem.score_type) {
      case LOVASZ_FLOAT32:
        x = rows_of_float<T>(problem, image, pixel, count, buffer);
        break;
      case LOVASZ_BFLOAT16:
        x = rows_of<T, bfloat16>(problem, image, pixel, count, buffer);
        break;
      default:
        x = rows_of<T, float16>(problem, image, pixel, count, buffer);
    }
    count_tile<T>(problem, x, image, pixel, count, table, h);
  }
}

template <int T>
void push_tiles(const lovasz_problem &problem, const lovasz_slopes &slopes,
                const lovasz_scores &gradient, int64_t image, int64_t first, int64_t last, float *scratch) {
  float *p = scratch, *s = p + problem.classes * T, *buffer = s + problem.classes * T;
  const double total = problem.entropy ? total_entropy_weight(problem) : 0.0;
  for (int64_t pixel = first; pixel < last; pixel += T) {
    const int64_t count = smaller(T, last - pixel);
    switch (problem.score_type) {
      case LOVASZ_FLOAT32:
        push_tile<T, float>(problem, rows_of_float<T>(problem, image, pixel, count, buffer),
                            slopes, total, gradient, image, pixel, count, p, s);
        break;
      case LOVASZ_BFLOAT16:
        push_tile<T, bfloat16>(problem, rows_of<T, bfloat16>(problem, image, pixel, count, buffer),
                               slopes, total, gradient, image, pixel, count, p, s);
        break;
      default:
        push_tile<T, float16>(problem, rows_of<T, float16>(problem, image, pixel, count, buffer),
                              slopes, total, gradient, image, pixel, count, p, s);
    }
  }
}

void count(const lovasz_problem *problem, int64_t image, int64_t first, int64_t last,
           lovasz_table *table, float *scratch) {
  if (lovasz_tile_pixels(problem->classes) == 256) {
    count_tiles<256>(*problem, image, first, last, *table, scratch);
  } else {
    count_tiles<64>(*problem, image, first, last, *table, scratch);
  }
}

void push(const lovasz_problem *problem, const lovasz_slopes *slopes,
          const lovasz_scores *gradient, int64_t image, int64_t first, int64_t last, float *scratch) {
  if (lovasz_tile_pixels(problem->classes) == 256) {
    push_tiles<256>(*problem, *slopes, *gradient, image, first, last, scratch);
  } else {
    push_tiles<64>(*problem, *slopes, *gradient, image, first, last, scratch);
  }
}

void weigh(const lovasz_weighing *w, int64_t row) {
  const int64_t *counts = w->counts + row * 2 * w->bins;
  if (w->wide) {
    w->losses[row] = weigh_class(counts, w->centres, w->bins, w->alpha, w->beta,
                                 static_cast<double *>(w->slopes) + row * 2 * w->bins);
  } else {
    w->losses[row] = weigh_class(counts, w->centres, w->bins, w->alpha, w->beta,
                                 static_cast<float *>(w->slopes) + row * 2 * w->bins);
  }
}

}  // namespace
}  // namespace LOVASZ_LEVEL

#define LOVASZ_JOIN2(a, b) a##b
#define LOVASZ_JOIN(a, b) LOVASZ_JOIN2(a, b)
#define LOVASZ_STRING2(a) #a
#define LOVASZ_STRING(a) LOVASZ_STRING2(a)
extern "C" const lovasz_kernels LOVASZ_JOIN(lovasz_kernels_, LOVASZ_LEVEL);
extern "C" const lovasz_kernels LOVASZ_JOIN(lovasz_kernels_, LOVASZ_LEVEL) = {
    LOVASZ_STRING(LOVASZ_LEVEL), LOVASZ_LEVEL::count, LOVASZ_LEVEL::push, LOVASZ_LEVEL::weigh};
