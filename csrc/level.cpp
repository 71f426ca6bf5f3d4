// The kernels of one instruction-set level. Compiled several times, each with its own flags, and
// LOVASZ_LEVEL as the name that keeps the copies apart. No header with inline functions of the
// standard library may be included here: the linker would keep one copy for all levels, and that
// could be the one that this processor cannot run.
#include "backward.h"
#include "extend.h"
#include "histogram.h"
#include "sort.h"

namespace LOVASZ_LEVEL {
namespace {

// Pixels [first, last) of one image, tile by tile.
struct Span {
  const lovasz_inputs &inputs;
  int64_t image, first, last;
  Scratch scratch;

  // Calls visit(tile, x, pixel, size) for every tile, where decltype(tile) has the number of its
  // pixels and the type of its scores.
  template <int T, class Score>
  struct Tile {
    static constexpr int pixels = T;
    using score = Score;
  };
  template <int T, class Score, class Visit>
  void each_tile(Visit visit) const {
    for (int64_t pixel = first; pixel < last; pixel += T) {
      const int64_t size = last - pixel < T ? last - pixel : T;
      visit(Tile<T, Score>(), load_tile<T, Score>(inputs, image, pixel, size, scratch), pixel,
            size);
    }
  }
  template <int T, class Visit>
  void tiles_of(Visit visit) const {
    switch (inputs.score_type) {
      case LOVASZ_FLOAT32:
        return each_tile<T, float>(visit);
      case LOVASZ_BFLOAT16:
        return each_tile<T, bfloat16>(visit);
      default:
        return each_tile<T, float16>(visit);
    }
  }
  // How wide tiles are is a constant inside the kernels, so that their loops have no remainders.
  // Wide ones bring the histograms of the classes into the first cache less often; narrow ones are
  // for passes that keep two arrays from one loop over the classes to the next.
  template <class Visit>
  void wide_tiles(Visit visit) const {
    tiles_of<lovasz_tile_pixels>(visit);
  }
  template <class Visit>
  void narrow_tiles(Visit visit) const {
    tiles_of<lovasz_tile_pixels / 2>(visit);
  }
};

// Calls visit(link) with a link of channels as a constant; false where classes share a softmax.
template <int32_t Link>
struct Constant {
  static constexpr int32_t value = Link;
};
template <class Visit>
bool with_link(const lovasz_inputs &inputs, Visit visit) {
  switch (inputs.link) {
    case LOVASZ_SIGMOID:
      visit(Constant<LOVASZ_SIGMOID>());
      return true;
    case LOVASZ_HINGE:
      visit(Constant<LOVASZ_HINGE>());
      return true;
    case LOVASZ_ELU:
      visit(Constant<LOVASZ_ELU>());
      return true;
    case LOVASZ_PROBABILITIES:
      visit(Constant<LOVASZ_PROBABILITIES>());
      return true;
    case LOVASZ_CHANNEL_PROBABILITIES:
      visit(Constant<LOVASZ_CHANNEL_PROBABILITIES>());
      return true;
  }
  return false;
}

void histogram(const lovasz_inputs *inputs, int64_t image, int64_t first, int64_t last,
               lovasz_histograms *histograms, float *memory) {
  const Span span{*inputs, image, first, last, Scratch(*inputs, memory)};
  const bool channels = with_link(*inputs, [&](auto link) {
    span.wide_tiles([&](auto tile, Rows x, int64_t pixel, int64_t size) {
      constexpr int T = decltype(tile)::pixels, link_of = decltype(link)::value;
      histogram_channels_tile<T, link_of>(*inputs, x, image, pixel, size, *histograms);
    });
  });
  if (channels) return;
  span.wide_tiles([&](auto tile, Rows x, int64_t pixel, int64_t size) {
    histogram_tile<decltype(tile)::pixels>(*inputs, x, image, pixel, size, *histograms,
                                           span.scratch.a);
  });
}

void backward(const lovasz_inputs *inputs, const lovasz_slopes *slopes,
              const lovasz_strided *gradient, int64_t image, int64_t first, int64_t last,
              float *memory) {
  const Span span{*inputs, image, first, last, Scratch(*inputs, memory)};
  const bool channels = with_link(*inputs, [&](auto link) {
    span.wide_tiles([&](auto tile, Rows x, int64_t pixel, int64_t size) {
      constexpr int T = decltype(tile)::pixels, link_of = decltype(link)::value;
      backward_channels_tile<T, typename decltype(tile)::score, link_of>(
          *inputs, x, *slopes, *gradient, image, pixel, size, span.scratch);
    });
  });
  const double total = inputs->cross_entropy ? total_class_weight(*inputs) : 0.0;
  if (!channels) {
    span.narrow_tiles([&](auto tile, Rows x, int64_t pixel, int64_t size) {
      backward_tile<decltype(tile)::pixels, typename decltype(tile)::score>(
          *inputs, x, *slopes, total, *gradient, image, pixel, size, span.scratch);
    });
  }
  finish_stream();
}

void keys(const lovasz_inputs *inputs, int64_t image, int64_t first, int64_t last,
          lovasz_histograms *histograms, uint32_t *out, float *memory) {
  const Span span{*inputs, image, first, last, Scratch(*inputs, memory)};
  const bool channels = with_link(*inputs, [&](auto link) {
    span.wide_tiles([&](auto tile, Rows x, int64_t pixel, int64_t size) {
      constexpr int T = decltype(tile)::pixels, link_of = decltype(link)::value;
      channel_keys_tile<T, link_of>(*inputs, x, image, pixel, size, *histograms, out);
    });
  });
  if (channels) return;
  span.wide_tiles([&](auto tile, Rows x, int64_t pixel, int64_t size) {
    keys_tile<decltype(tile)::pixels>(*inputs, x, image, pixel, size, *histograms, span.scratch.a,
                                      out);
  });
}

template <class Slope>
void extend_as(const lovasz_extension *w, int64_t row) {
  const int64_t first = row * 2 * w->bins;
  Slope *slopes = static_cast<Slope *>(w->slopes) + first;
  w->losses[row] = extend_class(w->counts + first, *w, slopes, w->present + row);
}

void extend(const lovasz_extension *w, int64_t row) {
  if (w->wide) {
    extend_as<double>(w, row);
  } else {
    extend_as<float>(w, row);
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
    LOVASZ_STRING(LOVASZ_LEVEL), LOVASZ_LEVEL::histogram, LOVASZ_LEVEL::backward,
    LOVASZ_LEVEL::keys, LOVASZ_LEVEL::extend};
