"""Lovász-Softmax in plain Python floats, straight from the definition.

It shares nothing with the package: no torch, no sort-and-difference, no bins. The extension is the
integral of the set function over the threshold, and a slope is what the integral gains when one
error is moved, so both follow the definition and not an algorithm. Only for small inputs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

Delta = Callable[[float, float, float], float]


def jaccard(fn: float, fp: float, positives: float) -> float:
    union = positives + fp
    return (fn + fp) / union if union else 0.0


def missed_positives(fn: float, fp: float, positives: float) -> float:
    return float(fn)


def tversky(alpha: float, beta: float) -> Delta:
    def delta(fn: float, fp: float, positives: float) -> float:
        mistakes = alpha * fp + beta * fn
        whole = positives - fn + mistakes
        return mistakes / whole if whole else 0.0

    return delta


def extension(errors: Sequence[float], positive: Sequence[bool], delta: Delta) -> float:
    """Integral over t of Δ(positives with error > t, negatives with error > t)."""
    total = sum(positive)
    levels = sorted({0.0, *errors})
    integral = 0.0
    for low, high in itertools.pairwise(levels):
        above = [
            is_positive for error, is_positive in zip(errors, positive, strict=True) if error > low
        ]
        integral += (high - low) * delta(sum(above), len(above) - sum(above), total)
    return integral


def slopes(errors: Sequence[float], positive: Sequence[bool], delta: Delta) -> list[float]:
    """Derivative of the extension by each error, for distinct errors: Δ(above + i) − Δ(above)."""
    total = sum(positive)
    result = []
    for error, is_positive in zip(errors, positive, strict=True):
        above = [p for e, p in zip(errors, positive, strict=True) if e > error]
        fn, fp = sum(above), len(above) - sum(above)
        joined = (fn + is_positive, fp + (not is_positive))
        result.append(delta(*joined, total) - delta(fn, fp, total))
    return result


def mean_slopes(
    errors: Sequence[float], positive: Sequence[bool], weight: Sequence[float], delta: Delta
) -> list[float]:
    """Slopes where errors may be equal: the mean over "positives first" and "negatives first".

    A pixel of weight w counts as w equal pixels, and its slope is that of all of them.
    """
    pixels = list(zip(errors, positive, weight, strict=True))
    total = sum(w for _, p, w in pixels if p)
    result = [0.0] * len(pixels)
    for level in set(errors):
        fn0 = sum(w for e, p, w in pixels if p and e > level)
        fp0 = sum(w for e, p, w in pixels if not p and e > level)
        fn1 = fn0 + sum(w for e, p, w in pixels if p and e == level)
        fp1 = fp0 + sum(w for e, p, w in pixels if not p and e == level)
        by_fn = sum(delta(fn1, fp, total) - delta(fn0, fp, total) for fp in (fp0, fp1)) / 2
        by_fp = sum(delta(fn, fp1, total) - delta(fn, fp0, total) for fn in (fn0, fn1)) / 2
        for i, (error, is_positive, w) in enumerate(pixels):
            if error == level and w:
                result[i] = w * (by_fn / (fn1 - fn0) if is_positive else by_fp / (fp1 - fp0))
    return result


def softmax(row: Sequence[float]) -> list[float]:
    top = max(row)
    powers = [math.exp(value - top) for value in row]
    return [power / sum(powers) for power in powers]


def class_losses(
    rows: Sequence[Sequence[float]],
    labels: Sequence[int],
    delta: Delta = jaccard,
    ignore_index: int | None = None,
) -> tuple[list[float], list[list[list[float]]]]:
    """Loss of every class, and its gradient by every logit, as gradient[c][pixel][class].

    Args:
        rows: logits, one row of C numbers for each pixel.
        labels: label of each pixel.
        delta: set function.
        ignore_index: label of the pixels to leave out.
    """
    kept = [i for i, label in enumerate(labels) if label != ignore_index]
    probabilities = [softmax(row) for row in rows]
    classes = len(rows[0])
    losses, gradients = [], []
    for c in range(classes):
        positive = [labels[i] == c for i in kept]
        errors = [
            1 - probabilities[i][c] if is_positive else probabilities[i][c]
            for i, is_positive in zip(kept, positive, strict=True)
        ]
        losses.append(extension(errors, positive, delta))
        gradient = [[0.0] * classes for _ in rows]
        for i, is_positive, slope in zip(
            kept, positive, slopes(errors, positive, delta), strict=True
        ):
            by_probability = -slope if is_positive else slope
            for k in range(classes):
                by_logit = probabilities[i][c] * ((k == c) - probabilities[i][k])
                gradient[i][k] = by_probability * by_logit
        gradients.append(gradient)
    return losses, gradients


def lovasz_softmax(
    rows: Sequence[Sequence[float]],
    labels: Sequence[int],
    *,
    classes: str | Sequence[int] = "present",
    weight: Sequence[float] | None = None,
    normalize_weight: bool = True,
    delta: Delta = jaccard,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> tuple[float, list[list[float]]]:
    """Loss of one group of pixels and its gradient by every logit."""
    losses, gradients = class_losses(rows, labels, delta, ignore_index)
    count = len(losses)
    kept = [label for label in labels if label != ignore_index]
    if classes == "present":
        chosen = sorted(set(kept))
    elif classes == "all":
        chosen = list(range(count)) if kept else []
    else:
        chosen = list(classes) if kept else []
    alpha = [1.0] * count if weight is None else list(weight)
    share = sum(alpha[c] if normalize_weight else 1.0 for c in chosen)
    share = share if reduction == "mean" and share else 1.0
    loss = sum(alpha[c] * losses[c] for c in chosen) / share
    gradient = [
        [sum(alpha[c] * gradients[c][i][k] for c in chosen) / share for k in range(count)]
        for i in range(len(rows))
    ]
    return loss, gradient


def iou(predicted: Sequence[int], truth: Sequence[int], label: int) -> float:
    """IoU of one class from sets of pixel numbers; 1 where there is nothing to find or found."""
    found = {i for i, value in enumerate(predicted) if value == label}
    there = {i for i, value in enumerate(truth) if value == label}
    return len(found & there) / len(found | there) if found | there else 1.0


def drop_ignored(
    predicted: Sequence[int], truth: Sequence[int], ignore_index: int | None
) -> tuple[list[int], list[int]]:
    kept = [i for i, value in enumerate(truth) if value != ignore_index]
    return [predicted[i] for i in kept], [truth[i] for i in kept]


def image_ious(
    predictions: Sequence[Sequence[int]],
    truths: Sequence[Sequence[int]],
    num_classes: int,
    classes: str | Sequence[int] = "present",
    ignore_index: int | None = None,
) -> list[dict[int, float]]:
    """IoU of the classes that count in each image."""
    result = []
    for predicted, truth in zip(predictions, truths, strict=True):
        found, there = drop_ignored(predicted, truth, ignore_index)
        chosen = {"present": sorted(set(there)), "all": list(range(num_classes))}
        counting = chosen[classes] if isinstance(classes, str) else list(classes)
        result.append({c: iou(found, there, c) for c in counting if there})
    return result


def lowest_mean(values: Sequence[float], worst: float = 100) -> float:
    """Mean of the lowest percentage, of one value at least."""
    count = max(1, math.floor(worst * len(values) / 100))
    return sum(sorted(values)[:count]) / count
