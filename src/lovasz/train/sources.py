"""Which images the words of a command line mean: files, folders with all below them, patterns."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lovasz.train.data.naming import KINDS, is_image
from lovasz.train.data.walk import OTHER_KINDS, LeftOut, walk, what_is_left_out
from lovasz.train.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

_VIDEOS = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"}
_RESULTS = "folders of results"


@dataclass
class Sources:
    """Images in the order of their paths.

    Attributes:
        root: The deepest folder that holds all that was named.
        images: Paths of the images, all below the root.
        left_out: Files and folders that are none.
    """

    root: Path
    images: list[Path] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)

    @property
    def note(self) -> str:
        """One line on what was left out; empty if nothing was."""
        video = next((path for path, _ in self.left_out if _is_video(path)), None)
        hint = f" {_frames(video)}" if video else ""
        return what_is_left_out(self.left_out, self.root) + hint


def find_images(words: Sequence[str], results: Sequence[Path]) -> Sources:
    """The images that the words name.

    Args:
        words: Files, folders, or patterns such as "photos/**/*.jpg".
        results: Folders not to look into, because results are written there.

    Raises:
        UserError: If a word names nothing, or nothing that it names is an image.
    """
    parts = [_named(Path(word).expanduser(), results) for word in words]
    images = sorted({image for part in parts for image in part.images})
    left_out = [path for part in parts for path in part.left_out]
    sources = Sources(_common([part.root for part in parts]), images, left_out)
    if not images:
        raise UserError(
            f"images: expected files of the kinds {', '.join(kind[1:] for kind in KINDS)} in"
            f" {', '.join(words)}, found none. {sources.note}".rstrip()
        )
    return sources


def _named(path: Path, results: Sequence[Path]) -> Sources:
    """What one word names."""
    if path.is_file():  # whatever its extension: who names a file means it
        if _is_video(path):
            raise UserError(f"{path}: expected an image, got a video. {_frames(path)}")
        return Sources(path.parent, [path])
    if path.is_dir():
        here = path.resolve()
        inner = [folder.resolve() for folder in results]
        without = {path / folder.relative_to(here) for folder in inner if here in folder.parents}
        content = walk(path, frozenset(without))
        left_out = [LeftOut(folder, _RESULTS) for folder in without if folder.is_dir()]
        return Sources(path, content.images, content.left_out + left_out)
    return _matching(path, results)


def _matching(pattern: Path, results: Sequence[Path]) -> Sources:
    """The files that a pattern matches, below the folder before its first wildcard."""
    found = [Path(name) for name in sorted(glob.glob(str(pattern), recursive=True))]
    if not found:
        raise UserError(f"images: expected files, a folder or a pattern, found no {pattern}")
    root = Path(pattern.anchor)
    for name in pattern.relative_to(pattern.anchor).parts[:-1]:
        if glob.has_magic(name):
            break
        root /= name
    sources = Sources(root)
    avoided = {folder.resolve() for folder in results}
    for path in (path for path in found if path.is_file()):
        if avoided.intersection(path.resolve().parents):
            sources.left_out.append(LeftOut(path, _RESULTS))
        elif is_image(path):
            sources.images.append(path)
        else:
            sources.left_out.append(LeftOut(path, OTHER_KINDS))
    return sources


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in _VIDEOS


def _frames(video: Path) -> str:
    return f"For the frames of a video: ffmpeg -i {video.name} frames/%06d.png"


def _common(roots: Sequence[Path]) -> Path:
    if len(set(roots)) == 1:
        return roots[0]
    try:
        return Path(os.path.commonpath([os.path.abspath(root) for root in roots]))
    except ValueError as error:  # two drives of Windows
        raise UserError(f"images: expected one drive, got {', '.join(map(str, roots))}") from error
