"""The kernels that make the keys of the sort: an error and whether the pixel is a positive.

Both are in one 32-bit integer, so that one sort, of a row for each group and class, is all that is
sorted.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from lovasz.kernels.triton import blocks
from lovasz.kernels.triton.formulas import error_of, load_lse, probability_of
from lovasz.kernels.triton.inputs import Labels
from lovasz.kernels.triton.tiles import class_offsets, load_labels, load_multilabel, tile_of

# Bits of the largest float; those of floats that are not negative are in their order.
LARGEST = tl.constexpr(0x7F7FFFFF)
# Carries integers from 0 to 2^32 - 1 to signed ones, in their order.
SIGN = tl.constexpr(-(2**31))
# The key of what does not count, after all others: `key_of` makes it by arithmetic.
IGNORED = tl.constexpr(0x7F000000)


@triton.jit
def key_of(error, positive, counted):
    """2 (largest bits - bits of the error) + positive, ascending as errors fall; ignored ones last.

    NaN and what is below 0 are 0; where there are any, the loss is NaN.
    """
    error = tl.where(error > 0.0, tl.minimum(error, 3.4028234663852886e38), 0.0)
    place = -error.to(tl.int32, bitcast=True) + LARGEST
    key = place * 2 + positive.to(tl.int32)  # wraps
    return tl.where(counted, key, (LARGEST + 1) * 2 - 2**32) ^ SIGN


@triton.jit
def place_of(key):
    """Largest bits less those of the error; more than the largest if the pixel does not count."""
    return ((key ^ SIGN).to(tl.uint32, bitcast=True) >> 1).to(tl.int32)


def softmax_keys(scores: Tensor, labels: Labels, lse: Tensor, per_image: bool) -> Tensor:
    """Keys (G · C, pixels of a group) int32."""
    images, classes, length = scores.shape
    keys, strides = _new_keys(scores, per_image)
    block_c, block_t = blocks.loop_block(scores)
    softmax_keys_kernel[(images * blocks.ceil_div(length, block_t),)](
        *(scores, labels.target, lse, keys, classes, length),
        *scores.stride(),
        *labels.target.stride(),
        *strides,
        labels.ignore_index,
        IGNORES=labels.ignores,
        BLOCK_C=block_c,
        BLOCK_T=block_t,
        num_warps=blocks.WARPS,
    )
    return keys


def multilabel_keys(scores: Tensor, labels: Labels, link: str, per_image: bool) -> Tensor:
    """Keys (G · C, pixels of a group) int32."""
    images, classes, length = scores.shape
    keys, strides = _new_keys(scores, per_image)
    block_c, block_t = blocks.loop_block(scores)
    programs = images * blocks.ceil_div(classes, block_c) * blocks.ceil_div(length, block_t)
    multilabel_keys_kernel[(programs,)](
        *(scores, labels.target, keys, classes, length),
        *scores.stride(),
        *labels.strides,
        *strides,
        labels.ignore_index,
        LINK=link,
        IGNORES=labels.ignores,
        BLOCK_C=block_c,
        BLOCK_T=block_t,
        num_warps=blocks.WARPS,
    )
    return keys


def _new_keys(scores: Tensor, per_image: bool) -> tuple[Tensor, tuple[int, int]]:
    """Keys to be written, and their strides from image to image and from class to class."""
    images, classes, length = scores.shape
    groups, pixels = (images, length) if per_image else (1, images * length)
    keys = scores.new_empty((groups * classes, pixels), dtype=torch.int32)
    return keys, (classes * length if per_image else length, pixels)


@triton.jit
def softmax_keys_kernel(
    scores, target, lse, keys,
    classes, length, stride_n, stride_c, stride_l, target_n, target_l, key_n, key_c, ignore_index,
    IGNORES: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    """Keys of a tile of pixels, with softmax.

    Tensors:
        scores: (N, C, L) float32, bfloat16 or float16, any strides
        target: (N, L) integers or bytes, any strides
        lse: (N, L) float64, contiguous
        keys: (G · C, pixels of a group) int32, written

    Numbers:
        classes, length: C and L
        stride_n, stride_c, stride_l, target_n, target_l: strides of scores and target
        key_n, key_c: strides of keys, from image to image and from class to class
        ignore_index: label that does not count, with IGNORES

    Constants:
        BLOCK_C, BLOCK_T: classes and pixels of a block
    """
    image, pixel, inside = tile_of(length, BLOCK_T)
    labels, counted = load_labels(
        target, image * target_n + pixel * target_l, inside, ignore_index, IGNORES
    )
    most, rest = load_lse(lse + image * length + pixel, inside)
    column = scores + image * stride_n + pixel * stride_l
    row = keys + image * key_n + pixel
    for start in range(0, classes, BLOCK_C):
        c = class_offsets(start, BLOCK_C)
        there = (c < classes) & inside[None, :]
        x = tl.load(column[None, :] + c * stride_c, mask=there, other=0.0).to(tl.float32)
        p = probability_of(x, most[None, :], rest[None, :], False)
        positive = labels[None, :] == c
        error = tl.where(positive, 1.0 - p, p)
        error = tl.where(error > 1.0, 1.0, error)
        key = key_of(error, positive, counted[None, :])
        tl.store(row[None, :] + c * key_c, key, mask=there)


@triton.jit
def multilabel_keys_kernel(
    scores, target, keys,
    classes, length, stride_n, stride_c, stride_l, target_n, target_c, target_l, key_n, key_c,
    ignore_index,
    LINK: tl.constexpr, IGNORES: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    """Keys of a tile of pixels and channels.

    Tensors:
        scores: (N, C, L) float32, bfloat16 or float16, any strides
        target: (N, C, L), or (N, L) of classes, integers or bytes, any strides
        keys: (G · C, pixels of a group) int32, written

    Numbers:
        classes, length: C and L
        stride_n, stride_c, stride_l, target_n, target_c, target_l: strides of scores and target
        key_n, key_c: strides of keys, from image to image and from channel to channel
        ignore_index: label that does not count, with IGNORES

    Constants:
        LINK: how scores become errors
        BLOCK_C, BLOCK_T: channels and pixels of a tile
    """
    shape, strides = (classes, length), (stride_n, stride_c, stride_l)
    target_strides = (target_n, target_c, target_l)
    image, c, pixel, inside, counted, positive, margin = load_multilabel(
        scores,
        target,
        shape,
        strides,
        target_strides,
        ignore_index,
        LINK,
        IGNORES,
        BLOCK_C,
        BLOCK_T,
    )
    key = key_of(error_of(margin, LINK), positive, counted)
    tl.store(keys + image * key_n + c * key_c + pixel, key, mask=inside)
