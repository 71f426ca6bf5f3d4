// Tiles of scores that are interpolated while they are read, and the reverse for their gradient.
//
// A block of columns of the output goes down over the rows. The two source rows between which a row
// of the output lies are kept enlarged to its columns, so that each row is but the mean of both;
// and the gradients of the rows are added up for both, and brought back to the columns of the
// sources once for each source row. Nothing here depends on the ratio of the sizes.
#pragma once

#include "kernels.h"
#include "tile.h"

namespace LOVASZ_LEVEL {

// Working memory, behind that of a tile.
struct Enlarged {
  float *rows[2], *gradients[2];  // (C, padded), of source rows with even and with odd numbers
  float *row, *added;             // (w), one source row between two of another depth

  Enlarged(const lovasz_inputs &inputs, float *memory) {
    const int64_t array = inputs.classes * (lovasz_tile_pixels + lovasz_padding);
    rows[0] = memory;
    rows[1] = rows[0] + array;
    gradients[0] = rows[1] + array;
    gradients[1] = gradients[0] + array;
    row = gradients[1] + array;
    added = row + inputs.source[2] + lovasz_padding;
  }
};

// T columns of the outputs of one depth.
template <int T>
class Columns {
 public:
  Columns(const lovasz_inputs &read, const lovasz_grid &tables, int64_t image_of, int64_t depth,
          int64_t first, int64_t columns, const Enlarged &memory_of, float *gradient_of)
      : inputs(read),
        grid(tables),
        memory(memory_of),
        image(image_of),
        z(depth),
        size(columns),
        source_first(first_of(grid.axes[2], first)),
        sources(last_of(grid.axes[2], first + columns - 1) - source_first),
        gradient(gradient_of) {
    const lovasz_axis &axis = grid.axes[2];
    for (int64_t t = 0; t < T; ++t) {
      const int64_t x = first + (t < size ? t : size - 1);
      lower[t] = axis.lower[x] - static_cast<int32_t>(source_first);
      upper[t] = axis.upper[x] - static_cast<int32_t>(source_first);
      lower_weight[t] = t < size ? axis.lower_weight[x] : 0.0f;
      upper_weight[t] = t < size ? axis.upper_weight[x] : 0.0f;
    }
    near = sources >= lanes;
    for (int t = 0; t < T; t += lanes) {
      const int64_t begin = sources - lanes < lower[t] ? sources - lanes : lower[t];
      begins[t / lanes] = static_cast<int32_t>(begin);
      near &= upper[t + lanes - 1] - begin < lanes;
      for (int i = t; i < t + lanes; ++i) {
        lower_lane[i] = lower[i] - static_cast<int32_t>(begin);
        upper_lane[i] = upper[i] - static_cast<int32_t>(begin);
      }
    }
    if (gradient != nullptr) find_runs();
  }
  Columns(const Columns &) = delete;
  Columns &operator=(const Columns &) = delete;

  // The scores of row y of the output.
  Rows row_of(int64_t y, float *out) {
    const lovasz_axis &axis = grid.axes[1];
    const float *first = hold(axis.lower[y]), *second = hold(axis.upper[y]);
    if (axis.single) return {first, padded<T>, {0, 0, 0}};
    const float own = axis.lower_weight[y], other = axis.upper_weight[y];
    for (int64_t c = 0; c < inputs.classes; ++c) {
      const float *__restrict a = first + c * padded<T>;
      const float *__restrict b = second + c * padded<T>;
      float *__restrict row = out + c * padded<T>;
      for (int t = 0; t < T; ++t) row[t] = own * a[t] + other * b[t];
    }
    return {out, padded<T>, {0, 0, 0}};
  }

  // Adds the gradient of that row, of which values(c, out) writes T floats for class c. The row is
  // the last one that was asked for.
  template <class Values>
  void add_gradient(int64_t y, Values values) {
    const lovasz_axis &axis = grid.axes[1];
    const int64_t source = axis.lower[y], next = axis.upper[y];
    const float own = axis.lower_weight[y] + (next == source ? axis.upper_weight[y] : 0.0f);
    const float other = axis.upper_weight[y];
    for (int64_t c = 0; c < inputs.classes; ++c) {
      alignas(64) float value[T];
      values(c, value);
      float *__restrict a = memory.gradients[source % 2] + c * padded<T>;
      float *__restrict b = memory.gradients[next % 2] + c * padded<T>;
      for (int t = 0; t < T; ++t) a[t] += own * value[t];
      if (next == source) continue;
      for (int t = 0; t < T; ++t) b[t] += other * value[t];
    }
  }

  // After the last row: what is held goes where it belongs.
  void finish() {
    for (int side = 0; side < 2; ++side) release(side);
  }

 private:
  // Sources are looked for among so many at once, of which there have to be enough.
  static constexpr int lanes = 8;
  static int64_t first_of(const lovasz_axis &axis, int64_t x) {
    const int64_t most = axis.source > lanes ? axis.source - lanes : 0;
    return axis.lower[x] < most ? axis.lower[x] : most;
  }
  static int64_t last_of(const lovasz_axis &axis, int64_t x) {
    const int64_t last = axis.upper[x] + 1, least = axis.source < lanes ? axis.source : lanes;
    return last > least ? last : least;
  }

  // A source row, enlarged. Those of a row of the output are neighbours, or the same.
  const float *hold(int64_t source) {
    const int side = static_cast<int>(source % 2);
    if (held[side] == source) return memory.rows[side];
    release(side);
    held[side] = source;
    for (int64_t c = 0; c < inputs.classes; ++c) {
      fetch_after_row(c, source);
      enlarge(source_row(c, source), memory.rows[side] + c * padded<T>);
      if (gradient == nullptr) continue;
      float *__restrict sums = memory.gradients[side] + c * padded<T>;
      for (int t = 0; t < T; ++t) sums[t] = 0.0f;
    }
    return memory.rows[side];
  }

  void release(int side) {
    const int64_t source = held[side];
    held[side] = -1;
    if (source < 0 || gradient == nullptr) return;
    for (int64_t c = 0; c < inputs.classes; ++c) {
      add_source_row(c, source, memory.gradients[side] + c * padded<T>);
    }
  }

  // From the first source of these columns on.
  int64_t place(int64_t c, int64_t depth, int64_t source) const {
    return (depth * inputs.source[1] + source) * inputs.source[2] + source_first +
           c * inputs.scores.class_stride + image * inputs.scores.image_stride;
  }

  // Asks for the next row: those of other classes lie between.
  void fetch_after_row(int64_t c, int64_t source) const {
    const float *scores = static_cast<const float *>(inputs.scores.data);
    const float *next = scores + place(c, grid.axes[0].lower[z], source + 1);
    fetch_memory(reinterpret_cast<uintptr_t>(next), static_cast<uintptr_t>(sources) * sizeof *next);
  }

  const float *source_row(int64_t c, int64_t source) const {
    const lovasz_axis &axis = grid.axes[0];
    const float *scores = static_cast<const float *>(inputs.scores.data);
    const float *first = scores + place(c, axis.lower[z], source);
    if (axis.single) return first;
    const float *second = scores + place(c, axis.upper[z], source);
    const float own = axis.lower_weight[z], other = axis.upper_weight[z];
    for (int64_t i = 0; i < sources; ++i) memory.row[i] = own * first[i] + other * second[i];
    return memory.row;
  }

  void enlarge(const float *__restrict row, float *__restrict out) const {
    const bool single = grid.axes[2].single;
    alignas(64) float second[T];
    if (near) {
      take(row, lower_lane, out);
      if (!single) take(row, upper_lane, second);
    } else {
      gather<T>(row, lower, out);
      if (!single) gather<T>(row, upper, second);
    }
    if (!single) {
      for (int t = 0; t < T; ++t) out[t] = lower_weight[t] * out[t] + upper_weight[t] * second[t];
    }
    for (int64_t t = size; t < T; ++t) out[t] = 0.0f;  // not 0 times infinity
  }

  // As `gather`, for columns whose sources are near to each other.
  void take(const float *__restrict row, const int32_t *__restrict lane,
            float *__restrict out) const {
    for (int t = 0; t < T; t += lanes) {
      const float *near_by = row + begins[t / lanes];
#if defined(LOVASZ_SSE2) && defined(__AVX2__)
      const __m256i at = _mm256_load_si256(reinterpret_cast<const __m256i *>(lane + t));
      _mm256_store_ps(out + t, _mm256_permutevar8x32_ps(_mm256_loadu_ps(near_by), at));
#else
      for (int i = t; i < t + lanes; ++i) out[i] = near_by[lane[i]];
#endif
    }
  }

  void add_source_row(int64_t c, int64_t source, const float *sums) const {
    const lovasz_axis &axis = grid.axes[0];
    if (axis.single) {
      shrink(sums, gradient + place(c, axis.lower[z], source));
      return;
    }
    for (int64_t i = 0; i < sources; ++i) memory.added[i] = 0.0f;
    shrink(sums, memory.added);
    for (int side = 0; side < 2; ++side) {
      const float weight = side == 0 ? axis.lower_weight[z] : axis.upper_weight[z];
      const int64_t depth = side == 0 ? axis.lower[z] : axis.upper[z];
      float *to = gradient + place(c, depth, source);
      for (int64_t i = 0; i < sources; ++i) to[i] += weight * memory.added[i];
    }
  }

  // The reverse of `enlarge`, added.
  void shrink(const float *sums, float *out) const {
    switch (run) {
      case 2:
        return shrink_runs<2>(sums, out);
      case 4:
        return shrink_runs<4>(sums, out);
      case 8:
        return shrink_runs<8>(sums, out);
      default:
        shrink_columns(0, size, sums, out);
    }
  }

  // Columns [t, end). Those with the same sources follow each other: their sum is taken first,
  // because an addition to memory has to wait for the one before it.
  void shrink_columns(int64_t t, int64_t end, const float *__restrict sums,
                      float *__restrict out) const {
    while (t < end) {
      const int32_t source = lower[t], next = upper[t];
      float own = 0.0f, other = 0.0f;
      for (; t < end && lower[t] == source; ++t) {
        own += lower_weight[t] * sums[t];
        other += upper_weight[t] * sums[t];
      }
      out[source] += own;
      if (!grid.axes[2].single) out[next] += other;
    }
  }

  // The same where so many columns lie between two sources, for many sources at once.
  template <int K>
  void shrink_runs(const float *__restrict sums, float *__restrict out) const {
    alignas(64) float own[T], other[T], owns[T / K], others[T / K];
    for (int t = 0; t < T; ++t) {
      own[t] = lower_weight[t] * sums[t];
      other[t] = upper_weight[t] * sums[t];
    }
    const float *__restrict a = own + run_first, *__restrict b = other + run_first;
    for (int64_t i = 0; i < runs; ++i) {
      float left = a[K * i], right = b[K * i];
      for (int k = 1; k < K; ++k) left += a[K * i + k];
      for (int k = 1; k < K; ++k) right += b[K * i + k];
      owns[i] = left;
      others[i] = right;
    }
    shrink_columns(0, run_first, sums, out);
    float *__restrict to = out + lower[run_first];
    for (int64_t i = 0; i < runs; ++i) to[i] += owns[i];
    for (int64_t i = 0; i < runs; ++i) to[i + 1] += others[i];
    shrink_columns(run_first + K * runs, size, sums, out);
  }

  // From the first column with another source than the one before on, as many as each source has
  // where it is 2, 4 or 8 for all of them, and how many such runs there are; else a run of 0.
  void find_runs() {
    run = runs = 0;
    for (run_first = 1; run_first < size && lower[run_first] == lower[0]; ++run_first) continue;
    int64_t end = run_first;
    while (end < size && lower[end] == lower[run_first]) ++end;
    const int64_t length = end - run_first;
    if (grid.axes[2].single || end == size || (length != 2 && length != 4 && length != 8)) return;
    for (int64_t t = run_first; t < size; ++t) {
      const int64_t i = (t - run_first) / length;
      if (lower[t] != lower[run_first] + i || upper[t] != lower[t] + 1) return;
    }
    run = length;
    runs = (size - run_first) / length;
  }

  const lovasz_inputs &inputs;
  const lovasz_grid &grid;
  const Enlarged &memory;
  const int64_t image, z, size;
  const int64_t source_first, sources;  // columns of the sources
  float *const gradient;                // (N, C, source), or null
  int64_t held[2] = {-1, -1};
  int64_t run = 0, runs = 0, run_first = 0;          // see `find_runs`
  bool near;                                         // whether no lane is beyond the last one
  int32_t begins[T / lanes];                         // of each so many columns, the first source
  alignas(64) int32_t lower_lane[T], upper_lane[T];  // and from there on
  alignas(64) int32_t lower[T], upper[T];
  alignas(64) float lower_weight[T], upper_weight[T];
};

}  // namespace LOVASZ_LEVEL
