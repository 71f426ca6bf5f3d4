"""The exact method's kernels against the reference."""

import pytest
import torch

from lovasz.kernels import cpu, reference
from tests.kernels.cases import IGNORE, LAYOUTS, SHAPES, factors_of, labels_of, relative, scores_of
from tests.kernels.softmax_checks import check_sort_of_no_numbers


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.3, 2.0)])
@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_sort_is_the_reference(level, shape, layout, dtype, per_image, weights):
    scores, target = scores_of(shape, layout, dtype, 2.0), labels_of(shape)
    got = cpu.sort_and_extend(scores, target, IGNORE, per_image, "softmax", *weights)
    expected = reference.sort_and_extend(scores, target, IGNORE, per_image, "softmax", *weights)
    losses, slopes, *counts, lse, invalid = got
    expected_losses, expected_slopes, *expected_counts, expected_lse, _ = expected
    torch.testing.assert_close(losses, expected_losses, rtol=2e-6, atol=1e-7)
    assert all(torch.equal(a, b) for a, b in zip(counts, expected_counts, strict=True))
    torch.testing.assert_close(lse, expected_lse, rtol=1e-6, atol=2e-6)
    assert not invalid.any()
    # errors that differ by a rounding may change places
    assert relative(slopes, expected_slopes) < 0.02
    factors = factors_of(*losses.shape)
    arguments = (scores, target, lse, expected_slopes, factors, IGNORE, "softmax")
    gradient, expected_gradient = cpu.backward(*arguments), reference.backward(*arguments)
    assert gradient.stride() == torch.empty_like(scores).stride()
    assert relative(gradient, expected_gradient) < {4: 2e-5}.get(scores.element_size(), 8e-3)


def test_equal_errors_share_their_slopes(level):
    # logits of few values, so that nearly all the errors are ties of both kinds
    scores = torch.randint(0, 2, (1, 2, 500)).float()
    target = torch.randint(0, 2, (1, 500))
    losses, slopes, *_ = cpu.sort_and_extend(scores, target, None, False, "softmax", 1.0, 1.0)
    expected_losses, expected, *_ = reference.sort_and_extend(
        scores, target, None, False, "softmax", 1.0, 1.0
    )
    torch.testing.assert_close(losses, expected_losses, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(slopes, expected, rtol=1e-6, atol=1e-9)


def test_slopes_add_up_to_the_whole(level):
    shape = (2, 5, 4000)
    scores, target = scores_of(shape, "pixels", torch.float32, 2.0), labels_of(shape)
    _, slopes, positives, *_ = cpu.sort_and_extend(
        scores, target, IGNORE, False, "softmax", 1.0, 1.0
    )
    assert (positives > 0).all()
    torch.testing.assert_close(slopes.double().sum((0, 2)), torch.ones(5).double())
    assert not slopes.transpose(0, 1)[:, target == IGNORE].any()


def test_threads_change_nothing(level):
    shape = (3, 19, 5001)
    scores, target = scores_of(shape, "pixels", torch.float32, 3.0), labels_of(shape)
    results = []
    for number in (1, 2, 5):
        torch.set_num_threads(number)
        result = cpu.sort_and_extend(scores, target, IGNORE, True, "softmax", 1.0, 1.0)
        _, slopes, _, _, lse, _ = result
        gradient = cpu.backward(scores, target, lse, slopes, None, IGNORE, "softmax")
        results.append([*result[:4], gradient])
    first, *others = results
    assert all(torch.equal(a, b) for other in others for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_that_are_no_numbers(level, value):
    check_sort_of_no_numbers(cpu, value)


def test_impossible_labels():
    scores, target = torch.zeros(2, 5, 70), torch.zeros(2, 70, dtype=torch.long)
    target[1, 69] = 5
    with pytest.raises(ValueError, match="ignore_index=255, got 5"):
        cpu.sort_and_extend(scores, target, 255, False, "softmax", 1.0, 1.0)


def test_opcheck():
    scores, target = torch.randn(2, 5, 70), torch.randint(5, (2, 70))
    torch.library.opcheck(
        torch.ops.lovasz.sort_and_extend, (scores, target, None, True, "softmax", 1.0, 1.0)
    )
