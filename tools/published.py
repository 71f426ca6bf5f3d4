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


def lovasz_softmax(
    logits: Tensor,
    target: Tensor,
    *,
    ignore_index: int | None = None,
    classes: list[int] | None = None,
) -> Tensor:
    """Mean loss of the present (or listed) classes of logits (N, C, *) and labels (N, *)."""
    rows = logits.softmax(1).movedim(1, -1).reshape(-1, logits.shape[1])
    labels = target.reshape(-1)
    if ignore_index is not None:
        kept = labels != ignore_index
        rows, labels = rows[kept], labels[kept]
    losses = []
    for c in range(rows.shape[1]) if classes is None else classes:
        positive = (labels == c).to(rows.dtype)
        if classes is None and positive.sum() == 0:
            continue
        errors, order = (positive - rows[:, c]).abs().sort(descending=True)
        losses.append(torch.dot(errors, jaccard_weights(positive[order])))
    return torch.stack(losses).mean()
