"""Image files of all kinds as arrays, and what their heads say, without knowing what they are for.

TIFF files are read by tifffile (in `tiff.py`), PNG files of 16 bits by imagecodecs, because Pillow
keeps 8 of them, and the rest by Pillow.
"""

from __future__ import annotations

import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import imagecodecs
import numpy as np
from PIL import Image, UnidentifiedImageError
from tifffile import TiffFile

from lovasz.train.data import tiff
from lovasz.train.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import FileIO
    from pathlib import Path
    from typing import BinaryIO

_PNG = b"\x89PNG\r\n\x1a\n"
_ORIENTATION = 0x0112  # the tag, in EXIF and in TIFF
_LOSSY = {"JPEG", "MPO", "AVIF", "JPEG2000"}
_BYTES_OF_PALETTE = 3  # colour type of PNG
# How many channels Pillow's modes have when displayed, without transparency.
_GREY = {"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"}


class Header(NamedTuple):
    """What the head of an image file says.

    Attributes:
        width: As stored.
        height: As stored.
        channels: As displayed: 3 for a palette; transparency not counted.
        bits: Of a number.
        kind: `u` unsigned, `i` signed, `f` floating-point numbers.
        alpha: Whether there is a channel of transparency besides. TIFF files have none here: their
            fourth channel is as often near infrared, whatever it is called.
        palette: Whether the numbers are the indices of a palette.
        orientation: 1 to 8, as EXIF counts; 1 is upright.
        lossy: The name of the format if it does not keep the numbers, else empty.
    """

    width: int
    height: int
    channels: int
    bits: int = 8
    kind: str = "u"
    alpha: bool = False
    palette: bool = False
    orientation: int = 1
    lossy: str = ""

    def upright(self) -> Header:
        """Width and height as they are after the turn."""
        if self.orientation < 5:
            return self
        return self._replace(width=self.height, height=self.width)


def read_header(path: Path) -> Header:
    """The head of an image file; no pixel is decoded.

    Raises:
        UserError: If it is no image, or one of a kind that is not read.
    """
    with _opened(path) as (file, magic):
        if not tiff.is_tiff(magic):
            return _header(path, file, magic)
        with TiffFile(path) as pages:
            return Header(**tiff.header(pages))


def read_pixels(path: Path, *, displayed: bool) -> tuple[Header, np.ndarray]:
    """The head, and an array (height, width) or (height, width, channels) as stored.

    Args:
        path: The file.
        displayed: Whether palettes are replaced by their colours and numbers of less than 8 bits
            scaled to bytes, as on a screen; else the numbers are as in the file.

    Raises:
        UserError: If it is no image, or one of a kind that is not read.
    """
    with _opened(path) as (file, magic):
        if tiff.is_tiff(magic):
            with TiffFile(path) as pages:
                head = Header(**tiff.header(pages))
                return head, tiff.pixels(pages, path, displayed=displayed)
        head = _header(path, file, magic)
        file.seek(0)
        if magic.startswith(_PNG) and head.bits == 16:
            pixels = imagecodecs.png_decode(file.read())
            # A colour that is transparent (tRNS) may have become a channel.
            channels = head.channels + head.alpha
            return head, pixels if channels == 1 == pixels.ndim - 1 else _first(pixels, channels)
        with Image.open(file) as picture:
            return head, _array(picture, head, displayed=displayed)


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels (height, width, ...) as stored, turned upright.

    >>> turned(np.array([[1, 2], [3, 4]]), 6).tolist()  # by a quarter, clockwise
    [[3, 1], [4, 2]]
    """
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, bytes]]:
    """The file and its first bytes; whatever goes wrong in between becomes one sentence."""
    # The limit is for servers that strangers send images to; these are the user's own.
    Image.MAX_IMAGE_PIXELS = None
    try:
        with path.open("rb") as file:
            magic = file.read(16)
            file.seek(0)
            yield file, magic
    except (UserError, MemoryError):
        raise
    except Exception as error:  # damaged files make decoders raise anything
        raise UserError(f"{path}: expected an image, cannot read it ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    """Why, in a few words, without the names of objects in memory."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, UnidentifiedImageError):
        return "no known format"
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _header(path: Path, file: BinaryIO, magic: bytes) -> Header:
    if magic.startswith(_PNG):
        # A buffer would read the pixels between the heads of the chunks too.
        with path.open("rb", buffering=0) as chunks:
            return _png_header(chunks)
    with Image.open(file) as picture:
        mode, format_name = picture.mode, picture.format or ""
        sixteen, wide = mode.startswith("I;16"), mode in ("I", "F")
        lossy = format_name if format_name in _LOSSY else _lossy_webp(file, format_name)
        return Header(
            *picture.size,
            channels=1 if mode in _GREY else 3,
            bits=1 if mode == "1" else 16 if sixteen else 32 if wide else 8,
            kind={"F": "f", "I": "i"}.get(mode, "u"),
            alpha=picture.has_transparency_data and mode not in ("1", "L", "RGB"),
            palette=mode == "P",
            orientation=_orientation(picture),
            lossy=lossy,
        )


def _orientation(picture: Image.Image) -> int:
    value = picture.getexif().get(_ORIENTATION, 1)
    return value if value in range(1, 9) else 1


def _lossy_webp(file: BinaryIO, format_name: str) -> str:
    """`lossy WebP` if a WebP file is of that kind; its chunks say so."""
    if format_name != "WEBP":
        return ""
    file.seek(12)
    while len(head := file.read(8)) == 8:
        name, size = struct.unpack("<4sI", head)
        if name == b"VP8 ":
            return "lossy WebP"
        file.seek(size + size % 2, 1)
    return ""


def _png_header(file: FileIO) -> Header:
    """From the chunks: Pillow tells neither 2 and 4 bits nor, before decoding, the orientation."""
    file.seek(len(_PNG))
    orientation, transparent, name = 1, False, b""
    width = height = bits = colour = 0
    while len(head := file.read(8)) == 8:
        size, name = struct.unpack(">I4s", head)
        if name == b"IHDR":
            width, height, bits, colour = struct.unpack(">IIBB", file.read(10))
            file.seek(size - 10 + 4, 1)
        elif name == b"eXIf":
            exif = Image.Exif()
            exif.load(file.read(size))
            orientation = exif.get(_ORIENTATION, 1)
            file.seek(4, 1)
        else:
            transparent = transparent or name == b"tRNS"
            file.seek(size + 4, 1)
    if not width or not height or name != b"IEND":
        raise ValueError("the file is cut off")
    palette = colour == _BYTES_OF_PALETTE
    return Header(
        width,
        height,
        channels=1 if colour in (0, 4) else 3,
        bits=8 if palette else bits,
        alpha=colour in (4, 6) or (palette and transparent),
        palette=palette,
        orientation=orientation if orientation in range(1, 9) else 1,
    )


def _array(picture: Image.Image, head: Header, *, displayed: bool) -> np.ndarray:
    """What Pillow has opened as numbers."""
    mode = picture.mode
    if not displayed:
        # Of 1 bit Pillow makes bools of 0 and 255, and it scales grey of 2 and 4 bits to bytes.
        pixels = np.asarray(picture.convert("L") if mode == "1" else picture)
        scaled = mode in ("1", "L") and head.bits < 8
        return pixels // np.uint8(255 // (2**head.bits - 1)) if scaled else pixels
    if mode == "1":
        picture = picture.convert("L")
    elif mode not in _GREY and mode not in ("RGB", "RGBA"):
        picture = picture.convert("RGBA" if head.alpha else "RGB")
    return np.asarray(picture)


def _first(pixels: np.ndarray, channels: int) -> np.ndarray:
    """As many channels as there should be; grey without an axis of channels."""
    if pixels.ndim == 2:
        return pixels
    return pixels[..., 0] if channels == 1 else pixels[..., :channels]
