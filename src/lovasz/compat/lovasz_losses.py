"""The file of the paper's authors: ``lovasz_losses.py`` of bermanmaxim/LovaszSoftmax.

``from lovasz.compat import lovasz_losses as L`` takes the place of ``import lovasz_losses as L``.
Its helpers ``isnan`` and ``mean`` are not here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from lovasz.compat._shared import binary_loss, class_indices
from lovasz.core.options import (
    Classes,
    Method,
)
from lovasz.kernels.precision import compute_dtype, float64_device
from lovasz.losses._module import PythonModule, python_only
from lovasz.losses.softmax import lovasz_softmax_from_probabilities

if TYPE_CHECKING:
    import numpy
    import numpy.typing

__all__ = [
    "StableBCELoss",
    "binary_xloss",
    "flatten_binary_scores",
    "flatten_probas",
    "iou",
    "iou_binary",
    "lovasz_grad",
    "lovasz_hinge",
    "lovasz_hinge_flat",
    "lovasz_softmax",
    "lovasz_softmax_flat",
    "xloss",
]


# Labels of images: a tensor or an array (N, *), or a list of images.
Labels: TypeAlias = "Tensor | numpy.typing.NDArray[Any] | Sequence[Any]"


def lovasz_grad(gt_sorted: Tensor) -> Tensor:
    r"""Slopes of the Jaccard loss for errors in descending order.

    With G pixels of the class, and F of it and B others before the pixel:

    $$\frac{1}{G + B} \text{ for a pixel of the class}, \qquad
    \frac{G - F}{(G + B)(G + B + 1)} \text{ for another}.$$

    Args:
        gt_sorted: (P,), 1 for pixels of the class and 0 for others, by descending error.

    Returns:
        (P,), float64 for float64 labels, otherwise float32.

    Examples:
        >>> import torch
        >>> lovasz_grad(torch.tensor([1.0, 0.0, 1.0, 0.0]))
        tensor([0.5000, 0.1667, 0.3333, 0.0000])

    References:
        Berman, Triki, Blaschko, CVPR 2018, arXiv 1705.08790, algorithm 1, without its differences
        of rounded numbers.
    """
    dtype = compute_dtype(gt_sorted)
    # Whole numbers up to the last division: floats have all of those below 2^24.
    number = dtype if len(gt_sorted) < 2**24 else torch.float64
    positive = gt_sorted.detach().to(float64_device(gt_sorted.device), number)
    before = torch.arange(len(positive), dtype=number, device=positive.device)
    found = positive.cumsum(0)
    missing = found[-1:] - found  # G - F, without the pixel itself
    union = missing + before  # likewise G + B, less 1 for a pixel of another class
    first = 1 / (union[:1] + 1)
    slopes = missing.addcmul_(positive, before).div_(torch.addcmul(union, union, union))
    # All of what the first pixel takes from the union, of whichever kind it is, may be 0 of 0.
    slopes[:1] = first
    return slopes.to(gt_sorted.device, dtype)


def iou_binary(
    preds: Labels,
    labels: Labels,
    EMPTY: float = 1.0,
    ignore: int | None = None,
    per_image: bool = True,
) -> float:
    """IoU of the foreground in percent; see `lovasz.metrics` for IoUs over a data set.

    Args:
        preds: (N, *), 1 for foreground: a tensor, an array of numpy, or a list of images.
        labels: likewise.
        EMPTY: value where there is no foreground to find and none is found.
        ignore: label of pixels to leave out.
        per_image: mean over the images, not the IoU of the batch.

    Returns:
        Percent.
    """
    values = _ious("iou_binary", preds, labels, [1], EMPTY, ignore, per_image)
    return 100 * values[:, 0].mean().item()


def iou(
    preds: Labels,
    labels: Labels,
    C: int,
    EMPTY: float = 1.0,
    ignore: int | None = None,
    per_image: bool = False,
) -> numpy.typing.NDArray[numpy.float64]:
    """IoU of every class but the ignored one, in percent; see `lovasz.metrics` for more.

    Args:
        preds: (N, *), predicted labels: a tensor, an array of numpy, or a list of images.
        labels: likewise.
        C: number of classes.
        EMPTY: value where there is nothing to find and nothing is found.
        ignore: label of pixels to leave out.
        per_image: mean over the images, which may be of different sizes, not the IoU of the batch.

    Returns:
        (C,), an array of numpy, or one number less where ``ignore`` is a class.
    """
    classes = [label for label in range(C) if label != ignore]
    values = _ious("iou", preds, labels, classes, EMPTY, ignore, per_image)
    return (100 * values.mean(0)).cpu().numpy()


def lovasz_hinge(
    logits: Tensor,
    labels: Tensor,
    per_image: bool = True,
    ignore: int | None = None,
    *,
    method: Method = "sort",
) -> Tensor:
    r"""Binary Lovász hinge: the extension of the Jaccard loss at $\max(0, 1 - s x)$.

    Args:
        logits: (N, *).
        labels: (N, *), 0, 1 or ``ignore``; floats will do.
        per_image: mean of the losses of the images, without those that are all ignored.
        ignore: label of pixels to leave out.
        method: "sort", which is exact, or "histogram", as for `lovasz.lovasz_hinge`.

    Returns:
        A scalar; 0, connected, where all is ignored.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and labels that do not fit.
    """
    return binary_loss(
        "lovasz_hinge", logits, labels, ignore_index=ignore, per_image=per_image, method=method
    )


def lovasz_hinge_flat(logits: Tensor, labels: Tensor, *, method: Method = "sort") -> Tensor:
    """`lovasz_hinge` of pixels in one row: logits (P,), labels (P,)."""
    return binary_loss(
        "lovasz_hinge_flat", logits, labels, ignore_index=None, per_image=False, method=method
    )


def flatten_binary_scores(
    scores: Tensor, labels: Tensor, ignore: int | None = None
) -> tuple[Tensor, Tensor]:
    """Scores and labels of the pixels that are not ignored, each in one row."""
    scores, labels = scores.reshape(-1), labels.reshape(-1)
    if ignore is None:
        return scores, labels
    valid = labels != ignore
    return scores[valid], labels[valid]


class StableBCELoss(PythonModule):
    """Binary cross-entropy of logits: `torch.nn.functional.binary_cross_entropy_with_logits`."""

    @python_only
    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: A002 (the original's name)
        """Mean over all elements."""
        return F.binary_cross_entropy_with_logits(input, target.to(input.dtype))


def binary_xloss(logits: Tensor, labels: Tensor, ignore: int | None = None) -> Tensor:
    """Binary cross-entropy of the pixels that are not ignored; 0, connected, if none is left."""
    scores, truth = flatten_binary_scores(logits, labels)
    valid = torch.ones_like(truth, dtype=torch.bool) if ignore is None else truth != ignore
    # Zeros in the place of what is ignored, which is not taken out: how many are left would be
    # unknown to a compiler.
    scores, truth = torch.where(valid, scores, 0), torch.where(valid, truth, 0)
    nll = F.binary_cross_entropy_with_logits(scores, truth.to(scores.dtype), reduction="none")
    total = torch.where(valid, nll, 0).sum(dtype=compute_dtype(scores))
    return (total / valid.sum().clamp(min=1)).to(scores.dtype)


def lovasz_softmax(
    probas: Tensor,
    labels: Tensor,
    classes: Classes = "present",
    per_image: bool = False,
    ignore: int | None = None,
    *,
    method: Method | None = None,
) -> Tensor:
    """Lovász-Softmax loss of probabilities: `lovasz.lovasz_softmax_from_probabilities`.

    Args:
        probas: (N, C, *) in [0, 1]; (N, H, W) or (N, 1, *) are the probabilities of the one class
            that ``classes`` names.
        labels: (N, *), class indices or ``ignore``.
        classes: "present", "all" or a list of class indices.
        per_image: mean of the losses of the images, without those that are all ignored.
        ignore: label of pixels to leave out.
        method: "histogram" or "sort", as for `lovasz.lovasz_softmax`; None: "histogram", and "sort"
            for the probabilities of one class.

    Returns:
        A scalar; 0, connected, where all is ignored.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes, values and labels that do not fit.
    """
    if isinstance(probas, Tensor) and probas.dim() == 3:
        probas = probas.unsqueeze(1)
    labels = class_indices("lovasz_softmax", probas, labels)
    return _softmax("lovasz_softmax", probas, labels, classes, per_image, ignore, method)


def lovasz_softmax_flat(
    probas: Tensor,
    labels: Tensor,
    classes: Classes = "present",
    *,
    method: Method | None = None,
) -> Tensor:
    """`lovasz_softmax` of pixels in a row: probas (P, C), labels (P,)."""
    labels = class_indices("lovasz_softmax_flat", probas, labels)
    return _softmax("lovasz_softmax_flat", probas, labels, classes, False, None, method)


def flatten_probas(
    probas: Tensor, labels: Tensor, ignore: int | None = None
) -> tuple[Tensor, Tensor]:
    """Probabilities (P, C) and labels (P,) of the pixels that are not ignored.

    Args:
        probas: (N, C, *), or (N, H, W) for one class.
        labels: (N, *).
        ignore: label of pixels to leave out.

    Returns:
        A view where the layout allows it and nothing is ignored.
    """
    if probas.dim() == 3:
        probas = probas.unsqueeze(1)
    flat, labels = probas.movedim(1, -1).flatten(0, -2), labels.reshape(-1)
    if ignore is None:
        return flat, labels
    valid = labels != ignore
    return flat[valid], labels[valid]


def xloss(logits: Tensor, labels: Tensor, ignore: int | None = None) -> Tensor:
    """Cross-entropy without the pixels of the label ``ignore``, by default 255."""
    return F.cross_entropy(logits, labels.long(), ignore_index=255 if ignore is None else ignore)


def _softmax(
    name: str,
    probas: Any,
    labels: Any,
    classes: Classes,
    per_image: bool,
    ignore: int | None,
    method: Method | None,
) -> Tensor:
    one = isinstance(probas, Tensor) and probas.dim() > 1 and probas.shape[1] == 1
    if not one:
        return lovasz_softmax_from_probabilities(
            probas,
            labels,
            classes=classes,
            per_image=per_image,
            ignore_index=ignore,
            method=method or "histogram",
        )
    # The probability of one class: its set against the rest.
    if isinstance(classes, str) or len(classes) != 1:
        raise ValueError(
            f"{name}: expected classes to be a list of one class for probabilities of one class,"
            f" got {classes!r}"
        )
    positive = labels == classes[0]
    if ignore is not None:
        positive = positive.to(torch.uint8).masked_fill_(labels == ignore, 255)
    return binary_loss(
        name,
        probas,
        positive,
        ignore_index=None if ignore is None else 255,
        per_image=per_image,
        probabilities=True,
        method=method,
    )


def _ious(
    name: str,
    preds: Labels,
    labels: Labels,
    classes: Sequence[int],
    empty: float,
    ignore: int | None,
    per_image: bool,
) -> Tensor:
    """IoU of the images, or of the batch, and of the classes."""
    if isinstance(preds, Tensor) and isinstance(labels, Tensor):
        _check_sizes(name, [preds], [labels])
        preds, labels = (x.to(float64_device(x.device)) for x in (preds, labels))
        preds, labels = (x.flatten(1) if per_image else x.reshape(1, -1) for x in (preds, labels))
        return _ious_of(preds, labels, classes, empty, ignore)
    found, there = ([_tensor(image) for image in images] for images in (preds, labels))
    _check_sizes(name, found, there)
    pairs = [(x.reshape(1, -1), y.reshape(1, -1)) for x, y in zip(found, there, strict=True)]
    if not per_image:
        pairs = [(torch.cat([x for x, _ in pairs], 1), torch.cat([y for _, y in pairs], 1))]
    return torch.cat([_ious_of(*pair, classes, empty, ignore) for pair in pairs])


def _ious_of(
    preds: Tensor, labels: Tensor, classes: Sequence[int], empty: float, ignore: int | None
) -> Tensor:
    """IoU of every row and class."""
    valid = None if ignore is None else labels != ignore
    hits, unions = [], []
    for label in classes:
        there, found = labels == label, preds == label
        if valid is not None:
            there = there & valid if label == ignore else there
            found = found & valid
        hits.append((there & found).sum(1))
        unions.append((there | found).sum(1))
    union = torch.stack(unions, 1)
    return torch.where(union > 0, torch.stack(hits, 1).double() / union, empty)


def _tensor(image: Any) -> Tensor:
    """An image of labels; every dtype that numpy has and torch compares."""
    tensor = image.detach() if isinstance(image, Tensor) else torch.as_tensor(image)
    return tensor.to(float64_device(tensor.device))


def _check_sizes(name: str, preds: Sequence[Tensor], labels: Sequence[Tensor]) -> None:
    shapes = [[tuple(x.shape) for x in images] for images in (preds, labels)]
    if shapes[0] != shapes[1]:
        one, other = (shape[0] if len(shape) == 1 else shape for shape in shapes)
        raise ValueError(f"{name}: expected labels of the shape of preds, {one}, got {other}")
