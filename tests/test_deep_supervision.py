"""Deep supervision: the weighted sum of losses of several resolutions, whatever the loss."""

import copy
import functools

import pytest
import torch
from torch.nn.functional import interpolate

import lovasz
from lovasz import DeepSupervision, deep_supervision

SIZES = ((8, 12), (4, 6), (3, 5), (2, 3))
WEIGHTS = [8 / 15, 4 / 15, 2 / 15, 1 / 15]
IGNORE = {"ignore_index": 255}


def shrunk(labels, size):
    """As nnU-Net shrinks labels."""
    maps = labels.flatten(0, -3)[None].float()
    small = interpolate(maps, size=size, mode="nearest-exact")
    return small.reshape(*labels.shape[:-2], *size).to(labels.dtype)


def scores_of(*leading, sizes=SIZES):
    return [torch.randn(*leading, *size, requires_grad=True) for size in sizes]


def labels_of(count, *leading):
    labels = torch.randint(count, (*leading, *SIZES[0]))
    labels[..., :3, :3] = 255
    return labels


def value_and_gradients(value, scores):
    return value.detach(), torch.autograd.grad(value, scores, allow_unused=True)


CHANNELS = {**IGNORE, "multilabel": True}
# A loss, its options, and the axes before the spatial ones of scores and labels.
LOSSES = {
    "softmax": (lovasz.lovasz_softmax, IGNORE, (2, 3), (2,), 3),
    "cross-entropy": (lovasz.cross_entropy_lovasz_softmax, IGNORE, (2, 3), (2,), 3),
    "Dice": (lovasz.cross_entropy_dice, IGNORE, (2, 3), (2,), 3),
    "smoothed": (lovasz.lovasz_softmax, {**IGNORE, "label_smoothing": 0.1}, (2, 3), (2,), 3),
    "sigmoid": (lovasz.lovasz_sigmoid, CHANNELS, (2, 3), (2, 3), 2),
    "hinge": (lovasz.lovasz_hinge, CHANNELS, (2, 3), (2, 3), 2),
    "one channel": (lovasz.binary_cross_entropy_lovasz_sigmoid, IGNORE, (2, 1), (2,), 2),
    "no channel": (lovasz.lovasz_sigmoid, {**IGNORE, "multilabel": False}, (2,), (2,), 2),
    "each image": (lovasz.lovasz_softmax, {**IGNORE, "per_image": True}, (2, 3), (2,), 3),
    "each class": (lovasz.lovasz_softmax, {**IGNORE, "reduction": "none"}, (2, 3), (2,), 3),
    "partial": (functools.partial(lovasz.lovasz_softmax, **IGNORE), {}, (2, 3), (2,), 3),
    "module": (lovasz.LovaszSoftmaxLoss(**IGNORE), {}, (2, 3), (2,), 3),
}


@pytest.fixture(params=LOSSES)
def problem(request):
    loss, options, leading, of_labels, count = LOSSES[request.param]
    return loss, options, scores_of(*leading), labels_of(count, *of_labels)


def test_it_is_the_weighted_sum(problem):
    loss, options, scores, target = problem
    got = deep_supervision(loss, scores, target, **options)
    want = sum(
        weight * loss(x, shrunk(target, size), **options)
        for weight, x, size in zip(WEIGHTS, scores, SIZES, strict=True)
    )
    torch.testing.assert_close(
        value_and_gradients(got.sum(), scores), value_and_gradients(want.sum(), scores)
    )


def test_scales_may_come_in_any_order(problem):
    loss, options, scores, target = problem
    want = deep_supervision(loss, scores, target, **options)
    got = deep_supervision(loss, scores[::-1], target, **options)
    torch.testing.assert_close(got, want)


def test_a_module_of_a_function_or_of_a_module(problem):
    loss, options, scores, target = problem
    criterion = DeepSupervision(loss, [1, 0.5, 0, 2], **options)
    want = deep_supervision(loss, scores, target, weights=[1, 0.5, 0, 2], **options)
    assert torch.equal(criterion(scores, target), want)
    assert "weights=[1.0, 0.5, 0.0, 2.0]" in repr(criterion)
    assert torch.equal(copy.deepcopy(criterion)(scores, target), want)


def test_equal_resolutions_weigh_the_same():
    scores, target = scores_of(2, 3, sizes=[(4, 6), (8, 12), (8, 12)]), labels_of(3, 2)
    got = deep_supervision(lovasz.lovasz_softmax, scores, target, **IGNORE)
    want = deep_supervision(
        lovasz.lovasz_softmax, scores, target, weights=[0.2, 0.4, 0.4], **IGNORE
    )
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("size", [(8, 12), (4, 4), (2, 3), (1, 1), (7, 5), (16, 12)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_labels_are_shrunk_as_by_nnunet(size, dtype):
    target = torch.randint(2, (2, 8, 12)).to(dtype)
    seen = []

    def loss(scores, labels):
        seen.append(labels)
        return scores.sum()

    deep_supervision(loss, [torch.randn(2, 3, *size)], target)
    assert torch.equal(seen[0], shrunk(target, size))
    assert seen[0].dtype == dtype


def test_volumes_and_signals():
    for spatial in ((8,), (4, 6, 8), (4, 4, 4, 4)):
        scores = [torch.randn(2, 3, *(n // s for n in spatial)) for s in (1, 2)]
        target = torch.randint(3, (2, *spatial))
        odd = target[(slice(None), *(slice(1, None, 2) for _ in spatial))]
        want = [lovasz.lovasz_softmax(x, y) for x, y in zip(scores, (target, odd), strict=True)]
        got = deep_supervision(lovasz.lovasz_softmax, scores, target)
        torch.testing.assert_close(got, (2 * want[0] + want[1]) / 3)


# --- soft labels --------------------------------------------------------------------------


def seen_by_a_loss(size, target, **options):
    """What a loss of a smaller scale gets."""
    seen = {}

    def loss(scores, target, **options):
        seen.update(options, target=target)
        return scores.sum()

    deep_supervision(loss, [torch.randn(2, 3, *size)], target, **options)
    return seen


@pytest.mark.parametrize("size", [(4, 6), (3, 5)])
def test_soft_labels_are_averaged(size):
    target = torch.rand(2, 3, 8, 12)
    want = interpolate(target, size=size, mode="area")
    torch.testing.assert_close(seen_by_a_loss(size, target)["target"], want)
    nearest = interpolate(target, size=size, mode="nearest-exact")
    assert torch.equal(seen_by_a_loss(size, target, labels="nearest")["target"], nearest)
    half = seen_by_a_loss(size, target.half())["target"]
    torch.testing.assert_close(half, want, atol=1e-3, rtol=0)


@pytest.mark.parametrize("loss", [lovasz.cross_entropy_lovasz_softmax, lovasz.cross_entropy_dice])
def test_a_loss_of_soft_labels(loss):
    scores, target = scores_of(2, 3), torch.rand(2, 3, *SIZES[0]).softmax(1)
    mask = torch.rand(2, *SIZES[0]) < 0.2
    got = deep_supervision(loss, scores, target, ignore_mask=mask)
    want = 0.0
    for weight, x, size in zip(WEIGHTS, scores, SIZES, strict=True):
        counted = interpolate((~mask)[:, None].float(), size=size, mode="area")
        mean = interpolate(torch.where(mask[:, None], 0.0, target), size=size, mode="area")
        mean = torch.where(counted > 0, mean / counted, 0.0)
        want = want + weight * loss(x, mean, ignore_mask=counted[:, 0] == 0)
    torch.testing.assert_close(value_and_gradients(got, scores), value_and_gradients(want, scores))


def test_a_loss_of_several_label_maps():
    scores, maps = scores_of(2, 3), [labels_of(3, 2), labels_of(3, 2)]
    criterion = DeepSupervision(lovasz.LovaszSoftmaxLoss(**IGNORE))
    got = criterion(scores, maps, target_weight=[0.7, 0.3])
    want = sum(
        weight
        * lovasz.lovasz_softmax(
            x, [shrunk(y, size) for y in maps], target_weight=[0.7, 0.3], **IGNORE
        )
        for weight, x, size in zip(WEIGHTS, scores, SIZES, strict=True)
    )
    torch.testing.assert_close(got, want)


def test_ignored_pixels_are_in_no_average():
    target, mask = torch.rand(2, 3, 8, 12), torch.rand(2, 8, 12) < 0.5
    mask[:, :2, :2] = True
    weight = torch.rand(2, 8, 12)
    target[mask[:, None].expand_as(target)] = float("nan")
    seen = seen_by_a_loss((4, 6), target, ignore_mask=mask, pixel_weight=weight)

    def means(x):
        return x.unfold(-2, 2, 2).unfold(-2, 2, 2).mean((-2, -1))

    counted = torch.where(mask, 0.0, weight)
    want = means(counted[:, None] * target.nan_to_num()) / means(counted)[:, None]
    torch.testing.assert_close(seen["target"], want.nan_to_num())
    torch.testing.assert_close(seen["pixel_weight"], means(counted))
    assert torch.equal(seen["ignore_mask"], means(counted) == 0)
    assert seen["ignore_mask"][:, 0, 0].all()


def test_ignored_labels_of_channels_are_in_no_average():
    target = torch.rand(2, 3, 8, 12)
    target[:, 0, :2, :2] = -1
    target[:, 1, 0, 0] = -1
    small = seen_by_a_loss((4, 6), target, ignore_index=-1)["target"]
    assert (small[:, 0, 0, 0] == -1).all()
    block = target[:, 1, :2, :2].flatten(1)[:, 1:]
    torch.testing.assert_close(small[:, 1, 0, 0], block.mean(1))
    torch.testing.assert_close(small[:, 2], interpolate(target, size=(4, 6), mode="area")[:, 2])


def test_masks_and_weights_of_hard_labels_are_shrunk_with_them():
    target, weight = labels_of(3, 2), torch.rand(2, *SIZES[0])
    mask = torch.rand(2, *SIZES[0]) < 0.2
    seen = seen_by_a_loss((4, 6), target, pixel_weight=weight, ignore_mask=mask)
    assert torch.equal(seen["pixel_weight"], shrunk(weight, (4, 6)))
    assert torch.equal(seen["ignore_mask"], shrunk(mask, (4, 6)))


def test_every_label_map_of_a_mixture_is_shrunk():
    maps = [labels_of(3, 2), labels_of(3, 2)]
    small = seen_by_a_loss((4, 6), maps, target_weight=[0.7, 0.3])
    assert small["target_weight"] == [0.7, 0.3]
    assert all(
        torch.equal(a, shrunk(b, (4, 6))) for a, b in zip(small["target"], maps, strict=True)
    )


# --- scales -------------------------------------------------------------------------------


def test_labels_of_every_scale_can_be_given():
    scores, target = scores_of(2, 3), labels_of(3, 2)
    targets = [shrunk(target, size) for size in SIZES]
    weights = [torch.rand(2, *size) for size in SIZES]
    got = deep_supervision(
        lovasz.lovasz_softmax, scores, targets, labels="given", pixel_weight=weights, **IGNORE
    )
    apart = [
        lovasz.lovasz_softmax(x, y, pixel_weight=w, **IGNORE)
        for x, y, w in zip(scores, targets, weights, strict=True)
    ]
    torch.testing.assert_close(got, sum(w * v for w, v in zip(WEIGHTS, apart, strict=True)))


@pytest.mark.parametrize("as_module", [False, True])
def test_upsampled_logits_take_the_labels_as_they_are(as_module):
    options = {**IGNORE, "upsample": "bilinear"}
    scores, target = scores_of(2, 3), labels_of(3, 2)
    if as_module:
        got = DeepSupervision(lovasz.LovaszSoftmaxLoss(**options))(scores, target)
    else:
        got = deep_supervision(lovasz.lovasz_softmax, scores, target, **options)
    apart = [lovasz.lovasz_softmax(x, target, **options) for x in scores]
    torch.testing.assert_close(got, sum(w * v for w, v in zip(WEIGHTS, apart, strict=True)))


def test_a_scale_of_weight_0_is_not_computed_and_has_a_gradient_of_0():
    scores, target = scores_of(2, 3), labels_of(3, 2)
    with torch.no_grad():
        scores[3].fill_(float("nan"))
    value = deep_supervision(lovasz.lovasz_softmax, scores, target, weights=[4, 2, 1, 0], **IGNORE)
    gradients = torch.autograd.grad(value, scores)
    assert value.isfinite()
    assert not gradients[3].any()
    assert gradients[3].shape == scores[3].shape
    assert all(gradient.any() for gradient in gradients[:3])


def test_one_tensor_is_one_scale():
    scores, target = scores_of(2, 3)[0], labels_of(3, 2)
    want = lovasz.lovasz_softmax(scores, target, **IGNORE)
    assert deep_supervision(lovasz.lovasz_softmax, scores, target, **IGNORE) == want
    criterion = DeepSupervision(lovasz.LovaszSoftmaxLoss(**IGNORE), [0.6, 0.3, 0.1])
    assert criterion(scores, target) == want


def test_points_have_one_resolution():
    scores, target = [torch.randn(50, 3), torch.randn(50, 3)], torch.randint(3, (50,))
    got = deep_supervision(lovasz.lovasz_softmax, scores, target)
    want = sum(lovasz.lovasz_softmax(x, target) for x in scores) / 2
    torch.testing.assert_close(got, want)


# --- windows ------------------------------------------------------------------------------


@pytest.mark.parametrize("known_by", [{"scales": 4}, {"weights": WEIGHTS}])
def test_every_scale_has_a_window(known_by):
    criterion = DeepSupervision(lovasz.LovaszSoftmaxLoss(**IGNORE, momentum=0.9), **known_by)
    apart = [lovasz.LovaszSoftmaxLoss(**IGNORE, momentum=0.9) for _ in SIZES]
    for _ in range(3):
        scores, target = scores_of(2, 3), labels_of(3, 2)
        want = sum(
            weight * loss(x, shrunk(target, size))
            for weight, loss, x, size in zip(WEIGHTS, apart, scores, SIZES, strict=True)
        )
        torch.testing.assert_close(criterion(scores, target), want)

    other = DeepSupervision(lovasz.LovaszSoftmaxLoss(**IGNORE, momentum=0.9), **known_by)
    other.load_state_dict(criterion.state_dict())
    assert len(criterion.state_dict()) == len(SIZES) * len(apart[0].state_dict())
    assert torch.equal(other(scores, target), criterion(scores, target))
    criterion.reset_window()
    assert all(not loss.window.counts.any() for loss in criterion.losses)
    criterion.eval()
    value = lovasz.lovasz_softmax(scores[0], target, **IGNORE)
    assert torch.equal(criterion(scores[0], target), value)


def test_a_module_of_a_function_has_no_state():
    assert not DeepSupervision(lovasz.lovasz_softmax).state_dict()


# --- compilers ----------------------------------------------------------------------------


@pytest.mark.parametrize(("dynamic", "soft"), [(True, False), (False, True)])
def test_compiles_whole(dynamic, soft):
    torch._dynamo.reset()
    loss = (lambda x, y: (x.softmax(1) - y).square().mean()) if soft else lovasz.lovasz_softmax
    scores, target = scores_of(2, 3, sizes=SIZES[:2]), torch.randint(3, (2, *SIZES[0]))
    scores.append(torch.randn(2, 3, 1, 1, requires_grad=True))
    if soft:
        target = torch.rand(2, 3, *SIZES[0])

    def step(scores, target):
        return deep_supervision(loss, scores, target, weights=[2, 1, 0])

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    torch.testing.assert_close(
        value_and_gradients(compiled(scores, target), scores),
        value_and_gradients(step(scores, target), scores),
    )


def test_is_exported():
    criterion = DeepSupervision(lovasz.CrossEntropyLovaszSoftmaxLoss(**IGNORE))
    scores, target = scores_of(2, 3), labels_of(3, 2)
    recorded = torch.export.export(criterion, (scores, target)).module()
    torch.testing.assert_close(
        value_and_gradients(recorded(scores, target), scores),
        value_and_gradients(criterion(scores, target), scores),
    )


# --- wrong arguments: more than tests/test_arguments.py has -------------------------------

X, Y = torch.randn(2, 3, 4, 4), torch.zeros(2, 8, 8, dtype=torch.long)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"logits": []}, "logits of one scale or more, got an empty list"),
        ({"logits": [X, None]}, "logits to be a list of tensors, got a list with NoneType"),
        ({"weights": [1.0]}, r"weights of 2 scales, got 1: \[1.0\]"),
        ({"weights": [0, 0]}, r"weights to be finite, not negative and not all 0, got \[0, 0\]"),
        ({"weights": [1, True]}, r"weights to be a list of numbers, got \[1, True\]"),
        ({"weights": "1"}, "weights to be a list of numbers, got '1'"),
        ({"labels": "given"}, "target to be a list of 2, one for each scale, .* got Tensor"),
        (
            {"labels": "given", "target": [Y, Y], "ignore_mask": Y > 0},
            "ignore_mask to be a list of 2, one for each scale, .* got Tensor",
        ),
        ({"window": lovasz.Window(0.9)}, "a loss without a window, .* got one with a window"),
    ],
)
def test_what_is_wrong_has_a_sentence(arguments, sentence):
    given = {"logits": [X, X], "target": Y, **arguments}
    with pytest.raises((TypeError, ValueError), match=f"^deep_supervision: expected {sentence}"):
        deep_supervision(lovasz.lovasz_softmax, **given)


def test_a_module_with_a_window_has_to_know_its_scales():
    loss = lovasz.LovaszSoftmaxLoss(momentum=0.9)
    with pytest.raises(ValueError, match=r"^DeepSupervision: expected scales or weights .* got"):
        DeepSupervision(loss)
    with pytest.raises(ValueError, match=r"^deep_supervision: expected a loss without a window"):
        deep_supervision(loss, [X], Y)
    with pytest.raises(
        ValueError, match=r"^DeepSupervision: expected logits of 3 scales, .* got 2"
    ):
        DeepSupervision(loss, scales=3)([X, X], Y)


def test_a_target_that_does_not_fit_is_the_loss_s_to_refuse():
    with pytest.raises(ValueError, match=r"^lovasz_softmax: expected target of shape \(2, 4, 4\)"):
        deep_supervision(lovasz.lovasz_softmax, [X], torch.zeros(3, 8, 8, dtype=torch.long))
