"""TIFF files: any number of channels, bits and pages, tiles, and all usual compressions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from tifffile import COMPRESSION, PHOTOMETRIC, TiffFile

if TYPE_CHECKING:
    from pathlib import Path

    from tifffile import TiffPage, TiffPageSeries

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Axes that are neither in the picture nor channels: an image has one of each only.
_OTHERS = {"Z": "depth", "T": "time", "R": "frames"}
_LOSSY = (COMPRESSION.OJPEG, COMPRESSION.JPEG, COMPRESSION.JPEG_LOSSY)


def is_tiff(magic: bytes) -> bool:
    """Whether a file with these first bytes is a TIFF file."""
    return magic.startswith(_MAGIC)


def header(file: TiffFile) -> dict[str, Any]:
    """What the first image of the file is, as `raster.Header` names it."""
    series, page = _first(file)
    height, width, channels = _shape(series)
    dtype = np.dtype(series.dtype)
    palette = page.photometric == PHOTOMETRIC.PALETTE
    bits = page.bitspersample
    orientation = page.tags.valueof("Orientation", 1)
    return {
        "width": width,
        "height": height,
        "channels": 3 if palette or _by_pillow(page) else channels,
        "bits": 8 if palette else bits if isinstance(bits, int) else max(bits),
        "kind": {"b": "u"}.get(dtype.kind, dtype.kind),
        "palette": palette,
        "orientation": orientation if orientation in range(1, 9) else 1,
        "lossy": "JPEG" if page.compression in _LOSSY else "",
    }


def pixels(file: TiffFile, path: Path, *, displayed: bool) -> np.ndarray:
    """The first image of the file, (height, width) or (height, width, channels).

    See `raster.read_pixels` for `displayed`.
    """
    series, page = _first(file)
    if displayed and _by_pillow(page):
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    array: np.ndarray = series.asarray(maxworkers=1)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    array = _channels_last(array, series.axes)
    if not displayed:
        return array
    if page.photometric == PHOTOMETRIC.PALETTE:
        colours: np.ndarray = _colours(page)[array]
        return colours
    bits = page.bitspersample
    if array.dtype == bool:
        array = array.view(np.uint8)
    if page.photometric == PHOTOMETRIC.MINISWHITE and array.dtype.kind == "u":
        array = array.dtype.type(2**bits - 1) - array
    if bits in (1, 2, 4):
        array *= np.uint8(255 // (2**bits - 1))
    return array


def _first(file: TiffFile) -> tuple[TiffPageSeries, TiffPage]:
    """The first image and its first page; smaller copies of it and masks are further ones."""
    series = file.series[0]
    page = series.keyframe
    if np.dtype(series.dtype).kind not in "buif":
        raise ValueError(f"numbers of the type {series.dtype}")
    return series, page


def _by_pillow(page: TiffPage) -> bool:
    """Whether the numbers are of another space of colours than red, green and blue."""
    spaces = (PHOTOMETRIC.SEPARATED, PHOTOMETRIC.CIELAB)
    subsampled = page.photometric == PHOTOMETRIC.YCBCR and page.compression not in _LOSSY
    return page.bitspersample == 8 and (page.photometric in spaces or subsampled)


def _shape(series: TiffPageSeries) -> tuple[int, int, int]:
    """Height, width and channels."""
    shape = _channels_last(np.broadcast_to(np.uint8(0), series.shape), series.axes).shape
    return shape[0], shape[1], shape[2] if len(shape) == 3 else 1


def _channels_last(array: np.ndarray, axes: str) -> np.ndarray:
    """(height, width) or (height, width, channels) of an array with these axes."""
    single = tuple(k for k, axis in enumerate(axes) if array.shape[k] == 1 and axis not in "YX")
    array = array.squeeze(single)
    axes = "".join(axis for k, axis in enumerate(axes) if k not in single)
    if axes == "YX":
        return array
    wrong = [name for axis, name in _OTHERS.items() if axis in axes]
    if len(axes) != 3 or wrong:
        raise ValueError(f"a stack of images with the axes {axes}, shape {array.shape}")
    if "S" in axes or "C" in axes:
        return np.moveaxis(array, axes.index("S" if "S" in axes else "C"), -1)
    # Pages that do not say what they are. The channels are the shortest axis: an array (height,
    # width, channels) that is written without a word about its axes has one page for each row.
    return np.moveaxis(array, 0, -1) if array.shape[0] <= array.shape[-1] else array


def _colours(page: TiffPage) -> np.ndarray:
    """The palette as bytes (colours, 3)."""
    palette = np.asarray(page.colormap).T
    # 16 bits by the standard, but some writers keep bytes.
    return (palette >> 8 if palette.max() > 255 else palette).astype(np.uint8)
