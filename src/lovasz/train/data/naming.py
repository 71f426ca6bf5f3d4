"""Which image belongs to which mask, by the names of the files."""

from __future__ import annotations

import shlex
import unicodedata
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

# Lossless kinds first: of several files for one image the first kind is taken.
LOSSLESS = (".tif", ".tiff", ".png", ".bmp", ".webp")
LOSSY = (".jpg", ".jpeg")
KINDS = (*LOSSLESS, *LOSSY)


class Key(NamedTuple):
    """What an image and its mask have in common: sub-folder and name, in composed Unicode."""

    folder: str
    name: str


def common_name(file_name: str, ending: str) -> str | None:
    """The part of a file's name that its image or mask shares; None if the ending is another.

    Args:
        file_name: With its extension.
        ending: What follows the common part, with or without the extension; or, with a `*` in
            the place of the common part, what stands around it.

    >>> common_name("a_mask.PNG", "_mask"), common_name("mask_7.png", "mask_*")
    ('a', '7')
    >>> common_name("a_mask.PNG", "_mask.png"), common_name("a.png", "_mask")
    ('a', None)
    """
    before, _, after = ending.rpartition("*")
    at = file_name.rfind(".")
    stem, extension = file_name[:at], file_name[at:].lower()
    whole = stem
    for kind in KINDS:
        if after.lower().endswith(kind):
            whole = stem + extension
            after = after[: -len(kind)] + kind
            break
    inside = len(whole) - len(before) - len(after)
    if inside > 0 and whole.startswith(before) and whole.endswith(after):
        return whole[len(before) : len(before) + inside]
    return None


def key(path: Path, folder: Path, name: str) -> Key:
    """The key of a file below a folder of images or masks."""
    return Key(composed(path.parent.relative_to(folder).as_posix()), composed(name))


def composed(name: str) -> str:
    """A name in composed Unicode: macOS writes accents as characters of their own."""
    return unicodedata.normalize("NFC", name)


def is_image(path: Path) -> bool:
    """Whether the extension is one of those that are read."""
    return path.suffix.lower() in KINDS


def preference(path: Path) -> tuple[int, str]:
    """The order in which files of the same name are taken."""
    return KINDS.index(path.suffix.lower()), path.name


def suggest(images: list[Path], masks: list[Path]) -> tuple[str, str] | None:
    """Endings for images and masks by which at least half of these images have a mask.

    >>> suggest([Path("1_sat.jpg"), Path("2_sat.jpg")], [Path("1_mask.png"), Path("2_mask.png")])
    ('_sat', '_mask')
    >>> suggest([Path("image_1.jpg")], [Path("mask_1.png")])
    ('image_*', 'mask_*')
    """
    stems = {mask.stem for mask in masks}
    chosen = [image.stem for image in images[:20]]
    if not stems or not chosen:
        return None
    votes: Counter[tuple[str, str]] = Counter()
    for backwards in (False, True):
        ordered = sorted((stem[::-1] if backwards else stem) for stem in stems)
        for stem in chosen:
            ends = _difference(stem[::-1] if backwards else stem, ordered)
            if ends:
                votes[(ends[0][::-1] + "*", ends[1][::-1] + "*") if backwards else ends] += 1
    for ends, _ in votes.most_common(3):
        found = [common_name(stem + ".png", ends[0]) for stem in chosen]
        matched = sum(name is not None and filled(ends[1], name) in stems for name in found)
        if ends[0] != ends[1] and 2 * matched >= len(chosen):
            return ends
    return None


def suggest_within(files: list[Path]) -> tuple[str, str] | None:
    """Endings of images and masks that are in one folder, as `suggest`.

    >>> suggest_within([Path(name) for name in ("1.png", "1_mask.png", "2.png", "2_mask.png")])
    ('', '_mask')
    """
    ordered = sorted(files, key=lambda path: (path.parent, path.stem, path.suffix == ".png"))
    near = [(one, other) for one, other in pairwise(ordered) if one.parent == other.parent]
    twins = [(one.suffix, other.suffix) for one, other in near if one.stem == other.stem]
    if 3 * len(twins) >= len(files) > 0:
        return Counter(twins).most_common(1)[0][0]
    pairs = [
        (one, other)
        for one, other in near
        if other.stem.startswith(one.stem) and one.stem != other.stem
    ]
    if 3 * len(pairs) < len(files):
        return None
    return suggest([one for one, _ in pairs], [other for _, other in pairs])


def hint(endings: tuple[str, str]) -> str:
    """What to pass for these endings.

    >>> hint(("", "_mask"))
    'pass --mask_ending _mask'
    """
    options = [
        f"--{kind}_ending {shlex.quote(ending)}"
        for kind, ending in zip(("image", "mask"), endings, strict=True)
        if ending
    ]
    return f"pass {' '.join(options)}"


def _difference(stem: str, ordered: list[str]) -> tuple[str, str] | None:
    """What follows the longest beginning that the stem shares with one of the others."""
    # Of those that share most the one with the least rest: `1_mask` and not `1_mask_2`.
    other = max(ordered, key=lambda other: (_shared(stem, other), -len(other)))
    at = _shared(stem, other)
    if at == 0:
        return None
    if at < min(len(stem), len(other)):
        # `_sat` and `_mask` instead of `sat` and `mask`: from the separator on.
        separator = max(stem.rfind(character, 0, at) for character in "_- .")
        at = separator if separator > 0 else at
    return stem[at:], other[at:]


def _shared(one: str, other: str) -> int:
    """The length of the beginning that both have."""
    for k, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return k
    return min(len(one), len(other))


def filled(ending: str, name: str) -> str:
    """The stem of a file with this common name.

    >>> filled("mask_*", "7"), filled("_mask", "7")
    ('mask_7', '7_mask')
    """
    before, _, after = ending.rpartition("*")
    return before + name + after
