"""What the sort is asked for: weights of pixels, the complement, rows of any length, threads.

The errors of the hinge are rounded once, in the kernels and in the reference: so their order is the
same, and slopes can be compared one by one.
"""

import itertools

import pytest
import torch

from lovasz import lovasz_hinge, lovasz_softmax
from lovasz.kernels import cpu, reference
from tests.kernels.cases import IGNORE
from tests.kernels.sorting_checks import channels_of, check, check_classes, clouds_of

OPTIONS = list(itertools.product([False, True], [False, True]))
options = pytest.mark.parametrize(("symmetric", "weighted"), OPTIONS)
# few pixels, some, more than are sorted at once, and more than threads share
LENGTHS = [1, 23, 700, 9000, 70_000]


@pytest.mark.parametrize("tversky", [(1.0, 1.0), (0.3, 2.0)])
@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("length", LENGTHS)
@options
def test_channels(length, per_image, symmetric, weighted, tversky):
    scores, target, weight = channels_of((2, 3, length))
    arguments = (scores, target, IGNORE, per_image, "hinge", *tversky, symmetric)
    weight = weight if weighted else None
    check(cpu.sort_and_extend(*arguments, weight), reference.sort_and_extend(*arguments, weight))


@pytest.mark.parametrize("ascending", [True, False])
@pytest.mark.parametrize("sizes", [[0, 3, 1, 0, 700, 0], [9000, 40, 70_000], [5] * 300])
@options
def test_clouds(symmetric, weighted, sizes, ascending):
    ids = clouds_of(sizes, ascending=ascending)
    scores, target, weight = channels_of((1, 3, ids.shape[1]))
    head, tail = (IGNORE, False, "hinge", 1.0, 1.0, symmetric), (ids, len(sizes))
    weight = weight if weighted else None
    expected = reference.sort_and_extend(scores, target, *head, weight, *tail)
    check(cpu.sort_and_extend(scores, target, *head, weight, *tail), expected)
    # and the reference is that of each cloud by itself
    for cloud in range(len(sizes)):
        own = ids[0] == cloud
        part = [x[..., own] for x in (scores, target)]
        alone = reference.sort_and_extend(*part, *head, weight[..., own] if weighted else None)
        for number in (0, 2, 3):
            torch.testing.assert_close(expected[number][cloud], alone[number][0])
        torch.testing.assert_close(expected[1][..., own], alone[1])


@pytest.mark.parametrize("module", [cpu, reference])
def test_no_points_at_all(module):
    ids = torch.empty(1, 0, dtype=torch.int64)
    empty, labels = torch.empty(1, 3, 0), torch.empty(1, 0, dtype=torch.int64)
    losses, slopes, positives, pixels, lse, invalid = module.sort_and_extend(
        empty, labels, None, False, "softmax", 1.0, 1.0, False, None, ids, 2
    )
    assert losses.tolist() == [[0.0] * 3] * 2
    assert positives.shape == pixels.shape == (2, 3)
    assert slopes.shape == (1, 3, 0)
    assert lse.shape == (1, 0)
    assert invalid.tolist() == [0, 0]


def test_a_score_that_is_no_number_is_of_its_cloud_alone():
    ids = clouds_of([30, 500, 2], ascending=True)
    scores, target, _ = channels_of((1, 2, 532))
    scores[0, 1, 31] = torch.nan
    target[0, 1, 31] = 1
    *_, invalid = cpu.sort_and_extend(
        scores, target, IGNORE, False, "sigmoid", 1.0, 1.0, False, None, ids, 3
    )
    assert invalid.tolist() == [0, 1, 0]


@pytest.mark.parametrize("clouds", [None, [90, 0, 8910]])
@options
def test_classes(level, symmetric, weighted, clouds):
    shape = (2 if clouds is None else 1, 5, 9000)
    check_classes(cpu, clouds, shape, symmetric=symmetric, weighted=weighted)


@pytest.mark.parametrize("case", ["no positives", "positives alone", "all ignored", "equal"])
@options
def test_rows_of_one_kind(case, symmetric, weighted):
    scores, target, weight = channels_of((1, 2, 9000))
    if case == "no positives":
        target = torch.where(target == 1, 0, target)
    elif case == "positives alone":
        target = torch.where(target == 0, 1, target)
    elif case == "all ignored":
        target = torch.full_like(target, IGNORE)
    else:
        scores = torch.zeros_like(scores)
    arguments = (scores, target, IGNORE, False, "hinge", 1.0, 1.0, symmetric)
    weight = weight if weighted else None
    check(cpu.sort_and_extend(*arguments, weight), reference.sort_and_extend(*arguments, weight))


@options
def test_threads_change_nothing_here_either(symmetric, weighted):
    scores, target, weight = channels_of((1, 2, 140_000))
    ids = clouds_of([100_000, 0, 39_000, *[10] * 100], ascending=False)
    for clouds in ((), (ids, 103)):
        head = (scores, target, IGNORE, False, "sigmoid", 1.0, 1.0, symmetric)
        arguments = (*head, weight if weighted else None, *clouds)
        results = []
        for number in (1, 2, 5):
            torch.set_num_threads(number)
            results.append(cpu.sort_and_extend(*arguments)[:4])
        first, *others = results
        assert all(torch.equal(a, b) for other in others for a, b in zip(first, other, strict=True))


def test_weights_of_whole_numbers_are_pixels_repeated():
    scores, target, _ = channels_of((1, 1, 500))
    times = torch.arange(500) % 4
    losses, slopes, *_ = cpu.sort_and_extend(
        scores, target, IGNORE, False, "hinge", 1.0, 1.0, True, times.view(1, 1, -1).float()
    )
    scores, target = (x.repeat_interleave(times, -1) for x in (scores, target))
    want, by_pixel, *_ = cpu.sort_and_extend(scores, target, IGNORE, False, "hinge", 1.0, 1.0, True)
    torch.testing.assert_close(losses, want)
    sums = torch.zeros(500).index_add(0, torch.arange(500).repeat_interleave(times), by_pixel[0, 0])
    torch.testing.assert_close(slopes[0, 0], sums, rtol=1e-5, atol=1e-9)


def test_a_weight_of_0_is_as_ignoring_the_pixel():
    """Also where it decides whether a class is there."""
    logits, target = torch.randn(1, 3, 50), torch.randint(2, (1, 50))
    target[0, 7] = 2
    weight = torch.ones(1, 50)
    weight[0, 7] = 0
    dropped = target.masked_fill(weight == 0, IGNORE)
    for method in ("sort", "histogram"):
        options = {"method": method, "ignore_index": IGNORE}
        got = lovasz_softmax(logits, target, pixel_weight=weight, **options)
        assert torch.equal(got, lovasz_softmax(logits, dropped, **options))


def test_the_kernel_is_used(monkeypatch):
    """For weights, the complement and clouds too."""
    monkeypatch.setattr(reference, "sort_and_extend", None)
    monkeypatch.setattr(reference, "sort", None)
    logits, target = torch.randn(40, 2), torch.randint(2, (40, 2))
    options = {
        "multilabel": True,
        "per_image": True,
        "symmetric": True,
        "pixel_weight": torch.rand(40, 2),
    }
    lovasz_hinge(logits, target, method="sort", offsets=torch.tensor([9, 40]), **options)


@pytest.mark.parametrize("clouds", [None, [9, 0, 11]])
def test_opcheck(clouds):
    scores, target, weight = channels_of((1, 2, 20))
    segments = (None, 1) if clouds is None else (clouds_of(clouds, ascending=False), 3)
    head = (scores, target, IGNORE, False, "hinge")
    torch.library.opcheck(torch.ops.lovasz.sort, (*head, *segments))
    torch.library.opcheck(
        torch.ops.lovasz.sort_and_extend, (*head, 1.0, 1.0, True, weight, *segments)
    )
