"""What is in a folder of images: linked sub-folders too, and what is not read, with the reason."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lovasz.train.data.naming import is_image
from lovasz.train.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

# What operating systems and cameras' software put into folders beside what people do.
_SYSTEM = {"__MACOSX", "@eaDir", "$RECYCLE.BIN", "lost+found"}

_SHOWN = 3  # files of each kind that the line about what is left out names, if there are many
_MANY = 12
OTHER_KINDS = "files of other kinds"


class LeftOut(NamedTuple):
    """A file or folder that is not used, and why: what such files are, in the plural."""

    path: Path
    why: str


def what_is_left_out(left_out: Sequence[LeftOut], root: Path) -> str:
    """One line with the reasons, and with a few of the files of each; empty if there are none."""
    limit = _SHOWN if len(left_out) > _MANY else _MANY
    groups = []
    for why, paths in reasons(left_out, root).items():
        more = ", …" if len(paths) > limit else ""
        groups.append(f"{why}: {len(paths)} ({', '.join(paths[:limit])}{more})")
    return f"Left out: {'; '.join(groups)}." if groups else ""


def reasons(left_out: Sequence[LeftOut], root: Path) -> dict[str, list[str]]:
    """Of each reason what is left out for it: paths from the folder on, as text."""
    found: dict[str, list[str]] = defaultdict(list)
    for path, why in sorted(left_out, key=lambda one: one.why):
        found[why].append(_from(root, path))
    return dict(found)


def _from(root: Path, path: Path) -> str:
    """A path from the data set's folder on, as text that can be printed."""
    inner = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
    return inner.encode("utf-8", "replace").decode("utf-8")


class Content(NamedTuple):
    """The image files below a folder, in the order of their paths, and what else is there."""

    images: list[Path]
    left_out: list[LeftOut]


def walk(folder: Path, without: frozenset[Path] = frozenset()) -> Content:
    """All that is below a folder, but not what is below the folders `without`.

    Raises:
        UserError: If a folder cannot be read.
    """
    content = Content([], [])
    _visit(folder, without, (_identity(folder),), content)
    return Content(sorted(content.images), sorted(content.left_out))


def _visit(
    folder: Path, without: frozenset[Path], above: tuple[tuple[int, int], ...], content: Content
) -> None:
    for entry in entries(folder):
        path = folder / entry.name
        is_folder = os.path.isdir(path)
        if is_hidden(entry.name):
            if is_folder or is_image(path):
                content.left_out.append(LeftOut(path, "hidden files"))
        elif is_folder:
            here = _identity(path)
            if here in above:
                content.left_out.append(LeftOut(path, "links to a folder around them"))
            elif path not in without:
                _visit(path, without, (*above, here), content)
        elif not os.path.isfile(path):
            content.left_out.append(LeftOut(path, "links to nothing"))
        elif is_image(path):
            content.images.append(path)
        else:
            content.left_out.append(LeftOut(path, OTHER_KINDS))


def _identity(folder: Path) -> tuple[int, int]:
    """What is the same for a folder and a link to it."""
    at = os.stat(folder)
    return at.st_dev, at.st_ino


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """The entries of a folder, in the order of their names.

    Raises:
        UserError: If it cannot be read.
    """
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(
            f"data: expected a folder that can be read, got {folder}: {error.strerror}"
        ) from error


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is none of the user's images.

    >>> [is_hidden(name) for name in ("._1.png", ".ipynb_checkpoints", "1.png")]
    [True, True, False]
    """
    return name.startswith(".") or name in _SYSTEM


def folders(folder: Path) -> list[Path]:
    """The sub-folders that are not hidden."""
    return [path for path in _shown(folder) if os.path.isdir(path)]


def files(folder: Path) -> list[Path]:
    """The files in the folder itself that are not hidden."""
    return [path for path in _shown(folder) if os.path.isfile(path)]


def _shown(folder: Path) -> list[Path]:
    """What is in a folder; nothing if it cannot be read, for it may be none of the data set's."""
    try:
        found = entries(folder)
    except UserError:
        return []
    return [folder / entry.name for entry in found if not is_hidden(entry.name)]


def holds_images(folder: Path, depth: int = 2) -> bool:
    """Whether there is an image in the folder or down to so many sub-folders below it."""
    return any(map(is_image, files(folder))) or (
        depth > 0 and any(holds_images(path, depth - 1) for path in folders(folder))
    )
