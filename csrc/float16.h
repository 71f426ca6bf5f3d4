// Scores to float32 and gradients back, for the three widths of score.
#pragma once

#include <stdint.h>

#include "vector_math.h"

namespace LOVASZ_LEVEL {

struct bfloat16 {
  uint16_t bits;
};
struct float16 {
  uint16_t bits;
};

inline float widen(float value) { return value; }

inline float widen(bfloat16 value) {
  return as_float(static_cast<int32_t>(static_cast<uint32_t>(value.bits) << 16));
}

inline float widen(float16 value) {
  // Put the exponent and mantissa in place and let a multiplication correct the exponent's bias,
  // which is right for subnormal numbers too.
  uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000) << 16;
  uint32_t rest = static_cast<uint32_t>(value.bits & 0x7fff) << 13;
  float scaled = as_float(static_cast<int32_t>(rest)) * 5.192296858534828e33f;  // 2^112
  uint32_t magnitude = static_cast<uint32_t>(as_bits(scaled));
  uint32_t special = rest | 0x7f800000u;  // inf and NaN
  uint32_t bits = rest >= 0x0f800000u ? special : magnitude;
  return as_float(static_cast<int32_t>(sign | bits));
}

template <class T>
T narrow(float value);

template <>
inline float narrow<float>(float value) {
  return value;
}

template <>
inline bfloat16 narrow<bfloat16>(float value) {
  uint32_t bits = static_cast<uint32_t>(as_bits(value));
  uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;  // to nearest, ties to even
  uint32_t quiet = (bits >> 16) | 0x40u;
  return bfloat16{static_cast<uint16_t>(value != value ? quiet : rounded)};
}

template <>
inline float16 narrow<float16>(float value) {
  uint32_t bits = static_cast<uint32_t>(as_bits(value));
  uint32_t sign = (bits >> 16) & 0x8000u;
  bits &= 0x7fffffffu;
  // Adding 0.5 leaves the subnormal result in the low bits, rounded by the addition itself.
  uint32_t subnormal =
      static_cast<uint32_t>(as_bits(as_float(static_cast<int32_t>(bits)) + 0.5f)) - 0x3f000000u;
  uint32_t normal = (bits - 0x38000000u + 0xfffu + ((bits >> 13) & 1u)) >> 13;
  uint32_t result = bits < 0x38800000u ? subnormal : normal;
  result = bits >= 0x47800000u ? 0x7c00u : result;
  result = bits > 0x7f800000u ? 0x7e00u : result;
  return float16{static_cast<uint16_t>(sign | result)};
}

}  // namespace LOVASZ_LEVEL
