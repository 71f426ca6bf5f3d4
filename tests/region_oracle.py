"""The losses by sums in plain torch, written from their formulas; shares nothing with the package.

Every pixel has a prediction p, a label q and a weight w of every class. A group is what a loss is
of: the batch, an image, or a cloud.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Pixels(NamedTuple):
    """All of them, (M, C) each, in float64, but for the number of the group, (M,)."""

    p: Tensor
    q: Tensor
    raw: Tensor  # labels before smoothing
    w: Tensor  # 0 where there is no label
    group: Tensor


class Sums(NamedTuple):
    """Of every group and class, (G, C)."""

    p: Tensor
    q: Tensor
    both: Tensor  # of p q
    apart: Tensor  # of |p - q|
    pp: Tensor
    qq: Tensor
    raw: Tensor
    any: Tensor  # of w


def rows(tensor: Tensor) -> Tensor:
    """(N, C, *) to (M, C), images one after the other."""
    return tensor.flatten(2).transpose(1, 2).flatten(0, 1)


def soft_labels(
    target: Tensor | Sequence[Tensor],
    classes: int,
    ignore_index: int | None = None,
    target_weight: Sequence[float] | None = None,
) -> tuple[Tensor, Tensor]:
    """Labels (N, C, *) in float64, and which of them there are: of one or of several index maps."""
    maps = [target] if isinstance(target, Tensor) else list(target)
    shares = [1 / len(maps)] * len(maps) if target_weight is None else target_weight
    total, known = 0.0, 0.0
    for labels, share in zip(maps, shares, strict=True):
        there = torch.ones_like(labels, dtype=torch.bool)
        if ignore_index is not None:
            there = labels != ignore_index
        one_hot = F.one_hot(torch.where(there, labels, 0).long(), classes).movedim(-1, 1)
        total = total + share * (one_hot * there.unsqueeze(1)).double()
        known = known + share * there.unsqueeze(1).double()
    return total / torch.where(known > 0, known, 1.0), (known > 0).expand_as(total)


def pixels_of(
    p: Tensor,
    raw: Tensor,
    valid: Tensor,
    *,
    smoothing: float = 0.0,
    pixel_weight: Tensor | None = None,
    group: Tensor | None = None,
    per_image: bool = False,
) -> Pixels:
    """From tensors of the shape (N, C, *), or for clouds (1, C, P) with the cloud of each point."""
    images = p.shape[0]
    p, raw, w = rows(p.double()), rows(raw.double()), rows(valid.double())
    if pixel_weight is not None:
        w = w * rows(pixel_weight.double())
    if group is None:
        group = torch.arange(images).repeat_interleave(len(p) // images)
        group = group if per_image else torch.zeros_like(group)
    # What has no label may be NaN.
    p, raw = torch.where(w > 0, p, 0.0), torch.where(w > 0, raw, 0.0)
    q = (1 - smoothing) * raw + smoothing / p.shape[1]
    return Pixels(p, q, raw, w, group)


def sums_of(x: Pixels, groups: int) -> Sums:
    of_group = F.one_hot(x.group, groups).t().double()  # (G, M)
    terms = (x.p, x.q, x.p * x.q, (x.p - x.q).abs(), x.p**2, x.q**2, x.raw, torch.ones_like(x.p))
    return Sums(*(of_group @ (x.w * term) for term in terms))


def dice(s: Sums, smooth: Sequence[float], squared: bool = False) -> Tensor:
    sizes = s.pp + s.qq if squared else s.p + s.q
    return 1 - (2 * s.both + smooth[0]) / (sizes + smooth[1]).clamp(min=1e-8)


def jaccard(s: Sums, smooth: Sequence[float], squared: bool = False) -> Tensor:
    sizes = s.pp + s.qq if squared else s.p + s.q
    return 1 - (s.both + smooth[0]) / (sizes - s.both + smooth[1]).clamp(min=1e-8)


def jaccard_metric(s: Sums, smooth: Sequence[float]) -> Tensor:
    """Wang et al. 2023: |x + y - |x - y|| / |x + y + |x - y||, in sums."""
    numerator = s.p + s.q - s.apart + smooth[0]
    return 1 - numerator / (s.p + s.q + s.apart + smooth[1]).clamp(min=1e-8)


def tversky(
    s: Sums, smooth: Sequence[float], alpha: float, beta: float, gamma: float = 1.0
) -> Tensor:
    """Salehi et al. 2017; with gamma Abraham and Khan 2019, whose gamma is 1 over this one."""
    whole = s.both + alpha * (s.p - s.both) + beta * (s.q - s.both)
    ratio = (s.both + smooth[0]) / (whole + smooth[1]).clamp(min=1e-8)
    # A power of 0 has no derivative: that of a loss of 0 is taken to be 0.
    loss = 1 - ratio
    return torch.where(loss > 0, torch.where(loss > 0, loss, 1.0) ** gamma, 0.0)


def generalized_dice(s: Sums, smooth: Sequence[float], active: Tensor, weighting: str) -> Tensor:
    """Sudre et al. 2017, one number of each group, (G, 1)."""
    there = (s.q > 0) & active
    power = {"square": 2, "simple": 1, "uniform": 0}[weighting]
    v = torch.where(there, 1 / torch.where(there, s.q, 1.0) ** power, 0.0)
    most = torch.where(there.any(1, keepdim=True), v.amax(1, keepdim=True), 1.0)
    v = torch.where(there, v, most) * active
    numerator = 2 * (v * s.both).sum(1, keepdim=True) + smooth[0]
    return 1 - numerator / ((v * (s.p + s.q)).sum(1, keepdim=True) + smooth[1])


FORMULAS = {
    "dice": dice,
    "jaccard": jaccard,
    "jaccard metric": jaccard_metric,
    "tversky": tversky,
}


def active_classes(s: Sums, classes: str | Sequence[int]) -> Tensor:
    """Which classes count in each group, (G, C) bool."""
    if classes == "present":
        return s.raw > 0
    chosen = torch.zeros(s.p.shape[1], dtype=torch.bool)
    if classes == "all":
        chosen[:] = True
    elif classes == "foreground":
        chosen[1:] = True
    else:
        chosen[list(classes)] = True
    return chosen & (s.any > 0)


def losses_of(
    kind: str, s: Sums, active: Tensor, smooth: float | Sequence[float], pooled: bool, **options
) -> tuple[Tensor, Tensor]:
    """Losses and whether they count, (G, C), or (G, 1) where all classes have one."""
    smooth = (smooth, smooth) if isinstance(smooth, float) else smooth
    if kind == "generalized dice":
        loss = generalized_dice(s, smooth, active, **options)
        return loss, active.any(1, keepdim=True)
    if pooled:
        s = Sums(*((term * active).sum(1, keepdim=True) for term in s))
        active = active.any(1, keepdim=True)
    return FORMULAS[kind](s, smooth, **options), active


def mean_of(
    losses: Tensor,
    active: Tensor,
    *,
    weight: Sequence[float] | None = None,
    normalize_weight: bool = True,
    reduction: str = "mean",
) -> Tensor:
    """Over the classes that count, and then over the groups in which one does."""
    factors = active.double()
    if weight is not None and losses.shape[1] > 1:
        factors = factors * torch.tensor(weight, dtype=torch.float64)
    weighted = torch.where(active, losses, 0.0) * factors
    if reduction == "none":
        return weighted
    if reduction == "sum":
        return weighted.sum()
    share = factors if normalize_weight else active.double()
    share = share.sum(1)
    of_group = weighted.sum(1) / torch.where(share > 0, share, 1.0)
    return of_group.sum() / active.any(1).sum().clamp(min=1)


def mean_of_classes(losses: Tensor, active: Tensor, **options) -> Tensor:
    """Over the groups in which a class counts, and then over the classes."""
    number = active.sum(0, keepdim=True)
    of_class = torch.where(active, losses, 0.0).sum(0, keepdim=True) / number.clamp(min=1)
    return mean_of(of_class, number > 0, **options)


def cross_entropy(
    logits: Tensor,
    raw: Tensor,
    valid: Tensor,
    *,
    weight: Sequence[float] | None = None,
    smoothing: float = 0.0,
    pixel_weight: Tensor | None = None,
    indices: bool = True,
) -> Tensor:
    """Mean over pixels; of class indices divided by the weights of their classes, as torch's is."""
    logits, raw = rows(logits.double()), rows(raw)
    w = rows(valid.double())[:, 0]
    if pixel_weight is not None:
        w = w * rows(pixel_weight.double())[:, 0]
    raw = torch.where(w.unsqueeze(1) > 0, raw, 0.0)
    logits = torch.where(w.unsqueeze(1) > 0, logits, 0.0)
    own = torch.ones(logits.shape[1]) if weight is None else torch.tensor(weight)
    own = own.double()
    q = (1 - smoothing) * raw + smoothing / logits.shape[1]
    each = -(own * q * logits.log_softmax(1)).sum(1)
    share = (raw * own).sum(1) if indices else torch.ones_like(w)
    return (w * each).sum() / (w * share).sum()


def binary_cross_entropy(
    logits: Tensor,
    q: Tensor,
    valid: Tensor,
    *,
    pos_weight: Sequence[float] | None = None,
    pixel_weight: Tensor | None = None,
) -> Tensor:
    """Mean over pixels and channels."""
    w = rows(valid.double())
    if pixel_weight is not None:
        w = w * rows(pixel_weight.double())
    x, q = (torch.where(w > 0, rows(term.double()), 0.0) for term in (logits, q))
    own = 1.0 if pos_weight is None else torch.tensor(pos_weight).double()
    each = own * q * F.softplus(-x) + (1 - q) * F.softplus(x)
    return (w * each).sum() / w.sum()


def region_loss(
    kind: str,
    logits: Tensor,
    target: Tensor | Sequence[Tensor],
    *,
    per_image: bool = False,
    averaging: str | Mapping[str, float] | None = None,
    **options,
) -> Tensor:
    """The whole loss, with the arguments of the package; ``group`` has the cloud of each point."""
    means = averaging or ("image" if per_image else "dataset")
    weights = {means: 1.0} if isinstance(means, str) else means
    losses = [w * one_mean(kind, logits, target, mean, **options) for mean, w in weights.items()]
    return sum(losses[1:], losses[0])


def one_mean(
    kind: str,
    logits: Tensor,
    target: Tensor | Sequence[Tensor],
    mean: str,
    *,
    activation: str = "softmax",
    classes: str | Sequence[int] = "all",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    target_weight: Sequence[float] | None = None,
    pixel_weight: Tensor | None = None,
    ignore_mask: Tensor | None = None,
    group: Tensor | None = None,
    weight: Sequence[float] | None = None,
    normalize_weight: bool = True,
    reduction: str = "mean",
    smooth: float | Sequence[float] = 1e-5,
    pooled: bool = False,
    **formula,
) -> Tensor:
    """The loss with the mean over images of one name."""
    if logits.dim() == 2:
        logits, target, pixel_weight, ignore_mask = (
            points_as_image(term) for term in (logits, target, pixel_weight, ignore_mask)
        )
    raw, valid = labels_of(logits, target, activation, ignore_index, target_weight)
    valid, pixel_weight = left(valid, pixel_weight, ignore_mask)
    double = logits.double()
    p = {"softmax": double.softmax(1), "sigmoid": double.sigmoid()}.get(activation, double)
    x = pixels_of(
        p,
        raw,
        valid,
        smoothing=label_smoothing,
        pixel_weight=pixel_weight,
        group=group,
        per_image=mean != "dataset",
    )
    s = sums_of(x, int(x.group.max()) + 1)
    active = active_classes(s, classes)
    losses, active = losses_of(kind, s, active, smooth, pooled, **formula)
    factors = {"weight": weight, "normalize_weight": normalize_weight}
    if mean == "class":
        return mean_of_classes(losses, active, **factors)
    found = mean_of(losses, active, reduction=reduction, **factors)
    return found.squeeze(0) if reduction == "none" and mean == "dataset" else found


def points_as_image(term):
    """(P, C) to (1, C, P), (P,) to (1, P), and several of them."""
    if isinstance(term, Tensor):
        return (term.t() if term.dim() == 2 else term).unsqueeze(0)
    return term if term is None else [points_as_image(each) for each in term]


def labels_of(logits, target, activation, ignore_index, target_weight=None):
    """Labels (N, C, *), and which of them there are."""
    if isinstance(target, Tensor) and target.shape == logits.shape:
        valid = torch.ones_like(target, dtype=torch.bool)
        if activation != "softmax" and ignore_index is not None:
            valid = target != ignore_index
        return target.double(), valid
    return soft_labels(target, logits.shape[1], ignore_index, target_weight)


def left(valid, pixel_weight, ignore_mask):
    """What is not masked, and weights of the same shape."""
    if ignore_mask is not None:
        mask = ignore_mask if ignore_mask.shape == valid.shape else ignore_mask.unsqueeze(1)
        valid = valid & ~mask
    if pixel_weight is not None and pixel_weight.shape != valid.shape:
        pixel_weight = pixel_weight.unsqueeze(1).expand(valid.shape)
    return valid, pixel_weight
