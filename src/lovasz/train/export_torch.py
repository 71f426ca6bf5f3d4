"""A network with its normalisation as a program of torch.export."""

from __future__ import annotations

import json
import math
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn import functional as F

from lovasz.train.errors import UserError
from lovasz.train.outputs import outputs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lovasz.train.data import Statistics

ABOUT = "lovasz.json"  # in the program: classes, colours and what it takes and gives
_STEPS = (1, 2, 4, 8, 16, 32, 64)  # of the side lengths that networks take


class FromPixels(nn.Module):
    """From images of 0 to 255 to logits of their resolution, or to what follows from them.

    Offsets (C,) are added to the logits, if there are any: argmax is then their decision.
    """

    mean: Tensor
    spread: Tensor
    offsets: Tensor | None

    def __init__(
        self,
        network: nn.Module,
        statistics: Statistics,
        output: str,
        offsets: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.network, self.output, self.channels = network, output, statistics.channels
        for name, values in statistics._asdict().items():
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1))
        self.register_buffer("offsets", None if offsets is None else offsets.view(-1, 1, 1))
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, channels, H, W) to logits (N, classes, H, W), their softmax or labels."""
        normal = (images.float() - self.mean) / self.spread
        logits = outputs(self.network(normal))[0]
        if self.offsets is not None:
            logits = logits + self.offsets
        if logits.shape[2:] != images.shape[2:]:
            logits = F.interpolate(logits, images.shape[2:], mode="bilinear")
        if self.output == "labels":
            return logits.argmax(1).to(torch.uint8)
        return logits.softmax(1) if self.output == "probabilities" else logits


class Sizes(NamedTuple):
    """Which images a network takes.

    Attributes:
        window: Side of the crops that it was trained on.
        step: Height and width are multiples of it; None if they must be the window's.
    """

    window: int
    step: int | None

    def length(self, more: int) -> int:
        """A side that fits: the first from the window on, and so many steps more."""
        if self.step is None:
            return self.window
        return math.ceil(self.window / self.step + more) * self.step

    def trials(self) -> Iterator[tuple[int, tuple[int, int]]]:
        """Number and size of images to try it on."""
        for batch, (height, width) in ((1, (0, 0)), (2, (1, 0)), (3, (0, 2))):
            yield batch, (self.length(height), self.length(width))


def export_program(
    module: FromPixels, channels: int, window: int, dtype: torch.dtype
) -> tuple[ExportedProgram, Sizes]:
    """The program, for any number of images and for sizes as free as the network allows.

    Raises:
        UserError: If torch.export cannot follow the network.
    """
    # A network that runs on a size may still not be traced for all of them.
    steps = [step for step in _STEPS if _runs(module, Sizes(window, step))]
    failures = []
    for step in (*dict.fromkeys((*steps[:1], *steps[-1:])), None):
        sizes = Sizes(window, step)
        example = torch.zeros(2, channels, sizes.length(0), sizes.length(1), dtype=dtype)
        try:
            shapes = ({0: Dim.DYNAMIC, **_free(step)},)
            return torch.export.export(module, (example,), dynamic_shapes=shapes), sizes
        except Exception as error:  # whatever a user's network makes it raise
            failures.append(error)
    last = failures[-1]
    lines = str(last).strip().splitlines()
    raise UserError(
        f"export: torch.export cannot follow this network: {type(last).__name__}:"
        f" {lines[0] if lines else ''}"
    ) from last


def _free(step: int | None) -> dict[int, Any]:
    """How height and width may change."""
    if step is None:
        return {}
    if step == 1:
        return {2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    return {2: step * Dim("height", min=2), 3: step * Dim("width", min=2)}


def _runs(module: FromPixels, sizes: Sizes) -> bool:
    """Whether the network takes images that are an odd and an even number of steps long."""
    blank = torch.zeros(1, module.channels, sizes.length(1), sizes.length(2))
    try:
        with torch.no_grad():
            return bool(module(blank).shape[-2:] == blank.shape[2:])
    except Exception:  # a user's network may raise anything
        return False


def write_pt2(program: ExportedProgram, path: Path, about: dict[str, Any]) -> None:
    """Write a program with what it says of itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of how it stores its own views
        torch.export.save(program, path, extra_files={ABOUT: json.dumps(about, ensure_ascii=False)})


def run_pt2(path: Path, images: Tensor) -> Tensor:
    """What the program of a file makes of images."""
    with torch.no_grad():
        result: Tensor = torch.export.load(path).module()(images)
    return result
