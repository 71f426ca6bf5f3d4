"""What a prediction writes where, and what a folder of masks says about how it was made."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lovasz.train.errors import UserError
from lovasz.train.prediction_files import mask_values
from lovasz.train.writing import write_text

if TYPE_CHECKING:
    from lovasz.train.saved import Saved
    from lovasz.train.sources import Sources

RECORD = "predict.json"  # in every folder that is written
# What folders of earlier versions do not say, because there was no other.
_EARLIER = {"decision": "argmax"}


@dataclass(frozen=True)
class Job:
    """The files of one image."""

    image: Path
    mask: Path
    overlay: Path | None
    probabilities: Path | None

    @property
    def is_done(self) -> bool:
        """Whether all its files are there, and newer than the image."""
        files = [path for path in (self.mask, self.overlay, self.probabilities) if path]
        try:
            changed = self.image.stat().st_mtime
            return all(path.stat().st_mtime >= changed for path in files)
        except OSError:
            return False


def list_jobs(
    sources: Sources, masks: Path, overlays: Path | None, probabilities: Path | None
) -> tuple[list[Job], list[str]]:
    """A job for each image, and a sentence for each that would take the files of another one.

    Raises:
        UserError: If a mask would take the place of an image.
    """
    jobs: dict[Path, Job] = {}
    clashes = []
    for image in sources.images:
        name = Path(os.path.relpath(image, sources.root))
        mask = masks / name.with_suffix(".png")
        if mask in jobs:
            clashes.append(
                f"{image}: its mask would take the place of that of {jobs[mask].image},"
                f" {mask}; rename one of them"
            )
            continue
        if mask.resolve() == image.resolve():
            raise UserError(f"out: expected another folder than that of the images, got {masks}")
        overlay = overlays and overlays / name.with_suffix(".jpg")
        jobs[mask] = Job(
            image, mask, overlay, probabilities and probabilities / name.with_suffix(".npz")
        )
    return list(jobs.values()), clashes


def record(
    saved: Saved, window: int, precision: str, decision: str, images: Path
) -> dict[str, Any]:
    """What decides the content of masks, so that a folder holds masks of one kind."""
    return {
        "checkpoint": str(saved.path),
        "sha256": saved.digest,
        "images": str(images.resolve()),
        "window": window,
        "precision": precision,
        "decision": decision,
        "classes": saved.classes,
        "mask_values": mask_values(saved.mask_values),
        "colours": [list(colour) for colour in saved.colours],
    }


def claim(folder: Path, now: dict[str, Any]) -> None:
    """Write down what the folder is for, or check that it was for the same.

    Raises:
        UserError: If it holds something else.
    """
    path = folder / RECORD
    if path.is_file():
        before = _read(path)
        # The path of a checkpoint says little: folders are renamed, and trained into anew.
        for name in (name for name in now if name != "checkpoint"):
            made_with = before.get(name, _EARLIER.get(name))
            if made_with != now[name]:
                raise UserError(
                    f"out: expected a new folder, got {folder}, which was made with"
                    f" {name} {made_with}, now {now[name]}"
                )
    elif any(not entry.name.startswith(".") for entry in folder.iterdir()):
        raise UserError(
            f"out: expected a new folder, got {folder}, which holds something else than predictions"
        )
    else:
        write_text(path, json.dumps(now, indent=1, ensure_ascii=False) + "\n")


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: expected what made this folder, cannot read it") from error
    return content if isinstance(content, dict) else {}
