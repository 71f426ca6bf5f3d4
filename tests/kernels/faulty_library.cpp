// A library that calls the compiled one, but for gradients that are 1 % too large.
#include <dlfcn.h>

#include "lovasz.h"

static void *real(const char *name) {
  static void *library = dlopen(LOVASZ_REAL, RTLD_NOW);
  return dlsym(library, name);
}

#define FORWARD(result, name, parameters, arguments) \
  result name parameters { return ((result(*) parameters)real(#name))arguments; }

FORWARD(const int64_t *, lovasz_layout, (int64_t *a), (a))
FORWARD(void, lovasz_set_parallel_for, (void *a), (a))
FORWARD(void, lovasz_lend_parallel_for, (void *a), (a))
FORWARD(const char *, lovasz_level, (void), ())
FORWARD(int, lovasz_choose_level, (const char *a), (a))
FORWARD(int, lovasz_clouds,
        (const int64_t *a, int64_t b, int64_t c, int64_t *d, int64_t *e, int64_t *f),
        (a, b, c, d, e, f))
FORWARD(int, lovasz_argmax,
        (const lovasz_inputs *a, const float *b, void *c, int32_t d, int32_t e), (a, b, c, d, e))
FORWARD(int, lovasz_histogram, (const lovasz_inputs *a, lovasz_histogram_result *b, int32_t c),
        (a, b, c))
FORWARD(void, lovasz_extend, (const lovasz_extension *a, int32_t b), (a, b))
FORWARD(int, lovasz_sort_and_extend, (const lovasz_inputs *a, lovasz_sort_result *b, int32_t c),
        (a, b, c))
FORWARD(void, lovasz_reduce, (const lovasz_reduction *a), (a))
FORWARD(void, lovasz_expect_writes, (void *a, int64_t b), (a, b))

int lovasz_backward(const lovasz_inputs *a, const float *slopes, int32_t b, const float *c, float d,
                    const double *e, const lovasz_strided *gradient, int32_t f) {
  using Function = decltype(&lovasz_backward);
  const int status = ((Function)real("lovasz_backward"))(a, slopes, b, c, d, e, gradient, f);
  float *values = (float *)gradient->data;
  for (int64_t i = 0; i < a->classes * a->length; ++i) values[i] *= 1.01f;
  return status;
}
