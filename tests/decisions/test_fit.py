"""Fitted offsets against enumeration; the same bits from any batches; forms of labels; errors."""

import itertools
import math

import pytest
import torch

from lovasz import Decision, DecisionFit, dice, missed_positives, tversky
from lovasz.decisions import _offsets, _sample
from tests.decisions.data import drawn, mean_score


def fitted(logits, labels=None, *, batch=None, ignore_mask=None, **options):
    fit = DecisionFit(logits.shape[1], **options)
    step = batch or len(logits)
    for start in range(0, len(logits), step):
        part = slice(start, start + step)
        mask = None if ignore_mask is None else ignore_mask[part]
        fit.update(logits[part], None if labels is None else labels[part], ignore_mask=mask)
    return fit.compute()


def assert_same(found, wanted):
    assert torch.equal(found.offsets, wanted.offsets)
    assert torch.equal(found.statistics, wanted.statistics)


@pytest.fixture(scope="module")
def images():
    return drawn((20, 10, 8), 4)


@pytest.mark.parametrize("seed", range(8))
def test_no_less_than_argmax_and_close_to_the_best_of_a_grid(seed):
    logits, labels = drawn((1, 50), 3, seed)
    decision = fitted(logits, labels)
    found = mean_score(decision(logits), labels, 3)
    assert found == pytest.approx(decision.score, abs=1e-6)
    assert decision.score_of_argmax == pytest.approx(
        mean_score(logits.argmax(1), labels, 3), abs=1e-6
    )
    assert found >= mean_score(logits.argmax(1), labels, 3)
    steps = torch.linspace(-3, 5, 33).tolist()
    best = max(
        mean_score((logits + torch.tensor([0.0, a, b])[:, None]).argmax(1), labels, 3)
        for a, b in itertools.product(steps, steps)
    )
    # Ascent class by class may end below; on average of these cases by less than 0.01.
    assert found > best - 0.04


def test_close_to_the_best_rule_of_two_numbers_a_class():
    logits, labels = drawn((1, 400), 3, 5)
    probable = logits.softmax(1)
    generator = torch.Generator().manual_seed(0)
    best = max(
        mean_score((probable * a.exp()[:, None] - b[:, None]).argmax(1), labels, 3)
        for a, b in (
            (2 * torch.randn(3, generator=generator), torch.randn(3, generator=generator) / 3)
            for _ in range(300)
        )
    )
    assert fitted(logits, labels).score > best - 0.02


@pytest.mark.parametrize("score", ["dice", "tversky", "own", "missed"])
def test_any_set_function(score, images):
    logits, labels = images
    delta = {
        "dice": dice(accept_nonconvex=True),
        "tversky": tversky(0.3, 1.4),
        "own": lambda fn, fp, positives: (fn + fp) / (positives + fp + 1),
        "missed": missed_positives,
    }[score]
    decision = fitted(logits, labels, set_function=delta)

    def cost(*counts):
        return delta(*(torch.tensor(n, dtype=torch.float64) for n in counts))

    argmax, found = (
        mean_score(decided, labels, 4, cost) for decided in (logits.argmax(1), decision(logits))
    )
    assert found == pytest.approx(decision.score, rel=1e-6)
    assert found > argmax


@pytest.mark.parametrize("max_pixels", [2**17, 300])
def test_batches_and_their_order_do_not_change_a_bit(max_pixels, images):
    logits, labels = images
    wanted = fitted(logits, labels, max_pixels=max_pixels)
    assert wanted.offsets.any()
    assert_same(fitted(logits, labels, max_pixels=max_pixels, batch=5), wanted)
    order = torch.randperm(len(logits), generator=torch.Generator().manual_seed(3))
    shuffled = fitted(logits[order], labels[order], max_pixels=max_pixels, batch=1)
    assert_same(shuffled, wanted)
    gathered = logits.movedim(1, -1).contiguous().movedim(-1, 1)  # channels last
    assert_same(fitted(gathered, labels, max_pixels=max_pixels), wanted)


def rows_of(logits, labels, *heights):
    """An image (C, H, W) in parts of so many rows."""
    pieces = zip(logits.split(heights, 1), labels.split(heights, 0), strict=True)
    return [(part[None], target[None]) for part, target in pieces]


@pytest.mark.parametrize("max_pixels", [2**17, 300])
def test_an_image_in_parts_is_one_image(max_pixels, images):
    logits, labels = images
    wanted = fitted(logits, labels, max_pixels=max_pixels)
    whole, parts = (DecisionFit(4, max_pixels=max_pixels) for _ in range(2))
    for image, target in zip(logits, labels, strict=True):
        whole.update_parts([(image[None], target[None])])
        parts.update_parts(iter(rows_of(image, target, 3, 5, 2)))
    assert_same(whole.compute(), wanted)
    assert parts._seen.images == 20
    found = parts.compute()
    torch.testing.assert_close(found.offsets, wanted.offsets, rtol=0, atol=2)
    if max_pixels > labels.numel():  # the same pixels in the same groups, in another order
        torch.testing.assert_close(found.offsets, wanted.offsets)
        torch.testing.assert_close(found.statistics, wanted.statistics)
    groups = [set(_groups(fit)) for fit in (whole, parts)]
    assert groups[0] == groups[1]
    # As many images as before: halves and groups are not those of parts.
    one = DecisionFit(4)
    one.update_parts(rows_of(logits[0], labels[0], 3, 5, 2))
    assert len(set(_groups(one))) == 1
    assert one.compute().interval == (-math.inf, math.inf)


def _groups(fit):
    return fit._gathered()[0].group.tolist()


def test_masks_in_parts_are_those_of_one_image():
    logits, labels = drawn((6, 9, 8), 2)
    masks = torch.nn.functional.one_hot(labels, 2).movedim(-1, 1)
    wanted = fitted(logits, masks, multilabel=True)
    parts, split = (DecisionFit(2, multilabel=True) for _ in range(2))
    for image, target in zip(logits, masks, strict=True):
        parts.update_parts([(image[None], target[None])])
        halves = zip(image.split((4, 5), 1), target.split((4, 5), 1), strict=True)
        split.update_parts((part[None], truth[None]) for part, truth in halves)
    assert_same(parts.compute(), wanted)
    assert torch.equal(split.compute().offsets, wanted.offsets)
    by_group = split._gathered()[0].counts.sum((1, 2, 3))
    assert int((by_group > 0).sum()) <= 6
    assert set(by_group.tolist()) <= {2 * 72 * n for n in range(7)}  # of whole images


def test_what_is_wrong_with_a_part(images):
    logits, labels = images
    fit = DecisionFit(4)
    fit.update(logits[1:], labels[1:])
    wanted = fit.compute()
    first = (logits[:1], labels[:1])
    with pytest.raises(ValueError, match=r"logits of one image in each part, got 2"):
        fit.update_parts([first, (logits[:2], labels[:2])])
    with pytest.raises(ValueError, match="in all batches or in none, got none after"):
        fit.update_parts([first, (logits[:1], None)])
    with pytest.raises(RuntimeError, match="stopped"):
        fit.update_parts(_broken(first))
    assert_same(fit.compute(), wanted)  # nothing of that image counts
    empty = DecisionFit(4)
    with pytest.raises(ValueError, match="got none after"):
        empty.update_parts([first, (logits[:1], None)])
    empty.update(logits)  # there were no labels yet


def _broken(part):
    yield part
    raise RuntimeError("stopped")


def test_a_sample_is_of_the_size_asked_for_and_stands_for_all(images):
    logits, labels = drawn((16, 30, 30), 4, 1)
    everything = fitted(logits, labels)
    fit = DecisionFit(4, max_pixels=1500)
    for image, target in zip(logits, labels, strict=True):
        fit.update(image[None], target[None])
    seen, _ = fit._gathered()
    assert 1450 < len(seen.key) <= 1500
    assert seen.weight().sum() == pytest.approx(labels.numel())
    counts = torch.bincount(seen.labels, seen.weight(), minlength=4)
    torch.testing.assert_close(counts, torch.bincount(labels.flatten()).double())
    sampled = fit.compute()
    assert sampled.score_of_argmax == pytest.approx(everything.score_of_argmax, abs=0.02)
    truth = mean_score(sampled(logits), labels, 4)
    assert truth > everything.score_of_argmax
    assert truth == pytest.approx(everything.score, abs=0.02)
    fit.reset()
    fit.update(*images)
    assert_same(fit.compute(), fitted(*images, max_pixels=1500))


def test_fewer_pixels_than_kinds_of_them(images):
    assert fitted(*images, max_pixels=1).score >= 0


@pytest.mark.parametrize("counts", [[5, 0, 3], [10, 1, 7, 7], [4, 4], [100, 1]])
def test_the_level_is_the_largest_with_room(counts):
    tensor = torch.tensor(counts)
    for pixels in range(4, sum(counts)):
        level = _sample._level(tensor, pixels)
        assert sum(min(n, level) for n in counts) <= pixels or level == 1
        assert sum(min(n, level + 1) for n in counts) > pixels


def test_a_gain_on_other_images_and_noise(images):
    logits, labels = drawn((48, 14, 14), 4, 7)
    decision = fitted(logits, labels)
    low, high = decision.interval
    assert 0 < low < decision.gain < high
    assert decision.gain < decision.score - decision.score_of_argmax + 0.01
    assert not decision.within_noise
    assert "within noise" not in repr(decision)
    # Labels that have nothing to do with rare classes' scores: argmax is as good as anything.
    even, of_even = drawn((48, 4, 4), 4, 7, scale=0.01, rare=0.0)
    nothing = fitted(even, of_even)
    assert nothing.score >= nothing.score_of_argmax
    assert nothing.within_noise
    assert ", within noise" in repr(nothing)
    few = fitted(images[0][:3], images[1][:3])
    assert few.interval == (-math.inf, math.inf)
    assert few.within_noise


def test_without_labels_the_expected_score_is_what_labels_give():
    logits, labels = drawn((24, 16, 16), 3, 2)
    by_labels, without = fitted(logits, labels), fitted(logits)
    assert mean_score(without(logits), labels, 3) == pytest.approx(by_labels.score, abs=0.01)
    assert without.score == pytest.approx(by_labels.score, abs=0.02)
    assert_same(fitted(logits, batch=7), without)


def test_forms_of_labels(images):
    logits, labels = images
    wanted = fitted(logits, labels)
    one_hot = torch.nn.functional.one_hot(labels, 4).movedim(-1, 1)
    for form in (labels.unsqueeze(1), labels.double(), labels.to(torch.uint8), one_hot):
        assert_same(fitted(logits, form), wanted)
    assert_same(fitted(logits.double(), labels), wanted)


def test_what_is_ignored_is_as_if_it_were_not_there(images):
    logits, labels = images
    generator = torch.Generator().manual_seed(9)
    out = torch.rand(labels.shape, generator=generator) < 0.3
    marked = torch.where(out, 255, labels)
    wanted = fitted(logits, marked, ignore_index=255)
    assert wanted.offsets.ne(fitted(logits, labels).offsets).any()
    assert torch.equal(fitted(logits, labels, ignore_mask=out).offsets, wanted.offsets)
    anything = torch.where(out.unsqueeze(1), torch.nan, logits)
    assert_same(fitted(anything, marked, ignore_index=255), wanted)
    score = mean_score(logits.argmax(1)[~out], labels[~out], 4)
    assert wanted.score_of_argmax == pytest.approx(score)


@pytest.mark.parametrize("shape", [(30,), (4, 30), (3, 5, 6), (3, 4, 3, 3)], ids=str)
def test_points_lines_images_and_volumes(shape):
    logits, labels = drawn(shape, 3, 3)
    decision = fitted(logits, labels)
    assert decision(logits).shape == labels.shape
    assert mean_score(decision(logits), labels, 3) == pytest.approx(decision.score)


def test_logits_of_a_lower_resolution():
    logits, _ = drawn((8, 6, 5), 3, 4)
    enlarged = torch.nn.functional.interpolate(logits, (13, 11), mode="bilinear")
    labels = torch.distributions.Categorical(logits=enlarged.movedim(1, -1)).sample()
    fit = fitted(logits, labels, upsample="bilinear")
    assert mean_score(fit(logits, size=(13, 11)), labels, 3) == pytest.approx(fit.score, abs=1e-3)
    assert_same(fitted(logits, labels, upsample="bilinear", batch=3), fit)
    torch.testing.assert_close(fit.offsets, fitted(enlarged, labels).offsets, atol=1e-3, rtol=0)


def test_probabilities(images):
    logits, labels = images
    probable = logits.softmax(1)
    decision = fitted(probable, labels, from_logits=False)
    assert mean_score(decision(probable), labels, 4) == pytest.approx(decision.score)
    assert decision.score == pytest.approx(fitted(logits, labels).score, abs=1e-4)


def test_classes(images):
    logits, labels = images
    rare = fitted(logits, labels, classes=[3])
    scores = torch.tensor(
        [mean_score(d == 3, labels == 3, 2) for d in (logits.argmax(1), rare(logits))]
    )
    assert rare.score > rare.score_of_argmax
    assert scores[1] > scores[0]
    assert torch.equal(rare.offsets[:3], torch.zeros(3))
    # A class that is in no label may be one of the test's: it is left as it was.
    absent = labels.clamp(max=2)
    assert fitted(logits, absent).offsets[3] == 0
    assert fitted(logits, absent, classes="all").offsets[3] == 0


def test_masked_classes_and_infinite_logits(images):
    logits, labels = images
    masked = logits.clone()
    masked[:, 3] = -torch.inf
    masked[0, 0, 0, 0] = torch.inf
    decision = fitted(masked, labels)
    assert decision.offsets.isfinite().all()
    assert not (decision(masked) == 3).any()


def test_offsets_are_limited():
    logits = torch.tensor([[0.0, -30.0], [0.0, -9.0], [0.0, -2.0]])
    decision = fitted(logits, torch.tensor([1, 1, 0]))
    assert decision.offsets.abs().max() <= _offsets.LIMIT


def test_gradients_and_modes(images):
    logits, labels = images
    wanted = fitted(logits, labels)
    assert_same(fitted(logits.clone().requires_grad_(), labels), wanted)
    with torch.inference_mode():
        found = fitted(logits * 1, labels)
    assert_same(found, wanted)
    assert not wanted.offsets.requires_grad


LOGITS, TARGET = torch.zeros(2, 3, 4), torch.zeros(2, 4, dtype=torch.long)
WRONG = [
    (LOGITS[:, :2], TARGET, {}, ValueError, r"logits of shape \(N, 3, \*\) .* got \(2, 2, 4\)"),
    (LOGITS, TARGET[:1], {}, ValueError, r"target of shape \(2, 4\) .* got \(1, 4\)"),
    (LOGITS, TARGET + 3, {}, ValueError, "from 0 to 2 or equal to ignore_index=None, got 3 .and 7"),
    (LOGITS * torch.nan, TARGET, {}, ValueError, "logits without NaN, got 12 of 12"),
    (LOGITS, torch.full((2, 3, 4), 1 / 3), {}, TypeError, "class indices, got soft labels"),
    (LOGITS, [TARGET, TARGET], {}, TypeError, "target to be a tensor, got list"),
    ([1.0], TARGET, {}, TypeError, "logits to be a tensor, got list"),
    (LOGITS + 2, TARGET, {"from_logits": False}, ValueError, r"probabilities in \[0, 1\] .* got 2"),
    (LOGITS, TARGET[:, :2], {}, ValueError, 'pass upsample="linear"'),
    (LOGITS, LOGITS.long() + 2, {"multilabel": True}, ValueError, "from 0 to 1 .* got 2"),
    (LOGITS, LOGITS + 0.5, {"multilabel": True}, TypeError, "zeros and ones, got soft labels"),
]


@pytest.mark.parametrize(("logits", "target", "options", "error", "words"), WRONG)
def test_errors_are_one_sentence(logits, target, options, error, words):
    with pytest.raises(error, match=f"^DecisionFit: expected .*{words}") as caught:
        DecisionFit(3, **options).update(logits, target)
    assert "\n" not in str(caught.value)


def test_labels_in_some_batches_alone_and_none_at_all():
    fit = DecisionFit(3)
    with pytest.raises(
        ValueError, match=r"expected pixels .* before compute, got none in 0 images"
    ):
        fit.compute()
    fit.update(LOGITS, TARGET)
    with pytest.raises(ValueError, match="in all batches or in none, got none after"):
        fit.update(LOGITS)
    with pytest.raises(ValueError, match="neither 0 nor 1"):
        DecisionFit(3, multilabel=True, ignore_index=1)
    with pytest.raises(ValueError, match="num_classes to be 2 or more, got 1"):
        DecisionFit(1)
    assert isinstance(fit.compute(), Decision)
