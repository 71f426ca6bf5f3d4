// The kernels of one instruction-set level. Compiled several times, each with its own flags, and
// LOVASZ_LEVEL as the name that keeps the copies apart. No header with inline functions of the
// standard library may be included here: the linker would keep one copy for all levels, and that
// could be the one that this processor cannot run.
#include "channels.h"
#include "count.h"
#include "exact.h"
#include "push.h"
#include "weigh.h"

namespace LOVASZ_LEVEL {
namespace {

// Pixels [first, last) of one image, tile by tile.
struct Span {
  const lovasz_problem &problem;
  int64_t image, first, last;
  Scratch scratch;

  // Calls visit(tile, x, pixel, count) for every tile, where decltype(tile) has the number of its
  // pixels and the type of its scores.
  template <int T, class Score>
  struct Tile {
    static constexpr int pixels = T;
    using score = Score;
  };
  template <int T, class Score, class Visit>
  void each_tile(Visit visit) const {
    for (int64_t pixel = first; pixel < last; pixel += T) {
      const int64_t count = last - pixel < T ? last - pixel : T;
      visit(Tile<T, Score>(), load_tile<T, Score>(problem, image, pixel, count, scratch), pixel,
            count);
    }
  }
  template <int T, class Visit>
  void tiles_of(Visit visit) const {
    switch (problem.score_type) {
      case LOVASZ_FLOAT32:
        return each_tile<T, float>(visit);
      case LOVASZ_BFLOAT16:
        return each_tile<T, bfloat16>(visit);
      default:
        return each_tile<T, float16>(visit);
    }
  }
  // How wide tiles are is a constant inside the kernels, so that their loops have no remainders.
  // Wide ones bring the tables of the classes into the first cache less often; narrow ones are for
  // passes that keep two arrays from one loop over the classes to the next.
  template <class Visit>
  void wide_tiles(Visit visit) const {
    tiles_of<lovasz_tile_pixels>(visit);
  }
  template <class Visit>
  void narrow_tiles(Visit visit) const {
    tiles_of<lovasz_tile_pixels / 2>(visit);
  }
};

// Calls visit(link) with the link of channels as a constant; false where classes share a softmax.
template <int32_t Link>
struct Constant {
  static constexpr int32_t value = Link;
};
template <class Visit>
bool with_link(const lovasz_problem &problem, Visit visit) {
  switch (problem.link) {
    case LOVASZ_SIGMOID:
      visit(Constant<LOVASZ_SIGMOID>());
      return true;
    case LOVASZ_HINGE:
      visit(Constant<LOVASZ_HINGE>());
      return true;
    case LOVASZ_ELU:
      visit(Constant<LOVASZ_ELU>());
      return true;
  }
  return false;
}

void count(const lovasz_problem *problem, int64_t image, int64_t first, int64_t last,
           lovasz_table *table, float *memory) {
  const Span span{*problem, image, first, last, Scratch(*problem, memory)};
  const bool channels = with_link(*problem, [&](auto link) {
    span.wide_tiles([&](auto tile, Rows x, int64_t pixel, int64_t count) {
      constexpr int T = decltype(tile)::pixels, link_of = decltype(link)::value;
      count_channels_tile<T, link_of>(*problem, x, image, pixel, count, *table);
    });
  });
  if (channels) return;
  span.wide_tiles([&](auto tile, Rows x, int64_t pixel, int64_t count) {
    count_tile<decltype(tile)::pixels>(*problem, x, image, pixel, count, *table, span.scratch.a);
  });
}

void push(const lovasz_problem *problem, const lovasz_slopes *slopes, const lovasz_scores *gradient,
          int64_t image, int64_t first, int64_t last, float *memory) {
  const Span span{*problem, image, first, last, Scratch(*problem, memory)};
  const bool channels = with_link(*problem, [&](auto link) {
    span.wide_tiles([&](auto tile, Rows x, int64_t pixel, int64_t count) {
      constexpr int T = decltype(tile)::pixels, link_of = decltype(link)::value;
      push_channels_tile<T, typename decltype(tile)::score, link_of>(
          *problem, x, *slopes, *gradient, image, pixel, count, span.scratch);
    });
  });
  const double total = problem->entropy ? total_entropy_weight(*problem) : 0.0;
  if (!channels) {
    span.narrow_tiles([&](auto tile, Rows x, int64_t pixel, int64_t count) {
      push_tile<decltype(tile)::pixels, typename decltype(tile)::score>(
          *problem, x, *slopes, total, *gradient, image, pixel, count, span.scratch);
    });
  }
  finish_puts();
}

void errors(const lovasz_problem *problem, int64_t image, int64_t first, int64_t last,
            lovasz_table *table, uint32_t *out, float *memory) {
  const Span span{*problem, image, first, last, Scratch(*problem, memory)};
  const bool channels = with_link(*problem, [&](auto link) {
    span.wide_tiles([&](auto tile, Rows x, int64_t pixel, int64_t count) {
      constexpr int T = decltype(tile)::pixels, link_of = decltype(link)::value;
      channel_errors_tile<T, link_of>(*problem, x, image, pixel, count, *table, out);
    });
  });
  if (channels) return;
  span.wide_tiles([&](auto tile, Rows x, int64_t pixel, int64_t count) {
    errors_tile<decltype(tile)::pixels>(*problem, x, image, pixel, count, *table, span.scratch.a,
                                        out);
  });
}

void push_exact(const lovasz_problem *problem, const lovasz_slopes *slopes,
                const lovasz_scores *gradient, int64_t image, int64_t first, int64_t last,
                float *memory) {
  const Span span{*problem, image, first, last, Scratch(*problem, memory)};
  const bool channels = with_link(*problem, [&](auto link) {
    span.wide_tiles([&](auto tile, Rows x, int64_t pixel, int64_t count) {
      constexpr int T = decltype(tile)::pixels, link_of = decltype(link)::value;
      push_exact_channels_tile<T, typename decltype(tile)::score, link_of>(
          *problem, x, *slopes, *gradient, image, pixel, count, span.scratch);
    });
  });
  if (!channels) {
    span.narrow_tiles([&](auto tile, Rows x, int64_t pixel, int64_t count) {
      push_exact_tile<decltype(tile)::pixels, typename decltype(tile)::score>(
          *problem, x, *slopes, *gradient, image, pixel, count, span.scratch);
    });
  }
  finish_puts();
}

template <class Slope>
void weigh_as(const lovasz_weighing *w, int64_t row) {
  const int64_t first = row * 2 * w->bins;
  Slope *slopes = static_cast<Slope *>(w->slopes) + first;
  w->losses[row] = weigh_class(w->counts + first, *w, slopes, w->seen + row);
}

void weigh(const lovasz_weighing *w, int64_t row) {
  if (w->wide) {
    weigh_as<double>(w, row);
  } else {
    weigh_as<float>(w, row);
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
    LOVASZ_STRING(LOVASZ_LEVEL), LOVASZ_LEVEL::count,      LOVASZ_LEVEL::push,
    LOVASZ_LEVEL::errors,        LOVASZ_LEVEL::push_exact, LOVASZ_LEVEL::weigh};
