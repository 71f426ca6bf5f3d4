"""Losses of upsampled logits are `F.interpolate` followed by the loss, for every option."""

import pytest
import torch
from torch.nn import functional as F

import lovasz

CLASSES = 5
MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}
SHAPES = [((9,), (31,)), ((9, 7), (36, 28)), ((9, 7), (31, 20)), ((3, 4, 5), (6, 9, 20))]
MULTICLASS = {
    "softmax": (lovasz.lovasz_softmax, {}),
    "softmax of all": (lovasz.lovasz_softmax, {"classes": "all", "weight": [1, 2, 3, 4, 5.0]}),
    "softmax by image": (lovasz.lovasz_softmax, {"per_image": True, "reduction": "none"}),
    "softmax sorted": (lovasz.lovasz_softmax, {"method": "sort"}),
    "softmax sorted, own set function": (
        lovasz.lovasz_softmax,
        {"method": "sort", "set_function": lambda fn, fp, positives: (fn + 2 * fp).sqrt()},
    ),
    "softmax, own set function": (
        lovasz.lovasz_softmax,
        {"set_function": lambda fn, fp, positives: (fn + 2 * fp).sqrt()},
    ),
    "cross-entropy and softmax": (
        lovasz.cross_entropy_lovasz_softmax,
        {"label_smoothing": 0.1, "weight": [1, 2, 3, 4, 5.0]},
    ),
    "cross-entropy alone": (
        lovasz.cross_entropy_lovasz_softmax,
        {"lovasz_weight": 0.0, "label_smoothing": 0.1},
    ),
}
MULTILABEL = {
    "sigmoid": (lovasz.lovasz_sigmoid, {"symmetric": True}),
    "sigmoid sorted": (lovasz.lovasz_sigmoid, {"method": "sort"}),
    "hinge": (lovasz.lovasz_hinge, {"per_image": True}),
    "elu": (lovasz.lovasz_hinge, {"activation": "elu", "method": "sort"}),
    "cross-entropy and sigmoid": (
        lovasz.binary_cross_entropy_lovasz_sigmoid,
        {"pos_weight": [1, 2, 3, 4, 5.0]},
    ),
    "binary cross-entropy alone": (
        lovasz.binary_cross_entropy_lovasz_sigmoid,
        {"lovasz_weight": 0.0},
    ),
}
LOSSES = MULTICLASS | MULTILABEL


def interpolated(logits, size, mode, align_corners):
    options = {} if mode == "nearest" else {"align_corners": align_corners}
    return F.interpolate(logits, size=size, mode=mode, **options)


def case(name, source, size):
    """Logits, labels, weights of pixels and options."""
    function, options = LOSSES[name]
    logits = 2 * torch.randn(2, CLASSES, *source)
    if name in MULTICLASS:
        target = torch.randint(CLASSES, (2, *size))
    else:
        target = torch.randint(2, (2, CLASSES, *size))
        options = {**options, "multilabel": True}
    target = target.masked_fill(torch.rand(target.shape) < 0.1, 255)
    options = {**options, "ignore_index": 255, "pixel_weight": 2 * torch.rand(target.shape)}
    return function, logits, target, options


def value_and_gradient(loss, logits):
    logits = logits.detach().requires_grad_()
    value = loss(logits)
    return value.detach(), torch.autograd.grad(value.sum(), logits)[0]


def relative(got, want):
    return float((got.double() - want.double()).norm() / want.double().norm())


@pytest.mark.parametrize("align_corners", [False, True, "nearest"])
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(("source", "size"), SHAPES)
def test_it_is_interpolate_and_the_loss_in_float64(source, size, name, align_corners):
    mode = MODES[len(source)]
    if align_corners == "nearest":
        mode, align_corners = "nearest", False
    function, logits, target, options = case(name, source, size)
    got = value_and_gradient(
        lambda x: function(x, target, upsample=mode, align_corners=align_corners, **options), logits
    )
    want = value_and_gradient(
        lambda x: function(interpolated(x, size, mode, align_corners), target, **options),
        logits.double(),
    )
    # An error that rounding carries into the next bin changes the loss by less than this.
    counted = options.get("method") != "sort" and options.get("lovasz_weight") != 0
    assert relative(got[0], want[0]) < (2e-5 if counted else 1e-6)
    # Errors that change places in the sort exchange their slopes.
    assert relative(got[1], want[1]) < (1e-3 if "method" in options or counted else 1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_float64_is_torch_alone(name):
    function, logits, target, options = case(name, (5, 6), (17, 24))
    got = value_and_gradient(
        lambda x: function(x, target, upsample="bilinear", **options), logits.double()
    )
    want = value_and_gradient(
        lambda x: function(interpolated(x, (17, 24), "bilinear", False), target, **options),
        logits.double(),
    )
    assert got[0].dtype == torch.float64
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_sixteen_bits_are_interpolated_in_float32(dtype, memory_format):
    logits = torch.randn(2, CLASSES, 9, 7).to(dtype).to(memory_format=memory_format)
    target = torch.randint(CLASSES, (2, 36, 28))
    loss = lovasz.cross_entropy_lovasz_softmax
    got = value_and_gradient(lambda x: loss(x, target, upsample="bilinear"), logits)
    want = value_and_gradient(
        lambda x: loss(interpolated(x, (36, 28), "bilinear", False), target), logits.double()
    )
    assert relative(got[0], want[0]) < 1e-5
    assert got[1].dtype == dtype
    assert got[1].is_contiguous(memory_format=memory_format)
    assert relative(got[1], want[1]) < {torch.bfloat16: 4e-3, torch.float16: 5e-4}[dtype]


@pytest.mark.parametrize("name", ["softmax", "sigmoid"])
def test_labels_of_the_size_of_the_logits_need_no_interpolation(name):
    function, logits, target, options = case(name, (9, 7), (9, 7))
    logits[0, 0, 4, 4] = -torch.inf  # which would spread
    for align_corners in (False, True):
        more = {"upsample": "bilinear", "align_corners": align_corners}
        got = value_and_gradient(
            lambda x, more=more: function(x, target, **options, **more), logits
        )
        want = value_and_gradient(lambda x: function(x, target, **options), logits)
        assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


@pytest.mark.parametrize("shape", [(2, 36, 28), (2, 1, 36, 28)])
def test_one_channel_with_and_without_its_axis(shape):
    logits, target = torch.randn(2, 1, 9, 7), torch.randint(2, shape)
    got = value_and_gradient(
        lambda x: lovasz.lovasz_sigmoid(x, target, upsample="bilinear"), logits
    )
    want = value_and_gradient(
        lambda x: lovasz.lovasz_sigmoid(interpolated(x, (36, 28), "bilinear", False), target),
        logits,
    )
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-7)
    without = value_and_gradient(
        lambda x: lovasz.lovasz_sigmoid(
            x.squeeze(1), target.view(2, 36, 28), multilabel=False, upsample="bilinear"
        ),
        logits,
    )
    assert all(torch.equal(a, b) for a, b in zip(got, without, strict=True))


@pytest.mark.parametrize("momentum", [None, 0.9])
def test_modules_and_windows(momentum):
    enlarging = lovasz.LovaszSoftmaxLoss(momentum=momentum, upsample="bilinear")
    plain = lovasz.LovaszSoftmaxLoss(momentum=momentum)
    assert "upsample='bilinear'" in repr(enlarging)
    for _ in range(3):
        logits, target = torch.randn(2, CLASSES, 8, 8), torch.randint(CLASSES, (2, 32, 32))
        got = value_and_gradient(lambda x, y=target: enlarging(x, y), logits)
        want = value_and_gradient(
            lambda x, y=target: plain(interpolated(x, (32, 32), "bilinear", False), y), logits
        )
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-7)


def test_a_window_remembers_where_the_cross_entropy_is_alone():
    window = lovasz.Window(0.9)
    logits, target = torch.randn(2, CLASSES, 8, 8), torch.randint(CLASSES, (2, 8, 8))
    loss = lovasz.cross_entropy_lovasz_softmax(
        logits.requires_grad_(), target, lovasz_weight=0.0, window=window
    )
    torch.testing.assert_close(loss, F.cross_entropy(logits, target))
    assert int(window.counts.sum()) > 0


@pytest.mark.parametrize("name", ["cross-entropy alone", "binary cross-entropy alone"])
def test_a_cross_entropy_alone_is_that_of_torch(name):
    function, logits, target, options = case(name, (9, 7), (9, 7))
    options = {"lovasz_weight": 0.0, "multilabel": True} if name in MULTILABEL else options
    if name in MULTILABEL:
        target = target.clamp(max=1)
        want = value_and_gradient(
            lambda x: F.binary_cross_entropy_with_logits(x, target.double()), logits.double()
        )
    else:
        options = {**options, "pixel_weight": None}
        want = value_and_gradient(
            lambda x: F.cross_entropy(x, target, ignore_index=255, label_smoothing=0.1),
            logits.double(),
        )
    got = value_and_gradient(lambda x: function(x, target, **options), logits)
    assert relative(got[0], want[0]) < 1e-6
    assert relative(got[1], want[1]) < 1e-6


def test_wrong_labels_are_told():
    logits, target = torch.randn(2, 3, 4, 4), torch.full((2, 8, 8), 7)
    with pytest.raises(ValueError, match=r"expected every label to be in \[0, 2\] .* got 7"):
        lovasz.lovasz_softmax(logits, target, upsample="bilinear")


def test_no_image_is_no_loss():
    logits = torch.randn(0, 3, 4, 4, requires_grad=True)
    loss = lovasz.lovasz_softmax(logits, torch.zeros(0, 8, 8).long(), upsample="bilinear")
    loss.backward()
    assert loss == 0
    assert logits.grad.shape == logits.shape


IMAGES, LABELS = torch.zeros(2, 3, 4, 4), torch.zeros(2, 8, 8).long()
SETS = torch.zeros(2, 3, 8, 8).long()
WRONG = [
    ({}, r"to match logits .* for labels of another resolution .* pass upsample=\"bilinear\""),
    ({"logits": IMAGES[..., 0], "target": LABELS[..., 0]}, 'pass upsample="linear"'),
    ({"upsample": "bicubic"}, "expected upsample to be \"linear\", .*, got 'bicubic'"),
    ({"upsample": True}, "upsample to be .*, got True"),
    ({"upsample": "linear"}, r'with 1 spatial axes \(for 2 pass upsample="bilinear"\)'),
    ({"upsample": "trilinear"}, r'with 3 spatial axes \(for 2 pass upsample="bilinear"\)'),
    (
        {
            "upsample": "nearest",
            "logits": IMAGES[..., None, None],
            "target": LABELS[..., None, None],
        },
        "with 1 to 3 spatial axes .* got 4",
    ),
    ({"align_corners": True, "target": LABELS[:, :4, :4]}, "align_corners=True with upsample"),
    ({"align_corners": True, "upsample": "nearest"}, "align_corners=True with upsample"),
    ({"align_corners": 1, "upsample": "bilinear"}, "align_corners to be True or False, got 1"),
    ({"upsample": "bilinear", "target": LABELS[:1]}, r"target of shape \(2, any size, any size\)"),
    ({"upsample": "bilinear", "target": SETS}, "to be one-hot"),
    ({"upsample": "bilinear", "target": LABELS[:, :0]}, "target without an empty axis"),
    ({"upsample": "bilinear", "logits": IMAGES[..., :0]}, "logits without an empty axis"),
    (
        {"upsample": "nearest", "logits": IMAGES[0, :, 0], "target": LABELS[0, 0, :3]},
        r"with spatial axes .* got points, of shape \(3, 4\)",
    ),
]


@pytest.mark.parametrize(("wrong", "sentence"), WRONG)
def test_wrong_use_has_a_sentence(wrong, sentence):
    given = {"logits": IMAGES, "target": LABELS, **wrong}
    with pytest.raises((TypeError, ValueError), match=sentence) as caught:
        lovasz.lovasz_softmax(**given)
    assert str(caught.value).startswith("lovasz_softmax: expected ")


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({}, 'pass upsample="bilinear"'),
        ({"upsample": "bilinear", "target": SETS[:, :2]}, r"shape \(2, 3, any size, any size\)"),
        ({"upsample": "bilinear", "target": LABELS}, r"shape \(2, 3, any size, any size\)"),
        ({"target": SETS[:, :2]}, r"to match logits \(2, 3, 4, 4\), got \(2, 2, 8, 8\)$"),
    ],
)
def test_wrong_use_of_sets_has_a_sentence(wrong, sentence):
    given = {"logits": IMAGES, "target": SETS, "multilabel": True, **wrong}
    with pytest.raises(ValueError, match=sentence):
        lovasz.lovasz_sigmoid(**given)


def test_probabilities_have_no_such_option():
    with pytest.raises(ValueError, match=r"got \(2, 8, 8\)$"):
        lovasz.lovasz_softmax_from_probabilities(IMAGES.softmax(1), LABELS)


def test_points_have_no_resolution():
    with pytest.raises(ValueError, match="got points"):
        lovasz.lovasz_softmax(torch.zeros(6, 3), torch.zeros(6).long(), upsample="nearest")
