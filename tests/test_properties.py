"""Properties that hold for every input, searched by hypothesis."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lovasz import (
    error_bound,
    jaccard,
    lovasz_softmax,
    missed_positives,
    relative_bound,
    tversky,
)
from lovasz.core.bins import centres, edges, position
from lovasz.core.extension import extend_histogram
from lovasz.kernels.sorting import extend_sorted
from tests import oracle

SETTINGS = settings(max_examples=60, deadline=None, derandomize=True)
seeds = st.integers(0, 2**31 - 1)
methods = st.sampled_from(["histogram", "sort"])


@st.composite
def segmentations(draw, ignored=True):
    """Logits (P, C) of any sharpness, with equal rows here and there, and labels."""
    generator = torch.Generator().manual_seed(draw(seeds))
    count, classes = draw(st.integers(1, 40)), draw(st.integers(2, 6))
    logits = torch.randn(count, classes, generator=generator, dtype=torch.float64)
    logits = logits * draw(st.sampled_from([0.0, 0.1, 1.0, 5.0, 30.0]))
    if draw(st.booleans()):
        logits[count // 2 :] = logits[: count - count // 2].clone()
    target = torch.randint(0, classes, (count,), generator=generator)
    target[torch.rand(count, generator=generator) < draw(st.sampled_from([0.0, 0.3]))] = (
        -1 if ignored else 0
    )
    return logits, target


def loss_and_gradient(logits, target, **options):
    logits = logits.detach().requires_grad_()
    loss = lovasz_softmax(logits, target, ignore_index=-1, **options)
    return loss.item(), torch.autograd.grad(loss, logits)[0]


@SETTINGS
@given(segmentations(), st.sampled_from([2, 3, 16, 1024]), st.sampled_from(["present", "all"]))
def test_error_of_the_histogram_is_within_the_bound(problem, bins, classes):
    approximate = lovasz_softmax(*problem, ignore_index=-1, bins=bins, classes=classes)
    exact = lovasz_softmax(*problem, ignore_index=-1, method="sort", classes=classes)
    assert abs(approximate - exact).item() <= error_bound(bins) + 1e-12


@SETTINGS
@given(segmentations())
def test_sort_is_the_definition(problem):
    logits, target = problem
    want, _ = oracle.lovasz_softmax(logits.tolist(), target.tolist(), ignore_index=-1)
    got = lovasz_softmax(logits, target, ignore_index=-1, method="sort")
    assert got.item() == pytest.approx(want, abs=1e-12)


@SETTINGS
@given(segmentations(), methods, seeds)
def test_order_of_pixels_does_not_matter(problem, method, seed):
    logits, target = problem
    order = torch.randperm(len(target), generator=torch.Generator().manual_seed(seed))
    loss, gradient = loss_and_gradient(logits, target, method=method)
    moved, moved_gradient = loss_and_gradient(logits[order], target[order], method=method)
    assert moved == pytest.approx(loss, abs=1e-13)
    torch.testing.assert_close(moved_gradient, gradient[order], rtol=1e-9, atol=1e-14)


@SETTINGS
@given(segmentations(), methods, seeds)
def test_order_of_classes_does_not_matter(problem, method, seed):
    logits, target = problem
    order = torch.randperm(logits.shape[1], generator=torch.Generator().manual_seed(seed))
    renamed = torch.where(target < 0, target, order.argsort()[target])
    loss, _ = loss_and_gradient(logits, target, method=method)
    moved, _ = loss_and_gradient(logits[:, order], renamed, method=method)
    # the softmax adds in another order, which may move an error across the edge of a bin
    assert moved == pytest.approx(loss, abs=1e-12 if method == "sort" else 2 * error_bound(2048))


@SETTINGS
@given(segmentations(), methods)
def test_ignoring_is_dropping(problem, method):
    logits, target = problem
    kept = target >= 0
    loss, gradient = loss_and_gradient(logits, target, method=method)
    want, want_gradient = loss_and_gradient(logits[kept], target[kept], method=method)
    assert loss == pytest.approx(want, abs=1e-14)
    torch.testing.assert_close(gradient[kept], want_gradient, rtol=1e-12, atol=1e-16)
    assert not gradient[~kept].any()


@SETTINGS
@given(segmentations(), methods)
def test_losses_are_between_zero_and_one(problem, method):
    losses = lovasz_softmax(
        *problem, ignore_index=-1, classes="all", reduction="none", method=method
    )
    assert (losses >= 0).all()
    assert (losses <= 1 + 1e-12).all()


@SETTINGS
@given(segmentations(), methods, seeds)
def test_linear_in_the_class_weights(problem, method, seed):
    logits, target = problem
    weight = torch.rand(logits.shape[1], generator=torch.Generator().manual_seed(seed)).double()
    options = {"ignore_index": -1, "classes": "all", "method": method}
    losses = lovasz_softmax(logits, target, reduction="none", **options)
    weighted = lovasz_softmax(logits, target, reduction="sum", weight=weight, **options)
    assert weighted.item() == pytest.approx((losses * weight).sum().item(), abs=1e-12)


@SETTINGS
@given(segmentations(), methods)
def test_gradient_over_the_classes_sums_to_zero(problem, method):
    _, gradient = loss_and_gradient(*problem, method=method)
    assert gradient.sum(1).abs().max().item() < 1e-12


@pytest.mark.parametrize("method", ["histogram", "sort"])
@pytest.mark.parametrize("classes", ["present", "all"])
def test_perfect_is_zero_and_all_wrong_is_one(method, classes):
    target = torch.arange(5).repeat(20)
    right = torch.nn.functional.one_hot(target, 5).double() * 100
    options = {"classes": classes, "method": method}
    assert lovasz_softmax(right, target, **options).item() == pytest.approx(0, abs=1e-40)
    wrong = lovasz_softmax(right.roll(1, 0), target, **options).item()
    assert wrong == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("method", ["histogram", "sort"])
def test_convex_in_the_errors_along_a_line(method):
    # Two classes and probabilities p, 1 - p make the loss a function of the errors alone.
    target = torch.randint(0, 2, (200,))
    ends = torch.rand(2, 200, dtype=torch.float64)
    values = []
    for t in torch.linspace(0, 1, 9, dtype=torch.float64):
        p = (1 - t) * ends[0] + t * ends[1]
        logits = torch.stack((p, 1 - p), 1).log()
        values.append(lovasz_softmax(logits, target, method=method, bins=2**13).item())
    middle = [(a + b) / 2 for a, b in zip(values, values[2:], strict=False)]
    assert all(v <= m + 1e-4 for v, m in zip(values[1:-1], middle, strict=True))


# --- the extension itself -----------------------------------------------------------------


@SETTINGS
@given(seeds, st.integers(1, 30), st.sampled_from([2, 5, 64]))
def test_slopes_of_a_histogram_add_up_to_the_increase_of_the_set_function(seed, pixels, bins):
    generator = torch.Generator().manual_seed(seed)
    counts = torch.zeros(1, 2, 2, bins, dtype=torch.int64)
    counts.view(-1).index_add_(
        0,
        torch.randint(0, 4 * bins, (pixels,), generator=generator),
        torch.ones(pixels, dtype=torch.int64),
    )
    for delta in (jaccard, missed_positives, tversky(0.3, 2.0)):
        _, slopes = extend_histogram(torch, counts.double(), centres(torch, bins), delta)
        negatives, positives = counts.unbind(2)
        total = (slopes * counts).sum((-2, -1))
        everything = delta(
            positives.sum(-1).double(), negatives.sum(-1).double(), positives.sum(-1).double()
        )
        torch.testing.assert_close(total, everything)


@SETTINGS
@given(seeds, st.integers(1, 30))
def test_a_histogram_with_one_bin_for_each_error_is_the_sorted_extension(seed, levels):
    generator = torch.Generator().manual_seed(seed)
    grid = torch.rand(levels, generator=generator, dtype=torch.float64).sort().values
    which = torch.randint(0, levels, (50,), generator=generator)
    positive = torch.rand(50, generator=generator) < 0.4
    counts = torch.zeros(2, levels, dtype=torch.int64)
    counts.view(-1).index_add_(
        0, positive.long() * levels + which, torch.ones(50, dtype=torch.int64)
    )
    by_bins = extend_histogram(torch, counts[None, None].double(), grid, jaccard)
    order = grid[which].argsort(descending=True)
    by_sort = extend_sorted(
        grid[which][order][None, None],
        positive[order][None, None],
        torch.ones(1, 1, 50, dtype=torch.bool),
        jaccard,
    )
    torch.testing.assert_close(by_bins.losses, by_sort.losses)
    slopes = by_bins.slopes[0, 0, positive.long(), which]
    torch.testing.assert_close(slopes[order], by_sort.slopes[0, 0])


# --- the bins -----------------------------------------------------------------------------


@pytest.mark.parametrize("bins", [2, 3, 7, 1024, 4096])
def test_errors_fall_between_the_edges_of_their_bin(bins):
    errors = torch.cat((torch.rand(5000).double(), torch.tensor([0.0, 1.0, 1e-12, 1 - 1e-12])))
    index = position(torch, errors, bins).long()
    ends = edges(torch, bins)
    assert ends[0] == 0
    assert ends[-1] == pytest.approx(1, abs=1e-15)
    assert (ends[index] <= errors + 1e-12).all()
    assert (errors <= ends[index + 1] + 1e-12).all()


@pytest.mark.parametrize("bins", [2, 3, 4, 7, 64, 1000, 2048])
def test_bound_is_the_farthest_from_what_a_bin_stands_for(bins):
    ends, middle = edges(torch, bins), centres(torch, bins)
    farthest = torch.maximum(middle - ends[:-1], ends[1:] - middle).max().item()
    assert farthest <= error_bound(bins) + 1e-12
    assert farthest >= 0.99 * error_bound(bins) or bins == 7  # the bound is reached


def test_bins_are_as_fine_near_one_as_near_zero():
    ends = edges(torch, 2048)
    widths = ends[1:] - ends[:-1]
    torch.testing.assert_close(widths.flip(0), widths, rtol=1e-6, atol=1e-15)
    assert widths[0] < 1e-10
    middle = centres(torch, 2048)
    assert (middle[0], middle[-1]) == (0, 1)


@pytest.mark.parametrize("bins", [2, 13, 100, 2048])
def test_errors_without_a_bound_are_near_what_their_bin_stands_for(bins):
    size = 10.0 ** torch.linspace(-6, 4.8, 5000, dtype=torch.float64)
    errors = torch.cat((torch.zeros(1, dtype=torch.float64), size))
    index = position(torch, errors, bins, unbounded=True).long()
    stands_for = centres(torch, bins, unbounded=True)[index]
    relative = (stands_for - errors).abs() / (errors + 1 / 64)
    assert relative.max() <= relative_bound(bins)
    assert (index[0], stands_for[0]) == (0, 0)
    assert (index[1:] > 0).all()


def test_complements_have_the_digits_that_errors_near_one_lack():
    small = 10.0 ** torch.linspace(-9, -7.5, 50)
    index = position(torch, 1 - small, 2048, complements=small).long()
    assert index.diff().lt(0).sum() > 3  # which are all within two steps of a float32
    assert torch.equal(2047 - index, position(torch, small, 2048).long())
