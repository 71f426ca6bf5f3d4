"""`lovasz predict`: masks of images that a trained network has not seen."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from lovasz.train.data.naming import is_image
from lovasz.train.errors import UserError, expect
from lovasz.train.evaluate import Interrupted
from lovasz.train.fitted import DecisionConfig, gain_words, offsets_of
from lovasz.train.folder import locked
from lovasz.train.inference import predict_labels, predict_probabilities
from lovasz.train.prediction_files import (
    half_precision,
    mask_values,
    write_mask,
    write_overlay,
    write_probabilities,
)
from lovasz.train.prediction_folders import claim, list_jobs, record
from lovasz.train.processes import make_fabric
from lovasz.train.progress import INTERRUPTED, image_bar, stop_on_signal
from lovasz.train.saved import UseConfig, read_saved
from lovasz.train.sources import find_images
from lovasz.train.writing import write_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console
    from torch import Tensor, nn

    from lovasz.train.prediction_folders import Job
    from lovasz.train.saved import Saved
    from lovasz.train.sources import Sources

FAILURES = "not_predicted.txt"
_SHOWN = 20  # sentences about single images on the screen; the file has all


@dataclass(kw_only=True)
class PredictConfig(UseConfig, DecisionConfig):
    """Predict the labels of images by the network of a run, and write them as masks.

    Args:
        images: Image files, folders with all below them, or patterns such as "photos/**/*.jpg".
        out: Folder for the masks: for each image a palette PNG of the same name, in the same
            sub-folders, with the values that the masks of the training had.
        overlays: Folder for pictures of the images under the colours of their classes; null for
            none.
        probabilities: Folder for the probabilities of the classes, float16 NumPy files (.npz);
            null for none.
    """

    images: list[str]
    out: str = "runs/predict"
    overlays: str | None = None
    probabilities: str | None = None

    @property
    def folders(self) -> list[Path]:
        """All that are written to; that of the masks first."""
        given = (self.out, self.overlays, self.probabilities)
        return [Path(folder).expanduser() for folder in given if folder]

    def __post_init__(self) -> None:
        """Check what the types do not say."""
        super().__post_init__()
        for folder in self.folders:
            expect(not is_image(folder), "out", "a folder", folder)
        different = len({folder.resolve() for folder in self.folders}) == len(self.folders)
        listed = ", ".join(map(str, self.folders))
        expect(different, "out, overlays, probabilities", "different folders", listed)


def predict(config: PredictConfig, console: Console) -> int:
    """Predict what is left to do; the exit status is 2 where an image could not be predicted.

    Raises:
        UserError: If run, decision, images or folders do not fit together, or a file cannot be
            written.
    """
    saved = read_saved(config.run)
    offsets = offsets_of(config, saved.decision, saved.path)
    sources = find_images(config.images, config.folders)
    masks, overlays, probabilities = (
        Path(folder).expanduser() if folder else None
        for folder in (config.out, config.overlays, config.probabilities)
    )
    assert masks is not None
    jobs, failures = list_jobs(sources, masks, overlays, probabilities)
    window = config.window or saved.window
    made_with = record(saved, window, config.precision, config.decision, sources.root)
    with ExitStack() as locks:
        for folder in config.folders:
            locks.enter_context(locked(folder))
            claim(folder, made_with)
        for line in _introduction(config, saved, sources):
            console.print(line, highlight=False, soft_wrap=True)
        todo = [job for job in jobs if not job.is_done]
        with stop_on_signal() as stop:
            found, complete = _Work(config, saved, offsets, stop).do(todo, console)
        done = sum(job.mask.is_file() for job in jobs)
        before = len(jobs) - len(todo)
        finished = f", {before:,} of them from before" if before else ""
        console.print(f"{_count(done, 'mask')} in {masks}{finished}", highlight=False)
        _report(failures + found, masks)
    if not complete:
        console.print("Interrupted. The same command goes on.")
        return INTERRUPTED
    return 2 if failures + found else 0


def _introduction(config: PredictConfig, saved: Saved, sources: Sources) -> list[str]:
    """Which network, which images, and what another decision has gained or this one has."""
    network = f"{saved.path}: {len(saved.classes)} classes, {_count(saved.epochs, 'epoch')}"
    images = f"{_count(len(sources.images), 'image')} in {sources.root}"
    return [network, images, *filter(None, [sources.note, _decision_words(config, saved)])]


def _decision_words(config: PredictConfig, saved: Saved) -> str:
    """What the fitted decision gains; nothing where it may be none and was not asked for."""
    decision = saved.decision
    if decision is None or (config.decision == "argmax" and decision.within_noise):
        return ""
    option = "the fitted decision" if config.decision == "fitted" else "--decision fitted"
    return (
        f"Gain of {option} over argmax on images of the validation part that it was not fitted to:"
        f" {gain_words(decision)}."
    )


def _count(number: int, name: str) -> str:
    """A number of things.

    >>> _count(1, "image"), _count(2000, "image")
    ('1 image', '2,000 images')
    """
    return f"{number:,} {name}{'s' * (number != 1)}"


class _Work:
    """The prediction of one image after the other."""

    def __init__(
        self,
        config: PredictConfig,
        saved: Saved,
        offsets: Tensor | None,
        stop: Callable[[], bool],
    ) -> None:
        self.saved, self.offsets, self.stop = saved, offsets, stop
        self.window = config.window or saved.window
        self.values = mask_values(saved.mask_values)
        fabric = make_fabric(config)
        self.network: nn.Module = fabric.setup(saved.network)

    def do(self, jobs: Sequence[Job], console: Console) -> tuple[list[str], bool]:
        """A sentence for each image that could not be read, and whether all were tried."""
        failures: list[str] = []
        with image_bar(console, len(jobs)) as show:
            for k, (job, image) in enumerate(self._read_ahead(jobs)):

                def windows(done: int, total: int, before: int = k) -> None:
                    show(before + done / total)
                    if self.stop():
                        raise Interrupted

                if self.stop():
                    return failures, False
                try:
                    if isinstance(image, UserError):
                        failures.append(str(image))
                    else:
                        self._predict(job, image, windows)
                except Interrupted:
                    return failures, False
                show(k + 1)
        return failures, True

    def _read_ahead(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Tensor | UserError]]:
        """The images in turn; the next one is read while the network is busy with this one."""
        with ThreadPoolExecutor(1) as pool:
            following = None
            for k, job in enumerate(jobs):
                image = following or pool.submit(self._read, job.image)
                last = k + 1 == len(jobs)
                following = None if last else pool.submit(self._read, jobs[k + 1].image)
                yield job, image.result()

    def _read(self, path: Path) -> Tensor | UserError:
        try:
            return self.saved.read(path)
        except UserError as error:
            return error

    def _predict(self, job: Job, image: Tensor, windows: Callable[[int, int], None]) -> None:
        """Write the files of an image, the mask as the last one."""
        saved = self.saved
        options = (self.network, image[None], self.window, saved.statistics)
        if job.probabilities is None:
            labels = predict_labels(*options, offsets=self.offsets, progress=windows)[0]
        else:
            size = image.shape[1:]
            labels = torch.empty(size, dtype=torch.uint8)
            with half_precision((len(saved.classes), *size), job.probabilities.parent) as table:
                predict_probabilities(
                    *options,
                    out=table[None],
                    labels=labels[None],
                    offsets=self.offsets,
                    progress=windows,
                )
                write_probabilities(job.probabilities, table, saved.classes)
        if job.overlay is not None:
            write_overlay(job.overlay, saved.statistics.displayed(image), labels, saved.colours)
        write_mask(job.mask, labels, self.values, saved.colours)


def _report(failures: list[str], folder: Path) -> None:
    """A sentence for each image without a mask: on the screen, and of many all in a file."""
    path = folder / FAILURES
    path.unlink(missing_ok=True)
    for sentence in failures[:_SHOWN]:
        print(f"lovasz: error: {sentence}", file=sys.stderr)
    if len(failures) > _SHOWN:
        write_text(path, "\n".join([*failures, ""]))
        more = len(failures) - _SHOWN
        print(f"lovasz: error: {more:,} more images without a mask: {path}", file=sys.stderr)
