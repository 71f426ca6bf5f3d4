"""TensorFlow under the names of NumPy that ``lovasz.core`` calls its array library by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

float64 = tf.float64
floor, minimum, zeros_like = tf.floor, tf.minimum, tf.zeros_like

# Of each floating dtype the integers of as many bits, the digits of the mantissa, and the exponent
# whose bits are 0.
_LAYOUTS = {tf.float32: (tf.int32, 23, 127), tf.float64: (tf.int64, 52, 1023)}


def where(condition: Any, x: Any, y: Any) -> Any:
    """``x`` where the condition holds, ``y`` elsewhere; one of the two may be a Python number."""
    dtype = x.dtype if tf.is_tensor(x) else y.dtype
    return tf.where(condition, tf.cast(x, dtype), tf.cast(y, dtype))


def sum(values: Any, axis: int) -> Any:  # noqa: A001 (NumPy's name)
    """Sum along an axis."""
    return tf.reduce_sum(values, axis)


def cumsum(values: Any, axis: int) -> Any:
    """Running sum along an axis."""
    return tf.cumsum(values, axis)


def flip(values: Any, axes: Sequence[int]) -> Any:
    """The other way round along axes."""
    return tf.reverse(values, axes)


def stack(arrays: Sequence[Any], axis: int) -> Any:
    """Arrays of one shape along a new axis."""
    return tf.stack(arrays, axis)


def concatenate(arrays: Sequence[Any], axis: int) -> Any:
    """Arrays one after the other along an axis."""
    return tf.concat(arrays, axis)


def frexp(values: Any) -> tuple[Any, Any]:
    """Mantissa in [1/2, 1) and exponent, as a float, of numbers that are positive and normal."""
    integer, digits, bias = _LAYOUTS[values.dtype]
    bits = tf.bitcast(values, integer)
    raised = tf.bitwise.right_shift(bits, tf.constant(digits, integer))
    half = bits + tf.bitwise.left_shift(bias - 1 - raised, tf.constant(digits, integer))
    return tf.bitcast(half, values.dtype), tf.cast(raised - (bias - 1), values.dtype)


def exp2(whole: Any) -> Any:
    """Powers of two of whole numbers whose powers are normal."""
    integer, digits, bias = _LAYOUTS[whole.dtype]
    raised = tf.cast(whole, integer) + bias
    return tf.bitcast(tf.bitwise.left_shift(raised, tf.constant(digits, integer)), whole.dtype)
