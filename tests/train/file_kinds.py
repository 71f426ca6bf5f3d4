"""Kinds of files and what each gives: the cases of a test and the rows of a table in the docs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from lovasz.train.data import DataSet

HEIGHT, WIDTH = 4, 6
COLOUR = np.arange(HEIGHT * WIDTH * 3, dtype=np.uint8).reshape(HEIGHT, WIDTH, 3) * 3
GREY = np.ascontiguousarray(COLOUR[..., 0])
LABELS = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH) % 3
VOID = np.where(LABELS == 2, 255, LABELS).astype(np.uint8)
NAMES = ["sky", "road", "car"]

# Writes a file, or several, for a path without an ending.
Write = "Callable[[Path], Any]"


@dataclass(frozen=True)
class Case:
    """Files of one kind, which all give the same.

    Attributes:
        files: What they are, for the table.
        gives: What they give, for the table.
        write: Functions that write a file, or several, for a path without an ending; each writes
            the image or mask of a data set of its own.
        check: What the data set must be; for errors the pattern of the sentence.
        options: Of the data.
        also: Writes what else the folder of the data set holds.
    """

    files: str
    gives: str
    write: Sequence[Callable[[Path], Any]]
    check: Callable[[DataSet], None] | str
    options: dict[str, Any] = field(default_factory=dict)
    also: Callable[[Path], Any] = lambda root: None


def png(pixels: np.ndarray, mode: str | None = None, ending: str = ".png", **options: Any) -> Any:
    """Writes pixels with Pillow."""

    def write(stem: Path) -> None:
        picture = Image.fromarray(pixels)
        picture = picture if mode is None else picture.convert(mode)
        picture.save(stem.with_suffix(ending), **options)

    return write


def images(expected: np.ndarray, dtype: str = "uint8", within: float = 0) -> Any:
    """The image is this (H, W, C) or (H, W), as these numbers."""

    def check(data: DataSet) -> None:
        image, labels = data.parts["train"][0]
        wanted = expected if expected.ndim == 3 else expected[..., None]
        assert str(image.dtype) == f"torch.{dtype}"
        assert tuple(image.shape) == (wanted.shape[2], *wanted.shape[:2])
        assert data.statistics.channels == len(image)
        assert data.statistics.normalise(image[None]).isfinite().all()
        difference = image.movedim(0, -1).numpy().astype(float) - wanted
        assert abs(difference).max() <= within + (1e-3 if dtype == "float32" else 0)
        assert tuple(labels.shape) == tuple(image.shape[1:])
        assert tuple(data.statistics.displayed(image).shape) == (3, *image.shape[1:])

    return check


def labels(expected: np.ndarray) -> Any:
    """The labels are these."""

    def check(data: DataSet) -> None:
        assert np.array_equal(data.parts["train"][0][1].numpy(), expected)
        counts = np.bincount(expected.ravel(), minlength=256)[: len(data.classes)]
        assert data.counts["train"].pixels.tolist() == counts.tolist()

    return check


def note(expected: str, then: Callable[[DataSet], None] = lambda data: None) -> Any:
    """A note says this."""

    def check(data: DataSet) -> None:
        assert any(expected in sentence for sentence in data.notes), data.notes
        then(data)

    return check


def write_images(case: Case, write: Any, root: Path) -> None:
    """A data set of training and validation images of this kind, with plain masks."""
    for part in ("train", "val"):
        for kind in ("images", "masks"):
            (root / part / kind).mkdir(parents=True)
        write(root / part / "images" / "0")
        for image in list((root / part / "images").iterdir()):
            if not (root / part / "masks" / f"{image.stem}.png").exists():
                Image.fromarray(LABELS).save(root / part / "masks" / f"{image.stem}.png")
    _finish(case, root)


def write_masks(case: Case, write: Any, root: Path) -> None:
    """A data set of plain images with training masks of this kind."""
    for part in ("train", "val"):
        for kind in ("images", "masks"):
            (root / part / kind).mkdir(parents=True)
        Image.fromarray(COLOUR).save(root / part / "images" / "0.png")
        write(root / part / "masks" / "0")
    _finish(case, root)


def _finish(case: Case, root: Path) -> None:
    (root / "classes.txt").write_text("\n".join(NAMES), encoding="utf-8")
    case.also(root)


def table(heading: str, cases: Sequence[Case]) -> str:
    """The rows of the cases as a table."""
    rows = [(heading, "gives"), ("---", "---")]
    rows += [(case.files, case.gives) for case in cases]
    return "".join(f"| {files} | {gives} |\n" for files, gives in rows)
