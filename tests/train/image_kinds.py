"""Kinds of image files."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from tests.train.file_kinds import COLOUR, GREY, HEIGHT, LABELS, WIDTH, Case, images, note, png

if TYPE_CHECKING:
    from pathlib import Path

WIDE = np.arange(HEIGHT * WIDTH * 5, dtype=np.uint16).reshape(HEIGHT, WIDTH, 5) * 500
FLOATS = np.linspace(0, 1, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)
FOUR_BITS = (GREY // 17).astype(np.uint8)
ALPHA = np.dstack([COLOUR, GREY])


def tiff(pixels: np.ndarray, **options: Any) -> Any:
    """Writes pixels with tifffile."""
    return lambda stem: tifffile.imwrite(stem.with_suffix(".tif"), pixels, **options)


def png16(pixels: np.ndarray) -> Any:
    """Writes a PNG of 16 bits."""
    content = imagecodecs.png_encode(np.ascontiguousarray(pixels))
    return lambda stem: stem.with_suffix(".png").write_bytes(content)


def grey_bits(values: np.ndarray, bits: int) -> Any:
    """Writes a grey PNG of so few bits, by the palette that Pillow can write, without it."""

    def write(stem: Path) -> None:
        stem.with_suffix(".png").write_bytes(grey_png(values, bits))

    return write


def grey_png(values: np.ndarray, bits: int) -> bytes:
    """A grey PNG of 1, 2 or 4 bits; Pillow writes none of 2 and 4."""
    rows = [b"\0" + packed(row, bits) for row in values]

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    height, width = values.shape
    head = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"".join(rows)))
        + chunk(b"IEND", b"")
    )


def tiff_bits(values: np.ndarray, bits: int) -> Any:
    """Writes a grey TIFF of so few bits, which tifffile reads and does not write."""

    def write(stem: Path) -> None:
        rows = [packed(row, bits) for row in values]
        height, width = values.shape
        entries = [(256, width), (257, height), (258, bits), (259, 1), (262, 1), (273, 8)]
        entries += [(277, 1), (278, height), (279, sum(map(len, rows)))]
        strip = b"".join(rows).ljust(64, b"\0")
        directory = struct.pack("<H", len(entries))
        directory += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
        head = struct.pack("<2sHI", b"II", 42, 8 + len(strip))
        stem.with_suffix(".tif").write_bytes(head + strip + directory + bytes(4))

    return write


def packed(row: np.ndarray, bits: int) -> bytes:
    """The last bits of each number, one after the other."""
    return np.packbits(np.unpackbits(row[:, None], axis=1)[:, -bits:].ravel()).tobytes()


def palette(ending: str) -> Any:
    """Writes the labels as indices of a palette."""

    def write(stem: Path) -> None:
        picture = Image.fromarray(LABELS)
        picture.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
        picture.save(stem.with_suffix(ending))

    return write


def oriented(orientation: int, ending: str = ".jpg", **options: Any) -> Any:
    """Writes an image that is stored turned, and says so."""

    def write(stem: Path) -> None:
        inverse = {
            2: Image.Transpose.FLIP_LEFT_RIGHT,
            3: Image.Transpose.ROTATE_180,
            4: Image.Transpose.FLIP_TOP_BOTTOM,
            5: Image.Transpose.TRANSPOSE,
            6: Image.Transpose.ROTATE_90,
            7: Image.Transpose.TRANSVERSE,
            8: Image.Transpose.ROTATE_270,
        }[orientation]
        picture = Image.fromarray(COLOUR).transpose(inverse)
        exif = Image.Exif()
        exif[0x0112] = orientation
        picture.save(stem.with_suffix(ending), exif=exif, **options)

    return write


def two(one: Any, other: Any) -> Any:
    """Writes two images."""

    def write(stem: Path) -> None:
        one(stem)
        other(stem.with_name("1"))

    return write


def cut_off(stem: Path) -> None:
    png(COLOUR)(stem)
    path = stem.with_suffix(".png")
    path.write_bytes(path.read_bytes()[:-20])


def text(stem: Path) -> None:
    stem.with_suffix(".png").write_text("hello", encoding="utf-8")


def stored_sideways(stem: Path) -> None:
    oriented(6, ".png")(stem)
    masks = stem.parents[1] / "masks"
    Image.fromarray(np.ascontiguousarray(np.rot90(LABELS))).save(masks / f"{stem.name}.png")


def cmyk(ending: str, **options: Any) -> Any:
    return png(COLOUR, "CMYK", ending, **options)


_PALETTE = np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90]], dtype=np.uint8)
_BYTES = 255 / 65535

CASES = [
    Case(
        "colour of 8 bits: PNG, BMP, TIFF, WebP, JPEG",
        "3 channels of bytes",
        [
            png(COLOUR),
            png(COLOUR, ending=".bmp"),
            png(COLOUR, ending=".webp", lossless=True),
            png(COLOUR, ending=".tif"),
            tiff(COLOUR, compression="zlib", predictor=True),
            tiff(COLOUR, compression="zstd"),
            tiff(COLOUR, compression="lzw"),
            tiff(COLOUR, bigtiff=True, byteorder=">"),
            tiff(np.moveaxis(COLOUR, -1, 0), photometric="rgb", planarconfig="separate"),
            tiff(COLOUR, tile=(16, 16)),
        ],
        images(COLOUR),
    ),
    Case(
        "the same with losses",
        "3 channels of bytes",
        [
            png(COLOUR, ending=".jpg", quality=98, subsampling=0),
            png(COLOUR, ending=".webp", quality=98),
            tiff(COLOUR, compression="jpeg", compressionargs={"level": 98}),
        ],
        images(COLOUR, within=40),
    ),
    Case(
        "grey of 8 bits",
        "1 channel of bytes, if all images are grey",
        [
            png(GREY),
            png(GREY, ending=".bmp"),
            tiff(GREY),
            tiff(255 - GREY, photometric="miniswhite"),
            png(GREY, "LA"),
        ],
        images(GREY),
    ),
    Case(
        "grey beside colour",
        "3 channels of bytes",
        [two(png(GREY), png(COLOUR))],
        note(
            "Channels: 2 of 4 images are grey and read as colour.",
            images(np.dstack([GREY, GREY, GREY])),
        ),
    ),
    Case(
        "grey of 1, 2 or 4 bits (PNG, TIFF)",
        "1 channel of bytes from 0 to 255",
        [grey_bits(FOUR_BITS, 4), tiff_bits(FOUR_BITS, 4)],
        images(FOUR_BITS * 17),
    ),
    Case(
        "black and white (1 bit)",
        "1 channel of bytes, 0 and 255",
        [
            grey_bits(FOUR_BITS % 2, 1),
            png(FOUR_BITS % 2 * 255, "1"),
            png(FOUR_BITS % 2 * 255, "1", ".tif"),
            png(FOUR_BITS % 2 * 255, "1", ".bmp"),
            tiff(FOUR_BITS % 2 == 0, photometric="miniswhite"),
        ],
        images(FOUR_BITS % 2 * 255),
    ),
    Case(
        "palette",
        "3 channels, the colours of the palette",
        [palette(".png"), palette(".bmp"), palette(".tif")],
        images(_PALETTE[LABELS]),
    ),
    Case(
        "CMYK (JPEG, TIFF)",
        "3 channels: red, green, blue",
        [cmyk(".tif"), cmyk(".jpg", quality=98, subsampling=0)],
        images(COLOUR, within=40),
    ),
    Case(
        "16 bits, grey or colour (PNG, TIFF)",
        "65535 becomes 255; mean and spread of the training part",
        [png16(WIDE[..., :3]), tiff(WIDE[..., :3]), tiff(WIDE[..., :3], byteorder=">")],
        images(WIDE[..., :3] * _BYTES, "float32"),
    ),
    Case(
        "16 bits of which fewer are used, `--value-range '[0, 4095]'`",
        "4095 becomes 255, more too",
        [png16(WIDE[..., 0]), tiff(WIDE[..., 0])],
        images((WIDE[..., 0] * (255 / 4095)).clip(0, 255), "float32"),
        {"value_range": [0, 4095]},
    ),
    Case(
        "signed 16 bits (TIFF)",
        "-32768 becomes 0, 32767 becomes 255",
        [tiff(WIDE[..., 0].astype(np.int16))],
        images((WIDE[..., 0].astype(np.int16) + 32768.0) * _BYTES, "float32"),
    ),
    Case(
        "floating-point numbers from 0 to 1 (TIFF)",
        "1 becomes 255",
        [tiff(FLOATS), tiff(FLOATS.astype(np.float64)), tiff(FLOATS, compression="zlib")],
        images(FLOATS * 255, "float32"),
    ),
    Case(
        "other floating-point numbers, `--value-range '[-1, 3]'`",
        "-1 becomes 0, 3 becomes 255",
        [tiff(FLOATS * 4 - 1)],
        images(FLOATS * 255, "float32"),
        {"value_range": [-1, 3]},
    ),
    Case(
        "other floating-point numbers without it",
        "an error before the run",
        [tiff(FLOATS * 40)],
        r"0.tif: expected floating-point pixels from 0 to 1, got 0 to 40; --value_range gives",
    ),
    Case(
        "NaN",
        "an error before the run",
        [tiff(np.where(FLOATS > 0.5, np.nan, FLOATS))],
        r"0.tif: expected finite pixels, got nan",
        {"value_range": [0, 10]},
    ),
    Case(
        "any number of channels (TIFF), interleaved or one after the other",
        "as many channels; mean and spread of the training part",
        [
            tiff(WIDE, photometric="minisblack", planarconfig="contig"),
            tiff(np.moveaxis(WIDE, -1, 0), photometric="minisblack", planarconfig="separate"),
            tiff(np.ascontiguousarray(np.moveaxis(WIDE, -1, 0)), photometric="minisblack"),
            tiff(np.ascontiguousarray(np.moveaxis(WIDE, -1, 0)), imagej=True),
        ],
        images(WIDE * _BYTES, "float32"),
    ),
    Case(
        "4 channels of 8 bits (TIFF), infrared or transparency",
        "4 channels of bytes; mean and spread of the training part",
        [tiff(ALPHA), tiff(ALPHA, photometric="rgb", extrasamples=["unspecified"])],
        images(ALPHA),
    ),
    Case(
        "more channels than wanted, `--channels 3`",
        "the first 3",
        [tiff(ALPHA)],
        images(COLOUR),
        {"channels": 3},
    ),
    Case(
        "images of 3 and of 4 channels",
        "an error before the run, with `--channels 3` the first 3",
        [two(tiff(ALPHA), png(COLOUR))],
        r"1.png: expected an image with 4 channels like .*0.tif, got 3; --channels takes the first",
    ),
    Case(
        "transparency (PNG, WebP, palettes)",
        "left out, which is told",
        [png(ALPHA), png(ALPHA, ending=".webp", lossless=True, exact=True), png16(ALPHA)],
        note("Transparency: 2 of 2 images are read without it; --channels 4", images(COLOUR)),
    ),
    Case(
        "transparency, `--channels 4`",
        "the fourth channel",
        [png(ALPHA)],
        images(ALPHA),
        {"channels": 4},
    ),
    Case(
        "EXIF orientation (JPEG, PNG, WebP, TIFF)",
        "turned upright, as on a screen, which is told",
        [oriented(k, ".png") for k in range(2, 9)]
        + [
            oriented(6, ".webp", lossless=True),
            oriented(6, ".tif"),
            oriented(8, ".tif", compression="tiff_lzw"),
        ],
        note("EXIF orientation: 2 of 2 images are turned upright", images(COLOUR)),
    ),
    Case(
        "masks drawn on stored pixels, `--orientation stored`",
        "not turned",
        [stored_sideways],
        images(np.ascontiguousarray(np.rot90(COLOUR))),
        {"orientation": "stored"},
    ),
    Case(
        "masks drawn on stored pixels without it",
        "an error before the run, if the sizes say so",
        [stored_sideways],
        r"masks/0.png: expected a mask of 6 x 4 pixels like .*, got 4 x 6; --orientation stored",
    ),
    Case(
        "a stack of images of several depths or times",
        "an error before the run",
        [tiff(np.zeros((3, HEIGHT, WIDTH), np.uint16), imagej=True, metadata={"axes": "ZYX"})],
        r"0.tif: expected an image, cannot read it \(a stack of images with the axes ZYX",
    ),
    Case(
        "a file that is cut off, empty or no image",
        "an error before the run",
        [cut_off, text, lambda stem: stem.with_suffix(".jpg").write_bytes(b"")],
        r"0\.(png|jpg): expected an image, cannot read it \(",
    ),
]
