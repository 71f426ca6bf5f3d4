"""Decisions for the Dice score or the IoU of every single image, by counting its probabilities."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from lovasz.core.options import check_choice, check_flags
from lovasz.decisions._reading import Image, Reading, images_of
from lovasz.decisions._thresholds import BINS, bins_of, offsets_of, probabilities
from lovasz.kernels.precision import float64_device
from lovasz.predictions import Deciding

__all__ = ["image_decision"]

ImageScore = Literal["dice", "iou"]


class Expected(NamedTuple):
    """What a set of the pixels above an edge is expected to score, of every class and edge."""

    score: Tensor  # (C, E) float64
    size: Tensor  # (C, E), what the number of right pixels is divided by: on average


def image_decision(
    logits: Tensor,
    *,
    score: ImageScore = "dice",
    multilabel: bool = False,
    from_logits: bool = True,
    ignore_mask: Any = None,
) -> Tensor:
    r"""Labels with a high expected Dice score or IoU of each image by itself, without labels.

    A set that holds the most probable pixels has the highest expected score among all of its size,
    if pixels are independent given the image. So for each class (or channel) the best threshold of
    its probability is searched, with

    $$
    E\Big[\frac{2 \sum_{j \in D} Y_j}{|D| + \sum_j Y_j}\Big], \qquad
    E\Big[\frac{\sum_{j \in D} Y_j}{|D| + \sum_{j \notin D} Y_j}\Big]
    $$

    from the counts of the probabilities, by the first two moments of the denominators (RankSEG-RMA
    takes the first). With ``multilabel`` the sets are the result. Of classes that exclude each
    other a pixel is of the class to whose set it adds most: the one with the largest
    $(2 p_c - D_c) / N_c$ for a set of the Dice score $D_c$ and the mean denominator $N_c$, and
    $((1 + J_c)\, p_c - J_c) / N_c$ for the IoU; a class whose best set is empty is left out.

    It relies on probabilities that are right on average, image by image. For scores over the data
    set see `DecisionFit`. It counts first and decides then, which takes longer than an argmax.

    Args:
        logits: (N, C, *) or (P, C) for the points of one image, any floating dtype and layout.
        score: "dice" or "iou".
        multilabel: whether every channel is decided by itself; C = 1 is a mask.
        from_logits: False: ``logits`` are probabilities.
        ignore_mask: True for pixels that do not count, (N, *) or with ``multilabel`` also of the
            shape of the logits; they get a label like the others. None: all count.

    Returns:
        Class indices (N, *) or (P,), or with ``multilabel`` zeros and ones of the shape of the
        logits, int64, on their device.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit, and NaN among the logits.

    Examples:
        >>> import torch
        >>> logits = torch.tensor([[[1.0, -0.5, -0.5, -6.0, -6.0]]])  # one mask of five pixels
        >>> image_decision(logits, multilabel=True).tolist()  # a half would find the first one
        [[[1, 1, 1, 0, 0]]]

    References:
        Dai, Li, *RankSEG: a consistent ranking-based framework for segmentation*, JMLR 2023,
        arXiv 2206.13086; RankSEG-RMA, arXiv 2510.15362.
    """
    name = "image_decision"
    check_choice(name, "score", score, get_args(ImageScore))
    check_flags(name, multilabel=multilabel, from_logits=from_logits)
    reading = Reading(name, None, multilabel, from_logits)
    with torch.no_grad():
        decide = _masks if multilabel else _classes
        labels = [
            decide(_with_float64(image), score).to(logits.device)
            for image in images_of(reading, logits, None, ignore_mask)
        ]
    shape = tuple(logits.shape) if multilabel else (*logits.shape[:1], *logits.shape[2:])
    if logits.dim() == 2:  # points, with the channels before them
        return labels[0].t().contiguous() if multilabel else labels[0]
    return torch.stack(labels).view(shape) if labels else logits.new_zeros(shape).long()


def _with_float64(image: Image) -> Image:
    """The image where sums can be taken in float64."""
    device = float64_device(image.logits.device)
    return Image(image.logits.to(device), None, image.kept.to(device))


def _masks(image: Image, score: str) -> Tensor:
    """Zeros and ones (C, L)."""
    best = _expected(image.logits, image.kept, score).score.argmax(1)
    offsets = offsets_of(best)
    return _decided(image.logits, torch.ones_like(offsets), offsets, multilabel=True)


def _classes(image: Image, score: str) -> Tensor:
    """Class indices (L,)."""
    probable = image.logits.softmax(0)
    expected = _expected(probable.logit(), image.kept.expand(probable.shape), score)
    value, edge = expected.score.max(1, keepdim=True)
    size, empty = expected.size.gather(1, edge), edge == BINS - 2
    if bool(empty.all()):
        return probable.argmax(0)
    # Written as a factor and an offset, for one pass over the pixels.
    factors = (2 if score == "dice" else 1 + value) / size
    offsets = (-value / size).masked_fill(empty, -torch.inf)
    return _decided(probable, factors.squeeze(1), offsets.squeeze(1), multilabel=False)


def _decided(scores: Tensor, factors: Tensor, offsets: Tensor, *, multilabel: bool) -> Tensor:
    """Labels of scores (C, L) by factors and offsets (C,)."""
    lines = torch.stack((factors, offsets)).to(torch.float32)
    how = Deciding(multilabel=multilabel, lines=lines.to(scores.device))
    return how.labels("image_decision", scores.unsqueeze(0)).squeeze(0)


def _expected(logits: Tensor, kept: Tensor, score: str) -> Expected:
    """Expected scores of the pixels above each edge, of which none are above the last one.

    Args:
        logits: (C, L), of each class or channel by itself.
        kept: (C, L), which pixels count.
        score: "dice" or "iou".
    """
    classes = len(logits)
    place = bins_of(logits)
    place += BINS * torch.arange(classes, dtype=place.dtype, device=place.device).unsqueeze(1)
    counted = place.flatten() if bool(kept.all()) else place[kept]
    number = torch.bincount(counted, minlength=classes * BINS).view(classes, BINS).double()
    p = probabilities().to(number)
    # Sums of 1, p, p², p³ above each edge, and of all pixels.
    moments = torch.stack([number * p**k for k in range(4)])
    above = moments.flip(-1).cumsum(-1).flip(-1)[..., 1:]
    whole = moments.sum(-1, keepdim=True)
    taken, hits = above[0], above[1]
    if score == "dice":
        # Of each pixel E[1 / (n + 1 + others)], whose mean is size - p: to the third order.
        size = taken + 1 + whole[1]
        variance = whole[1] - whole[2]
        value = 2 * (hits / size + above[2] / size**2 + (above[3] + variance * hits) / size**3)
        mean = taken + whole[1]
    else:
        mean = taken + whole[1] - hits
        variance = (whole[1] - whole[2]) - (hits - above[2])
        inverse = 1 / mean.clamp(min=1)
        value = hits * inverse * (1 + variance * inverse**2)
    # Nothing found is right where there is nothing.
    empty = (number * torch.log1p(-p)).sum(-1, keepdim=True).exp().expand(value.shape)
    return Expected(torch.where(taken > 0, value, empty), mean.clamp(min=1e-9))
