"""Powers of two by the bits of floating numbers: exact, and no function of a library of maths.

XLA computes exp2 by an exponential, which is not exact at whole numbers, where bins have edges.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from lovasz.jax.precision import Array

# Of each dtype: the integer of its size, digits of the mantissa, and the exponent of 1.
_FORMATS = {"float32": ("int32", 23, 127), "float64": ("int64", 52, 1023)}

minimum, where, floor = jnp.minimum, jnp.where, jnp.floor


def frexp(values: Array) -> tuple[Array, Array]:
    """Mantissa in [1/2, 1) and exponent of positive numbers that are not subnormal."""
    integer, digits, one = _FORMATS[values.dtype.name]
    bits = lax.bitcast_convert_type(values, jnp.dtype(integer))
    mantissa = (bits & (2**digits - 1)) | ((one - 1) << digits)
    exponent = (bits >> digits) - (one - 1)
    return lax.bitcast_convert_type(mantissa, values.dtype), exponent.astype(values.dtype)


def exp2(whole: Array) -> Array:
    """Two to the power of whole numbers, which are not so small that it would be subnormal."""
    integer, digits, one = _FORMATS[whole.dtype.name]
    bits = (whole.astype(jnp.dtype(integer)) + one) << digits
    return lax.bitcast_convert_type(bits, whole.dtype)
