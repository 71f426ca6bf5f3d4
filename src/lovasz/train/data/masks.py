"""Masks as labels: what the numbers or colours in the files stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lovasz.train.data.base import IGNORE
from lovasz.train.data.raster import Header, read_header, read_pixels, turned
from lovasz.train.data.values import LARGEST, Values
from lovasz.train.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lovasz.train.data.images import Orientation

_STRIP = 1 << 20  # pixels that are looked up at a time: tables of indices are eight times as large


def mask_header(path: Path, orientation: Orientation) -> Header:
    """What the head of a mask file says, with the width and height that the labels have.

    Raises:
        UserError: If it is no image, or of a kind that does not keep labels as they are.
    """
    head = read_header(path)
    _check_lossless(path, head)
    return head.upright() if orientation == "upright" else head


def read_mask(path: Path, values: Values, orientation: Orientation) -> Tensor:
    """The labels (H, W) as bytes, IGNORE where there is none.

    Raises:
        UserError: If it is no mask, or holds a value or colour that stands for nothing.
    """
    codes = read_codes(path, orientation, colours=values.colours)
    labels = np.empty(codes.shape, dtype=np.uint8)
    for rows in _strips(codes):
        labels[rows] = _labels(path, codes[rows], values)
    return torch.from_numpy(labels)


def count_mask(path: Path, values: Values, orientation: Orientation, classes: int) -> np.ndarray:
    """Pixels of each class, and last those without a label, (classes + 1,).

    Raises:
        UserError: As read_mask.
    """
    counts = np.zeros(IGNORE + 1, dtype=np.int64)
    codes = read_codes(path, orientation, colours=values.colours)
    for rows in _strips(codes):
        counts += np.bincount(_labels(path, codes[rows], values).ravel(), minlength=len(counts))
    return counts[[*range(classes), IGNORE]]


def read_codes(path: Path, orientation: Orientation, *, colours: bool) -> np.ndarray:
    """The numbers of a mask file, or its colours as 0xRRGGBB, (H, W) unsigned.

    Raises:
        UserError: If the file is no mask: no image, one of a lossy kind, with several channels
            that are not equal, with fractions, or with numbers below 0 or above 65535.
    """
    head, pixels = read_pixels(path, displayed=colours)
    _check_lossless(path, head)
    if head.alpha:
        pixels = _without_alpha(path, pixels, head)
    if colours:
        codes = _packed(path, pixels)
    elif pixels.ndim == 2:
        codes = _whole(path, pixels)
    else:
        codes = _whole(path, _one_of_equal(path, pixels))
    return turned(codes, head.orientation) if orientation == "upright" else codes


def _check_lossless(path: Path, head: Header) -> None:
    if head.lossy:
        raise UserError(
            f"{path}: expected a mask that keeps its labels (PNG, TIFF, BMP or lossless WebP), got"
            f" {head.lossy}, which changes the numbers of the pixels where it compresses"
        )


def _without_alpha(path: Path, pixels: np.ndarray, head: Header) -> np.ndarray:
    """The channels before transparency, which a mask must not have."""
    if pixels.ndim == 2:  # the indices of a palette
        return pixels
    opaque = 2 ** (16 if head.bits == 16 else 8) - 1
    if not head.palette and (pixels[..., -1] != opaque).any():
        raise UserError(
            f"{path}: expected a mask without transparent pixels, got some: whether they have a"
            " label is not known"
        )
    return pixels[..., 0] if pixels.shape[-1] == 2 else pixels[..., :-1]


def _packed(path: Path, pixels: np.ndarray) -> np.ndarray:
    """Colours as 0xRRGGBB; grey is a colour too."""
    channels = 1 if pixels.ndim == 2 else pixels.shape[-1]
    if pixels.dtype != np.uint8 or channels not in (1, 3):
        raise UserError(
            f"{path}: expected a mask of colours with 8 bits, to be read by their table, got an"
            f" image with {channels} channels of {pixels.dtype}"
        )
    if channels == 1:
        return pixels.reshape(pixels.shape[:2]).astype(np.uint32) * np.uint32(0x010101)
    red, green, blue = (pixels[..., k].astype(np.uint32) for k in range(3))
    red <<= 16
    green <<= 8
    red |= green
    red |= blue
    return red


def _one_of_equal(path: Path, pixels: np.ndarray) -> np.ndarray:
    """The first channel, if the others are equal to it."""
    first: np.ndarray = pixels[..., 0]
    for k in range(1, pixels.shape[-1]):
        unequal = pixels[..., k] != first
        if unequal.any():
            example = tuple(pixels[np.unravel_index(unequal.argmax(), unequal.shape)].tolist())
            hint = (
                "; --palette names a file with the colour of each class"
                if pixels.shape[-1] == 3
                else ""
            )
            raise UserError(
                f"{path}: expected one label per pixel (grey, palette, or equal channels), got"
                f" several channels, for example {example}{hint}"
            )
    return first


def _whole(path: Path, pixels: np.ndarray) -> np.ndarray:
    """Numbers of any type as unsigned ones of 8 or 16 bits."""
    if pixels.dtype == bool:
        return pixels.view(np.uint8)
    if pixels.dtype in (np.uint8, np.uint16):
        return pixels
    wrong = (pixels < 0) | (pixels > LARGEST)
    if pixels.dtype.kind == "f":
        wrong |= pixels != np.trunc(pixels)  # NaN too
    if wrong.any():
        raise UserError(
            f"{path}: expected whole labels from 0 to {LARGEST}, got {pixels[wrong][0]:g}"
        )
    return pixels.astype(np.uint16)


def _strips(codes: np.ndarray) -> Iterator[slice]:
    """Slices of rows."""
    step = max(1, _STRIP // max(1, codes.shape[1]))
    for row in range(0, codes.shape[0], step):
        yield slice(row, row + step)


def _labels(path: Path, codes: np.ndarray, values: Values) -> np.ndarray:
    labels = values.table()[codes]
    wrong = labels < 0
    if wrong.any():
        code = int(codes[wrong].max())
        hint = "--mask_values gives the value of each class in the masks"
        if values.colours:
            rgb = " ".join(map(str, code.to_bytes(3, "big")))
            hint = f"a line 'void {rgb}' in the table leaves its pixels without a label"
        raise UserError(f"{path}: expected {values.expected()}, got {values.name(code)}; {hint}")
    result: np.ndarray = labels.astype(np.uint8)
    return result
