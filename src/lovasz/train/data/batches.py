"""Training batches whose content depends only on seed, epoch and position.

So a run that was interrupted anywhere continues with the same pixels, with any number of workers.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import torch
from monai.data.meta_obj import set_track_meta
from monai.transforms import Compose, RandFlip, RandRotate90, RandSpatialCrop
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from lovasz import EquibatchSampler
from lovasz.train.children import child_signal_kept, start_loader
from lovasz.train.data.base import IGNORE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lovasz.train.config import TrainConfig
    from lovasz.train.data.base import Part


class Augmented(Dataset[tuple[Tensor, Tensor]]):
    """Random crops, flips and quarter turns of a part, drawn anew for each (seed, epoch, index).

    An image that comes several times in an epoch is drawn anew for each time. Upright data is
    neither flipped nor turned.
    """

    def __init__(self, part: Part, crop: int, seed: int, *, upright: bool = False) -> None:
        set_track_meta(False)  # plain tensors: nothing here needs the metadata of medical images
        self.part, self.crop, self.seed = part, crop, seed
        self.cut = RandSpatialCrop((crop, crop), random_size=False)
        turns = [] if upright else [RandFlip(prob=0.5, spatial_axis=1), RandRotate90(prob=0.75)]
        self.turns = Compose(turns)
        self.transform = Compose([self.cut, *turns])

    def __getitem__(self, at: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
        """The crop (channels, S, S) and labels (S, S) as bytes, for an (epoch, index, time).

        The crop has floating-point numbers where the part has them.
        """
        epoch, index, time = at
        # 32 bits that differ for each four; hashing of this kind is what SeedSequence is for.
        self.transform.set_random_state(
            int(np.random.SeedSequence([self.seed, epoch, index, time]).generate_state(1)[0])
        )
        image, labels = self.part[index]
        # Image and labels are cut alike, before they are one tensor: large images stay uncopied.
        drawn = self.cut.R.get_state()
        image = torch.as_tensor(self.cut(_grown(image, self.crop, 0)))
        self.cut.R.set_state(drawn)
        labels = torch.as_tensor(self.cut(_grown(labels[None], self.crop, IGNORE)))
        both = torch.as_tensor(self.turns(torch.cat([image, labels])))
        return both[:-1], both[-1].to(torch.uint8)


def _grown(pixels: Tensor, side: int, value: int) -> Tensor:
    """Pad images that are smaller than the crop at the right and at the bottom."""
    missing = [max(0, side - length) for length in pixels.shape[1:]]
    return F.pad(pixels, (0, missing[1], 0, missing[0]), value=value) if any(missing) else pixels


def steps_per_epoch(part: Part, batch_size: int) -> int:
    """Full batches in an epoch; a part smaller than one batch makes one small batch."""
    return max(1, len(part) // batch_size)


def _order(
    count: int, config: TrainConfig, epoch: int, table: Tensor | None
) -> list[tuple[int, int]]:
    """As many draws as there are images: index, and how often it has come before in the epoch."""
    if config.sampler == "shuffle":
        order = np.random.default_rng([config.seed, epoch]).permutation(count)
        return [(int(index), 0) for index in order]
    if table is None:
        raise ValueError("training_batches: expected a table for the sampler equibatch, got None")
    sampler = EquibatchSampler(table, num_samples=count, seed=config.seed)
    sampler.set_epoch(epoch)
    times: Counter[int] = Counter()
    drawn = []
    for index in sampler:
        drawn.append((index, times[index]))
        times[index] += 1
    return drawn


def training_batches(
    part: Part,
    config: TrainConfig,
    epoch: int,
    start: int,
    *,
    table: Tensor | None = None,
    upright: bool = False,
    rank: int = 0,
    size: int = 1,
) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of an epoch from step `start` on: bytes (N, channels, S, S), labels (N, S, S).

    The rest of the part that does not fill a batch is left out, another one in each epoch.

    Args:
        part: What to draw from.
        config: Seed, sizes and sampler.
        epoch: From 0.
        start: Steps to leave out.
        table: Which image holds which class, for the sampler `equibatch`.
        upright: Whether to leave the crops as they are.
        rank: Of the images of a batch every `size`-th, from this one on.
        size: Number of processes that share a batch.
    """
    order = _order(len(part), config, epoch, table)
    whole = config.batch_size
    batches = [
        [(epoch, *drawn) for drawn in order[step * whole : (step + 1) * whole][rank::size]]
        for step in range(start, steps_per_epoch(part, whole))
    ]
    loader = DataLoader(
        Augmented(part, config.crop, config.seed, upright=upright),
        batch_sampler=batches,
        num_workers=config.workers,
        worker_init_fn=start_loader,
        # The loader draws a seed for its workers from this generator instead of the global one,
        # whose state belongs to the network.
        generator=torch.Generator(),
    )
    with child_signal_kept():
        drawn = iter(loader)
    yield from drawn
