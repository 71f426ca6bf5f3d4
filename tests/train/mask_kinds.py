"""Kinds of mask files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from tests.train.file_kinds import LABELS, VOID, Case, labels, note, png
from tests.train.image_kinds import grey_bits, palette, png16, tiff, tiff_bits

if TYPE_CHECKING:
    from pathlib import Path

BINARY = (LABELS > 0).astype(np.uint8)
COLOURS = np.array([[0, 0, 0], [128, 64, 128], [0, 0, 142]], dtype=np.uint8)
CODES = np.array([0, 1000, 40000], dtype=np.uint16)
THREE = np.dstack([LABELS] * 3)


def two_classes(root: Path) -> None:
    (root / "classes.txt").write_text("background\ntumour\n", encoding="utf-8")


def labelmap(root: Path) -> None:
    (root / "classes.txt").unlink()
    lines = ["# label:color_rgb:parts:actions", "sky:0,0,0::", "road:128,64,128::", "car:0,0,142::"]
    (root / "labelmap.txt").write_text("\n".join(lines), encoding="utf-8")


def coloured_palette(stem: Path) -> None:
    picture = Image.fromarray((LABELS + 5).astype(np.uint8))
    picture.putpalette([1] * 15 + COLOURS.ravel().tolist())
    picture.save(stem.with_suffix(".png"))


def transparent(stem: Path) -> None:
    alpha = np.full(LABELS.shape, 255, np.uint8)
    alpha[0, 0] = 0
    Image.fromarray(np.dstack([THREE, alpha])).save(stem.with_suffix(".png"))


def opaque(stem: Path) -> None:
    Image.fromarray(np.dstack([THREE, np.full_like(LABELS, 255)])).save(stem.with_suffix(".png"))


def turned(stem: Path) -> None:
    picture = Image.fromarray(np.ascontiguousarray(np.rot90(LABELS)))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(stem.with_suffix(".png"), exif=exif)


CASES = [
    Case(
        "grey of 8 bits: PNG, TIFF, BMP",
        "the value is the label",
        [
            png(LABELS),
            png(LABELS, ending=".tif"),
            png(LABELS, ending=".bmp"),
            tiff(LABELS, compression="zstd"),
            tiff(LABELS, photometric="miniswhite"),
        ],
        labels(LABELS),
    ),
    Case(
        "palette: PNG, TIFF, BMP",
        "the index is the label",
        [palette(".png"), palette(".tif"), palette(".bmp")],
        labels(LABELS),
    ),
    Case(
        "grey of 2 or 4 bits (PNG, TIFF)",
        "the value is the label, 0 to 3 or 0 to 15",
        [grey_bits(LABELS, 2), grey_bits(LABELS, 4), tiff_bits(LABELS, 2), tiff_bits(LABELS, 4)],
        labels(LABELS),
    ),
    Case(
        "black and white (1 bit)",
        "labels 0 and 1",
        [
            grey_bits(BINARY, 1),
            png(BINARY * 255, "1"),
            png(BINARY * 255, "1", ".tif"),
            png(BINARY * 255, "1", ".bmp"),
            tiff(BINARY.astype(bool)),
        ],
        note("Class without a pixel in the training part: car.", labels(BINARY)),
    ),
    Case(
        "colour with red, green and blue the same: PNG, TIFF, BMP, lossless WebP",
        "their value is the label",
        [
            png(THREE),
            png(THREE, ending=".bmp"),
            png(THREE, ending=".webp", lossless=True),
            tiff(THREE),
            opaque,
        ],
        labels(LABELS),
    ),
    Case(
        "255",
        "no label, unless it is the value of a class",
        [png(VOID)],
        note("Class without a pixel in the training part: car.", labels(VOID)),
    ),
    Case(
        "several values without a label, `--ignore-index '[2, 255]'`",
        "no label",
        [png(VOID), png(LABELS)],
        labels(VOID),
        {"ignore_index": [2, 255]},
    ),
    Case(
        "0 and 255, with two classes",
        "an error before the run: 255 would be no label",
        [png(BINARY * 255), png(BINARY * 255, ending=".tif")],
        r"data: expected labels of two or more classes in the training part, got only background"
        r" \(value 0\) and ignored pixels \(255\); --mask_values '\[0, 255\]' makes 255 the class"
        r" tumour",
        also=two_classes,
    ),
    Case(
        "0 and 255, `--mask-values '[0, 255]'`",
        "labels 0 and 1",
        [png(BINARY * 255)],
        labels(BINARY),
        {"mask_values": [0, 255]},
        two_classes,
    ),
    Case(
        "16 bits, `--mask-values '[0, 1000, 40000]'`",
        "labels 0, 1 and 2",
        [png16(CODES[LABELS]), tiff(CODES[LABELS]), tiff(CODES[LABELS].astype(np.int32))],
        labels(LABELS),
        {"mask_values": [0, 1000, 40000]},
    ),
    Case(
        "floating-point numbers without fractions (TIFF)",
        "the value is the label",
        [tiff(LABELS.astype(np.float32))],
        labels(LABELS),
    ),
    Case(
        "fractions, or numbers below 0",
        "an error before the run",
        [tiff(LABELS.astype(np.float32) + 0.5), tiff(LABELS.astype(np.int16) - 1)],
        r"0.tif: expected whole labels from 0 to 65535, got (0.5|-1)",
    ),
    Case(
        "a value without a class",
        "an error before the run",
        [png(np.where(LABELS == 2, 7, LABELS).astype(np.uint8))],
        r"0.png: expected labels from 0 to 2 or 255 for no label, got 7; --mask_values gives the",
    ),
    Case(
        "colours, with a table of them (`--palette`) or a labelmap.txt in the folder",
        "the class of the colour, also in palette images",
        [png(COLOURS[LABELS]), png(COLOURS[LABELS], ending=".tif"), coloured_palette],
        labels(LABELS),
        also=labelmap,
    ),
    Case(
        "a colour that is not in the table",
        "an error before the run",
        [png(np.where(LABELS[..., None] == 1, COLOURS[LABELS] + 1, COLOURS[LABELS]))],
        r"0.png: expected one of the colours of the table, got \(129, 65, 129\)",
        also=labelmap,
    ),
    Case(
        "colours without a table",
        "an error before the run",
        [png(COLOURS[LABELS])],
        r"0.png: expected one label per pixel .*, got several channels, for example"
        r" \(128, 64, 128\); --palette names a file with the colour of each class",
    ),
    Case(
        "JPEG, lossy WebP, TIFF with JPEG inside",
        "an error before the run: the values are not kept",
        [
            png(LABELS, ending=".jpg"),
            png(THREE, ending=".webp", lossless=False),
            tiff(THREE, compression="jpeg"),
        ],
        r"0\.(jpg|webp|tif): expected a mask that keeps its labels .*, got (JPEG|lossy WebP), ",
    ),
    Case(
        "transparent pixels",
        "an error before the run",
        [transparent],
        r"0.png: expected a mask without transparent pixels, got some",
    ),
    Case(
        "EXIF orientation",
        "turned as images are",
        [turned],
        labels(LABELS),
    ),
    Case(
        "no label in any pixel of a part",
        "an error before the run",
        [png(np.full_like(LABELS, 255))],
        r"data: expected labels in the 1 masks of the training part, found none: all pixels have"
        r" ignored values \(255\)",
    ),
    Case(
        "another size than that of the image",
        "an error before the run",
        [png(LABELS[:3])],
        r"0.png: expected a mask of 6 x 4 pixels like .*0.png, got 6 x 3",
    ),
]
