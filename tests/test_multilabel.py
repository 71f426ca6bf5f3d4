"""Multilabel losses, weights of pixels and clouds of points against the definition."""

import math

import pytest
import torch
from torch.nn import functional as F

import lovasz
from tests import oracle

SIGN = (-1.0, 1.0)
ERRORS = {
    "sigmoid": lambda x, y: 1 / (1 + math.exp(SIGN[y] * x)),
    "relu": lambda x, y: max(0.0, 1 - SIGN[y] * x),
    "elu": lambda x, y: 1 + max(0.0, 1 - SIGN[y] * x) + min(0.0, math.expm1(1 - SIGN[y] * x)),
}


def of_link(link, logits, target, **options):
    if link == "sigmoid":
        return lovasz.lovasz_sigmoid(logits, target, **options)
    return lovasz.lovasz_hinge(logits, target, activation=link, **options)


def expected(link, x, y, delta=oracle.jaccard):
    errors = [ERRORS[link](a, b) for a, b in zip(x, y, strict=True)]
    return oracle.extension(errors, [b == 1 for b in y], delta)


def points(count=40, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(count, generator=generator, dtype=dtype)
    return logits.requires_grad_(), torch.randint(2, (count,), generator=generator)


def value_and_gradient(loss, logits):
    return loss, torch.autograd.grad(loss, logits)[0]


def assert_same(got, want, bitwise=True):
    tolerance = {"rtol": 0, "atol": 0} if bitwise else {"rtol": 1e-6, "atol": 1e-9}
    torch.testing.assert_close(got, want, **tolerance)


@pytest.mark.parametrize("link", ERRORS)
def test_the_exact_method_is_the_definition(link):
    logits, target = points()
    loss, gradient = value_and_gradient(of_link(link, logits, target, method="sort"), logits)
    assert loss.item() == pytest.approx(expected(link, logits.tolist(), target.tolist()), abs=1e-12)
    step, rows = 1e-6, logits.tolist()
    for i in (0, 7, 20):
        moved = [
            expected(
                link, [x + sign * step * (k == i) for k, x in enumerate(rows)], target.tolist()
            )
            for sign in (1, -1)
        ]
        assert gradient[i].item() == pytest.approx((moved[0] - moved[1]) / (2 * step), abs=1e-6)


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("link", ERRORS)
def test_the_histogram_is_within_its_bound(link, scale):
    logits, target = points(300, seed=1)
    logits = (logits * scale).detach()
    exact = of_link(link, logits, target, method="sort").item()
    for bins in (64, 1024):
        binned = of_link(link, logits, target, bins=bins).item()
        bounded = {"sigmoid": lovasz.error_bound(bins)}
        bound = bounded.get(link, lovasz.relative_bound(bins) * (1 + exact))
        assert abs(binned - exact) <= bound


@pytest.mark.parametrize("link", ERRORS)
def test_the_histogram_has_nearly_the_gradient_of_sorting(link):
    logits, target = points(20000, seed=2)
    _, exact = value_and_gradient(of_link(link, logits, target, method="sort"), logits)
    _, binned = value_and_gradient(of_link(link, logits, target, bins=4096), logits)
    assert (binned - exact).norm() < 0.03 * exact.norm()


@pytest.mark.parametrize("method", ["histogram", "sort"])
@pytest.mark.parametrize("link", ERRORS)
def test_symmetric_is_the_mean_with_the_complement(link, method):
    logits, target = points()
    options = {"method": method}
    got = value_and_gradient(of_link(link, logits, target, symmetric=True, **options), logits)
    mean = of_link(link, logits, target, **options) + of_link(link, -logits, 1 - target, **options)
    assert_same(got, value_and_gradient(mean / 2, logits), bitwise=False)


@pytest.mark.parametrize("method", ["histogram", "sort"])
@pytest.mark.parametrize("link", ERRORS)
def test_every_channel_is_a_set_of_its_own(link, method):
    logits = torch.randn(2, 3, 5, 6, dtype=torch.float64, requires_grad=True)
    target = torch.randint(3, (2, 3, 5, 6))
    options = {"method": method, "ignore_index": 2}
    got = of_link(link, logits, target, multilabel=True, **options)
    alone = [
        of_link(link, logits[:, c], target[:, c], multilabel=False, **options) for c in range(3)
    ]
    assert_same(
        value_and_gradient(got, logits), value_and_gradient(sum(alone) / 3, logits), bitwise=False
    )
    one = of_link(link, logits[:, :1], target[:, 0], **options)
    assert_same(one, alone[0])
    rows, labels = (t.movedim(1, -1).reshape(-1, 3) for t in (logits, target))
    assert_same(of_link(link, rows, labels, multilabel=True, **options), got, bitwise=False)


def test_probabilities_give_the_loss_of_their_logits():
    logits, target = points()
    want = value_and_gradient(lovasz.lovasz_sigmoid(logits, target), logits)
    loss = lovasz.lovasz_sigmoid_from_probabilities(logits.sigmoid(), target)
    assert_same(value_and_gradient(loss, logits), want, bitwise=False)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float32, torch.bfloat16])
def test_targets_of_every_kind(dtype):
    logits, target = points()
    assert lovasz.lovasz_sigmoid(logits, target.to(dtype)) == lovasz.lovasz_sigmoid(logits, target)


def test_a_set_without_pixels():
    logits, target = torch.tensor([-2.0, 0.5, 1.0]), torch.zeros(3)
    loss = lovasz.lovasz_sigmoid(logits, target, method="sort")
    assert loss.item() == pytest.approx(torch.tensor(1.0).sigmoid().item())
    assert lovasz.lovasz_sigmoid(logits, target, classes="present") == 0


def test_a_perfect_hinge_costs_nothing():
    logits, target = torch.tensor([5.0, -1.0, 1.0]), torch.tensor([1, 0, 1])
    assert lovasz.lovasz_hinge(logits, target) == 0


def test_margins_that_have_no_bin():
    target = torch.tensor([1, 0])
    huge = torch.tensor([-1e5, 0.0], requires_grad=True)
    assert lovasz.lovasz_hinge(huge, target).isnan()
    assert lovasz.lovasz_hinge(huge, target, method="sort").item() == pytest.approx(100001)
    assert lovasz.lovasz_hinge(torch.tensor([math.nan, 0.0]), target).isnan()
    assert lovasz.lovasz_sigmoid(torch.tensor([-math.inf, 0.0]), target).isfinite()


def test_binary_cross_entropy_rides_along():
    logits = torch.randn(2, 3, 50, requires_grad=True)
    target = torch.randint(2, (2, 3, 50))
    weight, pixels = torch.tensor([1.0, 2.0, 5.0]), torch.rand(2, 3, 50)
    options = {"multilabel": True, "pixel_weight": pixels}
    got = lovasz.binary_cross_entropy_lovasz_sigmoid(
        logits, target, pos_weight=weight, cross_entropy_weight=0.5, lovasz_weight=2.0, **options
    )
    bce = F.binary_cross_entropy_with_logits(
        logits, target.float(), pixels, pos_weight=weight.view(3, 1), reduction="sum"
    )
    apart = 0.5 * bce / pixels.sum() + 2 * lovasz.lovasz_sigmoid(logits, target, **options)
    torch.testing.assert_close(value_and_gradient(got, logits), value_and_gradient(apart, logits))


def losses():
    """Every loss as a function of logits (2, 3, 30) and target, with its options."""
    yield "softmax", lambda x, y, **o: lovasz.lovasz_softmax(x, y[:, 0] % 3, **o), 0
    yield (
        "fused",
        lambda x, y, **o: lovasz.cross_entropy_lovasz_softmax(x, y[:, 0] % 3, **o),
        0,
    )
    yield "sigmoid", lambda x, y, **o: lovasz.lovasz_sigmoid(x, y % 2, multilabel=True, **o), 1
    yield "hinge", lambda x, y, **o: lovasz.lovasz_hinge(x, y % 2, multilabel=True, **o), 1
    yield (
        "fused binary",
        lambda x, y, **o: lovasz.binary_cross_entropy_lovasz_sigmoid(
            x, y % 2, multilabel=True, **o
        ),
        1,
    )


LOSSES = pytest.mark.parametrize(
    ("loss", "per_channel"), [row[1:] for row in losses()], ids=[row[0] for row in losses()]
)


def images():
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(2, 3, 30, generator=generator).requires_grad_()
    return logits, torch.randint(6, (2, 3, 30), generator=generator)


def of_target(tensor, per_channel):
    return tensor if per_channel else tensor[:, 0]


@LOSSES
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_weights_of_one_change_no_bit(loss, per_channel, dtype):
    logits, target = images()
    logits = logits.detach().to(dtype).requires_grad_()
    weight = of_target(torch.ones(2, 3, 30), per_channel)
    got = value_and_gradient(loss(logits, target, pixel_weight=weight), logits)
    want = value_and_gradient(loss(logits, target), logits)
    assert_same(got[1], want[1])
    assert torch.equal(got[0], want[0])


@LOSSES
def test_weights_of_zero_and_a_mask_ignore(loss, per_channel):
    logits, target = images()
    mask = of_target(torch.rand(2, 3, 30) < 0.3, per_channel)
    with torch.no_grad():
        logits[:, :, 0] = math.nan
    mask[..., 0] = True
    weighted = loss(logits, target, pixel_weight=(~mask).float())
    masked = loss(logits, target, ignore_mask=mask)
    assert masked.isfinite()
    got, want = value_and_gradient(weighted, logits), value_and_gradient(masked, logits)
    torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-9)
    left_out = mask if per_channel else mask.unsqueeze(1)
    assert not torch.where(left_out, want[1], 0.0).any()


@pytest.mark.parametrize("method", ["histogram", "sort"])
def test_whole_weights_repeat_pixels(method):
    logits, target = points(30, seed=3)
    times = torch.randint(0, 4, (30,))
    repeated, labels = logits.repeat_interleave(times), target.repeat_interleave(times)
    want = lovasz.lovasz_sigmoid(repeated, labels, method=method)
    got = lovasz.lovasz_sigmoid(logits, target, pixel_weight=times.double(), method=method)
    assert got.item() == pytest.approx(want.item(), abs=1e-12)
    assert_same(
        value_and_gradient(got, logits)[1], value_and_gradient(want, logits)[1], bitwise=False
    )


def test_half_the_weight_everywhere_is_the_same_loss():
    logits, target = torch.randn(2, 4, 60), torch.randint(4, (2, 60))
    half = lovasz.lovasz_softmax(logits, target, pixel_weight=torch.full((2, 60), 0.5))
    assert half.item() == pytest.approx(lovasz.lovasz_softmax(logits, target).item(), rel=1e-2)


@pytest.mark.parametrize("method", ["histogram", "sort"])
@pytest.mark.parametrize("link", ["softmax", "sigmoid", "relu"])
def test_clouds_have_losses_of_their_own(link, method):
    generator = torch.Generator().manual_seed(7)
    sizes = [30, 1, 50]
    logits = torch.randn(sum(sizes), 3, generator=generator, dtype=torch.float64)
    target = torch.randint(3, (sum(sizes),), generator=generator)

    def loss(x, y, **options):
        options = {"method": method, "bins": 6, **options}  # so few that clouds are not too small
        if link == "softmax":
            return lovasz.lovasz_softmax(x, y, **options)
        return of_link(link, x, F.one_hot(y, 3), multilabel=True, **options)

    logits.requires_grad_()
    parts = zip(logits.split(sizes), target.split(sizes), strict=True)
    want = value_and_gradient(sum(loss(x, y) for x, y in parts) / 3, logits)
    ends = torch.tensor(sizes).cumsum(0)
    got = value_and_gradient(loss(logits, target, per_image=True, offsets=ends), logits)
    assert_same(got, want, bitwise=False)
    index = torch.repeat_interleave(torch.arange(3), torch.tensor(sizes))
    shuffled = torch.randperm(len(index), generator=generator)
    options = {"per_image": True, "batch_index": index[shuffled]}
    got = loss(logits[shuffled], target[shuffled], **options)
    assert_same(value_and_gradient(got, logits), want, bitwise=False)
    single = loss(logits, target, per_image=True, offsets=ends, reduction="none")
    assert single.shape == (3, 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bins", [8, 9])
def test_small_clouds_are_sorted(bins, dtype):
    """Those of fewer than four points for each bin, on average."""
    logits, target = torch.randn(96, 4, dtype=dtype, requires_grad=True), torch.randint(4, (96,))
    options = {"per_image": True, "offsets": torch.tensor([20, 50, 96])}
    got, exact = (
        value_and_gradient(lovasz.lovasz_softmax(logits, target, **o, **options), logits)
        for o in ({"bins": bins}, {"method": "sort"})
    )
    assert torch.equal(got[0], exact[0]) == (bins == 9)
    assert torch.equal(got[1], exact[1]) == (bins == 9)


@pytest.mark.parametrize("weighted", [False, True])
def test_small_clouds_have_a_cross_entropy(weighted):
    logits, target = torch.randn(60, 4, requires_grad=True), torch.randint(4, (60,))
    weight = {"pixel_weight": torch.rand(60)} if weighted else {}
    options = {"per_image": True, "offsets": torch.tensor([10, 10, 60]), **weight}
    first = lovasz.cross_entropy_lovasz_softmax(logits, target, lovasz_weight=0.0, **weight)
    second = lovasz.lovasz_softmax(logits, target, **options)
    fused = lovasz.cross_entropy_lovasz_softmax(logits, target, **options)
    want = value_and_gradient(first + second, logits)
    assert_same(value_and_gradient(fused, logits), want, bitwise=False)


def test_a_cloud_without_points_is_left_out():
    logits, target = torch.randn(10, 3), torch.randint(3, (10,))
    want = lovasz.lovasz_softmax(logits, target, per_image=True, offsets=torch.tensor([4, 10]))
    for ends in ([0, 4, 10], [4, 4, 10]):
        got = lovasz.lovasz_softmax(logits, target, per_image=True, offsets=torch.tensor(ends))
        assert got == want


@pytest.mark.parametrize("link", ERRORS)
def test_derivatives(link):
    logits, target = points(12, seed=4)
    loss = lambda x: of_link(link, x, target, method="sort")  # noqa: E731
    assert torch.autograd.gradcheck(loss, logits)
    assert torch.autograd.gradgradcheck(loss, logits)


@pytest.mark.parametrize(
    "criterion",
    [
        lovasz.LovaszSigmoidLoss(multilabel=True, weight=[1.0, 2.0, 3.0], momentum=0.0),
        lovasz.LovaszHingeLoss(multilabel=True, activation="elu", symmetric=True),
        lovasz.BinaryCrossEntropyLovaszSigmoidLoss(multilabel=True, pos_weight=[1.0, 2.0, 3.0]),
    ],
    ids=lambda criterion: type(criterion).__name__,
)
def test_modules_are_their_functions(criterion):
    logits, target = images()
    function = type(criterion).function
    options = {name: getattr(criterion, name) for name in criterion._options}
    assert criterion(logits, target % 2) == function(logits, target % 2, **options)
    assert "multilabel=True" in repr(criterion)


def call(loss=lovasz.lovasz_sigmoid, x=(6,), y=(6,), dtype=torch.int64, **options):
    return loss(torch.zeros(x), torch.zeros(y, dtype=dtype), **options)


SENTENCES = {
    "shape": ({"y": (5,)}, ValueError, r"expected target of shape \(6,\) .* got \(5,\)"),
    "axis": (
        {"x": (2, 6), "y": (2, 6)},
        ValueError,
        "expected multilabel=True .* got multilabel=N",
    ),
    "flag": ({"multilabel": "yes"}, TypeError, "expected multilabel to be True, False or None"),
    "labels": ({"multilabel": True}, ValueError, r"expected logits of shape \(N, C, \*\)"),
    "symmetric": ({"symmetric": 1}, TypeError, "expected symmetric to be True or False, got 1"),
    "ignored": ({"ignore_index": 1}, ValueError, "expected ignore_index to be neither 0 nor 1"),
    "complex": ({"dtype": torch.complex64}, TypeError, "expected target of zeros and ones"),
    "mask shape": (
        {"ignore_mask": torch.zeros(5, dtype=torch.bool)},
        ValueError,
        r"expected ignore_mask of shape \(6,\), one number for each label, got \(5,\)",
    ),
    "mask": ({"ignore_mask": torch.zeros(6)}, TypeError, "expected ignore_mask of dtype bool"),
    "no mask": ({"ignore_mask": [0]}, TypeError, "expected ignore_mask to be a tensor, got list"),
    "weight": (
        {"pixel_weight": torch.full((6,), -1.0)},
        ValueError,
        r"expected pixel_weight to be in \[0, 65536\], got -1",
    ),
    "weight type": (
        {"pixel_weight": torch.ones(6).long()},
        TypeError,
        "expected pixel_weight of a floating dtype, got torch.int64",
    ),
    "ends": (
        {"per_image": True, "offsets": torch.tensor([3, 2])},
        ValueError,
        r"expected offsets to be the ascending ends of the clouds, the last 6, got \[3, 2\]",
    ),
    "clouds": ({"offsets": torch.tensor([6])}, ValueError, "expected per_image=True with offsets"),
    "both": (
        {"per_image": True, "offsets": torch.tensor([6]), "batch_index": torch.zeros(6).long()},
        ValueError,
        "expected offsets or batch_index, got both",
    ),
    "index": (
        {"per_image": True, "batch_index": torch.full((6,), 3), "batch_size": 2},
        ValueError,
        r"expected batch_index in \[0, 1\], got 3 to 3",
    ),
    "index type": (
        {"per_image": True, "batch_index": torch.zeros(6)},
        TypeError,
        "expected batch_index to be an int32 or int64 tensor, got torch.float32",
    ),
    "size": ({"batch_size": 2}, ValueError, "expected batch_size with batch_index alone, got 2"),
}


@pytest.mark.parametrize("case", SENTENCES)
def test_wrong_arguments_have_a_sentence(case):
    options, error, words = SENTENCES[case]
    with pytest.raises(error, match=f"lovasz_sigmoid: {words}"):
        call(**options)


def test_wrong_labels_have_a_sentence():
    logits = torch.zeros(3)
    with pytest.raises(ValueError, match=r"lovasz_sigmoid: expected every label .* got 2 \(and 0"):
        lovasz.lovasz_sigmoid(logits, torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match=r"lovasz_hinge: .* \(margins have no soft .* 0\.5"):
        lovasz.lovasz_hinge(logits, torch.tensor([0, 1, 0.5]))
    with pytest.raises(ValueError, match="lovasz_hinge: expected activation to be one of"):
        lovasz.lovasz_hinge(logits, torch.zeros(3), activation="gelu")
    with pytest.raises(ValueError, match=r"expected probabilities in .* lovasz_sigmoid for logits"):
        lovasz.lovasz_sigmoid_from_probabilities(torch.full((3,), 1.5), torch.zeros(3))
