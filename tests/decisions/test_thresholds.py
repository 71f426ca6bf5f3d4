"""Thresholds of masks against all thresholds there are."""

import pytest
import torch

from lovasz import DecisionFit, dice
from tests.decisions.data import mean_score


def masks(images=20, channels=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(images, channels, 9, 8, generator=generator) - 1.5
    return logits, torch.bernoulli(logits.sigmoid(), generator=generator).long()


def fitted(logits, labels=None, classes=2, **options):
    fit = DecisionFit(classes, multilabel=True, **options)
    fit.update(logits, labels)
    return fit.compute()


def iou(logits, labels, threshold):
    return mean_score((logits > threshold).long() - 1, labels - 1, 1)


@pytest.mark.parametrize("seed", range(4))
def test_the_best_threshold_of_each_channel(seed):
    logits, labels = masks(seed=seed)
    decision = fitted(logits, labels)
    for c in range(2):
        scores, truth = logits[:, c].flatten(), labels[:, c].flatten()
        best = max(iou(scores, truth, t) for t in scores.tolist())
        found = iou(scores, truth, -float(decision.offsets[c]))
        assert found >= iou(scores, truth, 0.0)
        assert found > best - 0.01  # between two edges
    scores = [iou(logits[:, c], labels[:, c], -float(decision.offsets[c])) for c in range(2)]
    assert decision.score == pytest.approx(sum(scores) / 2, abs=1e-6)


def test_batches_do_not_change_a_bit():
    logits, labels = masks()
    wanted = fitted(logits, labels, set_function=dice(accept_nonconvex=True))
    fit = DecisionFit(2, multilabel=True, set_function=dice(accept_nonconvex=True))
    for part in (slice(13, 20), slice(0, 1), slice(1, 13)):
        fit.update(logits[part], labels[part])
    found = fit.compute()
    assert torch.equal(found.offsets, wanted.offsets)
    assert torch.equal(found.statistics, wanted.statistics)


def test_one_mask_in_every_form():
    logits, labels = masks(channels=1)
    wanted = fitted(logits, labels, 1)
    assert wanted.offsets.any()
    for given in (
        (logits[:, 0], labels[:, 0]),
        (logits, labels[:, 0]),
        (logits.double(), labels.double()),
        (logits.sigmoid(), labels),
    ):
        options = {"from_logits": bool((given[0] < 0).any())}
        assert torch.equal(fitted(*given, 1, **options).offsets, wanted.offsets)


def test_without_labels():
    logits, labels = masks(images=200)
    by_labels, without = fitted(logits, labels), fitted(logits)
    assert without.score == pytest.approx(by_labels.score, abs=0.02)
    torch.testing.assert_close(without.offsets, by_labels.offsets, atol=0.3, rtol=0)
    assert not by_labels.within_noise


def test_what_is_ignored_and_empty_channels():
    logits, labels = masks()
    marked = labels.clone()
    marked[:, :, :4] = 255
    wanted = fitted(logits[:, :, 4:].contiguous(), labels[:, :, 4:])
    found = fitted(logits, marked, ignore_index=255)
    assert torch.equal(found.offsets, wanted.offsets)
    mask = torch.zeros_like(labels, dtype=torch.bool)
    mask[:, :, :4] = True
    fit = DecisionFit(2, multilabel=True)
    fit.update(logits, labels, ignore_mask=mask)
    assert torch.equal(fit.compute().offsets, wanted.offsets)
    labels[:, 1] = 0
    assert fitted(logits, labels).offsets[1] == 0
