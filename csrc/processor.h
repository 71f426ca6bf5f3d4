// What the compiler may take for granted of the processor. LOVASZ_PORTABLE: nothing, as if it were
// none of those for which there are intrinsics here.
#pragma once

#if defined(__SSE2__) && !defined(LOVASZ_PORTABLE)
#define LOVASZ_SSE2 1
#include <immintrin.h>
#endif
