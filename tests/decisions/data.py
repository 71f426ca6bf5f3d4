"""Logits and labels for the tests: rare classes that argmax finds too seldom."""

import torch


def drawn(shape, classes, seed=0, scale=1.0, rare=1.5):
    """Logits (N, C, *), and labels (N, *) drawn from their softmax: calibrated.

    Each class is less probable than the one before by the factor exp(-rare).
    """
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(shape[0], classes, *shape[1:], generator=generator)
    logits -= rare * torch.arange(classes).view(-1, *[1] * len(shape[1:]))
    flat = logits.softmax(1).movedim(1, -1).reshape(-1, classes)
    labels = torch.multinomial(flat, 1, generator=generator).view(shape)
    return logits, labels


def mean_score(decided, labels, classes, cost=None):
    """Mean over the classes that are there of the IoU, or of 1 - cost, in plain Python."""
    scores = []
    for c in range(classes):
        found, true = decided == c, labels == c
        hits, n, m = (int(x.sum()) for x in (found & true, found, true))
        if m:
            iou = hits / (n + m - hits)
            scores.append(iou if cost is None else 1 - float(cost(m - hits, n - hits, m)))
    return sum(scores) / len(scores)
