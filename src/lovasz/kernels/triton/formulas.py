"""The formulas of the kernels, each of them once: probabilities, errors, bins, Tversky.

Every pass over the scores takes the bin of an error from here, because the backward pass has to
find the slope in the same bin in which the histogram counted the error. What stands between two
passes uses the edges of the same bins.
"""

from __future__ import annotations

import triton
import triton.language as tl

from lovasz.kernels.triton import ptx

LOG2E = tl.constexpr(1.4426950408889634)

# How far a probability may lie outside of [0, 1]; as ``contents.PROBABILITY_TOLERANCE``.
TOLERANCE = tl.constexpr(1e-2)


@triton.jit
def exp(x, PTX: tl.constexpr):
    """The exponential, by fewer instructions on NVIDIA devices."""
    if PTX:
        result = ptx.exp2(x * LOG2E)
    else:
        result = tl.exp(x)
    return result


@triton.jit
def root_of(x, lse, PTX: tl.constexpr):
    """Square root of a probability, from a score and the log-sum-exp.

    Both factors in one: half of the exponential would be one multiplication more.
    """
    if PTX:
        result = ptx.exp2((x - lse) * (0.5 * LOG2E))
    else:
        result = tl.exp((x - lse) * 0.5)
    return result


@triton.jit
def bin_of(root, error, BINS: tl.constexpr):
    """Bin of an error in [0, 1], given its square root too, as in ``core.bins``.

    NaN goes to bin 0; its pixel is reported.
    """
    position = (3.0 * root + error) * (BINS / 4)
    position = tl.where(position > 0.0, position, 0.0)
    return tl.minimum(position, BINS - 1.0).to(tl.int32)


@triton.jit
def bin_of_root(root, BINS: tl.constexpr):
    """The same in PTX, by fewer instructions, except that an error of 1 is in bin BINS.

    An infinite root is in a bin of more than BINS.
    """
    return ptx.floor((root + 3.0) * root * (BINS / 4))


@triton.jit
def bin_of_positive(own, lse, BINS: tl.constexpr, PTX: tl.constexpr):
    """Bin of a positive with softmax, from the score of its own class and the log-sum-exp."""
    error = tl.maximum(1.0 - exp(own - lse, PTX), 0.0)
    return bin_of(tl.sqrt(error), error, BINS)


@triton.jit
def bin_of_link(error, LINK: tl.constexpr, BINS: tl.constexpr):
    """Bin of an error of a multilabel link, as in ``core.bins``."""
    if (LINK == "hinge") | (LINK == "elu"):
        position = 1.0 + tl.log2(1.0 + error) * ((BINS - 1) / 16.0)
        position = tl.where(error > 0.0, position, 0.0)
        b = tl.minimum(position, BINS - 1.0).to(tl.int32)
    else:
        b = bin_of(tl.sqrt(error), error, BINS)
    return b


@triton.jit
def bin_edge(i, BINS: tl.constexpr):
    """Lower edge of bin i; a division by a power of two is exact as a product too."""
    if BINS & (BINS - 1) == 0:
        u = i * (1 / BINS)
    else:
        u = i / BINS
    root = (tl.sqrt(9.0 + 16.0 * u) - 3.0) * 0.5
    return root * root


@triton.jit
def bin_centre(b, BINS: tl.constexpr, UNBOUNDED: tl.constexpr):
    """The error that a bin stands for, as in ``core.bins``, in float64."""
    i = b.to(tl.float64)
    if UNBOUNDED:
        low, high = tl.exp2((i - 1.0) * (16 / (BINS - 1))), tl.exp2(i * (16 / (BINS - 1)))
        centre = tl.where(i > 0.0, 2.0 * low * high / (low + high) - 1.0, 0.0)
    else:
        centre = (bin_edge(i + 1.0, BINS) + bin_edge(i, BINS)) * 0.5
    return centre


@triton.jit
def tversky(fn, fp, positives, ALPHA: tl.constexpr, BETA: tl.constexpr):
    """Tversky's set function, 0 where there is neither a mistake nor a positive."""
    mistakes = ALPHA * fp + BETA * fn
    whole = positives - fn + mistakes
    return tl.where(whole > 0.0, mistakes / tl.where(whole > 0.0, whole, 1.0), 0.0)


@triton.jit
def margin_of(x, positive, LINK: tl.constexpr):
    """What the error of a multilabel link grows with."""
    if LINK == "channel_probabilities":
        margin = tl.where(positive, 1.0 - x, x)
    else:
        margin = tl.where(positive, -x, x)
    return margin


@triton.jit
def error_of(margin, LINK: tl.constexpr):
    """Error, as in ``kernels.pixels``."""
    if LINK == "sigmoid":
        e = tl.exp(-tl.abs(margin))
        error = tl.where(margin < 0.0, e, 1.0) / (1.0 + e)
    elif LINK == "hinge":
        error = tl.where(1.0 + margin < 0.0, 0.0, 1.0 + margin)  # keeps NaN
    elif LINK == "elu":
        a = 1.0 + margin
        error = tl.where(a < 0.0, tl.exp(a), 1.0 + a)
    else:
        error = tl.where(margin < 0.0, 0.0, tl.where(margin > 1.0, 1.0, margin))
    return error


@triton.jit
def derivative_of(margin, LINK: tl.constexpr):
    """Derivative of the error by the margin, as in ``kernels.pixels``."""
    if LINK == "sigmoid":
        e = tl.exp(-tl.abs(margin))
        derivative = e / ((1.0 + e) * (1.0 + e))
    elif LINK == "hinge":
        derivative = (1.0 + margin > 0.0).to(tl.float32)
    elif LINK == "elu":
        derivative = tl.where(1.0 + margin < 0.0, tl.exp(1.0 + margin), 1.0)
    else:
        derivative = tl.full(margin.shape, 1.0, tl.float32)
    return derivative


@triton.jit
def is_invalid(x, error, largest, LINK: tl.constexpr):
    """Which scores make the loss meaningless: probabilities that are none, errors not < largest."""
    if LINK == "channel_probabilities":
        valid = (x >= -TOLERANCE) & (x <= 1.0 + TOLERANCE)
    else:
        valid = error < largest  # false for NaN
    return ~valid


@triton.jit
def softplus(margin):
    """log(1 + exp(margin)), the binary cross-entropy. The quotient undoes the rounding of 1 + e."""
    e = tl.exp(-tl.abs(margin))
    u = 1.0 + e
    rounded = u - 1.0
    log1p = tl.where(rounded > 0.0, tl.log(u) * (e / tl.where(rounded > 0.0, rounded, 1.0)), e)
    return tl.maximum(margin, 0.0) + log1p
