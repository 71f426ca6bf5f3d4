// The kernels of one instruction-set level. Compiled several times, each with its own flags, and
// LOVASZ_LEVEL as the name that keeps the copies apart. No header with inline functions of the
// standard library may be included here: the linker would keep one copy for all levels, and that
// could be the one that this processor cannot run.
#include "argmax.h"
#include "backward.h"
#include "extend.h"
#include "histogram.h"
#include "maps.h"
#include "soft_backward.h"
#include "soft_histogram.h"
#include "sort.h"
#include "upsample.h"

namespace LOVASZ_LEVEL {
namespace {

// Pixels [first, last) of one image, tile by tile.
struct Span {
  const lovasz_inputs &inputs;
  const lovasz_grid *grid;  // of scores that are interpolated, or null
  int64_t image, first, last;
  Scratch scratch;
  Enlarged enlarged;
  const lovasz_strided *gradient;  // that is written, or null

  Span(const lovasz_inputs *read, const lovasz_grid *tables, int64_t n, int64_t begin, int64_t end,
       float *memory, const lovasz_strided *written = nullptr)
      : inputs(*read),
        grid(tables),
        image(n),
        first(begin),
        last(end),
        scratch(inputs, memory),
        enlarged(inputs, memory + lovasz_scratch_floats(read)),
        gradient(written) {}

  // Calls visit(tile, x, pixel, size) for every tile, where decltype(tile)::pixels is the most of
  // its pixels, and tile.store(rows, row) stores its gradient, of which row(c, out) writes that
  // many floats for class c; rows is memory for a tile.
  template <int T, class Score>
  struct Tile {
    static constexpr int pixels = T;
    const Span &span;
    int64_t pixel, size;

    template <class Row>
    void store(float *rows, Row row) const {
      store_tile<T, Score>(span.inputs, *span.gradient, span.image, pixel, size, rows,
                           span.scratch.strip, row);
    }
  };
  template <int T, class Score, class Visit>
  void each_tile(Visit visit) const {
    for (int64_t pixel = first; pixel < last; pixel += T) {
      const int64_t size = last - pixel < T ? last - pixel : T;
      visit(Tile<T, Score>{*this, pixel, size},
            load_tile<T, Score>(inputs, inputs.scores, image, pixel, size, scratch.strip,
                                scratch.rows),
            pixel, size);
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
  // for passes that keep two arrays from one loop over the classes to the next. With interpolation
  // there is more beside them.
  template <class Visit>
  void wide_tiles(Visit visit) const {
    if (grid != nullptr) return upsampled_tiles<lovasz_tile_pixels / 2, 32>(visit);
    tiles_of<lovasz_tile_pixels>(visit);
  }
  template <class Visit>
  void narrow_tiles(Visit visit) const {
    if (grid != nullptr) return upsampled_tiles<lovasz_tile_pixels / 4, 32>(visit);
    tiles_of<lovasz_tile_pixels / 2>(visit);
  }
  // For links of channels, of which there are many to compile; probabilities are not interpolated.
  template <int32_t Link, class Visit>
  void channel_tiles(Visit visit) const {
    if constexpr (!of_probabilities<Link>) {
      if (grid != nullptr) return upsampled_tiles<64, 64>(visit);
    }
    tiles_of<lovasz_tile_pixels>(visit);
  }

  // Tiles of scores that are interpolated are parts of the rows of an image.
  template <int T>
  struct UpsampledTile {
    static constexpr int pixels = T;
    Columns<T> &columns;
    int64_t y;

    template <class Row>
    void store(float *, Row row) const {
      columns.add_gradient(y, row);
    }
  };
  // Columns [begin, end) of rows [top, bottom) of depth z.
  template <int T, class Visit>
  void columns_of(int64_t z, int64_t top, int64_t bottom, int64_t begin, int64_t size,
                  Visit visit) const {
    const int64_t height = grid->axes[1].size, width = grid->axes[2].size;
    float *written =
        gradient == nullptr ? nullptr : static_cast<float *>(const_cast<void *>(gradient->data));
    Columns<T> columns(inputs, *grid, image, z, begin, size, enlarged, written);
    for (int64_t y = top; y < bottom; ++y) {
      const Rows x = columns.row_of(y, scratch.rows);
      visit(UpsampledTile<T>{columns, y}, x, (z * height + y) * width + begin, size);
    }
    columns.finish();
  }
  // The span is of whole depths, or of whole rows of one, or of a part of one row. The last columns
  // are taken in narrow tiles.
  template <int T, int Narrow, class Visit>
  void upsampled_tiles(Visit visit) const {
    const int64_t height = grid->axes[1].size, width = grid->axes[2].size;
    const int64_t rows = (last - 1) / width + 1 - first / width;
    const int64_t begin = rows == 1 ? first % width : 0;
    const int64_t end = rows == 1 ? begin + last - first : width;
    const int64_t top = first / width % height;
    const int64_t bottom = top + (rows < height ? rows : height);
    for (int64_t z = first / width / height; z * height * width < last; ++z) {
      int64_t x = begin;
      for (; end - x > T - Narrow; x += T) {
        columns_of<T>(z, top, bottom, x, end - x < T ? end - x : T, visit);
      }
      for (; x < end; x += Narrow) {
        columns_of<Narrow>(z, top, bottom, x, end - x < Narrow ? end - x : Narrow, visit);
      }
    }
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

// Links of soft labels.
template <class Visit>
bool with_soft_link(const lovasz_inputs &inputs, Visit visit) {
  switch (inputs.link) {
    case LOVASZ_SIGMOID:
      visit(Constant<LOVASZ_SIGMOID>());
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

// Of soft labels, or of hard ones with regions.
void soft_histogram(const Span &span, const lovasz_inputs &inputs, lovasz_histograms &histograms) {
  const bool channels = with_soft_link(inputs, [&](auto link) {
    constexpr int32_t link_of = decltype(link)::value;
    span.channel_tiles<link_of>([&](auto tile, Rows x, int64_t pixel, int64_t size) {
      constexpr int T = decltype(tile)::pixels;
      soft_histogram_channels_tile<T, link_of>(inputs, x, span.image, pixel, size, histograms,
                                               span.scratch);
    });
  });
  if (channels) return;
  if (inputs.soft.data == nullptr && !inputs.regions) {
    span.wide_tiles([&](auto tile, Rows x, int64_t pixel, int64_t size) {
      map_histogram_tile<decltype(tile)::pixels>(inputs, x, span.image, pixel, size, histograms,
                                                 span.scratch);
    });
    return;
  }
  span.wide_tiles([&](auto tile, Rows x, int64_t pixel, int64_t size) {
    soft_histogram_tile<decltype(tile)::pixels>(inputs, x, span.image, pixel, size, histograms,
                                                span.scratch);
  });
}

void soft_backward(const Span &span, const lovasz_inputs &inputs, const lovasz_slopes &slopes) {
  const bool channels = with_soft_link(inputs, [&](auto link) {
    constexpr int32_t link_of = decltype(link)::value;
    span.channel_tiles<link_of>([&](auto tile, Rows x, int64_t pixel, int64_t size) {
      constexpr int T = decltype(tile)::pixels;
      soft_backward_channels_tile<T, link_of>(inputs, x, slopes, span.image, pixel, size,
                                              span.scratch, tile);
    });
  });
  if (channels) return;
  const bool slopes_by_bin = !slopes.by_pixel && inputs.bins > 0;
  if (inputs.soft.data == nullptr && slopes.by_regions == nullptr && slopes_by_bin) {
    const double total = inputs.cross_entropy ? total_class_weight(inputs) : 0.0;
    span.narrow_tiles([&](auto tile, Rows x, int64_t pixel, int64_t size) {
      map_backward_tile<decltype(tile)::pixels>(inputs, x, slopes, total, span.image, pixel, size,
                                                span.scratch, tile);
    });
    return;
  }
  span.narrow_tiles([&](auto tile, Rows x, int64_t pixel, int64_t size) {
    soft_backward_tile<decltype(tile)::pixels>(inputs, x, slopes, span.image, pixel, size,
                                               span.scratch, tile);
  });
}

void histogram(const lovasz_inputs *inputs, const lovasz_grid *grid, int64_t image, int64_t first,
               int64_t last, lovasz_histograms *histograms, float *memory) {
  const Span span(inputs, grid, image, first, last, memory);
  if (lovasz_is_soft(inputs) || inputs->regions) {
    soft_histogram(span, *inputs, *histograms);
    return;
  }
  const bool channels = with_link(*inputs, [&](auto link) {
    constexpr int32_t link_of = decltype(link)::value;
    span.channel_tiles<link_of>([&](auto tile, Rows x, int64_t pixel, int64_t size) {
      constexpr int T = decltype(tile)::pixels;
      histogram_channels_tile<T, link_of>(*inputs, x, image, pixel, size, *histograms);
    });
  });
  if (channels) return;
  if (inputs->bins == 0) {
    span.wide_tiles([&](auto tile, Rows x, int64_t pixel, int64_t size) {
      cross_entropy_tile<decltype(tile)::pixels>(*inputs, x, image, pixel, size, *histograms);
    });
    return;
  }
  span.wide_tiles([&](auto tile, Rows x, int64_t pixel, int64_t size) {
    histogram_tile<decltype(tile)::pixels>(*inputs, x, image, pixel, size, *histograms,
                                           span.scratch.a);
  });
}

void backward(const lovasz_inputs *inputs, const lovasz_grid *grid, const lovasz_slopes *slopes,
              const lovasz_strided *gradient, int64_t image, int64_t first, int64_t last,
              float *memory) {
  const Span span(inputs, grid, image, first, last, memory, gradient);
  if (lovasz_is_soft(inputs) || slopes->by_regions != nullptr) {
    soft_backward(span, *inputs, *slopes);
    finish_stream();
    return;
  }
  const bool channels = with_link(*inputs, [&](auto link) {
    constexpr int32_t link_of = decltype(link)::value;
    span.channel_tiles<link_of>([&](auto tile, Rows x, int64_t pixel, int64_t size) {
      constexpr int T = decltype(tile)::pixels;
      backward_channels_tile<T, link_of>(*inputs, x, *slopes, image, pixel, size, span.scratch,
                                         tile);
    });
  });
  const double total = inputs->cross_entropy ? total_class_weight(*inputs) : 0.0;
  if (!channels && !slopes->by_pixel && inputs->bins == 0) {
    span.wide_tiles([&](auto tile, Rows x, int64_t pixel, int64_t size) {
      cross_entropy_backward_tile<decltype(tile)::pixels>(
          *inputs, x, total, slopes->cross_entropy_scale, image, pixel, size, span.scratch, tile);
    });
  } else if (!channels) {
    span.narrow_tiles([&](auto tile, Rows x, int64_t pixel, int64_t size) {
      backward_tile<decltype(tile)::pixels>(*inputs, x, *slopes, total, image, pixel, size,
                                            span.scratch, tile);
    });
  }
  finish_stream();
}

void keys(const lovasz_inputs *inputs, const lovasz_grid *grid, int64_t image, int64_t first,
          int64_t last, lovasz_histograms *histograms, uint32_t *out, float *memory) {
  const Span span(inputs, grid, image, first, last, memory);
  const bool channels = with_link(*inputs, [&](auto link) {
    constexpr int32_t link_of = decltype(link)::value;
    span.channel_tiles<link_of>([&](auto tile, Rows x, int64_t pixel, int64_t size) {
      constexpr int T = decltype(tile)::pixels;
      channel_keys_tile<T, link_of>(*inputs, x, image, pixel, size, *histograms, out);
    });
  });
  if (channels) return;
  span.wide_tiles([&](auto tile, Rows x, int64_t pixel, int64_t size) {
    keys_tile<decltype(tile)::pixels>(*inputs, x, image, pixel, size, *histograms, span.scratch.a,
                                      out);
  });
}

void argmax(const lovasz_inputs *inputs, const lovasz_grid *grid, int64_t image, int64_t first,
            int64_t last, const lovasz_labels *labels, float *memory) {
  const Span span(inputs, grid, image, first, last, memory);
  if (inputs->link == LOVASZ_CLASSES || inputs->link == LOVASZ_PROBABILITIES) {
    span.wide_tiles([&](auto tile, Rows x, int64_t pixel, int64_t size) {
      argmax_tile<decltype(tile)::pixels>(*inputs, x, image, pixel, size, *labels);
    });
  } else {
    span.wide_tiles([&](auto tile, Rows x, int64_t pixel, int64_t size) {
      above_tile<decltype(tile)::pixels>(*inputs, x, image, pixel, size, *labels);
    });
  }
  finish_stream();
}

template <class Slope>
void extend_as(const lovasz_extension *w, int64_t row) {
  const int64_t first = row * 2 * w->bins;
  const int64_t *counts = w->counts + first;
  Slope *slopes = static_cast<Slope *>(w->slopes) + first;
  const ClassCounts of_class(counts, *w, w->present + row);
  if (w->positives == nullptr) {
    const Tversky delta{w->alpha, w->beta, of_class.positives};
    w->losses[row] = extend_class(counts, *w, of_class, delta, slopes);
  } else {
    const SoftTversky delta{{w->alpha, w->beta, w->positives[row]}};
    w->losses[row] = extend_class(counts, *w, of_class, delta, slopes);
  }
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
    LOVASZ_LEVEL::keys,          LOVASZ_LEVEL::argmax,    LOVASZ_LEVEL::extend};
