"""The algorithm as published, for comparison: a float32 sort and difference for each class.

Written from the paper (Berman et al. 2018, algorithm 1), with what its implementations share: a
Python loop over the classes, "present" tested on the host, and weights as differences of a float32
cumulative Jaccard loss.
"""

from __future__ import annotations

import torch
from torch import Tensor


def jaccard_weights(sorted_positive: Tensor) -> Tensor:
    """Weights of errors sorted downwards, by the differences of algorithm 1."""
    positives = sorted_positive.sum()
    missed = sorted_positive.cumsum(0)
    false_alarms = (1 - sorted_positive).cumsum(0)
    loss = 1 - (positives - missed) / (positives + false_alarms)
    return torch.cat((loss[:1], loss[1:] - loss[:-1]))


def loss_of_set(errors: Tensor, positive: Tensor) -> Tensor:
    """Loss of one class, or of a mask, from its errors and a float for each pixel, 1 or 0."""
    errors, order = errors.sort(descending=True)
    return torch.dot(errors.relu(), jaccard_weights(positive[order]))


def lovasz_hinge(logits: Tensor, target: Tensor, *, per_image: bool = False) -> Tensor:
    """Hinge loss of a mask (N, *), or the mean of those of the images."""
    if per_image:
        images = zip(logits, target, strict=True)
        return torch.stack([lovasz_hinge(x, y) for x, y in images]).mean()
    positive = target.reshape(-1).to(logits.dtype)
    return loss_of_set(1 - logits.reshape(-1) * (2 * positive - 1), positive)


def lovasz_sigmoid(probabilities: Tensor, target: Tensor) -> Tensor:
    """Loss of the probabilities of a mask (N, *)."""
    positive = target.reshape(-1).to(probabilities.dtype)
    return loss_of_set((positive - probabilities.reshape(-1)).abs(), positive)


def lovasz_softmax(
    logits: Tensor,
    target: Tensor,
    *,
    ignore_index: int | None = None,
    classes: list[int] | None = None,
) -> Tensor:
    """Mean loss of the present (or listed) classes of logits (N, C, *) and labels (N, *)."""
    return lovasz_softmax_of_probabilities(
        logits.softmax(1), target, ignore_index=ignore_index, classes=classes
    )


def lovasz_softmax_of_probabilities(
    probabilities: Tensor,
    target: Tensor,
    *,
    ignore_index: int | None = None,
    classes: list[int] | None = None,
) -> Tensor:
    """The same of their softmax."""
    rows = probabilities.movedim(1, -1).reshape(-1, probabilities.shape[1])
    labels = target.reshape(-1)
    if ignore_index is not None:
        kept = labels != ignore_index
        rows, labels = rows[kept], labels[kept]
    losses = []
    for c in range(rows.shape[1]) if classes is None else classes:
        positive = (labels == c).to(rows.dtype)
        if classes is None and positive.sum() == 0:
            continue
        losses.append(loss_of_set((positive - rows[:, c]).abs(), positive))
    return torch.stack(losses).mean()
