"""Labels and probabilities of images of any size, in little memory beside the result.

Images that fit the window of training go through the network at once. Over larger ones the window
slides: neighbours overlap by a quarter or more, and their logits are blended with weights that
fall towards the edge. The windows come in strips along the shorter side, and only the sums that
later windows add to are kept: for 192 million pixels, 19 classes and windows of 512 pixels,
0.15 GB instead of 15.
"""

from __future__ import annotations

import math
from collections import deque
from itertools import chain, groupby, product
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from monai.data.utils import compute_importance_map
from torch import Tensor, nn
from torch.nn import functional as F

from lovasz import upsampled_argmax
from lovasz.train.outputs import outputs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from lovasz.train.data import Statistics

    # Called after every pass of the network: windows done, windows in all.
    Progress = Callable[[int, int], None]

OVERLAP = 0.25  # of neighbouring windows, at least
_TOGETHER = 4  # windows in a pass of the network


class Block(NamedTuple):
    """Blended logits of a rectangle of an image."""

    image: int
    rows: slice
    columns: slice
    logits: Tensor  # (C, rows, columns), float32, on the device of the network


class Fit(Protocol):
    """What takes the logits that labels are made of."""

    def add_window(
        self, logits: Tensor, size: tuple[int, int], rows: slice, columns: slice
    ) -> None:
        """Logits (N, C, h, w) of windows of a size, in which images stand at these places."""
        ...

    def add_blocks(self, blocks: Iterable[Block]) -> None:
        """All blocks of an image, each of which is taken in turn."""
        ...


def predict_labels(
    model: nn.Module,
    images: Tensor,
    window: int,
    statistics: Statistics,
    *,
    offsets: Tensor | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """Labels of images of any size: the class of the largest logit.

    Logits may have a lower resolution than the window; the labels are those of their bilinear
    interpolation, which the loss is of too.

    Args:
        model: In evaluation mode; its first output counts.
        images: (N, channels, H, W), bytes or floats of 0 to 255. They may stay on the processor:
            what a pass of the network needs is moved to its device.
        window: Side in pixels of the square that the network sees at once, as in training.
        statistics: What the images are normalised by.
        offsets: (C,), added to the logits before, as those of `lovasz.Decision`; None for argmax.
        progress: Called after every pass with the windows done and the windows in all; what it
            raises ends the prediction.

    Returns:
        (N, H, W) uint8, on the device of the images.

    Raises:
        UserError: If the network returns something else than logits.
        ValueError: If there is not one offset for each class.
    """
    (labels,) = predict_each(model, images, window, statistics, [offsets], progress=progress)
    return labels


@torch.no_grad()
def predict_each(
    model: nn.Module,
    images: Tensor,
    window: int,
    statistics: Statistics,
    offsets: Sequence[Tensor | None],
    *,
    fit: Fit | None = None,
    progress: Progress | None = None,
) -> list[Tensor]:
    """Labels by several decisions, from the same passes of the network.

    Args:
        model: As for `predict_labels`, and so are the other arguments.
        images: (N, channels, H, W).
        window: Side in pixels.
        statistics: What the images are normalised by.
        offsets: Of each decision; None for argmax.
        fit: Gets all logits, if it is passed.
        progress: As for `predict_labels`.

    Returns:
        The labels of each decision, as those of `predict_labels`.

    Raises:
        UserError: If the network returns something else than logits.
        ValueError: If there is not one offset for each class.
    """
    shifts = [_shift(values, _device(model, images)) for values in offsets]
    if max(images.shape[2:]) <= window:
        found = _each_of_window(model, images, window, statistics, shifts, fit)
        if progress is not None:
            progress(len(images), len(images))
    else:
        size = (len(images), *images.shape[2:])
        found = [torch.empty(size, dtype=torch.uint8, device=images.device) for _ in shifts]
        stream = blocks(model, images, window, statistics, progress)
        # Of an image that comes in blocks the fit takes all together.
        for _, of_image in groupby(stream, key=lambda block: block.image):
            parts = _filled_in(of_image, found, shifts)
            if fit is None:
                deque(parts, maxlen=0)
            else:
                fit.add_blocks(parts)
    return found


def _each_of_window(
    model: nn.Module,
    images: Tensor,
    window: int,
    statistics: Statistics,
    shifts: Sequence[Tensor | None],
    fit: Fit | None,
) -> list[Tensor]:
    """Labels by each decision of images that stand in one window."""
    logits = _logits(model, images, window, statistics)
    inside = tuple(_inside(window, length) for length in images.shape[2:])
    if fit is not None:
        fit.add_window(logits, (window, window), *inside)
    found = (_labels(logits, (window, window), shift) for shift in shifts)
    return [labels[:, inside[0], inside[1]].to(images.device) for labels in found]


def _filled_in(
    found: Iterable[Block], labels: Sequence[Tensor], shifts: Sequence[Tensor | None]
) -> Iterator[Block]:
    """The blocks, after the labels of each have been filled in."""
    for block in found:
        one, size = block.logits[None], block.logits.shape[1:]
        for filled, shift in zip(labels, shifts, strict=True):
            decided = _labels(one, size, shift)[0]
            filled[block.image, block.rows, block.columns] = decided.to(filled.device)
        yield block


def _shift(offsets: Tensor | None, device: torch.device) -> Tensor | None:
    """Offsets as they are added to logits (N, C, h, w)."""
    return None if offsets is None else offsets.to(device, torch.float32).view(-1, 1, 1)


def _labels(logits: Tensor, size: Sequence[int], shift: Tensor | None) -> Tensor:
    """The classes of the largest logits (N, C, h, w) at another resolution, as bytes.

    Offsets are added before the logits are interpolated: the weights of that sum to 1.
    """
    if shift is not None:
        if len(shift) != logits.shape[1]:
            raise ValueError(
                f"offsets: expected one for each class of the network, {logits.shape[1]},"
                f" got {len(shift)}"
            )
        logits = logits + shift
    labels = upsampled_argmax(logits, size, dtype=torch.uint8)
    # A network that has diverged, with NaN for every class, is of the first, as for torch.argmax.
    return labels.masked_fill_(labels == 255, 0)


@torch.no_grad()
def predict_probabilities(
    model: nn.Module,
    images: Tensor,
    window: int,
    statistics: Statistics,
    *,
    out: Tensor | None = None,
    labels: Tensor | None = None,
    offsets: Tensor | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """Probabilities of the classes: the softmax of the logits whose largest one is the label.

    Offsets change the labels and leave the probabilities as they are.

    Args:
        model: As for `predict_labels`, and so are the other arguments.
        images: (N, channels, H, W).
        window: Side in pixels.
        statistics: What the images are normalised by.
        out: (N, C, H, W) of a floating dtype, filled in place of a new tensor: for large images
            one of a file, as `torch.from_numpy` makes it of `numpy.memmap`.
        labels: (N, H, W) uint8, filled with the labels from the same passes of the network.
        offsets: As for `predict_labels`, of these labels.
        progress: As for `predict_labels`.

    Returns:
        (N, C, H, W), `out` or a float32 tensor on the device of the images.

    Raises:
        UserError: If the network returns something else than logits.
        ValueError: If `out` has another shape, or there is not one offset for each class.
    """
    shift = _shift(offsets, _device(model, images))
    for image, rows, columns, logits in blocks(model, images, window, statistics, progress):
        shape = (len(images), len(logits), *images.shape[2:])
        if out is None:
            out = torch.empty(shape, device=images.device)
        elif out.shape != shape:
            raise ValueError(
                f"predict_probabilities: expected out of shape {shape}, got {tuple(out.shape)}"
            )
        out[image, :, rows, columns] = logits.softmax(0).to(out.device)
        if labels is not None:
            decided = _labels(logits[None], logits.shape[1:], shift)[0]
            labels[image, rows, columns] = decided.to(labels.device)
    assert out is not None  # there is an image
    return out


@torch.no_grad()
def blocks(
    model: nn.Module,
    images: Tensor,
    window: int,
    statistics: Statistics,
    progress: Progress | None = None,
) -> Iterator[Block]:
    """The blended logits of images of any size, in rectangles that cover every pixel once.

    The logits of a pixel are the mean of those of all windows that it is in, weighted by the
    Gaussian of MONAI's sliding window along each axis. Arguments are those of `predict_labels`.
    """
    height, width = images.shape[2:]
    device = _device(model, images)
    across, down = _Axis(width, window, device), _Axis(height, window, device)
    flipped = width > height  # strips along the shorter side
    outer, inner = (across, down) if flipped else (down, across)
    total = len(images) * len(outer.starts) * len(inner.starts)
    done = 0
    for k, image in enumerate(images):
        pairs = product(outer.starts, inner.starts)
        corners = [(b, a) if flipped else (a, b) for a, b in pairs]
        tiles = _tiles(model, image, corners, window, statistics)
        if flipped:
            tiles = (tile.mT for tile in tiles)
        for first, second, logits in _blend(tiles, outer, inner):
            if flipped:
                yield Block(k, second, first, logits.mT)
            else:
                yield Block(k, first, second, logits)
            done += 1
            if progress is not None:
                progress(done, total)


def _tiles(
    model: nn.Module,
    image: Tensor,
    corners: list[tuple[int, int]],
    window: int,
    statistics: Statistics,
) -> Iterator[Tensor]:
    """Logits of windows at the resolution of the image, those of its pixels alone.

    Each window is interpolated as in training, and then blended: windows begin at any pixel, so
    that logits of a lower resolution would lie between each other's.
    """
    rows, columns = (_inside(window, length) for length in image.shape[1:])
    for start in range(0, len(corners), _TOGETHER):
        group = corners[start : start + _TOGETHER]
        cut = [image[:, y : y + window, x : x + window] for y, x in group]
        logits = _logits(model, torch.stack(cut), window, statistics)
        if logits.shape[2:] != (window, window):
            logits = F.interpolate(logits, (window, window), mode="bilinear")
        yield from logits[:, :, rows, columns]


class _Axis:
    """The windows along an axis of the image, and how their logits weigh."""

    def __init__(self, size: int, window: int, device: torch.device) -> None:
        self.size, self.starts = size, _starts(size, window)
        self.length = min(size, window)  # of the image, in each window
        self.next = [
            *self.starts[1:],
            size,
        ]  # where the pixels of each window begin that are not last
        self.kept = max(a + self.length - b for a, b in zip(self.starts, self.next, strict=True))
        gaussian = compute_importance_map((window,), mode="gaussian", sigma_scale=0.125)
        self.weights = gaussian[_inside(window, size)].to(device)
        self.sums = torch.zeros(size, device=device)
        for start in self.starts:
            self.sums[start : start + self.length] += self.weights


def _blend(
    tiles: Iterator[Tensor], outer: _Axis, inner: _Axis
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Weighted means of the logits (C, S, S) of windows, strip by strip, as they are complete.

    The sums are the same to the bit as if all windows were added to one tensor in their order.
    """
    waiting = None  # the sums that the strip before has left to this one, (C, rows, inner.size)
    rows = 0
    for top, below in zip(outer.starts, outer.next, strict=True):
        before = None  # the sums that the window before has left to this one
        for left, right in zip(inner.starts, inner.next, strict=True):
            tile = next(tiles)
            if waiting is None:
                waiting = tile.new_empty(len(tile), outer.kept, inner.size)
            sums = torch.zeros_like(tile)
            sums[:, :rows] = waiting[:, :rows, left : left + inner.length]
            if before is not None:
                sums[:, :, : before.shape[2]] = before
            sums += tile * (outer.weights[:, None] * inner.weights)
            weights = outer.sums[top:below, None] * inner.sums[left:right]
            ready = sums[:, : below - top, : right - left]
            yield slice(top, below), slice(left, right), ready / weights
            before = sums[:, :, right - left :]
            left_over = outer.length - (below - top)
            waiting[:, :left_over, left:right] = sums[:, below - top :, : right - left]
        rows = outer.length - (below - top)


def _starts(size: int, window: int) -> list[int]:
    """Where windows begin: spread evenly, and overlapping by a quarter or more."""
    if size <= window:
        return [0]
    step = max(1, int(window * (1 - OVERLAP)))
    count = math.ceil((size - window) / step)
    return [(size - window) * k // count for k in range(count + 1)]


def _inside(window: int, size: int) -> slice:
    """Where an image that is smaller than the window stands in it: in the middle."""
    length = min(window, size)
    return slice((window - length) // 2, (window - length) // 2 + length)


def _logits(model: nn.Module, images: Tensor, window: int, statistics: Statistics) -> Tensor:
    """Logits of images of at most the window, of any resolution; amid zeros where smaller."""
    normal = statistics.normalise(images.to(_device(model, images)))
    top, left = (_inside(window, length).start for length in normal.shape[2:])
    bottom, right = window - normal.shape[2] - top, window - normal.shape[3] - left
    return outputs(model(F.pad(normal, (left, right, top, bottom))))[0].float()


def _device(model: nn.Module, images: Tensor) -> torch.device:
    """Where the network computes; one without numbers does so where the images are."""
    return next(chain(model.parameters(), model.buffers()), images).device
