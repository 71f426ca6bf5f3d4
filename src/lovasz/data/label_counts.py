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
    multilabel: bool | None = None,
    progress: Callable[[Iterable[Any]], Iterable[Any]] | None = None,
) -> LabelCounts:
    r"""Count the pixels of each class, and the images that hold it.

    $$n_c = \sum_i \#\{p : y_{ip} = c\}, \qquad m_c = \#\{i : c \in y_i\}$$

    for the labels $y_i$ of image i. Goes through the data once; a `DataLoader` with workers reads
    files in parallel.

    Args:
        data: any iterable, `Dataset` or `DataLoader`, whose items are a target, or a sequence
            (image, target, ...), or a mapping with ``key``. A target holds class indices in
            [0, num_classes) or ``ignore_index``, in any shape: a tensor, an array or what else
            ``torch.as_tensor`` takes, of integers, bools or whole floating-point numbers, or a
            picture of PIL with one channel, of which a palette does not matter.
        num_classes: C, 1 or more.
        ignore_index: label of pixels to leave out, any integer. None, the default: no such label.
        key: where the target stands in an item. None: the second entry of a sequence.
        batched: True for data whose items are batches of images, so that the first axis of a target
            (or a list of targets) goes over images. None: True for a `DataLoader` that makes
            batches, False for all else.
        multilabel: True for targets (C, *) of zeros and ones, a mask for each class, which may
            overlap: class c has the pixels that are 1 in its mask, and those without
            ``ignore_index`` there are its labelled ones. None: class indices, but targets that
            could be either are refused, as False does not.
        progress: a function that takes an iterable and returns one, and shows how far it is:
            ``tqdm.tqdm`` or ``rich.progress.track``. None: silent.

    Returns:
        Pixels (C,), images (C,), pixels of those images (C,), and the table (images, C) of who
        holds what, all on the CPU.

    Raises:
        TypeError: for arguments of a wrong type, or targets that are no labels.
        ValueError: for labels out of range, naming the item, for targets that could be class
            indices or masks, and for arguments of a wrong value.

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
    if multilabel is not None:
        check_flags(name, multilabel=multilabel)
    if progress is not None and not callable(progress):
        raise TypeError(f"{name}: expected progress to be a function or None, got {progress!r}")
    rows = [torch.zeros(0, 2, num_classes, dtype=torch.int64)]
    for number, item in enumerate(_items(data, progress)):
        target = _target(item, key, number)
        images: Iterable[Any] = target if batched else (target,)
        for image in images:
            labels = _labels(image, number)
            if multilabel is None:
                _refuse_masks(labels, num_classes, ignore_index, number)
            count = _count_masks if multilabel else _count
            rows.append(count(labels.to(torch.int64), num_classes, ignore_index, number)[None])
    table, labelled = torch.cat(rows).unbind(1)
    present = table > 0
    return LabelCounts(
        pixels=table.sum(0),
        images=present.sum(0),
        image_pixels=(present * labelled).sum(0),
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
    entries: Any = item
    if key is None and isinstance(item, Sequence) and not isinstance(item, str) and len(item) > 1:
        return item[1]
    if key is None and not isinstance(item, (Sequence, Mapping)):
        return item
    if key is not None:
        try:
            return entries[key]
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
    if hasattr(target, "getbands"):
        return _of_picture(target, number)
    if hasattr(target, "astype") and hasattr(target, "strides"):
        # Of arrays torch does not take foreign byte orders, nor strides that go backwards.
        target = target.astype(target.dtype.newbyteorder("="), order="C")
    try:
        labels = torch.as_tensor(target)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"count_labels: expected the target of item {number} to be a tensor, an array or a"
            f" picture, got {type(target).__name__}"
        ) from error
    labels = labels.detach().as_subclass(Tensor).to("cpu")
    if dtype_name(labels) in INTEGRAL:
        return labels
    whole = labels.is_floating_point() and bool((labels == labels.trunc()).all())
    if not whole or not bool(labels.isfinite().all()):
        raise TypeError(
            f"count_labels: expected the target of item {number} to have an integer dtype or bool"
            f" (class indices), got {labels.dtype}"
            + (" (ToTensor divides labels by 255, PILToTensor does not)" if not whole else "")
        )
    return labels.to(torch.int64)


def _of_picture(picture: Any, number: int) -> Tensor:
    """The labels of a PIL image with one channel."""
    mode = picture.mode
    if mode in ("L", "P"):
        return _from_bytes(picture.tobytes(), torch.uint8).reshape(picture.size[::-1])
    if mode == "1":
        grey = _from_bytes(picture.convert("L").tobytes(), torch.uint8)
        return (grey > 0).reshape(picture.size[::-1])
    if mode == "I" or mode.startswith("I;16"):
        # In the byte order of the machine.
        return _from_bytes(picture.convert("I").tobytes(), torch.int32).reshape(picture.size[::-1])
    raise TypeError(
        f"count_labels: expected the target of item {number} to be a picture with one channel of"
        f" class indices (mode L, P, 1 or I), got mode {mode} (turn colours into class indices, or"
        " pass key= if this is the image)"
    )


def _from_bytes(data: bytes, dtype: torch.dtype) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=dtype) if data else torch.zeros(0, dtype=dtype)


def _refuse_masks(labels: Tensor, num_classes: int, ignored: int | None, number: int) -> None:
    """Zeros and ones that may be a mask for each class."""
    unclear = labels.dim() > 2 and len(labels) == num_classes > 1
    if labels.dtype == torch.bool:
        unclear = unclear or num_classes > 2
    elif unclear:
        unclear = set(labels.to(torch.int64).unique().tolist()) <= {0, 1, ignored}
    if unclear:
        raise ValueError(
            f"count_labels: expected the target of item {number} to be class indices or masks"
            f" without a doubt, got {labels.dtype} of shape {tuple(labels.shape)} that holds zeros"
            f" and ones (pass multilabel=True for {num_classes} masks, False for class indices)"
        )


def _count(labels: Tensor, num_classes: int, ignore_index: int | None, number: int) -> Tensor:
    """Pixels of each class of one image, and labelled ones of all classes, (2, C)."""
    labels = labels.flatten()
    if ignore_index is not None:
        labels = labels[labels != ignore_index]
    wrong = (labels < 0) | (labels >= num_classes)
    if bool(wrong.any()):
        label = int(labels[wrong][0])
        raise ValueError(
            f"count_labels: expected every label of item {number} to be in [0, {num_classes - 1}]"
            f" or equal to ignore_index={ignore_index}, got {label}"
            + (f" (pass ignore_index={label} if it is no class)" if ignore_index is None else "")
        )
    counts = torch.bincount(labels, minlength=num_classes)
    return torch.stack((counts, torch.full_like(counts, len(labels))))


def _count_masks(masks: Tensor, num_classes: int, ignore_index: int | None, number: int) -> Tensor:
    """Pixels of each class of one image, and labelled ones of its mask, (2, C)."""
    if num_classes > 1 and (masks.dim() < 2 or len(masks) != num_classes):
        raise ValueError(
            f"count_labels: expected the target of item {number} of shape (C, *) with"
            f" C={num_classes} and multilabel=True, got {tuple(masks.shape)}"
        )
    masks = masks.reshape(num_classes, -1) if masks.numel() else masks.new_zeros(num_classes, 0)
    labelled = torch.ones_like(masks, dtype=torch.bool)
    if ignore_index is not None:
        labelled = masks != ignore_index
    wrong = labelled & (masks != 0) & (masks != 1)
    if bool(wrong.any()):
        raise ValueError(
            f"count_labels: expected the masks of item {number} to hold 0, 1 or"
            f" ignore_index={ignore_index}, got {int(masks[wrong][0])}"
        )
    return torch.stack((((masks == 1) & labelled).sum(1), labelled.sum(1)))
