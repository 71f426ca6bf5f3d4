"""Which image comes next, when every class is to come in turn."""

from __future__ import annotations

import hashlib
import math
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor, distributed
from torch.utils.data import DistributedSampler

from lovasz.core.options import check_at_least, is_integer
from lovasz.data.label_counts import LabelCounts

__all__ = ["EquibatchSampler"]

_NAME = "EquibatchSampler"


class EquibatchSampler(DistributedSampler[int]):
    r"""Draws images so that every class comes in turn: the equibatch sampling of the paper.

    The sequence of an epoch consists of rounds. A round goes through the classes, in an order
    drawn anew, and draws for each an image that holds it: from a shuffled pile of the images of
    that class, which is refilled when it is empty. So of any K consecutive draws that make a
    round, K the number of classes, each class has one of its own,

    $$i_{rK + j} \in \{i : \pi_r(j) \in y_i\}, \qquad j = 0, …, K - 1,$$

    with the permutation $\pi_r$ of round r. An image with several classes may come several times.
    Classes without an image are left out. The sequence is a function of ``seed`` and the epoch.
    Iterating gives indices of images, for the ``sampler`` of a `DataLoader`. A complete pass goes
    on to the next epoch by itself; ``set_epoch`` chooses one.

    It is a `DistributedSampler`: each process draws its own part, and the Lightning Trainer, Fabric
    and others that give each process a part of a loader leave it as it is. Hugging Face Accelerate,
    and with it the Trainer of transformers, always deals out batches itself and needs
    ``num_replicas=1, rank=0``.

    Args:
        table: (images, C) bool, a tensor or an array, which image holds which class, as
            ``count_labels(...).present``, or the whole result of `count_labels`; or for each image
            the indices of its classes. On the CPU.
        num_samples: draws in an epoch over all processes, 1 or more. None: the number of images.
        classes: indices of the classes to go round, in [0, C). None: all.
        seed: an integer; another one gives another sequence. The same on all processes.
        num_replicas: processes that share an epoch. None: those of ``torch.distributed`` where it
            is initialized when a pass begins, else 1. Process r draws number r, r + num_replicas,
            ... of the sequence, which is lengthened until all draw equally many. Where several
            processes share a batch, as with tensor parallelism, the number of their groups.
        rank: r, in [0, num_replicas). None: as above.

    Raises:
        TypeError: for arguments of a wrong type.
        ValueError: for arguments of a wrong value, and where no image holds a class to go round.

    Examples:
        >>> sampler = EquibatchSampler([[0], [0], [0], [0, 1]], num_samples=6)
        >>> drawn = list(sampler)
        >>> drawn.count(3) >= 3, len(sampler)
        (True, 6)

    References:
        Berman, Triki, Blaschko, *The Lovász-Softmax loss*, CVPR 2018, arXiv 1705.08790: "equibatch"
        in the experiments with Pascal VOC.
    """

    def __init__(
        self,
        table: Tensor | LabelCounts | Sequence[Iterable[int]],
        *,
        num_samples: int | None = None,
        classes: Sequence[int] | None = None,
        seed: int = 0,
        num_replicas: int | None = None,
        rank: int | None = None,
    ) -> None:
        images, held = _held(table)
        self.classes = [k for k in _chosen(classes, len(held)) if len(held[k])]
        if not self.classes:
            raise ValueError(
                f"{_NAME}: expected table with an image that holds one of the classes,"
                f" got {images} images without"
            )
        self.num_samples = images if num_samples is None else num_samples
        check_at_least(_NAME, "num_samples", self.num_samples, 1)
        check_at_least(_NAME, "seed", seed, 0)
        if num_replicas is not None:
            check_at_least(_NAME, "num_replicas", num_replicas, 1)
        if rank is not None:
            check_at_least(_NAME, "rank", rank, 0)
        self.seed = seed
        self._share = num_replicas, rank
        if num_replicas is not None or rank is not None:
            self._check_rank()
        self._held = [held[k] for k in self.classes]
        self.epoch = 0
        self._loaded = False  # whether load_state_dict has chosen where the next pass begins
        self._resume_at = 0  # draws of this process that the next pass leaves out
        self._drawn = 0  # draws of this process in the pass that goes on

    # Found when it is asked for: loaders are often made before there are processes, and pickled.
    @property
    def num_replicas(self) -> int:  # type: ignore[override]
        """Processes that share an epoch."""
        if self._share[0] is not None:
            return self._share[0]
        return distributed.get_world_size() if _has_group() else 1

    @property
    def rank(self) -> int:  # type: ignore[override]
        """Number of this process among them."""
        if self._share[1] is not None:
            return self._share[1]
        return distributed.get_rank() if _has_group() else 0

    def _check_rank(self) -> None:
        if self.rank >= self.num_replicas:
            raise ValueError(
                f"{_NAME}: expected rank to be less than num_replicas={self.num_replicas},"
                f" got {self.rank}"
            )

    def __len__(self) -> int:
        """Draws of this process in an epoch."""
        return math.ceil(self.num_samples / self.num_replicas)

    def __iter__(self) -> Iterator[int]:
        """The rest of the epoch after ``load_state_dict``, a whole one otherwise."""
        self._check_rank()
        _warn_of_accelerate(self._share[0])
        epoch, self._drawn, self._resume_at = self.epoch, self._resume_at, 0
        self._loaded = False
        replicas = self.num_replicas
        first = self.rank + self._drawn * replicas
        end = len(self) * replicas
        for index in islice(self._sequence(epoch), first, end, replicas):
            self._drawn += 1
            if self._drawn == len(self):
                # before the last index is handed out: nobody need ask for one more
                self.epoch, self._drawn = epoch + 1, 0
            yield index

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass; the one that is being resumed stays where it is.

        Args:
            epoch: 0 or more, the same on all processes.

        Raises:
            TypeError: if it is no integer.
            ValueError: if it is negative.
        """
        check_at_least(_NAME, "epoch", epoch, 0)
        if epoch != self.epoch:
            if self._loaded and epoch < self.epoch:
                warnings.warn(
                    f"{_NAME}: expected set_epoch({self.epoch}) or a later one after"
                    f" load_state_dict, got set_epoch({epoch}), which begins that epoch anew"
                    " (Lightning Fabric counts passes from 0 after every start: to resume, iterate"
                    " over the loader itself and use fabric.to_device)",
                    stacklevel=2,
                )
            self._loaded = False
            self.epoch, self._drawn, self._resume_at = epoch, 0, 0

    def state_dict(self) -> dict[str, int]:
        """Epoch, and how many draws of it all processes have made.

        Counted is what was handed out: a `DataLoader` with workers asks for a few batches ahead.
        With it, make the state yourself from the batches that were trained on:
        ``{"seed": seed, "epoch": epoch, "drawn": batches * batch_size * num_replicas}``.
        """
        drawn = self._drawn * self.num_replicas
        return {"seed": self.seed, "epoch": self.epoch, "drawn": drawn}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let the next pass continue with the very next index.

        Args:
            state: what ``state_dict`` of a sampler with the same table and seed gave, on whichever
                number of processes that divides its draws.

        Raises:
            ValueError: if the seed differs, or the draws do not fit.
        """
        drawn, left_over = divmod(state["drawn"], self.num_replicas)
        if state["seed"] != self.seed or left_over or not 0 <= drawn <= len(self):
            raise ValueError(
                f"{_NAME}: expected a state with seed={self.seed} and 0 to"
                f" {len(self) * self.num_replicas} draws in multiples of {self.num_replicas},"
                f" got {state}"
            )
        finished = drawn == len(self)
        self.epoch = state["epoch"] + finished
        self._drawn = self._resume_at = 0 if finished else drawn
        self._loaded = True

    def _sequence(self, epoch: int) -> Iterator[int]:
        """The endless sequence of an epoch, the same on all processes."""
        # A hash, so that no seed repeats the epochs of another one shifted, as a sum would.
        words = hashlib.sha256(f"{self.seed} {epoch}".encode()).digest()[:8]
        generator = torch.Generator().manual_seed(int.from_bytes(words, "little") >> 1)
        piles: list[list[int]] = [[] for _ in self._held]
        while True:
            for k in torch.randperm(len(piles), generator=generator).tolist():
                if not piles[k]:
                    order = torch.randperm(len(self._held[k]), generator=generator)
                    piles[k] = self._held[k][order].tolist()
                yield piles[k].pop()


def _has_group() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def _warn_of_accelerate(num_replicas: int | None) -> None:
    """Say once that a loader that Accelerate prepares would be dealt out twice."""
    accelerate = sys.modules.get("accelerate.state")
    if num_replicas is not None or accelerate is None or not _has_group():
        return
    if distributed.get_world_size() > 1 and accelerate.is_initialized():
        warnings.warn(
            f"{_NAME}: expected num_replicas=1, rank=0 for a loader that is passed to prepare() of"
            " an Accelerator, which deals out batches itself and would use one in"
            f" {distributed.get_world_size()} of them, got num_replicas=None (pass the number of"
            " processes for a loader that is not)",
            stacklevel=3,
        )


def _held(table: Any) -> tuple[int, list[Tensor]]:
    """The number of images, and for each class the images that hold it."""
    if isinstance(table, LabelCounts):
        table = table.present
    if hasattr(table, "__array__") and not isinstance(table, Tensor):
        table = torch.tensor(table)
    if isinstance(table, Tensor):
        if table.dtype != torch.bool:
            raise TypeError(f"{_NAME}: expected table of dtype bool, got {table.dtype}")
        if table.dim() != 2 or table.device.type != "cpu":
            raise ValueError(
                f"{_NAME}: expected table of shape (images, C) on the CPU,"
                f" got {tuple(table.shape)} on {table.device}"
            )
        return len(table), [column.nonzero().flatten() for column in table.unbind(1)]
    if not isinstance(table, Sequence) or isinstance(table, str):
        raise TypeError(
            f"{_NAME}: expected table to be a tensor, or a sequence of the classes of each image,"
            f" got {type(table).__name__}"
        )
    lists: dict[int, list[int]] = {}
    for image, classes in enumerate(table):
        for k in sorted(_indices("table", classes)):
            lists.setdefault(k, []).append(image)
    return len(table), [torch.tensor(lists.get(k, [])) for k in range(max(lists, default=-1) + 1)]


def _indices(argument: str, classes: Any) -> set[int]:
    """Class indices without repetition."""
    try:
        chosen: set[Any] = set(classes)
    except TypeError:
        chosen = {None}
    if not all(is_integer(k) and int(k) >= 0 for k in chosen):
        bools = any(isinstance(k, bool) for k in chosen)
        raise ValueError(
            f"{_NAME}: expected {argument} to hold class indices of 0 or more, got {classes!r}"
            + (" (pass a table of bools as a tensor)" if bools else "")
        )
    return {int(k) for k in chosen}


def _chosen(classes: Sequence[int] | None, count: int) -> list[int]:
    if classes is None:
        return list(range(count))
    chosen = sorted(_indices("classes", classes))
    # A class beyond the last one of a list of classes has no image, as others may not have.
    return [k for k in chosen if k < count]
