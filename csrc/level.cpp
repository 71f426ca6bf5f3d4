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

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

template <class Score>
struct Loader {
  using score = Score;
  template <int T>
  static Rows load(const lovasz_problem &problem, int64_t image, int64_t pixel, int64_t count,
                   float *buffer) {
    return load_tile<T, Score>(problem, image, pixel, count, buffer);
  }
};

template <>
struct Loader<float> {
  using score = float;
  template <int T>
  static Rows load(const lovasz_problem &problem, int64_t image, int64_t pixel, int64_t count,
                   float *buffer) {
    return load_tile_float<T>(problem, image, pixel, count, buffer);
  }
};

// Calls visit.tile<T, Score>(x, pixel, count) for every tile of pixels [first, last).
template <int T, class Score, class Visit>
void each_tile(const lovasz_problem &problem, int64_t image, int64_t first, int64_t last,
               float *buffer, Visit &visit) {
  for (int64_t pixel = first; pixel < last; pixel += T) {
    const int64_t count = smaller(T, last - pixel);
    const Rows x = Loader<Score>::template load<T>(problem, image, pixel, count, buffer);
    visit.template tile<T, Score>(x, pixel, count);
  }
}

template <int T, class Visit>
void each_tile_of(const lovasz_problem &problem, int64_t image, int64_t first, int64_t last,
                  float *buffer, Visit &visit) {
  switch (problem.score_type) {
    case LOVASZ_FLOAT32:
      return each_tile<T, float>(problem, image, first, last, buffer, visit);
    case LOVASZ_BFLOAT16:
      return each_tile<T, bfloat16>(problem, image, first, last, buffer, visit);
    default:
      return each_tile<T, float16>(problem, image, first, last, buffer, visit);
  }
}

// The size of tiles is a constant inside the kernels, so that their loops have no remainders.
template <class Visit>
void visit_tiles(const lovasz_problem &problem, int64_t image, int64_t first, int64_t last,
                 float *buffer, Visit &visit) {
  if (lovasz_tile_pixels(problem.classes) == 256) {
    each_tile_of<256>(problem, image, first, last, buffer, visit);
  } else {
    each_tile_of<128>(problem, image, first, last, buffer, visit);
  }
}

struct CountVisit {
  const lovasz_problem &problem;
  int64_t image;
  lovasz_table &table;
  float *h;

  template <int T, class Score>
  void tile(Rows x, int64_t pixel, int64_t count) {
    count_tile<T>(problem, x, image, pixel, count, table, h);
  }
};

template <int32_t Link>
struct CountChannelsVisit {
  const lovasz_problem &problem;
  int64_t image;
  lovasz_table &table;

  template <int T, class Score>
  void tile(Rows x, int64_t pixel, int64_t count) {
    count_channels_tile<T, Link>(problem, x, image, pixel, count, table);
  }
};

template <int32_t Link>
struct PushChannelsVisit {
  const lovasz_problem &problem;
  const lovasz_slopes &slopes;
  const lovasz_scores &gradient;
  int64_t image;
  float *spare;

  template <int T, class Score>
  void tile(Rows x, int64_t pixel, int64_t count) {
    push_channels_tile<T, Score, Link>(problem, x, slopes, gradient, image, pixel, count, spare);
  }
};

struct ErrorsVisit {
  const lovasz_problem &problem;
  int64_t image;
  lovasz_table &table;
  float *h;
  uint32_t *errors;

  template <int T, class Score>
  void tile(Rows x, int64_t pixel, int64_t count) {
    errors_tile<T>(problem, x, image, pixel, count, table, h, errors);
  }
};

template <int32_t Link>
struct ChannelErrorsVisit {
  const lovasz_problem &problem;
  int64_t image;
  lovasz_table &table;
  uint32_t *errors;

  template <int T, class Score>
  void tile(Rows x, int64_t pixel, int64_t count) {
    channel_errors_tile<T, Link>(problem, x, image, pixel, count, table, errors);
  }
};

template <int32_t Link>
struct PushExactChannelsVisit {
  const lovasz_problem &problem;
  const lovasz_slopes &slopes;
  const lovasz_scores &gradient;
  int64_t image;
  float *spare;

  template <int T, class Score>
  void tile(Rows x, int64_t pixel, int64_t count) {
    push_exact_channels_tile<T, Score, Link>(problem, x, slopes, gradient, image, pixel, count, spare);
  }
};

struct PushVisit {
  const lovasz_problem &problem;
  const lovasz_slopes &slopes;
  const lovasz_scores &gradient;
  int64_t image;
  double total;  // of the class weights of cross-entropy
  float *p, *s, *spare;

  template <int T, class Score>
  void tile(Rows x, int64_t pixel, int64_t count) {
    push_tile<T, Score>(problem, x, slopes, total, gradient, image, pixel, count, p, s, spare);
  }
};

struct PushExactVisit {
  const lovasz_problem &problem;
  const lovasz_slopes &slopes;
  const lovasz_scores &gradient;
  int64_t image;
  float *p, *s, *spare;

  template <int T, class Score>
  void tile(Rows x, int64_t pixel, int64_t count) {
    push_exact_tile<T, Score>(problem, x, slopes, gradient, image, pixel, count, p, s, spare);
  }
};

// A scratch memory is two times the floats of a tile, and its buffer.
inline int64_t tile_floats(const lovasz_problem &problem) {
  return problem.classes * lovasz_tile_pixels(problem.classes);
}

// The second buffer of a tile of channels, behind the one that it is loaded to: padded rows both.
inline float *second_buffer(const lovasz_problem &problem, float *scratch) {
  return scratch + problem.classes * (lovasz_tile_pixels(problem.classes) + lovasz_padding);
}

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
           lovasz_table *table, float *scratch) {
  const bool channels = with_link(*problem, [&](auto link) {
    CountChannelsVisit<decltype(link)::value> visit{*problem, image, *table};
    visit_tiles(*problem, image, first, last, scratch, visit);
  });
  if (channels) return;
  CountVisit visit{*problem, image, *table, scratch};
  visit_tiles(*problem, image, first, last, scratch + tile_floats(*problem), visit);
}

void push(const lovasz_problem *problem, const lovasz_slopes *slopes, const lovasz_scores *gradient,
          int64_t image, int64_t first, int64_t last, float *scratch) {
  const bool channels = with_link(*problem, [&](auto link) {
    float *spare = second_buffer(*problem, scratch);
    PushChannelsVisit<decltype(link)::value> visit{*problem, *slopes, *gradient, image, spare};
    visit_tiles(*problem, image, first, last, scratch, visit);
  });
  if (channels) return;
  const int64_t floats = tile_floats(*problem);
  const double total = problem->entropy ? total_entropy_weight(*problem) : 0.0;
  PushVisit visit{*problem, *slopes, *gradient, image, total, scratch, scratch + floats, scratch + 2 * floats};
  visit_tiles(*problem, image, first, last, scratch + 2 * floats, visit);
}

void errors(const lovasz_problem *problem, int64_t image, int64_t first, int64_t last,
            lovasz_table *table, uint32_t *out, float *scratch) {
  const bool channels = with_link(*problem, [&](auto link) {
    ChannelErrorsVisit<decltype(link)::value> visit{*problem, image, *table, out};
    visit_tiles(*problem, image, first, last, scratch, visit);
  });
  if (channels) return;
  ErrorsVisit visit{*problem, image, *table, scratch, out};
  visit_tiles(*problem, image, first, last, scratch + tile_floats(*problem), visit);
}

void push_exact(const lovasz_problem *problem, const lovasz_slopes *slopes,
                const lovasz_scores *gradient, int64_t image, int64_t first, int64_t last,
                float *scratch) {
  const bool channels = with_link(*problem, [&](auto link) {
    float *spare = second_buffer(*problem, scratch);
    PushExactChannelsVisit<decltype(link)::value> visit{*problem, *slopes, *gradient, image, spare};
    visit_tiles(*problem, image, first, last, scratch, visit);
  });
  if (channels) return;
  const int64_t floats = tile_floats(*problem);
  PushExactVisit visit{*problem, *slopes, *gradient, image, scratch, scratch + floats, scratch + 2 * floats};
  visit_tiles(*problem, image, first, last, scratch + 2 * floats, visit);
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
