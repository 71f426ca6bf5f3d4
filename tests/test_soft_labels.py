"""Soft labels of every kind: values and gradients against the definition, and what is refused."""

import functools

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import lovasz
from lovasz import error_bound, lovasz_sigmoid, lovasz_softmax
from tools import soft_lovasz

SHAPE = N, C, H, W = 2, 3, 4, 5
SORT = {"method": "sort"}
WIDE = torch.float64


def logits_of(shape=SHAPE, dtype=WIDE):
    return (2 * torch.randn(shape)).to(dtype)


def labels_of(shape=SHAPE, dtype=WIDE):
    """Soft labels of classes, some of them hard, which add up to 1."""
    q = (2 * torch.randn(shape, dtype=WIDE)).softmax(1)
    hard = F.one_hot(q.argmax(1), shape[1]).movedim(-1, 1)
    return torch.where(torch.rand(shape[0], 1, *shape[2:]) < 0.3, hard, q).to(dtype)


def maps_of(number=2):
    return [torch.randint(C, (N, H, W)) for _ in range(number)]


def one_hot(target):
    return F.one_hot(target, C).movedim(-1, 1).to(WIDE)


LINKS = {
    "softmax": (lovasz.lovasz_softmax, lambda x: x.softmax(1), {}),
    "softmax probabilities": (lovasz.lovasz_softmax_from_probabilities, lambda x: x, {}),
    "sigmoid": (lovasz.lovasz_sigmoid, torch.sigmoid, {"multilabel": True}),
    "sigmoid probabilities": (
        lovasz.lovasz_sigmoid_from_probabilities,
        lambda x: x,
        {"multilabel": True},
    ),
}
EVERY_LINK = pytest.mark.parametrize("link", LINKS)


def scores_of(link, dtype=WIDE):
    logits = logits_of()
    scores = {"softmax probabilities": logits.softmax(1), "sigmoid probabilities": logits.sigmoid()}
    return scores.get(link, logits).to(dtype)


def value_and_gradient(loss, scores):
    scores = scores.detach().clone().requires_grad_()
    value = loss(scores)
    return value.detach(), torch.autograd.grad(value.sum(), scores)[0]


class Definition(torch.autograd.Function):
    """Losses of classes by `tools.soft_lovasz`, (C,), with its gradient by the predictions."""

    @staticmethod
    def forward(ctx, p, q, weight, delta):
        rows = [x.detach().double().numpy() for x in torch.broadcast_tensors(p, q, weight)]
        ctx.gradient = torch.from_numpy(soft_lovasz.gradient(*rows, delta)).to(p.dtype)
        return torch.from_numpy(soft_lovasz.loss(*rows, delta)).to(p.dtype)

    @staticmethod
    def backward(ctx, gradient):
        return gradient[:, None] * ctx.gradient, None, None, None


def by_definition(p, q, weight=None, delta=soft_lovasz.jaccard):
    """Losses (C,) of predictions and labels (N, C, *), and weights (N, *)."""

    def rows(x):
        return x.movedim(1, 0).flatten(1)

    weight = torch.ones_like(p[:, :1]) if weight is None else weight.unsqueeze(1)
    return Definition.apply(rows(p), rows(q), rows(weight.expand_as(p)), delta)


# --- against the definition ---------------------------------------------------------------


@EVERY_LINK
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_exact_loss_is_the_definition(link, dtype):
    function, predict, options = LINKS[link]
    scores, q = scores_of(link, dtype), labels_of(dtype=dtype)
    got = value_and_gradient(lambda x: function(x, q, **SORT, **options), scores)
    want = value_and_gradient(lambda x: by_definition(predict(x), q).mean(), scores)
    tolerance = 1e-12 if dtype == WIDE else 1e-6
    torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)


@EVERY_LINK
def test_counting_is_within_the_bound(link):
    function, predict, options = LINKS[link]
    scores, q = scores_of(link), labels_of()
    want = by_definition(predict(scores), q)
    for bins in (2, 16, 2048):
        got = function(scores, q, bins=bins, reduction="none", **options)
        assert (got - want).abs().max() <= error_bound(bins) + 1e-12


@EVERY_LINK
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_counting_has_the_gradient(link, dtype):
    function, predict, options = LINKS[link]
    logits, q = logits_of((2, C, 20, 25)), labels_of((2, C, 20, 25))
    scores = logits if "prob" not in link else predict_of(link)(logits)
    scores = scores.to(dtype)
    got = value_and_gradient(lambda x: function(x, q.to(dtype), **options), scores)
    want = value_and_gradient(
        lambda x: by_definition(predict(x), q.to(dtype).double()).mean(), scores.double()
    )
    assert got[0].dtype == torch.float32
    assert got[1].dtype == dtype
    assert abs(got[0] - want[0]) <= (1e-4 if dtype == torch.float32 else 2e-3)
    assert (got[1].double() - want[1]).norm() <= 3e-2 * want[1].norm()


def predict_of(link):
    return torch.sigmoid if "sigmoid" in link else lambda x: x.softmax(1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_labels_may_have_any_floating_dtype(dtype):
    scores, q = logits_of(dtype=torch.float32), labels_of(dtype=dtype)
    got = lovasz_softmax(scores, q, **SORT)
    torch.testing.assert_close(got, lovasz_softmax(scores, q.float(), **SORT))


@pytest.mark.parametrize("method", ["histogram", "sort"])
def test_strides_do_not_matter(method):
    scores, q = logits_of(dtype=torch.float32), labels_of(dtype=torch.float32)
    want = value_and_gradient(lambda x: lovasz_softmax(x, q, method=method), scores)
    for order in ((0, 2, 3, 1), (3, 2, 1, 0)):
        back = [order.index(axis) for axis in range(4)]
        strided = q.permute(order).contiguous().permute(back)
        got = value_and_gradient(lambda x, y=strided: lovasz_softmax(x, y, method=method), scores)
        assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


def test_points_and_volumes():
    q, scores = labels_of((30, C)), logits_of((30, C))
    want = by_definition(scores.softmax(1), q).mean()
    torch.testing.assert_close(lovasz_softmax(scores, q, **SORT), want)
    shape = (2, C, 2, 3, 4)
    q, scores = labels_of(shape), logits_of(shape)
    want = by_definition(scores.softmax(1), q).mean()
    torch.testing.assert_close(lovasz_softmax(scores, q, **SORT), want)


@pytest.mark.parametrize("delta", [(0.5, 2.0), (1.0, 1.0)])
@pytest.mark.parametrize("of_the_caller", [False, True])
@pytest.mark.parametrize("method", ["histogram", "sort"])
def test_other_set_functions(delta, of_the_caller, method):
    scores, q = logits_of(), labels_of()
    given = lovasz.tversky(*delta)
    function = functools.partial(given) if of_the_caller else given
    got = value_and_gradient(
        lambda x: lovasz_softmax(x, q, set_function=function, method=method, bins=2**13), scores
    )
    want = value_and_gradient(
        lambda x: by_definition(x.softmax(1), q, delta=soft_lovasz.tversky(*delta)).mean(), scores
    )
    tolerance = 1e-12 if method == "sort" else 1e-3
    torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("method", ["histogram", "sort"])
def test_at_the_labels_it_is_0(method):
    q = (2 * torch.randn(SHAPE, dtype=WIDE)).softmax(1)
    value = lovasz_softmax(q.log(), q, method=method)
    assert value.item() == pytest.approx(0, abs=1e-14)
    assert lovasz.lovasz_softmax_from_probabilities(q, q, method=method) == 0


# --- hard labels --------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["histogram", "sort"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@EVERY_LINK
def test_floating_zeros_and_ones_are_the_hard_loss(link, dtype, method):
    function, _, options = LINKS[link]
    scores, target = scores_of(link, dtype), torch.randint(C, (N, H, W))
    hard = one_hot(target).long() if options else target
    soft = one_hot(target).to(dtype)

    def loss(x, y):
        return function(x, y, method=method, reduction="none", **options)

    tolerance = 1e-14 if dtype == WIDE else 1e-6
    got, want = (value_and_gradient(lambda x, y=y: loss(x, y), scores) for y in (soft, hard))
    torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)


@EVERY_LINK
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_floating_zeros_and_ones_are_counted_as_integers_are(link, dtype):
    options = LINKS[link][2]
    scores, target = scores_of(link, dtype).flatten(2), torch.randint(C, (N, H, W)).flatten(1)
    soft = one_hot(target)
    hard = soft.long() if options else target
    name = {"sigmoid probabilities": "channel_probabilities"}.get(link, link.split()[-1])
    soft_counts, hard_counts = (
        torch.ops.lovasz.histogram(scores, labels, 2048, None, False, name)[0]
        for labels in (soft.to(dtype), hard)
    )
    assert torch.equal(soft_counts, hard_counts)


# --- label maps and label smoothing -------------------------------------------------------


@pytest.mark.parametrize("method", ["histogram", "sort"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64])
def test_maps_are_the_mean_of_their_labels(method, dtype):
    scores, maps = logits_of(), maps_of(3)
    mean = sum(one_hot(target) for target in maps) / 3
    got = value_and_gradient(
        lambda x: lovasz_softmax(x, [m.to(dtype) for m in maps], method=method), scores
    )
    want = value_and_gradient(lambda x: lovasz_softmax(x, mean, method=method), scores)
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("by_image", [False, True])
def test_weights_of_maps(by_image):
    scores, maps = logits_of(), maps_of(2)
    weight = torch.tensor([0.7, 0.3], dtype=WIDE)
    if by_image:
        weight = torch.stack((weight, weight.flip(0)))
    each = weight.expand(N, 2).view(N, 2, 1, 1, 1)
    mixed = (each * torch.stack([one_hot(m) for m in maps], 1)).sum(1)
    given = weight if by_image else weight.tolist()
    got = lovasz_softmax(scores, maps, target_weight=given, **SORT)
    torch.testing.assert_close(got, lovasz_softmax(scores, mixed, **SORT))


def test_a_map_that_ignores_a_pixel_has_no_say():
    scores, maps = logits_of(), maps_of(2)
    mean = sum(one_hot(target) for target in maps) / 2
    maps[0][:, 0] = 255
    mean[:, :, 0] = one_hot(maps[1])[:, :, 0]
    maps[0][:, 1], maps[1][:, 1] = 255, 255
    mask = torch.zeros(N, H, W, dtype=torch.bool)
    mask[:, 1] = True
    got = value_and_gradient(lambda x: lovasz_softmax(x, maps, ignore_index=255, **SORT), scores)
    want = value_and_gradient(lambda x: lovasz_softmax(x, mean, ignore_mask=mask, **SORT), scores)
    torch.testing.assert_close(got, want)
    assert not got[1][:, :, 1].any()


@pytest.mark.parametrize("method", ["histogram", "sort"])
@pytest.mark.parametrize("labels", ["indices", "soft", "maps"])
def test_label_smoothing(method, labels):
    scores, (target, other) = logits_of(), maps_of(2)
    given, q = {
        "indices": (target, one_hot(target)),
        "soft": (soft := labels_of(), soft),
        "maps": ([target, other], (one_hot(target) + one_hot(other)) / 2),
    }[labels]
    got = value_and_gradient(
        lambda x: lovasz_softmax(x, given, label_smoothing=0.2, method=method), scores
    )
    want = value_and_gradient(lambda x: lovasz_softmax(x, 0.8 * q + 0.2 / C, method=method), scores)
    torch.testing.assert_close(got, want)


def test_classes_are_present_by_their_labels_before_smoothing():
    scores, target = logits_of(), torch.randint(2, (N, H, W))
    losses = lovasz_softmax(scores, target, label_smoothing=0.1, reduction="none")
    assert losses[:2].all()
    assert losses[2] == 0
    value = lovasz_softmax(scores, target, label_smoothing=0.1)
    torch.testing.assert_close(value, losses[:2].mean())
    every = lovasz_softmax(scores, target, label_smoothing=0.1, reduction="none", classes="all")
    assert every.all()


def test_a_class_of_which_every_label_is_0_is_absent():
    q = labels_of()
    q[:, 1] = 0
    losses = lovasz_softmax(logits_of(), q, reduction="none", **SORT)
    assert losses[1] == 0
    scores = logits_of()
    every = lovasz_softmax(scores, q, reduction="none", classes="all", **SORT)
    torch.testing.assert_close(every[1], scores.softmax(1)[:, 1].max())


# --- with other options -------------------------------------------------------------------


@pytest.mark.parametrize("method", ["histogram", "sort"])
def test_ignored_pixels_are_as_if_removed(method):
    scores, q = logits_of((40, C)), labels_of((40, C))
    mask = torch.rand(40) < 0.4
    want = value_and_gradient(lambda x: lovasz_softmax(x, q[~mask], method=method), scores[~mask])
    noise = scores.clone()
    noise[mask], q[mask] = float("nan"), float("nan")
    for options in ({"ignore_mask": mask}, {"pixel_weight": (~mask).double()}):
        value, gradient = value_and_gradient(
            lambda x, o=options: lovasz_softmax(x, q, method=method, **o), noise
        )
        torch.testing.assert_close((value, gradient[~mask]), want)
        assert not gradient[mask].any()


@pytest.mark.parametrize("method", ["histogram", "sort"])
def test_ignored_labels_of_channels(method):
    scores, q = logits_of(), torch.rand(SHAPE, dtype=WIDE)
    q[0, 1, 2], q[1, 2, :, 1] = -1, -1
    weight = (q != -1).double()
    got = value_and_gradient(
        lambda x: lovasz_sigmoid(x, q, multilabel=True, ignore_index=-1, method=method), scores
    )
    want = value_and_gradient(
        lambda x: lovasz_sigmoid(x, q.abs(), multilabel=True, pixel_weight=weight, method=method),
        scores,
    )
    torch.testing.assert_close(got, want)
    assert not got[1][q == -1].any()


@pytest.mark.parametrize("method", ["histogram", "sort"])
def test_a_pixel_of_weight_2_is_two_pixels(method):
    scores, q = logits_of((30, C)), labels_of((30, C))
    weight = torch.randint(3, (30,))
    twice = (
        weight.repeat_interleave(weight) if False else torch.arange(30).repeat_interleave(weight)
    )
    want = lovasz_softmax(scores[twice], q[twice], method=method)
    got = lovasz_softmax(scores, q, pixel_weight=weight.double(), method=method)
    torch.testing.assert_close(got, want)


def test_weights_that_are_no_integers():
    scores, q = logits_of(), labels_of()
    weight = torch.randint(1, 2**21, (N, H, W)).double() / 2**20
    want = value_and_gradient(lambda x: by_definition(x.softmax(1), q, weight).mean(), scores)
    got = value_and_gradient(lambda x: lovasz_softmax(x, q, pixel_weight=weight, **SORT), scores)
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("method", ["histogram", "sort"])
def test_symmetric_is_the_mean_with_the_complement(method):
    scores, q = logits_of(), torch.rand(SHAPE, dtype=WIDE)
    options = {"multilabel": True, "method": method}
    got = value_and_gradient(lambda x: lovasz_sigmoid(x, q, symmetric=True, **options), scores)
    want = value_and_gradient(
        lambda x: (lovasz_sigmoid(x, q, **options) + lovasz_sigmoid(-x, 1 - q, **options)) / 2,
        scores,
    )
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("method", ["histogram", "sort"])
def test_the_loss_of_each_image(method):
    scores, q = logits_of(), labels_of()
    got = lovasz_softmax(scores, q, per_image=True, method=method)
    apart = [
        lovasz_softmax(x, y, method=method)
        for x, y in zip(scores.split(1), q.split(1), strict=True)
    ]
    torch.testing.assert_close(got, sum(apart) / 2)


@pytest.mark.parametrize("bins", [4, 2048])
def test_the_loss_of_each_cloud(bins):
    scores, q = logits_of((60, C)), labels_of((60, C))
    offsets = torch.tensor([25, 60])
    got = value_and_gradient(
        lambda x: lovasz_softmax(x, q, per_image=True, offsets=offsets, bins=bins), scores
    )
    method = "histogram" if bins == 4 else "sort"
    want = value_and_gradient(
        lambda x: (
            sum(
                lovasz_softmax(x[a:b], q[a:b], method=method, bins=bins)
                for a, b in ((0, 25), (25, 60))
            )
            / 2
        ),
        scores,
    )
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("kind", ["soft", "maps", "smoothed"])
def test_logits_of_lower_resolution(kind):
    scores, (target, other) = logits_of((N, C, 2, 3)), maps_of(2)
    given = {"soft": labels_of(), "maps": [target, other], "smoothed": target}[kind]
    options = {"label_smoothing": 0.1} if kind == "smoothed" else {}
    got = value_and_gradient(
        lambda x: lovasz_softmax(x, given, upsample="bilinear", **options), scores
    )
    want = value_and_gradient(
        lambda x: lovasz_softmax(F.interpolate(x, (H, W), mode="bilinear"), given, **options),
        scores,
    )
    torch.testing.assert_close(got, want)


def test_a_window_remembers_soft_labels():
    criterion = lovasz.LovaszSoftmaxLoss(momentum=0.5)
    scores, q = logits_of(dtype=torch.float32).requires_grad_(), labels_of(dtype=torch.float32)
    first = criterion(scores, q)
    torch.testing.assert_close(first, lovasz_softmax(scores, q), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(criterion(scores, q), first, rtol=1e-4, atol=1e-5)


# --- cross-entropy ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["soft", "maps"])
def test_the_cross_entropy_of_soft_labels_is_torch_s(kind):
    scores, (target, other) = logits_of(), maps_of(2)
    q = labels_of() if kind == "soft" else (one_hot(target) + one_hot(other)) / 2
    given = q if kind == "soft" else [target, other]
    weight = torch.tensor([1.0, 2.0, 0.5], dtype=WIDE)
    options = {"weight": weight, "label_smoothing": 0.1}
    got = value_and_gradient(
        lambda x: lovasz.cross_entropy_lovasz_softmax(
            x, given, lovasz_weight=0.5, lovasz_label_smoothing=0.3, **options
        ),
        scores,
    )
    want = value_and_gradient(
        lambda x: F.cross_entropy(x, q, **options) + 0.5 * lovasz_softmax(x, 0.7 * q + 0.3 / C),
        scores,
    )
    torch.testing.assert_close(got, want)


def test_the_binary_cross_entropy_of_soft_labels_is_torch_s():
    scores, q = logits_of(), torch.rand(SHAPE, dtype=WIDE)
    weight = torch.tensor([1.0, 2.0, 0.5], dtype=WIDE)
    got = value_and_gradient(
        lambda x: lovasz.binary_cross_entropy_lovasz_sigmoid(
            x, q, multilabel=True, pos_weight=weight
        ),
        scores,
    )
    want = value_and_gradient(
        lambda x: (
            F.binary_cross_entropy_with_logits(x, q, pos_weight=weight.view(-1, 1, 1))
            + lovasz_sigmoid(x, q, multilabel=True)
        ),
        scores,
    )
    torch.testing.assert_close(got, want)


# --- wrong labels -------------------------------------------------------------------------


def changed(value, channel=0):
    q = labels_of()
    q[1, channel, 2, 3] = value
    return q


INDICES = torch.randint(C, (N, H, W))
WRONG = {
    "below 0": (changed(-0.5), ValueError, r"\[0, 1\].* got -0.5"),
    "above 1": (changed(1.5), ValueError, r"\[0, 1\].* got 1.5"),
    "not a number": (changed(float("nan")), ValueError, "got nan"),
    "a sum above 1": (torch.full(SHAPE, 0.5), ValueError, "sum"),
    "classes last": (labels_of().movedim(1, -1), ValueError, r"\(2, 3, 4, 5\)"),
    "with a gradient": (labels_of().requires_grad_(), ValueError, r"pass target.detach\(\)"),
    "no map": ([], ValueError, "an empty list"),
    "a floating map": ([INDICES, INDICES.float()], TypeError, "got torch.float32"),
    "maps of two shapes": ([INDICES, INDICES[:, 1:]], ValueError, "all of one shape"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("method", ["histogram", "sort"])
@pytest.mark.parametrize("function", ["lovasz_softmax", "lovasz_softmax_from_probabilities"])
def test_wrong_labels_have_a_sentence(wrong, method, function):
    target, error, words = WRONG[wrong]
    scores = logits_of().softmax(1).requires_grad_()
    with pytest.raises(error, match=f"^{function}: expected .*{words}"):
        getattr(lovasz, function)(scores, target, method=method)


@pytest.mark.parametrize("value", [-0.5, 1.5, float("nan")])
def test_wrong_labels_of_channels_have_a_sentence(value):
    words = rf"^lovasz_sigmoid: expected .*\[0, 1\].* got {value:g}"
    with pytest.raises(ValueError, match=words):
        lovasz_sigmoid(logits_of(), changed(value), multilabel=True)


@pytest.mark.parametrize("value", [-0.005, 1.005])
def test_rounding_is_no_mistake(value):
    scores, q = logits_of(), torch.rand(SHAPE, dtype=WIDE)
    rounded = q.clone()
    rounded[0, 0, 0, 0], q[0, 0, 0, 0] = value, round(value)
    got = lovasz_sigmoid(scores, rounded, multilabel=True, **SORT)
    torch.testing.assert_close(got, lovasz_sigmoid(scores, q, multilabel=True, **SORT))


@pytest.mark.parametrize(
    ("weights", "error"),
    [([0.5], ValueError), ([0.5, 0.6], ValueError), ([-0.5, 1.5], ValueError), ("half", TypeError)],
)
def test_wrong_weights_of_maps_have_a_sentence(weights, error):
    with pytest.raises(error, match=r"^lovasz_softmax: expected target_weight .* got"):
        lovasz_softmax(logits_of(), maps_of(2), target_weight=weights)


def test_wrong_labels_of_ignored_pixels_are_none():
    q = changed(7.0)
    mask = torch.zeros(N, H, W, dtype=torch.bool)
    mask[1, 2, 3] = True
    assert lovasz_softmax(logits_of(), q, ignore_mask=mask).isfinite()


# --- properties of the loss, as the package computes it -----------------------------------


@pytest.mark.parametrize("method", ["histogram", "sort"])
def test_convex_in_the_probabilities(method):
    rng = np.random.default_rng(0)
    for _ in range(8):
        q = torch.from_numpy(rng.random(12) * rng.choice([0.1, 1.0]))
        ends = torch.from_numpy(rng.random((2, 12)))
        values = [
            lovasz.lovasz_sigmoid_from_probabilities(p, q, method=method, bins=2**12).item()
            for p in (ends[0], ends.mean(0), ends[1])
        ]
        assert values[1] <= (values[0] + values[2]) / 2 + (1e-12 if method == "sort" else 5e-4)
