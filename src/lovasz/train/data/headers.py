"""What the heads of all files of a data set say, before a run fails hours later."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lovasz.train.data.images import Reading, as_bytes, header
from lovasz.train.data.looking import Show, for_each, silent
from lovasz.train.data.masks import mask_header
from lovasz.train.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from lovasz.train.data.raster import Header


class Heads(NamedTuple):
    """What the images and masks of a data set have in common.

    Attributes:
        channels: Of the images, as they are read.
        as_bytes: Whether all images hold bytes.
        floating: Whether an image holds floating-point numbers.
        coloured: Whether a mask holds colours, or the indices of a palette.
        pixels: Of the largest image.
        notes: Sentences about what is done with the images.
    """

    channels: int
    as_bytes: bool
    floating: bool
    coloured: bool
    pixels: int
    notes: list[str]


def look_at_heads(
    parts: Mapping[str, Sequence[tuple[Path, Path]]], reading: Reading, show: Show = silent
) -> Heads:
    """Read all heads, and compare the sizes of images and masks.

    Raises:
        UserError: If a file cannot be read, a mask has another size than its image, or the images
            have different numbers of channels of which none is asked for.
    """
    pairs = [pair for part in parts.values() for pair in part]
    heads = for_each(
        pairs, lambda pair: _heads_of(*pair, reading), show=show, title="looking at the files"
    )
    images = [image for image, _ in heads]
    paths = [path for path, _ in pairs]
    channels = _common_channels(paths, images, reading.channels)
    return Heads(
        channels=channels,
        as_bytes=all(as_bytes(head, reading) for head in images),
        floating=any(head.kind == "f" for head in images),
        coloured=any(mask.channels > 1 for _, mask in heads),
        pixels=max(head.width * head.height for head in images),
        notes=_notes(images, channels, reading),
    )


def _heads_of(image_path: Path, mask_path: Path, reading: Reading) -> tuple[Header, Header]:
    image = header(image_path, reading)
    mask = mask_header(mask_path, reading.orientation)
    size, got = image[:2], mask[:2]
    if size != got:
        hint = ""
        if image.orientation >= 5 and size == got[::-1]:
            other = "stored" if reading.orientation == "upright" else "upright"
            hint = f"; --orientation {other} reads the image the other way"
        raise UserError(
            f"{mask_path}: expected a mask of {_by(*size)} pixels like {image_path},"
            f" got {_by(*got)}{hint}"
        )
    return image, mask


def _common_channels(paths: Sequence[Path], heads: Sequence[Header], wanted: int) -> int:
    """How many channels all images are read with."""
    if wanted:
        for path, head in zip(paths, heads, strict=True):
            has = head.channels
            enough = wanted <= has or (wanted == 3 and has == 1)
            if not enough and wanted != has + head.alpha:
                raise UserError(f"{path}: expected an image with {wanted} channels, got {has}")
        return wanted
    first = {head.channels: path for path, head in zip(paths[::-1], heads[::-1], strict=True)}
    if set(first) <= {1, 3}:
        return max(first)
    (has, path), *others = sorted(first.items(), reverse=True)
    if others:
        raise UserError(
            f"{others[-1][1]}: expected an image with {has} channels like {path}, got"
            f" {others[-1][0]}; --channels takes the first ones of more"
        )
    return has


def _notes(images: Sequence[Header], channels: int, reading: Reading) -> list[str]:
    """What readers should know about the images, because it is not seen in the files' names."""
    notes = []
    turned = sum(head.orientation > 1 for head in images)
    if turned and reading.orientation == "upright":
        notes.append(
            f"EXIF orientation: {_count(turned, images)} turned upright; --orientation stored"
            " reads them as they are stored."
        )
    elif turned:
        notes.append(f"EXIF orientation: {_count(turned, images)} not turned upright.")
    alpha = sum(head.alpha and channels == head.channels for head in images)
    if alpha:
        notes.append(
            f"Transparency: {_count(alpha, images)} read without it; --channels {channels + 1}"
            " takes it as a channel."
        )
    grey = sum(head.channels == 1 for head in images)
    if grey and channels == 3:
        notes.append(f"Channels: {_count(grey, images)} grey and read as colour.")
    return notes


def _count(count: int, of: Sequence[object]) -> str:
    """So many images, in words and with the verb.

    >>> _count(1, "abc"), _count(2, "abc")
    ('1 of 3 images is', '2 of 3 images are')
    """
    return f"{count:,} of {len(of):,} images {'is' if count == 1 else 'are'}"


def _by(width: int, height: int) -> str:
    return f"{width} x {height}"
