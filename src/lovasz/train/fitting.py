"""The fit of a decision at the end of training: what logits and labels it gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lovasz import DecisionFit
from lovasz.train.data import IGNORE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lightning_fabric import Fabric
    from torch import Tensor

    from lovasz.train.inference import Block

# Pixels that offsets are fitted to; more of them are of the same images, and take longer.
_PIXELS = 2**15
_LARGEST = 1e30  # of numbers that interpolation keeps finite


def make_fit(classes: int, fabric: Fabric) -> DecisionFit:
    """A fit for the mIoU over what all processes see."""
    return DecisionFit(
        classes,
        ignore_index=IGNORE,
        upsample="bilinear",
        max_pixels=_PIXELS,
        process_group="world" if fabric.world_size > 1 else None,
    )


@dataclass(frozen=True)
class Labelled:
    """Passes the logits of some images on to a fit, with the labels of these images.

    Attributes:
        fit: What is fitted.
        labels: (N, H, W).
    """

    fit: DecisionFit
    labels: Tensor

    def add_window(
        self, logits: Tensor, size: tuple[int, int], rows: slice, columns: slice
    ) -> None:
        """Logits (N, C, h, w) of windows of a size, in which the images stand at these places."""
        around = self.labels.new_full((len(self.labels), *size), IGNORE)
        around[:, rows, columns] = self.labels
        self.fit.update(_finite(logits), around.to(logits.device))

    def add_blocks(self, blocks: Iterable[Block]) -> None:
        """All blocks of an image."""

        def parts() -> Iterator[tuple[Tensor, Tensor]]:
            for image, rows, columns, logits in blocks:
                labels = self.labels[image : image + 1, rows, columns]
                yield _finite(logits[None]), labels.to(logits.device)

        self.fit.update_parts(parts())


def _finite(logits: Tensor) -> Tensor:
    """Logits (N, C, h, w) whose largest ones are of the same classes, and which a fit takes.

    A pixel with NaN is of the first class, as for `predict_labels`.
    """
    wrong = logits.isnan().any(1, keepdim=True)
    first = torch.arange(logits.shape[1], device=logits.device).view(1, -1, 1, 1) == 0
    chosen = torch.where(first, 0.0, -_LARGEST)
    logits = torch.where(wrong, chosen, logits)
    return logits.nan_to_num(posinf=_LARGEST, neginf=-_LARGEST)
