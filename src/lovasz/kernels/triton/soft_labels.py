"""Soft labels on the device, given as numbers or made of label maps, and their errors."""

from __future__ import annotations

import triton
import triton.language as tl

from lovasz.kernels.triton import inputs
from lovasz.kernels.triton.formulas import error_of, probability_of

# How far a soft label may lie outside of [0, 1], and their sum above 1; as
# ``contents.LABEL_TOLERANCE``.
TOLERANCE = tl.constexpr(1e-2)
NUMBERS, CHANNELS, MAPS = (
    tl.constexpr(inputs.NUMBERS),
    tl.constexpr(inputs.CHANNELS),
    tl.constexpr(inputs.MAPS),
)


@triton.jit
def load_soft(
    row,  # where the labels of each pixel begin
    mixture,  # weights of the maps of the image, or None
    c,
    classes,
    stride_c,
    inside,
    ignore_index,
    smoothing,
    KIND: tl.constexpr,
    MAPS_OF: tl.constexpr,
    IGNORES: tl.constexpr,
):
    """Labels before label smoothing and after it; which pixels count, and which labels are none.

    Of a class for a row of pixels, or of a column of classes.
    """
    if KIND == NUMBERS:
        raw = tl.load(row + c * stride_c, mask=inside, other=0.0).to(tl.float32)
        counted = inside
        if IGNORES:
            counted = inside & (raw != ignore_index)
        wrong = ~((raw >= -TOLERANCE) & (raw <= 1.0 + TOLERANCE))  # NaN too
        raw = tl.where(wrong, 0.0, tl.minimum(tl.maximum(raw, 0.0), 1.0))
    elif KIND == CHANNELS:
        labels = tl.load(row + c * stride_c, mask=inside, other=0).to(tl.int64)
        counted = inside
        if IGNORES:
            counted = inside & (labels != ignore_index)
        wrong = (labels != 0) & (labels != 1)
        raw = (labels == 1).to(tl.float32)
    else:
        raw, counted, wrong = _mix(
            row, mixture, c, classes, stride_c, inside, ignore_index, MAPS_OF, IGNORES
        )
    return raw, smooth(raw, smoothing, classes), counted, counted & wrong


@triton.jit
def _mix(
    row, mixture, c, classes, stride_k, inside, ignore_index,
    MAPS_OF: tl.constexpr, IGNORES: tl.constexpr,
):  # fmt: skip
    """Share of the label maps that have the class, of those that are not ignored."""
    for k in tl.static_range(MAPS_OF):
        labels = tl.load(row + k * stride_k, mask=inside, other=0).to(tl.int64)
        known = inside
        if IGNORES:
            known = inside & (labels != ignore_index)
        outside = known & ((labels < 0) | (labels >= classes))
        weight = 1.0 if mixture is None else tl.load(mixture + k)
        share = tl.where(known & (labels == c), weight, 0.0)
        own = tl.where(known, weight, 0.0)
        if k == 0:
            raw, total, counted, wrong = share, own, known, outside
        else:
            raw += share
            total += own
            counted = counted | known
            wrong = wrong | outside
    if mixture is not None:
        raw = tl.where(total > 0.0, tl.minimum(raw / tl.where(total > 0.0, total, 1.0), 1.0), 0.0)
    return raw, counted, wrong


@triton.jit
def smooth(raw, smoothing, classes):
    """Labels with a share of each class; without smoothing they stay as they are."""
    return (1.0 - smoothing) * raw + smoothing / classes


@triton.jit
def prediction_of(x, most, rest, LINK: tl.constexpr, PTX: tl.constexpr):
    """A prediction in [0, 1], and 1 less it, with digits that are lost in that difference."""
    if LINK == "softmax":
        p = probability_of(x, most, rest, PTX)
        complement = 1.0 - p
    elif LINK == "sigmoid":
        p, complement = error_of(x, LINK), error_of(-x, LINK)
    else:
        p = tl.where(x > 0.0, tl.where(x < 1.0, x, 1.0), 0.0)  # NaN is 0
        complement = 1.0 - p
    return p, complement


@triton.jit
def is_under(p, q):
    """Whether a prediction is to rise; as of a positive if the labels are zeros and ones."""
    return (p < q) | (q >= 1.0)


@triton.jit
def soft_error(p, complement, q):
    """The distance of prediction and label, and 1 less it, as in ``kernels.pixels``."""
    under, rest = is_under(p, q), 1.0 - q
    error = tl.where(under, complement - rest, p - q)
    return error, tl.where(under, p + rest, complement + q)
