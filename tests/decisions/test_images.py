"""Decisions per image against the expected score of every set, by enumeration."""

import itertools

import pytest
import torch

from lovasz import image_decision
from tests.decisions.data import drawn, mean_score


def expected_scores(probable, sets, score):
    """Expected Dice score or IoU of sets (S, n), by all 2 ** n labellings of independent pixels."""
    labels = torch.tensor(list(itertools.product((0, 1), repeat=len(probable)))).double()
    likely = (labels * probable + (1 - labels) * (1 - probable)).prod(1)
    hits = sets.double() @ labels.T
    sizes = sets.double().sum(1, keepdim=True) + labels.sum(1)
    top, bottom = (2 * hits, sizes) if score == "dice" else (hits, sizes - hits)
    return torch.where(bottom > 0, top / bottom.clamp(min=1), 1.0) @ likely


@pytest.mark.parametrize("score", ["dice", "iou"])
@pytest.mark.parametrize("pixels", [4, 8])
def test_close_to_the_best_set_of_all(score, pixels):
    generator = torch.Generator().manual_seed(0)
    sets = torch.tensor(list(itertools.product((0, 1), repeat=pixels)))
    lost = []
    for shift in (-2.0, -1.0, 0.0, 1.0):
        for _ in range(10):
            logits = (1.5 * torch.randn(pixels, generator=generator) + shift).double()
            found = image_decision(logits.view(1, 1, -1), score=score, multilabel=True).view(1, -1)
            scores = expected_scores(logits.sigmoid(), torch.cat((sets, found)), score)
            lost.append(float(scores[:-1].max() - scores[-1]))
            half = expected_scores(logits.sigmoid(), (logits > 0)[None].long(), score)
            assert scores[-1] > half - 0.02
    assert max(lost) < 0.04  # two moments of so few pixels are not all
    assert sum(lost) / len(lost) < 0.004


def test_many_images_are_decided_one_by_one():
    logits, labels = drawn((40, 12, 12), 3, 3)
    shift = torch.randn(40, 1, 1, 1, generator=torch.Generator().manual_seed(1))
    for score, cost in (("iou", None), ("dice", lambda fn, fp, n: (fn + fp) / (2 * n - fn + fp))):
        found = image_decision(logits, score=score)
        assert found.shape == labels.shape
        one = torch.cat([image_decision(image[None], score=score) for image in logits])
        assert torch.equal(one, found)
        assert torch.equal(image_decision(logits + shift, score=score), found)
        means = [
            sum(mean_score(d, y, 3, cost) for d, y in zip(decided, labels, strict=True))
            for decided in (logits.argmax(1), found)
        ]
        assert means[1] > means[0] + 0.01 * len(labels)


def test_layouts_points_and_probabilities():
    logits, _ = drawn((30,), 3, 4)
    as_image = image_decision(logits.t()[None])
    assert torch.equal(image_decision(logits), as_image[0])
    assert torch.equal(image_decision(logits.softmax(1).double(), from_logits=False), as_image[0])
    wanted = image_decision(logits.t()[None], multilabel=True)[0].t()
    assert torch.equal(image_decision(logits, multilabel=True), wanted)
    assert image_decision(torch.zeros(0, 3, 4, 4)).shape == (0, 4, 4)
    volume = image_decision(torch.randn(2, 3, 4, 5, 6).half())
    assert volume.shape == (2, 4, 5, 6)
    wide = torch.randn(2, 3, 4, 5)
    last = wide.contiguous(memory_format=torch.channels_last)
    assert torch.equal(image_decision(wide), image_decision(last))


def test_an_image_with_nothing_to_find():
    logits = torch.full((1, 1, 20, 20), -12.0)
    assert not image_decision(logits, multilabel=True).any()
    certain = torch.zeros(1, 3, 20, 20)
    certain[:, 1] = 12
    assert (image_decision(certain) == 1).all()


def test_what_is_ignored_is_not_counted():
    logits, _ = drawn((2, 10, 10), 3, 5)
    mask = torch.zeros(2, 10, 10, dtype=torch.bool)
    mask[:, 5:] = True
    found = image_decision(logits, ignore_mask=mask)
    assert torch.equal(found[:, :5], image_decision(logits[:, :, :5].contiguous()))
    other = torch.where(mask.unsqueeze(1), torch.nan, logits)
    assert torch.equal(image_decision(other, ignore_mask=mask)[:, :5], found[:, :5])


def test_errors_are_one_sentence():
    with pytest.raises(ValueError, match=r"^image_decision: expected score to be one of 'dice', "):
        image_decision(torch.zeros(1, 3, 2), score="f1")
    with pytest.raises(ValueError, match=r"^image_decision: expected logits without NaN, got 6 of"):
        image_decision(torch.full((1, 3, 2), torch.nan))
    with pytest.raises(TypeError, match=r"^image_decision: expected logits to be a tensor, got li"):
        image_decision([1.0])
