// What the entry points share: threads, chunks of work, memory. Not for level.cpp.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>

#include "grid.h"

using ParallelFunction = void (*)(int64_t begin, int64_t end, void *context);
using ParallelFor = int32_t (*)(int64_t begin, int64_t end, int64_t grain, ParallelFunction,
                                void *context);

// The kernels of the level in use.
const lovasz_kernels &kernels();

// Calls function on parts of [0, tasks), on the threads of who calls the library.
void run(int32_t threads, int64_t tasks, ParallelFunction function, void *context);

template <class Work>
void run(int32_t threads, int64_t tasks, const Work &work) {
  const auto call = [](int64_t begin, int64_t end, void *context) {
    (*static_cast<const Work *>(context))(begin, end);
  };
  run(threads, tasks, call, const_cast<Work *>(&work));
}

// The chunks that threads take: whole tiles of one image, or the bands of a grid, those with even
// numbers of all images first. Their size depends on the shape alone, so that sums over chunks do
// not depend on the number of threads.
struct Chunks {
  const Grid *grid;  // or null
  int64_t images, length, chunk, per_image, total, scores;

  Chunks(const lovasz_inputs &inputs, const Grid *cut)
      : grid(cut),
        images(inputs.images),
        length(inputs.length),
        scores(inputs.images * inputs.classes * inputs.length) {
    const int64_t tile = lovasz_tile_pixels;
    // Several tiles where enough chunks are left for many threads: memory is asked for a tile
    // ahead, which after the last one of a chunk is another thread's.
    const int64_t share = inputs.images * (length / tile) / 64;
    const int64_t several = share < 1 ? 1 : share < 8 ? share : 8;
    const int64_t tiles = 65536 / (tile * inputs.classes);
    chunk = tile * (tiles > several ? tiles : several);
    per_image = grid == nullptr ? (length + chunk - 1) / chunk : grid->bands();
    total = per_image * images;
  }
  // Of bands, those with even numbers, which may be written to at the same time.
  int64_t first_half() const { return grid == nullptr ? total : images * ((per_image + 1) / 2); }
  int64_t image(int64_t index) const {
    if (grid == nullptr) return index / per_image;
    return index < first_half() ? index / ((per_image + 1) / 2)
                                : (index - first_half()) / (per_image / 2);
  }
  // Threads that find something to do; waking one takes longer than some thousand scores.
  int64_t workers(int32_t threads) const {
    if (scores < 16384) return 1;
    return threads < total ? threads : total;
  }
  int64_t first(int64_t index) const {
    return grid == nullptr ? index % per_image * chunk : grid->edges[band(index)];
  }
  int64_t last(int64_t index) const {
    if (grid != nullptr) return grid->edges[band(index) + 1];
    const int64_t end = first(index) + chunk;
    return end < length ? end : length;
  }

 private:
  size_t band(int64_t index) const {
    const int64_t half = first_half();
    return static_cast<size_t>(index < half ? 2 * (index % ((per_image + 1) / 2))
                                            : 2 * ((index - half) % (per_image / 2)) + 1);
  }
};

struct Memory {
  void *data;
  explicit Memory(size_t bytes, bool zero = true)
      : data(zero ? std::calloc(bytes + 64, 1) : std::malloc(bytes + 64)) {}
  ~Memory() { std::free(data); }
  Memory(const Memory &) = delete;
  Memory &operator=(const Memory &) = delete;
  template <class T>
  T *aligned() const {
    return reinterpret_cast<T *>((reinterpret_cast<uintptr_t>(data) + 63) & ~uintptr_t{63});
  }
};

// A pass over the pixels: its threads take chunks until none is left.
struct Pass {
  const lovasz_inputs &inputs;
  const lovasz_kernels &level = kernels();
  const std::unique_ptr<const Grid> bands;
  const lovasz_grid *const grid;  // of scores that are interpolated, or null
  const Chunks chunks;
  std::atomic<int64_t> next{0};
  int64_t stop;              // of the chunks that are taken now
  std::atomic<bool> failed;  // no memory

  explicit Pass(const lovasz_inputs &read)
      : inputs(read),
        bands(grid_of(read)),
        grid(bands ? &bands->tables : nullptr),
        chunks(read, bands.get()),
        stop(chunks.total),
        failed(read.upsample != LOVASZ_AS_GIVEN && grid == nullptr) {}
  // Null where scores are as given, or without memory.
  static std::unique_ptr<const Grid> grid_of(const lovasz_inputs &inputs) {
    if (inputs.upsample == LOVASZ_AS_GIVEN) return nullptr;
    try {
      return std::make_unique<const Grid>(inputs);
    } catch (const std::bad_alloc &) {
      return nullptr;
    }
  }
  // Of an image that is not made of clouds.
  int64_t group(int64_t image) const { return inputs.per_image ? image : 0; }
  int status() const { return failed ? LOVASZ_NO_MEMORY : LOVASZ_OK; }

  // Calls visit(index, image, first, last, scratch) for the chunks that this thread takes.
  template <class Visit>
  void take_chunks(Visit visit) {
    const int64_t floats =
        lovasz_scratch_floats(&inputs) + (grid == nullptr ? 0 : lovasz_enlarged_floats(&inputs));
    const Memory scratch(static_cast<size_t>(floats) * sizeof(float));
    if (scratch.data == nullptr) {
      failed = true;
      return;
    }
    for (int64_t i = next++; i < stop; i = next++) {
      visit(i, chunks.image(i), chunks.first(i), chunks.last(i), scratch.aligned<float>());
    }
  }

  // Calls visit(group, first, last) for each part of a chunk that is of one group. Chunks do not
  // end where clouds do: many small ones would be as many chunks.
  template <class Visit>
  void each_group(int64_t image, int64_t first, int64_t last, Visit visit) const {
    if (inputs.offsets == nullptr) {
      visit(group(image), first, last);
      return;
    }
    const int64_t *ends = inputs.offsets + 1;
    int64_t cloud = std::upper_bound(ends, ends + inputs.clouds, first) - ends;
    for (int64_t end; first < last; first = end, ++cloud) {
      end = std::min(ends[cloud], last);
      if (first < end) visit(cloud, first, end);
    }
  }

  // Calls work() on as many threads as find something to do.
  template <class Work>
  void on_threads(int32_t threads, Work work) {
    if (failed) return;
    run(threads, chunks.workers(threads), [&](int64_t, int64_t) { work(); });
  }
  // The same for work that adds to what neighbouring chunks add to as well.
  template <class Work>
  void in_halves(int32_t threads, Work work) {
    stop = chunks.first_half();
    on_threads(threads, work);
    next = stop;
    stop = chunks.total;
    on_threads(threads, work);
  }
};
