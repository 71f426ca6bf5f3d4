"""Value and gradient against the oracle: methods, layouts, dtypes, labels, options."""

import pytest
import torch

from lovasz import (
    LovaszSoftmaxLoss,
    cross_entropy_dice,
    error_bound,
    jaccard,
    lovasz_softmax,
    lovasz_softmax_from_probabilities,
    missed_positives,
    tversky,
)
from tests import oracle

CLASSES = 4
FINE = 2**17  # bins so fine that each holds at most one pixel of these small inputs


def pixels(shape, ignored=0):
    """Logits (N, C, *) in float64 with distinct errors, and labels (N, *)."""
    logits = torch.randn(shape, dtype=torch.float64) * 2
    target = torch.randint(0, shape[1], (shape[0], *shape[2:]))
    target.view(-1)[:ignored] = 255
    return logits, target


def as_rows(logits, target):
    """The oracle's view: one row of logits for each pixel."""
    rows = logits.movedim(1, -1).reshape(-1, logits.shape[1])
    return rows.tolist(), target.reshape(-1).tolist()


def expected(logits, target, **options):
    loss, gradient = oracle.lovasz_softmax(*as_rows(logits, target), **options)
    last = torch.tensor(gradient, dtype=torch.float64)
    moved = logits.movedim(1, -1).shape
    return loss, last.reshape(moved).movedim(-1, 1)


def value_and_gradient(logits, target, **options):
    logits = logits.detach().requires_grad_()
    loss = lovasz_softmax(logits, target, **options)
    (gradient,) = torch.autograd.grad(loss, logits)
    return loss.item(), gradient


def relative(got, want):
    return ((got - want).norm() / want.norm()).item()


SHAPES = [(40, 4), (2, 4, 20), (2, 4, 5, 4), (1, 4, 3, 4, 3), (3, 4, 1, 1), (1, 4)]


@pytest.mark.parametrize("shape", SHAPES)
def test_sort_is_exact_for_any_number_of_axes(shape):
    logits, target = pixels(shape)
    loss, gradient = value_and_gradient(logits, target, method="sort")
    want_loss, want_gradient = expected(logits, target)
    assert loss == pytest.approx(want_loss, abs=1e-12)
    torch.testing.assert_close(gradient, want_gradient, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("shape", SHAPES)
def test_histogram_is_within_its_bound_for_any_number_of_axes(shape):
    logits, target = pixels(shape)
    loss, _ = value_and_gradient(logits, target)
    assert loss == pytest.approx(expected(logits, target)[0], abs=error_bound(2048))


def test_histogram_with_fine_bins_has_the_gradient():
    logits, target = pixels((2, 4, 5, 4))
    _, gradient = value_and_gradient(logits, target, bins=FINE)
    torch.testing.assert_close(gradient, expected(logits, target)[1], rtol=1e-10, atol=1e-13)


OPTIONS = [
    {"classes": "all"},
    {"classes": "present"},
    {"classes": [0, 3]},
    {"classes": (2,)},
    {"weight": [1.0, 2.0, 0.0, 0.5]},
    {"weight": [1.0, 2.0, 0.0, 0.5], "normalize_weight": False},
    {"weight": [1.0, 2.0, 0.0, 0.5], "reduction": "sum"},
    {"reduction": "sum", "classes": "all"},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("absent", [False, True])
def test_options(options, absent):
    logits, target = pixels((2, CLASSES, 5, 4), ignored=5)
    target = torch.where((target == 3) & absent, 0, target)
    loss, gradient = value_and_gradient(logits, target, method="sort", ignore_index=255, **options)
    want_loss, want_gradient = expected(logits, target, ignore_index=255, **options)
    assert loss == pytest.approx(want_loss, abs=1e-12)
    torch.testing.assert_close(gradient, want_gradient, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("method", ["histogram", "sort"])
@pytest.mark.parametrize("options", OPTIONS)
def test_methods_agree_on_options(method, options):
    logits, target = pixels((2, CLASSES, 5, 4), ignored=5)
    options = {**options, "ignore_index": 255}
    exact, exact_gradient = value_and_gradient(logits, target, method="sort", **options)
    fine, fine_gradient = value_and_gradient(logits, target, method=method, bins=FINE, **options)
    assert fine == pytest.approx(exact, abs=1e-5)
    torch.testing.assert_close(fine_gradient, exact_gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", ["histogram", "sort"])
def test_none_gives_the_weighted_losses_of_the_classes(method):
    logits, target = pixels((2, CLASSES, 5, 4))
    target[target == 1] = 0
    weight = [1.0, 2.0, 3.0, 0.5]
    got = lovasz_softmax(
        logits, target, weight=weight, reduction="none", classes="all", method=method, bins=FINE
    )
    want, _ = oracle.class_losses(*as_rows(logits, target))
    assert got.tolist() == pytest.approx(
        [a * b for a, b in zip(weight, want, strict=True)], abs=1e-5
    )
    present = lovasz_softmax(logits, target, reduction="none", method=method)
    assert present[1] == 0
    assert (present[[0, 2, 3]] > 0).all()


@pytest.mark.parametrize("method", ["histogram", "sort"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_per_image_averages_the_images(method, reduction):
    logits, target = pixels((3, CLASSES, 5, 4), ignored=25)  # the first image is all ignored
    target[1][target[1] == 2] = 1
    options = {"ignore_index": 255, "reduction": reduction, "method": method, "bins": FINE}
    loss, gradient = value_and_gradient(logits, target, per_image=True, **options)
    alone = [value_and_gradient(logits[i : i + 1], target[i : i + 1], **options) for i in (1, 2)]
    share = 2 if reduction == "mean" else 1
    assert loss == pytest.approx(sum(value for value, _ in alone) / share, abs=1e-12)
    assert not gradient[0].any()
    torch.testing.assert_close(gradient[1:], torch.cat([g for _, g in alone]) / share)


@pytest.mark.parametrize("method", ["histogram", "sort"])
def test_per_image_none_has_a_row_for_each_image(method):
    logits, target = pixels((3, CLASSES, 5, 4))
    options = {"reduction": "none", "method": method, "classes": "all"}
    rows = lovasz_softmax(logits, target, per_image=True, **options)
    assert rows.shape == (3, CLASSES)
    for i in range(3):
        torch.testing.assert_close(
            rows[i], lovasz_softmax(logits[i : i + 1], target[i : i + 1], **options)
        )


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (jaccard, oracle.jaccard),
        (missed_positives, oracle.missed_positives),
        (tversky(0.5, 2.0), oracle.tversky(0.5, 2.0)),
        (tversky(0.3, 0.7, accept_nonconvex=True), oracle.tversky(0.3, 0.7)),
        (lambda fn, fp, g: (fn + fp) / (g + 1), lambda fn, fp, g: (fn + fp) / (g + 1)),
    ],
)
@pytest.mark.parametrize("method", ["histogram", "sort"])
def test_set_functions(ours, theirs, method):
    logits, target = pixels((2, CLASSES, 5, 4), ignored=3)
    options = {"ignore_index": 255, "classes": "all", "method": method, "bins": FINE}
    loss, gradient = value_and_gradient(logits, target, set_function=ours, **options)
    want, want_gradient = expected(logits, target, ignore_index=255, classes="all", delta=theirs)
    assert loss == pytest.approx(want, abs=1e-4)
    torch.testing.assert_close(gradient, want_gradient, rtol=1e-9, atol=1e-12)


def test_missed_positives_is_the_linear_formula():
    logits, target = pixels((2, CLASSES, 5, 4))
    alpha = torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64)
    got = lovasz_softmax(
        logits, target, set_function=missed_positives, weight=alpha, reduction="sum", method="sort"
    )
    own = logits.softmax(1).gather(1, target.unsqueeze(1)).squeeze(1)
    want = (alpha[target] * (1 - own).clamp(min=0)).sum()
    torch.testing.assert_close(got, want)


LAYOUTS = {
    "contiguous": lambda x: x.contiguous(),
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "slice": lambda x: torch.cat((x, x), 1)[:, : x.shape[1]],
    "every second": lambda x: torch.stack((x, x), -1).flatten(-2)[..., ::2],
    "batch last": lambda x: x.movedim(0, -1).contiguous().movedim(-1, 0),
    "expanded": lambda x: x[:1].expand_as(x),
}


@pytest.mark.parametrize("method", ["histogram", "sort"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides_change_nothing(layout, method):
    logits, target = pixels((2, CLASSES, 6, 5))
    view = LAYOUTS[layout](logits)
    plain = view.contiguous()
    loss, gradient = value_and_gradient(view, target, method=method)
    want_loss, want_gradient = value_and_gradient(plain, target, method=method)
    assert loss == pytest.approx(want_loss, abs=1e-13)
    torch.testing.assert_close(gradient, want_gradient, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("method", ["histogram", "sort"])
def test_points_first_strides(method):
    logits, target = pixels((50, CLASSES))
    transposed = logits.t().contiguous().t()
    loss, gradient = value_and_gradient(logits, target, method=method)
    got_loss, got_gradient = value_and_gradient(transposed, target, method=method)
    assert got_loss == pytest.approx(loss, abs=1e-13)
    torch.testing.assert_close(got_gradient, gradient)


def test_gradient_keeps_the_layout_of_channels_last():
    logits = torch.randn(2, 5, 8, 8).contiguous(memory_format=torch.channels_last)
    _, gradient = value_and_gradient(logits, torch.zeros(2, 8, 8, dtype=torch.long))
    assert gradient.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("method", ["histogram", "sort"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_dtypes_are_as_good_as_their_input(dtype, method):
    logits, target = pixels((2, CLASSES, 6, 5))
    logits = logits.to(dtype)
    loss = lovasz_softmax(logits.requires_grad_(), target, method=method, bins=FINE)
    loss.backward()
    want_loss, want_gradient = expected(logits.detach().double(), target)
    # The loss is computed in float32 at least, from the very numbers that the input holds.
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert logits.grad.dtype == dtype
    assert loss.item() == pytest.approx(want_loss, abs=2e-6)
    # A kernel may round an error into the bin next to the one in which it was counted.
    neighbour = 2e-3 if method == "histogram" and dtype != torch.float64 else 1e-6
    assert relative(logits.grad.double(), want_gradient) < max(neighbour, torch.finfo(dtype).eps)


@pytest.mark.parametrize("method", ["histogram", "sort"])
@pytest.mark.parametrize(
    "dtype",
    [
        torch.uint8,
        torch.uint16,
        torch.uint32,
        torch.uint64,
        torch.int8,
        torch.int16,
        torch.int32,
        torch.int64,
    ],
)
def test_label_types(dtype, method):
    logits, target = pixels((2, CLASSES, 6, 5))
    target[0, :2] = 100
    want = value_and_gradient(logits, target, ignore_index=100, method=method)
    got = value_and_gradient(logits, target.to(dtype), ignore_index=100, method=method)
    assert got[0] == want[0]
    assert torch.equal(got[1], want[1])


@pytest.mark.parametrize("method", ["histogram", "sort"])
def test_bool_labels(method):
    logits, target = pixels((2, 2, 6, 5))
    want = value_and_gradient(logits, target, method=method)
    got = value_and_gradient(logits, target.bool(), method=method)
    assert got[0] == want[0]
    assert torch.equal(got[1], want[1])


@pytest.mark.parametrize("method", ["histogram", "sort"])
@pytest.mark.parametrize("ignore_index", [-100, -1, 0, 3, 255, 2**40])
def test_any_integer_can_be_ignored(ignore_index, method):
    logits, target = pixels((2, CLASSES, 6, 5))
    target[0, :2] = ignore_index
    kept = target.reshape(-1) != ignore_index
    rows = logits.movedim(1, -1).reshape(-1, CLASSES)
    loss, gradient = value_and_gradient(logits, target, ignore_index=ignore_index, method=method)
    want, want_gradient = value_and_gradient(rows[kept], target.reshape(-1)[kept], method=method)
    assert loss == pytest.approx(want, abs=1e-14)
    flat = gradient.movedim(1, -1).reshape(-1, CLASSES)
    torch.testing.assert_close(flat[kept], want_gradient, rtol=1e-12, atol=1e-16)
    assert not flat[~kept].any()


@pytest.mark.parametrize("method", ["histogram", "sort"])
def test_probabilities_give_the_loss_of_their_logits(method):
    logits, target = pixels((2, CLASSES, 6, 5), ignored=7)
    options = {"ignore_index": 255, "method": method, "weight": [1.0, 2.0, 0.5, 1.0]}
    want, want_gradient = value_and_gradient(logits, target, **options)
    logits.requires_grad_()
    loss = lovasz_softmax_from_probabilities(logits.softmax(1), target, **options)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == pytest.approx(want, abs=1e-13)
    torch.testing.assert_close(gradient, want_gradient, rtol=1e-8, atol=1e-13)


def test_module_is_the_function():
    logits, target = pixels((2, CLASSES, 6, 5), ignored=7)
    options = {
        "classes": [0, 2],
        "ignore_index": 255,
        "weight": torch.tensor([1.0, 2.0, 3.0, 4.0]),
        "normalize_weight": False,
        "per_image": True,
        "reduction": "sum",
        "set_function": tversky(1, 2),
        "method": "sort",
        "bins": 64,
    }
    module = LovaszSoftmaxLoss(**options)
    assert torch.equal(module(logits, target), lovasz_softmax(logits, target, **options))
    assert "weight" in module.state_dict()
    for text in ("[0, 2]", "255", "tversky(alpha=1, beta=2)", "'sort'", "bins=64", "'sum'"):
        assert text in repr(module)


@pytest.mark.parametrize("function", [lovasz_softmax, cross_entropy_dice])
@pytest.mark.parametrize("per_image", [False, True])
def test_foreground_is_all_classes_but_the_first(function, per_image):
    logits, target = pixels((2, CLASSES, 3, 4), ignored=3)
    target[target == 2] = 1  # it counts without a pixel too
    got, want = (
        function(logits, target, classes=classes, per_image=per_image, ignore_index=255)
        for classes in ("foreground", [1, 2, 3])
    )
    assert torch.equal(got, want)
