"""What the study asks of a task: data in three parts, and a small network for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from lovasz.core.options import Upsample

# The label of pixels, voxels or points that are neither trained on nor evaluated.
IGNORE = 255

Pairs = Iterator[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Task:
    """One data set and the network that is trained on it, the same for every loss.

    Inputs are normalised float32 tensors (N, features, *), labels int64 tensors (N, *), with any
    number of spatial axes; points have one. What is drawn depends on the arguments alone.

    Attributes:
        title: A few words for the tables.
        about: One sentence: what it is, where it is from, how it is divided.
        classes: Class names; label k is classes[k].
        steps: Of a training.
        batch_size: Of a training step.
        network: Makes the network with weights from torch's global random numbers. Its logits
            (N, C, *) may have a lower resolution than the labels.
        batches: Endless training batches for a seed.
        part: The images of "val" or "test" in order, a few at a time if they are of one size.
        upsample: How logits are interpolated to the labels; None where they have their resolution.
    """

    title: str
    about: str
    classes: list[str]
    steps: int
    batch_size: int
    network: Callable[[], nn.Module]
    batches: Callable[[int], Pairs]
    part: Callable[[str], Pairs]
    upsample: Upsample | None = None

    @property
    def momentum(self) -> float:
        """Of a window of about 32 images, as the docs advise."""
        return max(0.0, 1 - self.batch_size / 32)
