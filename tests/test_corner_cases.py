"""Corner cases of mathematics.md, section 5 of the docs: one test each."""

import math

import pytest
import torch
import torch.nn.functional as F

import lovasz
from lovasz import error_bound, lovasz_softmax, lovasz_softmax_from_probabilities
from tests.corner_cases import CASES, WRONG_LABELS

METHODS = pytest.mark.parametrize("method", ["histogram", "sort"])


def run(logits, target, **options):
    logits = logits.detach().requires_grad_()
    loss = lovasz_softmax(logits, target, **options)
    (gradient,) = torch.autograd.grad(loss, logits)
    return loss.item(), gradient


@METHODS
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case, method):
    logits = torch.tensor(case.logits, dtype=torch.float64).movedim(-1, 1)
    target = torch.tensor(case.labels)
    loss, gradient = run(logits, target, method=method, bins=2**16, **case.options)
    assert loss == pytest.approx(case.loss, abs=5e-5, nan_ok=True)
    if case.flat:
        assert gradient.abs().max() < 1e-12


@METHODS
def test_absent_class_costs_its_largest_probability(method):
    logits = torch.randn(1, 3, 4, 4, dtype=torch.float64)
    target = torch.zeros(1, 4, 4, dtype=torch.long)
    losses = lovasz_softmax(
        logits, target, classes="all", reduction="none", method=method, bins=2**16
    )
    assert losses[2].item() == pytest.approx(logits.softmax(1)[:, 2].max().item(), abs=2e-5)


@METHODS
def test_absent_class_shares_its_slope_among_equal_maxima(method):
    logits = torch.zeros(1, 2, 4, dtype=torch.float64)
    logits[0, 1, 1:3] = 1.0  # two pixels share the largest probability of the absent class 1
    logits[0, 1, 3] = -2.0
    target = torch.zeros(1, 4, dtype=torch.long)
    _, gradient = run(logits, target, classes=[1], method=method)
    p = torch.sigmoid(torch.tensor(1.0, dtype=torch.float64)).item()
    assert gradient[0, 1].tolist() == pytest.approx([0, p * (1 - p) / 2, p * (1 - p) / 2, 0])


@METHODS
@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("classes", ["present", "all", [1]])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_all_ignored_is_a_connected_zero(method, per_image, classes, reduction):
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    target = torch.full((2, 4, 4), 255, dtype=torch.uint8)
    loss = lovasz_softmax(
        logits,
        target,
        ignore_index=255,
        per_image=per_image,
        classes=classes,
        reduction=reduction,
        method=method,
    )
    assert loss.shape == ()
    assert loss.item() == 0
    (loss + F.cross_entropy(logits, torch.zeros(2, 4, 4, dtype=torch.long))).backward()
    assert logits.grad.isfinite().all()
    (gradient,) = torch.autograd.grad(
        lovasz_softmax(logits, target, ignore_index=255, method=method), logits
    )
    assert not gradient.any()


@METHODS
@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4, 4), (2, 3, 0), (2, 3, 0, 5)])
@pytest.mark.parametrize("per_image", [False, True])
def test_empty_batch_is_a_connected_zero(method, shape, per_image):
    target = torch.zeros((shape[0], *shape[2:]), dtype=torch.long)
    loss, gradient = run(torch.zeros(shape), target, method=method, per_image=per_image)
    assert loss == 0
    assert gradient.shape == shape


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (0, 3)])
def test_empty_batch_with_weights_of_pixels(shape):
    logits = torch.zeros(shape, requires_grad=True)
    target = torch.zeros((shape[0], *shape[2:]), dtype=torch.int64)
    loss = lovasz_softmax(logits, target, pixel_weight=torch.ones(target.shape))
    loss.backward()
    assert loss.item() == 0


@pytest.mark.parametrize("shape", [(2, 1, 4, 4), (6, 1), (0, 1)])
@pytest.mark.parametrize(
    ("loss", "binary"),
    [
        (lovasz.lovasz_softmax, "lovasz_sigmoid"),
        (lovasz.LovaszSoftmaxLoss(), "lovasz_sigmoid"),
        (lovasz.cross_entropy_lovasz_softmax, "binary_cross_entropy_lovasz_sigmoid"),
        (lovasz.CrossEntropyLovaszSoftmaxLoss(), "binary_cross_entropy_lovasz_sigmoid"),
    ],
)
def test_one_class_has_nothing_to_learn(loss, binary, shape):
    target = torch.zeros((shape[0], *shape[2:]), dtype=torch.long)
    with pytest.raises(ValueError, match=rf"expected logits of two classes .* use {binary}$"):
        loss(torch.zeros(shape), target)


@METHODS
def test_the_probability_of_one_class(method):
    probabilities = torch.rand(2, 1, 4, 4)
    target = torch.zeros(2, 4, 4, dtype=torch.long)
    loss = lovasz.lovasz_softmax_from_probabilities(
        probabilities, target, method=method, bins=2**16
    )
    assert loss.item() == pytest.approx(1 - probabilities.mean().item(), abs=1e-4)


@METHODS
def test_more_than_a_thousand_classes(method):
    logits = torch.randn(300, 1234, dtype=torch.float64)
    target = torch.randint(0, 1234, (300,))
    loss, gradient = run(logits, target, method=method)
    want, want_gradient = run(logits, target, method="sort")
    assert loss == pytest.approx(want, abs=error_bound(2048))
    assert ((gradient - want_gradient).norm() / want_gradient.norm()).item() < 1e-2


@METHODS
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("right", [True, False])
def test_huge_logits(method, dtype, right):
    target = torch.randint(0, 3, (2, 8, 8))
    logits = F.one_hot(target if right else (target + 1) % 3, 3).movedim(-1, 1) * 2e4 - 1e4
    loss, gradient = run(logits.to(dtype), target, method=method)
    assert loss == pytest.approx(0 if right else 1, abs=1e-3)
    assert not gradient.any()  # saturated softmax: zero, not NaN


@METHODS
def test_masked_class_of_minus_infinity(method):
    logits = torch.randn(1, 4, 6, 6, dtype=torch.float64)
    logits[:, 2] = -math.inf
    target = torch.randint(0, 2, (1, 6, 6))
    loss, gradient = run(logits, target, classes=[0, 1, 3], method=method)
    others = [0, 1, 3]
    want, want_gradient = run(logits[:, others], target, classes=[0, 1, 2], method=method)
    assert loss == pytest.approx(want, abs=1e-14)
    torch.testing.assert_close(gradient[:, others], want_gradient)
    assert not gradient[:, 2].any()


@METHODS
def test_equal_logits_share_the_slope(method):
    target = torch.tensor([[0, 0, 1, 1, 1, 1]])
    loss, gradient = run(torch.zeros(1, 2, 6, dtype=torch.float64), target, method=method)
    assert loss == pytest.approx(0.5, abs=1e-3)
    assert torch.unique(gradient[0, 0, :2]).numel() == 1
    assert torch.unique(gradient[0, 0, 2:]).numel() == 1


@pytest.mark.parametrize("offset", [0.0, 33.3, 40.1, -64.2])
@pytest.mark.parametrize("classes", [4, 16, 64])
def test_equal_errors_at_the_edge_of_two_bins(classes, offset):
    # 1/4, 1/16 and 1/64 are edges, and the two passes may round to either side of them.
    logits, target = torch.full((1, classes, 1000), offset), torch.zeros(1, 1000).long()
    target[0, :5] = 1
    gradients = []
    for kind, method in ((torch.float32, "histogram"), (torch.float64, "sort")):
        scores = logits.detach().to(kind).requires_grad_()
        loss = lovasz_softmax(scores, target, classes="all", method=method)
        gradients.append(torch.autograd.grad(loss, scores)[0].double())
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-8)


@METHODS
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("classes", ["present", [2]])
def test_logits_that_are_no_numbers_give_nan(method, bad, per_image, classes):
    logits = torch.randn(2, 3, 4, 4)
    logits[0, 1, 2, 2] = bad
    target = torch.zeros(2, 4, 4, dtype=torch.long)
    loss, gradient = run(logits, target, method=method, per_image=per_image, classes=classes)
    assert math.isnan(loss)
    assert gradient[0].isnan().any()


@METHODS
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_ignored_pixels_may_hold_anything(method, bad):
    logits = torch.randn(2, 3, 4, 4)
    target = torch.randint(0, 3, (2, 4, 4))
    target[1, 2] = -1
    want, want_gradient = run(logits, target, ignore_index=-1, method=method)
    logits[1, :, 2] = bad
    loss, gradient = run(logits, target, ignore_index=-1, method=method)
    assert loss == want
    assert torch.equal(gradient, want_gradient)


@METHODS
@pytest.mark.parametrize("label", WRONG_LABELS)
@pytest.mark.parametrize("ignore_index", [None, 7])
def test_label_out_of_range_raises_on_the_cpu(method, label, ignore_index):
    target = torch.zeros(2, 4, 4, dtype=torch.long)
    target[1, 2, 3] = label
    with pytest.raises(ValueError, match=rf"lovasz_softmax: expected every label .* got {label} "):
        lovasz_softmax(torch.randn(2, 3, 4, 4), target, ignore_index=ignore_index, method=method)


@METHODS
def test_values_that_are_no_probabilities_raise_on_the_cpu(method):
    target = torch.zeros(2, 4, 4, dtype=torch.long)
    with pytest.raises(ValueError, match=r"expected probabilities in \[0, 1\]"):
        lovasz_softmax_from_probabilities(torch.randn(2, 3, 4, 4) * 5, target, method=method)
    broken = torch.full((2, 3, 4, 4), 1 / 3)
    broken[0, 0, 0, 0] = math.nan
    assert lovasz_softmax_from_probabilities(broken, target, method=method).isnan()


@METHODS
def test_probabilities_rounded_by_sixteen_bits_are_accepted(method):
    probabilities = torch.full((1, 2, 4), 1.0078125, dtype=torch.bfloat16)
    target = torch.zeros(1, 4, dtype=torch.long)
    loss = lovasz_softmax_from_probabilities(probabilities, target, method=method)
    assert loss.item() == pytest.approx(0, abs=1e-5)


@METHODS
@pytest.mark.parametrize("normalize_weight", [True, False])
def test_weights_of_zero_give_a_connected_zero(method, normalize_weight):
    loss, gradient = run(
        torch.randn(2, 3, 4, 4),
        torch.zeros(2, 4, 4, dtype=torch.long),
        weight=[0.0, 1.0, 1.0],
        normalize_weight=normalize_weight,
        method=method,
    )
    assert loss == 0
    assert not gradient.any()


@METHODS
def test_set_function_that_divides_by_the_positives_may_miss_a_class(method):
    target = torch.zeros(1, 4, 4, dtype=torch.long)
    loss, gradient = run(
        torch.randn(1, 3, 4, 4),
        target,
        set_function=lambda fn, fp, positives: (fn + fp) / positives,
        method=method,
    )
    assert math.isfinite(loss)
    assert gradient.isfinite().all()


@METHODS
def test_set_function_that_divides_by_the_positives_may_miss_a_class_of_a_cloud(method):
    loss, gradient = run(
        torch.randn(8, 3),
        torch.tensor([0, 1, 0, 1, 0, 2, 0, 2]),
        set_function=lambda fn, fp, positives: (fn + fp) / positives,
        per_image=True,
        offsets=torch.tensor([4, 8]),
        method=method,
    )
    assert math.isfinite(loss)
    assert gradient.isfinite().all()


@METHODS
def test_upstream_gradient_in_half_precision_does_not_vanish(method):
    # Gradients of single pixels are near 1e-6: a scaled float16 loss must keep them.
    logits = torch.randn(1, 4, 128, 128, dtype=torch.float16, requires_grad=True)
    loss = lovasz_softmax(logits, torch.randint(0, 4, (1, 128, 128)), method=method)
    (loss * 2**15).backward()
    assert (logits.grad != 0).float().mean() > 0.99
