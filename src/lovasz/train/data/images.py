"""Images as tensors: turned upright, with so many channels, in units of bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lovasz.train.data.raster import Header, read_header, read_pixels, turned
from lovasz.train.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

Orientation = Literal["upright", "stored"]

# The weights of ITU-R BT.601, by which colour becomes grey.
_LUMA = (0.299, 0.587, 0.114)
_ROUNDING = 1e-4  # so much beyond 0 and 1 is no reason to refuse floating-point pixels


class Reading(NamedTuple):
    """How image files become tensors.

    Attributes:
        orientation: `upright` turns images as their EXIF orientation says, as on a screen;
            `stored` leaves the pixels as they are in the file.
        value_range: The numbers in the files that become 0 and 255; None for the range of their
            type, which is 0 to 1 for floating-point numbers.
        channels: Of the tensors; 0 for those of the file.
    """

    orientation: Orientation = "upright"
    value_range: tuple[float, float] | None = None
    channels: int = 0


def header(path: Path, reading: Reading) -> Header:
    """What the head of an image file says, with the width and height that the tensor has.

    Raises:
        UserError: If it is no image, or one of a kind that is not read.
    """
    head = read_header(path)
    return head.upright() if reading.orientation == "upright" else head


def read_image(path: Path, reading: Reading) -> Tensor:
    """The image (channels, H, W) in units of bytes: uint8 where the file has them, else float32.

    Raises:
        UserError: If it is no image, has not the channels, or pixels that no range is known for.
    """
    head, pixels = read_pixels(path, displayed=True)
    if reading.orientation == "upright":
        pixels = turned(pixels, head.orientation)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    pixels = _with_channels(path, pixels, head, reading.channels)
    if not as_bytes(head, reading):
        pixels = _scaled(path, pixels, head, reading.value_range)
    pixels = np.ascontiguousarray(pixels)  # torch has no strides that go backwards
    return torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy()).movedim(-1, 0)


def as_bytes(head: Header, reading: Reading) -> bool:
    """Whether an image with this head stays in bytes."""
    return head.kind == "u" and head.bits in (1, 2, 4, 8) and reading.value_range is None


def _with_channels(path: Path, pixels: np.ndarray, head: Header, wanted: int) -> np.ndarray:
    """Pixels (H, W, C) with as many channels as are wanted."""
    if wanted != pixels.shape[-1]:
        pixels = pixels[..., : head.channels]  # without transparency
    has = pixels.shape[-1]
    if wanted in (0, has):
        return pixels
    if wanted == 1 and has == 3:
        grey = pixels @ np.array(_LUMA, dtype=np.float32)
        whole = pixels.dtype.kind != "f"
        return (grey.round() if whole else grey).astype(pixels.dtype)[..., None]
    if wanted == 3 and has == 1:
        return np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    if wanted < has:
        return pixels[..., :wanted]
    raise UserError(f"{path}: expected an image with {wanted} channels, got {has}")


def _scaled(
    path: Path, pixels: np.ndarray, head: Header, value_range: tuple[float, float] | None
) -> np.ndarray:
    """The numbers of a range as float32 from 0 to 255; what is outside becomes its ends."""
    low, high = value_range or _type_range(head)
    if head.kind == "f":
        _check_floats(path, pixels, known=value_range is not None)
    # 32 bits are more than a float keeps: in double precision first.
    scaled: np.ndarray[Any, np.dtype[np.floating[Any]]] = pixels.astype(
        np.float64 if head.bits > 16 else np.float32
    )
    scaled -= low
    scaled *= 255 / (high - low)
    return scaled.clip(0, 255, out=scaled).astype(np.float32, copy=False)


def _type_range(head: Header) -> tuple[float, float]:
    if head.kind == "f":
        return 0.0, 1.0
    span = 2.0**head.bits - 1
    low = -(2.0 ** (head.bits - 1)) if head.kind == "i" else 0.0
    return low, low + span


def _check_floats(path: Path, pixels: np.ndarray, *, known: bool) -> None:
    """Refuse numbers that are none, and those that no range is known for."""
    low, high = float(pixels.min()), float(pixels.max())  # NaN if one is
    if not (np.isfinite(low) and np.isfinite(high)):
        raise UserError(
            f"{path}: expected finite pixels, got {low if not np.isfinite(low) else high}"
        )
    if not known and (low < -_ROUNDING or high > 1 + _ROUNDING):
        raise UserError(
            f"{path}: expected floating-point pixels from 0 to 1, got {low:g} to {high:g};"
            " --value_range gives their range"
        )
