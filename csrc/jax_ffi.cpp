// The kernels as foreign functions of XLA, for JAX: buffers and attributes in, calls of lovasz.h
// out.
//
// A small library of its own beside _kernels, so that those who use PyTorch load what they always
// did. It gets the kernels' functions by address: a second copy of them would be as large as the
// first, and would not be the one that was checked and that LOVASZ_CPU_LEVEL is for.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <vector>

#include "lovasz.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

struct Kernels {
  decltype(&lovasz_lend_parallel_for) lend_parallel_for;
  decltype(&lovasz_expect_writes) expect_writes;
  decltype(&lovasz_histogram) histogram;
  decltype(&lovasz_extend) extend;
  decltype(&lovasz_sort_and_extend) sort_and_extend;
  decltype(&lovasz_backward) backward;
} kernels;

// ---- Threads: XLA's own pool ----------------------------------------------------------------

thread_local ffi::ThreadPool *pool = nullptr;  // of the call that this thread is in

// Tasks that the caller works on too. It waits for no helper that has not begun: all threads of the
// pool may be callers.
struct Tasks {
  std::atomic<int64_t> next;
  const int64_t end;
  void (*const function)(int64_t, int64_t, void *);
  void *const context;
  std::mutex mutex;
  std::condition_variable left;
  int64_t helpers = 0;
  bool over = false;

  Tasks(int64_t first, int64_t last, void (*work)(int64_t, int64_t, void *), void *of)
      : next(first), end(last), function(work), context(of) {}
  void work() {
    for (int64_t i = next++; i < end; i = next++) function(i, i + 1, context);
  }
  void help() {
    {
      std::lock_guard<std::mutex> lock(mutex);
      if (over) return;
      ++helpers;
    }
    work();
    std::lock_guard<std::mutex> lock(mutex);
    if (--helpers == 0) left.notify_one();
  }
  void finish() {
    std::unique_lock<std::mutex> lock(mutex);
    over = true;
    left.wait(lock, [this] { return helpers == 0; });
  }
};

// As torch_parallel_for, which the kernels are written for.
int32_t parallel_for(int64_t begin, int64_t end, int64_t,
                     void (*function)(int64_t, int64_t, void *), void *context) {
  const auto tasks = std::make_shared<Tasks>(begin, end, function, context);
  const int64_t helpers = std::min(end - begin, pool->num_threads()) - 1;
  for (int64_t i = 0; i < helpers; ++i) pool->Schedule([tasks] { tasks->help(); });
  tasks->work();
  tasks->finish();
  return 0;
}

// Lends the kernels the pool for the calls that are made while it lives.
struct Lent {
  const int32_t threads;
  explicit Lent(ffi::ThreadPool &threads_of_xla)
      : threads(static_cast<int32_t>(std::max<int64_t>(threads_of_xla.num_threads(), 1))) {
    pool = &threads_of_xla;
    const auto function = &parallel_for;
    void *address;
    std::memcpy(&address, &function, sizeof address);
    kernels.lend_parallel_for(address);
  }
  ~Lent() {
    kernels.lend_parallel_for(nullptr);
    pool = nullptr;
  }
  Lent(const Lent &) = delete;
  Lent &operator=(const Lent &) = delete;
};

// ---- Arguments ------------------------------------------------------------------------------

// What is the same in every call of a compiled function, as src/lovasz/jax/reading.py has it.
struct Reading {
  int64_t link, class_axis, bins, ignore_index;
  bool has_ignore_index, per_image, cross_entropy;
  float smoothing;
};

// One of the arrays that vmap stacks up, or of a result.
template <class T, class Buffer>
T *part(Buffer &buffer, int64_t index, int64_t parts) {
  const int64_t bytes = static_cast<int64_t>(buffer.size_bytes()) / parts;
  return reinterpret_cast<T *>(static_cast<char *>(buffer.untyped_data()) + index * bytes);
}

// Of the last axes, which are not vmap's.
int64_t size_of(const ffi::AnyBuffer &buffer, size_t axes, size_t axis) {
  const auto dimensions = buffer.dimensions();
  return dimensions[dimensions.size() - axes + axis];
}

// How many arrays vmap has stacked up, of so many axes each.
int64_t stacked(const ffi::AnyBuffer &buffer, size_t axes) {
  const auto dimensions = buffer.dimensions();
  int64_t parts = 1;
  for (size_t i = 0; i + axes < dimensions.size(); ++i) parts *= dimensions[i];
  return parts;
}

int32_t score_type(ffi::DataType type) {
  return type == ffi::BF16 ? LOVASZ_BFLOAT16 : type == ffi::F16 ? LOVASZ_FLOAT16 : LOVASZ_FLOAT32;
}

int32_t label_type(ffi::DataType type) {
  switch (type) {
    case ffi::PRED:
    case ffi::U8:
      return LOVASZ_UINT8;
    case ffi::S8:
      return LOVASZ_INT8;
    case ffi::U16:
      return LOVASZ_UINT16;
    case ffi::S16:
      return LOVASZ_INT16;
    case ffi::U32:
      return LOVASZ_UINT32;
    case ffi::S32:
      return LOVASZ_INT32;
    case ffi::U64:
      return LOVASZ_UINT64;
    default:
      return LOVASZ_INT64;
  }
}

// Scores and labels of one call of the kernels, and weights if there are any.
struct Inputs {
  lovasz_inputs read{};
  int64_t groups;
  std::vector<int64_t> fixed_weight;

  Inputs(const Reading &r, ffi::AnyBuffer scores, ffi::AnyBuffer labels,
         ffi::AnyBuffer pixel_weight, ffi::AnyBuffer class_weight, void *lse, int64_t index,
         int64_t parts) {
    const size_t class_axis = static_cast<size_t>(r.class_axis);
    read.images = size_of(scores, 3, 0);
    read.classes = size_of(scores, 3, class_axis);
    read.length = size_of(scores, 3, 3 - class_axis);
    read.scores = strided(part<void>(scores, index, parts), class_axis);
    read.score_type = score_type(scores.element_type());
    read.target = part<void>(labels, index, parts);
    read.label_type = label_type(labels.element_type());
    const bool multiclass = r.link == LOVASZ_CLASSES || r.link == LOVASZ_PROBABILITIES;
    read.target_class_stride = multiclass ? 0 : read.length;
    read.target_stride = multiclass ? read.length : read.classes * read.length;
    read.bins = r.bins;
    read.ignore_index = r.ignore_index;
    read.has_ignore_index = r.has_ignore_index;
    read.lse = static_cast<double *>(lse);
    read.per_image = r.per_image;
    read.cross_entropy = r.cross_entropy;
    read.smoothing = r.smoothing;
    read.link = static_cast<int32_t>(r.link);
    groups = r.per_image ? read.images : 1;
    if (class_weight.element_count() > 0) {
      read.class_weight = part<float>(class_weight, index, parts);
    }
    if (pixel_weight.element_count() > 0) {
      read.pixel_weight = part<float>(pixel_weight, index, parts);
      read.weight_image_stride = read.target_stride;
      read.weight_class_stride = read.target_class_stride;
    }
  }

  lovasz_strided strided(void *data, size_t class_axis) const {
    const int64_t image = read.classes * read.length;
    if (class_axis == 1) return {data, image, read.length, 1};
    return {data, image, 1, read.classes};
  }

  // Weights as they are counted; what is no weight counts nothing, and makes the loss invalid.
  void fix_weights(int64_t *invalid) {
    if (read.pixel_weight == nullptr) return;
    const int64_t size = read.images * read.target_stride;
    fixed_weight.resize(static_cast<size_t>(size));
    for (int64_t i = 0; i < size; ++i) {
      const float weight = read.pixel_weight[i];
      const bool good = weight >= 0 && weight <= 65536;
      fixed_weight[static_cast<size_t>(i)] = good ? std::llrint(weight * 1048576.0) : 0;
      if (!good && !ignored(i)) ++invalid[read.per_image ? i / read.target_stride : 0];
    }
    read.fixed_weight = fixed_weight.data();
  }

  bool ignored(int64_t i) const { return read.has_ignore_index && label(i) == read.ignore_index; }
  int64_t label(int64_t i) const {
    switch (read.label_type) {
      case LOVASZ_UINT8:
        return static_cast<const uint8_t *>(read.target)[i];
      case LOVASZ_INT8:
        return static_cast<const int8_t *>(read.target)[i];
      case LOVASZ_UINT16:
        return static_cast<const uint16_t *>(read.target)[i];
      case LOVASZ_INT16:
        return static_cast<const int16_t *>(read.target)[i];
      case LOVASZ_UINT32:
        return static_cast<const uint32_t *>(read.target)[i];
      case LOVASZ_INT32:
        return static_cast<const int32_t *>(read.target)[i];
      default:
        return static_cast<const int64_t *>(read.target)[i];
    }
  }
};

// A label that is none may be of any group: all of them are invalid.
void write_invalid(const std::vector<int64_t> &invalid, int64_t bad_labels, int32_t *out) {
  for (size_t g = 0; g < invalid.size(); ++g) {
    out[g] = static_cast<int32_t>(std::min<int64_t>(invalid[g] + bad_labels, INT32_MAX));
  }
}

ffi::Error error_of(int status) {
  if (status == LOVASZ_OK) return ffi::Error::Success();
  if (status == LOVASZ_NO_MEMORY) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted,
                      "lovasz: the CPU kernels could not allocate their tables");
  }
  return ffi::Error(ffi::ErrorCode::kInternal,
                    "lovasz: expected arguments that csrc/lovasz.h allows, and the CPU kernels got "
                    "others; this is an error of lovasz, please report it with the shapes of the "
                    "call");
}

// ---- The operators, as src/lovasz/jax/compiled.py calls them --------------------------------

using Any = ffi::AnyBuffer;
using Out = ffi::Result<ffi::AnyBuffer>;

ffi::Error histogram(ffi::ThreadPool threads, Any scores, Any labels, Any pixel_weight,
                     Any class_weight, Out counts, Out lse, Out invalid, Out sums, Reading r) {
  const int64_t parts = stacked(scores, 3);
  const Lent lent(threads);
  std::memset(counts->untyped_data(), 0, counts->size_bytes());
  for (int64_t i = 0; i < parts; ++i) {
    Inputs inputs(r, scores, labels, pixel_weight, class_weight, part<void>(*lse, i, parts), i,
                  parts);
    std::vector<int64_t> bad(static_cast<size_t>(inputs.groups));
    inputs.fix_weights(bad.data());
    lovasz_histogram_result result{};
    result.counts = part<int64_t>(*counts, i, parts);
    result.invalid = bad.data();
    const int status = kernels.histogram(&inputs.read, &result, lent.threads);
    if (status != LOVASZ_OK) return error_of(status);
    write_invalid(bad, result.bad_labels, part<int32_t>(*invalid, i, parts));
    float *sum = part<float>(*sums, i, parts);
    sum[0] = static_cast<float>(result.cross_entropy[0]);
    sum[1] = static_cast<float>(result.cross_entropy[1]);
  }
  return ffi::Error::Success();
}

ffi::Error extend(ffi::ThreadPool threads, Any counts, Any centres, Out losses, Out slopes,
                  Out present, int64_t unit, double alpha, double beta) {
  const Lent lent(threads);
  const int64_t bins = size_of(counts, 2, 0);
  const int64_t rows = static_cast<int64_t>(losses->element_count());
  const int64_t parts = stacked(counts, 5), own = parts == 0 ? 0 : rows / parts;
  std::vector<double> wide(static_cast<size_t>(own));
  for (int64_t i = 0; i < parts; ++i) {
    lovasz_extension extension{};
    extension.counts = part<int64_t>(counts, i, parts);
    extension.centres = part<double>(centres, i, parts);
    extension.losses = wide.data();
    extension.slopes = part<float>(*slopes, i, parts);
    extension.present = part<uint8_t>(*present, i, parts);
    extension.rows = own;
    extension.bins = bins;
    extension.unit = unit;
    extension.alpha = alpha;
    extension.beta = beta;
    kernels.extend(&extension, lent.threads);
    float *loss = part<float>(*losses, i, parts);
    for (int64_t row = 0; row < own; ++row) {
      loss[row] = static_cast<float>(wide[static_cast<size_t>(row)]);
    }
  }
  return ffi::Error::Success();
}

ffi::Error sort_and_extend(ffi::ThreadPool threads, Any scores, Any labels, Any pixel_weight,
                           Any class_weight, Out losses, Out slopes, Out present, Out lse,
                           Out invalid, Reading r, double alpha, double beta, bool symmetric) {
  const int64_t parts = stacked(scores, 3);
  const Lent lent(threads);
  kernels.expect_writes(slopes->untyped_data(), static_cast<int64_t>(slopes->size_bytes()));
  for (int64_t i = 0; i < parts; ++i) {
    Inputs inputs(r, scores, labels, pixel_weight, class_weight, part<void>(*lse, i, parts), i,
                  parts);
    const size_t rows = static_cast<size_t>(inputs.groups * inputs.read.classes);
    std::vector<int64_t> bad(static_cast<size_t>(inputs.groups)), positives(rows), pixels(rows);
    std::vector<double> wide(rows);
    inputs.fix_weights(bad.data());
    lovasz_sort_result result{};
    result.slopes = part<float>(*slopes, i, parts);
    result.losses = wide.data();
    result.positives = positives.data();
    result.pixels = pixels.data();
    result.invalid = bad.data();
    result.alpha = alpha;
    result.beta = beta;
    result.unit = inputs.read.pixel_weight == nullptr ? 1 : 1048576;
    result.symmetric = symmetric;
    const int status = kernels.sort_and_extend(&inputs.read, &result, lent.threads);
    if (status != LOVASZ_OK) return error_of(status);
    write_invalid(bad, result.bad_labels, part<int32_t>(*invalid, i, parts));
    float *loss = part<float>(*losses, i, parts);
    uint8_t *any = part<uint8_t>(*present, i, parts);
    for (size_t row = 0; row < rows; ++row) {
      loss[row] = static_cast<float>(wide[row]);
      any[row] = pixels[row] > 0;
      any[rows + row] = positives[row] > 0;
    }
  }
  return ffi::Error::Success();
}

ffi::Error backward(ffi::ThreadPool threads, Any scores, Any labels, Any lse, Any slopes,
                    Any factors, Any scale, Any pixel_weight, Any class_weight, Out gradient,
                    Reading r, bool by_pixel) {
  const int64_t parts = stacked(scores, 3);
  const Lent lent(threads);
  kernels.expect_writes(gradient->untyped_data(), static_cast<int64_t>(gradient->size_bytes()));
  for (int64_t i = 0; i < parts; ++i) {
    const Inputs inputs(r, scores, labels, pixel_weight, class_weight, part<void>(lse, i, parts), i,
                        parts);
    const lovasz_strided out =
        inputs.strided(part<void>(*gradient, i, parts), static_cast<size_t>(r.class_axis));
    const int status = kernels.backward(&inputs.read, part<float>(slopes, i, parts), by_pixel,
                                        part<float>(factors, i, parts),
                                        *part<float>(scale, i, parts), nullptr, &out, lent.threads);
    if (status != LOVASZ_OK) return error_of(status);
  }
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_REGISTER_STRUCT_ATTR_DECODING(
    Reading, ffi::StructMember<int64_t>("link"), ffi::StructMember<int64_t>("class_axis"),
    ffi::StructMember<int64_t>("bins"), ffi::StructMember<int64_t>("ignore_index"),
    ffi::StructMember<bool>("has_ignore_index"), ffi::StructMember<bool>("per_image"),
    ffi::StructMember<bool>("cross_entropy"), ffi::StructMember<float>("smoothing"));

extern "C" {

// LOVASZ_ABI, of the kernels that it is written for.
LOVASZ_API int64_t lovasz_jax_abi(void) { return LOVASZ_ABI; }

// Addresses of the functions of `Kernels`, in that order, before anything else is called.
LOVASZ_API void lovasz_jax_use(const void *const *functions) {
  std::memcpy(&kernels, functions, sizeof kernels);
}

LOVASZ_API XLA_FFI_Error *lovasz_jax_histogram(XLA_FFI_CallFrame *);
LOVASZ_API XLA_FFI_Error *lovasz_jax_extend(XLA_FFI_CallFrame *);
LOVASZ_API XLA_FFI_Error *lovasz_jax_sort_and_extend(XLA_FFI_CallFrame *);
LOVASZ_API XLA_FFI_Error *lovasz_jax_backward(XLA_FFI_CallFrame *);
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(lovasz_jax_histogram, histogram,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Any>()
                                  .Arg<Any>()
                                  .Arg<Any>()
                                  .Arg<Any>()
                                  .Ret<Any>()
                                  .Ret<Any>()
                                  .Ret<Any>()
                                  .Ret<Any>()
                                  .Attr<Reading>("reading"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(lovasz_jax_extend, extend,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Any>()
                                  .Arg<Any>()
                                  .Ret<Any>()
                                  .Ret<Any>()
                                  .Ret<Any>()
                                  .Attr<int64_t>("unit")
                                  .Attr<double>("alpha")
                                  .Attr<double>("beta"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(lovasz_jax_sort_and_extend, sort_and_extend,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Any>()
                                  .Arg<Any>()
                                  .Arg<Any>()
                                  .Arg<Any>()
                                  .Ret<Any>()
                                  .Ret<Any>()
                                  .Ret<Any>()
                                  .Ret<Any>()
                                  .Ret<Any>()
                                  .Attr<Reading>("reading")
                                  .Attr<double>("alpha")
                                  .Attr<double>("beta")
                                  .Attr<bool>("symmetric"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(lovasz_jax_backward, backward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Any>()
                                  .Arg<Any>()
                                  .Arg<Any>()
                                  .Arg<Any>()
                                  .Arg<Any>()
                                  .Arg<Any>()
                                  .Arg<Any>()
                                  .Arg<Any>()
                                  .Ret<Any>()
                                  .Attr<Reading>("reading")
                                  .Attr<bool>("by_pixel"));
