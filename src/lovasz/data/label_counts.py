"""How many pixels and images of a data set each class has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lovasz.core.options import check_at_least, check_flags, check_ignore_index
from lovasz.core.shapes import INTEGRAL, dtype_name

__all__ = ["LabelCounts", "count_labels"]


class LabelCounts(NamedTuple):
    """What `count_labels` finds.

    Attributes:
        pixels: (C,) int64, labelled pixels of each class.
        images: (C,) int64, images that hold each class.
        image_pixels: (C,) int64, labelled pixels of all classes in the images that hold each class:
            what median frequency balancing divides by.
        present: (images, C) bool, which image holds which class, in the order of the data: the
            table that `EquibatchSampler` draws from.
    """

    pixels: Tensor
    images: Tensor
    image_pixels: Tensor
    present: Tensor


def count_labels(
    data: Iterable[Any] | Dataset[Any],
    num_classes: int,
    *,
    ignore_index: int | None = None,
    key: int | str | None = None,
    batched: bool | None = None,
    progress: Callable[[Iterable[Any]], Iterable[Any]] | None = None,
) -> LabelCounts:
    r"""Count the pixels of each class, and the images that hold it.

    $$n_c = \sum_i \#\{p : y_{ip} = c\}, \qquad m_c = \#\{i : c \in y_i\}$$

    for the labels $y_i$ of image i. Goes through the data once; a `DataLoader` with workers reads
    files in parallel.

    Args:
        data: any iterable, `Dataset` or `DataLoader`, whose items are a target, or a sequence
            (image, target, ...), or a mapping with ``key``. A target holds class indices in
            [0, num_classes) or ``ignore_index``, in any shape and integer dtype or bool: a tensor,
            or what ``torch.as_tensor`` takes.
        num_classes: C, 1 or more.
        ignore_index: label of pixels to leave out, any integer. None, the default: no such label.
        key: where the target stands in an item. None: the second entry of a sequence.
        batched: True for data whose items are batches of images, so that the first axis of a target
            (or a list of targets) goes over images. None: True for a `DataLoader` that makes
            batches, False for all else.
        progress: a function that takes an iterable and returns one, and shows how far it is:
            ``tqdm.tqdm`` or ``rich.progress.track``. None: silent.

    Returns:
        Pixels (C,), images (C,), pixels of those images (C,), and the table (images, C) of who
        holds what, all on the CPU.

    Raises:
        TypeError: for arguments of a wrong type, or targets that are not integers.
        ValueError: for labels out of range, naming the item, and for arguments of a wrong value.

    Examples:
        >>> import torch
        >>> data = [
        ...     (torch.zeros(3, 1, 4), torch.tensor([[0, 0, 0, 2]])),
        ...     (torch.zeros(3, 1, 2), torch.tensor([[0, 255]])),
        ... ]
        >>> counts = count_labels(data, 3, ignore_index=255)
        >>> counts.pixels.tolist(), counts.images.tolist()
        ([4, 0, 1], [2, 0, 1])

    References:
        Eigen, Fergus, *Predicting depth, surface normals and semantic labels with a common
        multi-scale convolutional architecture*, ICCV 2015, arXiv 1411.4734: for the pixels of the
        images that hold a class.
    """
    name = "count_labels"
    check_at_least(name, "num_classes", num_classes, 1)
    check_ignore_index(name, ignore_index)
    if batched is None:
        batched = isinstance(data, DataLoader) and data.batch_sampler is not None
    check_flags(name, batched=batched)
    if progress is not None and not callable(progress):
        raise TypeError(f"{name}: expected progress to be a function or None, got {progress!r}")
    rows = [torch.zeros(0, num_classes, dtype=torch.int64)]
    for number, item in enumerate(_items(data, progress)):
        target = _target(item, key, number)
        images: Iterable[Any] = target if batched else (target,)
        for image in images:
            rows.append(_count(_labels(image, number), num_classes, ignore_index, number)[None])
    table = torch.cat(rows)
    present = table > 0
    return LabelCounts(
        pixels=table.sum(0),
        images=present.sum(0),
        image_pixels=(present * table.sum(1, keepdim=True)).sum(0),
        present=present,
    )


def _items(data: Any, progress: Callable[[Iterable[Any]], Iterable[Any]] | None) -> Iterator[Any]:
    """The items in their order; data sets need not know how to iterate, nor when to stop."""
    show = progress or iter
    if hasattr(data, "__iter__"):
        yield from show(data)
    elif hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        for index in show(range(len(data))):
            yield data[index]
    else:
        raise TypeError(
            f"count_labels: expected data to be an iterable, a Dataset or a DataLoader,"
            f" got {type(data).__name__}"
        )


def _target(item: Any, key: int | str | None, number: int) -> Any:
    if key is None and isinstance(item, Sequence) and not isinstance(item, str) and len(item) > 1:
        return item[1]
    if key is None and not isinstance(item, (Sequence, Mapping)):
        return item
    if key is not None:
        try:
            return item[key]
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(
                f"count_labels: expected item {number} to have the entry key={key!r},"
                f" got {_kind(item)}"
            ) from error
    raise TypeError(
        f"count_labels: expected item {number} to be a target or (image, target), or a key,"
        f" got {_kind(item)}"
    )


def _kind(item: Any) -> str:
    """What an item is, in a few words.

    >>> _kind({"image": 0, "mask": 1}), _kind((0,)), _kind(0)
    ("dict with 'image', 'mask'", 'tuple of 1', 'int')
    """
    kind = type(item).__name__
    if isinstance(item, Mapping):
        return f"{kind} with {', '.join(repr(key) for key in item)}"
    return f"{kind} of {len(item)}" if isinstance(item, Sequence) else kind


def _labels(target: Any, number: int) -> Tensor:
    """The labels of one image, on the CPU: whoever counts has to look at them."""
    try:
        labels = torch.as_tensor(target)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"count_labels: expected the target of item {number} to be a tensor or an array,"
            f" got {type(target).__name__}"
        ) from error
    if dtype_name(labels) not in INTEGRAL:
        raise TypeError(
            f"count_labels: expected the target of item {number} to have an integer dtype or bool"
            f" (class indices), got {labels.dtype}"
        )
    return labels.flatten().to("cpu", torch.int64)


def _count(labels: Tensor, num_classes: int, ignore_index: int | None, number: int) -> Tensor:
    """Pixels (C,) of each class of one image."""
    if ignore_index is not None:
        labels = labels[labels != ignore_index]
    wrong = (labels < 0) | (labels >= num_classes)
    if bool(wrong.any()):
        raise ValueError(
            f"count_labels: expected every label of item {number} to be in [0, {num_classes - 1}]"
            f" or equal to ignore_index={ignore_index}, got {int(labels[wrong][0])}"
        )
    return torch.bincount(labels, minlength=num_classes)
