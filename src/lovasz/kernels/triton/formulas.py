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
def load_lse(lse, inside):
    """The log-sum-exp of pixels, float64, in two parts of float32.

    Of a score that is nearly as large as it is, the difference has all digits, and 1 less its
    probability has them too.
    """
    whole = tl.load(lse, mask=inside, other=0.0)
    most = whole.to(tl.float32)
    return most, (whole - most.to(tl.float64)).to(tl.float32)


@triton.jit
def probability_of(x, most, rest, PTX: tl.constexpr):
    """A probability, from a score and both parts of the log-sum-exp."""
    return exp((x - most) - rest, PTX)


@triton.jit
def fourth_root(t):
    """The fourth root that is linear between powers of two, by the bits of a float.

    Next to 0 for what rounding has carried below 0.
    """
    return ((t.to(tl.int32, bitcast=True) >> 2) + 0x2FA00000).to(tl.float32, bitcast=True)


@triton.jit
def bounded_position(error, complement, BINS: tl.constexpr):
    """Where among the bins an error in [0, 1] lies, as in ``core.bins``.

    ``complement`` is 1 less the error, and may have more digits than that difference has.
    """
    below = error < complement
    t = tl.where(below, error, complement)
    place = (2.25 * t + fourth_root(t)) * (BINS / 4)
    return tl.where(below, place, BINS - place)


@triton.jit
def bin_of(error, complement, BINS: tl.constexpr):
    """Bin of an error in [0, 1]. NaN goes to bin 0; its pixel is reported."""
    position = bounded_position(error, complement, BINS)
    position = tl.where(position > 0.0, position, 0.0)
    return tl.minimum(position, BINS - 1.0).to(tl.int32)


@triton.jit
def bin_of_negative(p, BINS: tl.constexpr):
    """The same in PTX, by fewer instructions, except that an error of 1 is in bin BINS.

    An infinite p is in a bin of more than BINS.
    """
    return ptx.floor(bounded_position(p, 1.0 - p, BINS))


@triton.jit
def bin_of_positive(own, most, rest, BINS: tl.constexpr, PTX: tl.constexpr):
    """Bin of a positive with softmax, from the score of its own class, with log-sum-exp."""
    p = probability_of(own, most, rest, PTX)
    return bin_of(1.0 - p, p, BINS)


@triton.jit
def log2_of(x):
    """The logarithm that is linear between powers of two, of a float64 above 0."""
    bits = x.to(tl.int64, bitcast=True)
    return bits.to(tl.float64) * (1 / 2**52) - 1023.0


@triton.jit
def power_of_two(z):
    """The inverse of `log2_of`."""
    whole = tl.floor(z)
    return tl.exp2(whole) * (1.0 + (z - whole))


@triton.jit
def bounded_centre(u):
    """The error whose place is u, both in [0, 1], as ``_inverse`` in ``core.bins``."""
    low = tl.where(u <= 0.5, u, 1.0 - u)
    t = tl.minimum(power_of_two(4.0 * log2_of(4.0 * low)), 0.5)
    for _ in tl.static_range(3):
        z = log2_of(t)
        whole = tl.floor(z)
        slope = 0.5625 + tl.exp2(tl.floor(whole * 0.25) - whole) * 0.0625
        t = t - (0.5625 * t + 0.25 * power_of_two(z * 0.25) - low) / slope
    return tl.where(u <= 0.5, t, 1.0 - t)


@triton.jit
def unbounded_centre(u):
    """The same where errors have no bound, as ``_inverse_unbounded``."""
    error = tl.maximum(0.015625 * power_of_two((2.0 * u - 1.0) * 22.0) - 0.015625, 0.0)
    for _ in tl.static_range(8):
        z = log2_of(error + 0.015625)
        place = 0.5 * error / (error + 4.0) + (z + 6.0) * (0.5 / 22)
        slope = 2.0 / ((error + 4.0) * (error + 4.0)) + tl.exp2(-tl.floor(z)) * (0.5 / 22)
        error = error - (place - u) / slope
    return error


@triton.jit
def bin_centre(b, BINS: tl.constexpr, UNBOUNDED: tl.constexpr):
    """The error that a bin stands for, as in ``core.bins``, in float64."""
    i = b.to(tl.float64)
    if UNBOUNDED:
        centre = unbounded_centre((i - 0.5) * (1 / (BINS - 1)))
    else:
        centre = tl.where(b < BINS - 1, bounded_centre((i + 0.5) * (1 / BINS)), 1.0)
    return tl.where(b > 0, centre, 0.0)


@triton.jit
def tversky(fn, fp, positives, ALPHA: tl.constexpr, BETA: tl.constexpr):
    """Tversky's set function, 0 where there is neither a mistake nor a positive."""
    mistakes = ALPHA * fp + BETA * fn
    whole = positives - fn + mistakes
    return tl.where(whole > 0.0, mistakes / tl.where(whole > 0.0, whole, 1.0), 0.0)


@triton.jit
def is_positive(labels, c, LINK: tl.constexpr):
    """Whether pixels are of the set of a channel; classes are channels of the pixels they label."""
    if LINK == "probabilities":
        positive = labels == c
    else:
        positive = labels == 1
    return positive


@triton.jit
def is_label(labels, classes, LINK: tl.constexpr):
    """Which labels are classes, or 0 or 1."""
    if LINK == "probabilities":
        known = (labels >= 0) & (labels < classes)
    else:
        known = (labels == 0) | (labels == 1)
    return known


@triton.jit
def margin_of(x, positive, LINK: tl.constexpr):
    """What the error is a function of, where classes or channels share nothing.

    Of a probability, which is kept in [0, 1], the sign tells the label, also of 0; NaN is 0.
    """
    if (LINK == "channel_probabilities") | (LINK == "probabilities"):
        p = tl.where(x > 0.0, tl.where(x < 1.0, x, 1.0), 0.0)
        bits = p.to(tl.int32, bitcast=True) | (positive.to(tl.int32) << 31)
        margin = bits.to(tl.float32, bitcast=True)
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
        error = tl.where(margin.to(tl.int32, bitcast=True) < 0, 1.0 + margin, margin)
    return error


@triton.jit
def bin_of_margin(margin, LINK: tl.constexpr, BINS: tl.constexpr):
    """Bin of an error of a link without softmax, as in ``core.bins``."""
    error = error_of(margin, LINK)
    if (LINK == "hinge") | (LINK == "elu"):
        octaves = (error + 0.015625).to(tl.int32, bitcast=True) - 0x3C800000
        place = error / (error + 4.0) + octaves.to(tl.float32) * (1 / (22 * 2**23))
        position = tl.where(error > 0.0, 1.0 + place * ((BINS - 1) / 2), 0.0)
        b = tl.minimum(position, BINS - 1.0).to(tl.int32)
    elif LINK == "sigmoid":
        b = bin_of(error, error_of(-margin, LINK), BINS)
    else:
        p = tl.abs(margin)
        complement = tl.where(margin.to(tl.int32, bitcast=True) < 0, p, 1.0 - p)
        b = bin_of(error, complement, BINS)
    return b


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
    if (LINK == "channel_probabilities") | (LINK == "probabilities"):
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
