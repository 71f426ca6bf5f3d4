"""The losses by sums: value and gradient of every loss and option against their formulas."""

import pytest
import torch
from torch.nn import functional as F

import lovasz
from tests import region_oracle as oracle
from tests.gradients import relative, value_and_gradient

CLASSES = 5
SIZE = (3, CLASSES, 7, 6)
# What a loss is called in the package, its formula, and the options of the formula.
LOSSES = {
    "dice": ("dice_loss", "dice", {}),
    "squared dice": ("dice_loss", "dice", {"squared": True}),
    "pooled dice": ("dice_loss", "dice", {"pooled": True}),
    "jaccard": ("jaccard_loss", "jaccard", {}),
    "squared jaccard": ("jaccard_loss", "jaccard", {"squared": True, "smooth": (0.0, 0.5)}),
    "jaccard metric": ("jaccard_metric_loss", "jaccard metric", {}),
    "pooled jaccard metric": ("jaccard_metric_loss", "jaccard metric", {"pooled": True}),
    "tversky": ("tversky_loss", "tversky", {"alpha": 0.3, "beta": 0.7}),
    "focal tversky": ("tversky_loss", "tversky", {"alpha": 0.3, "beta": 0.7, "gamma": 0.75}),
    "generalized dice": ("generalized_dice_loss", "generalized dice", {"weighting": "square"}),
    "simple dice": ("generalized_dice_loss", "generalized dice", {"weighting": "simple"}),
    "uniform dice": ("generalized_dice_loss", "generalized dice", {"weighting": "uniform"}),
}
# Losses of all classes together, which have no weights of classes, and nothing of each to return.
ONE_NUMBER = {name for name in LOSSES if "pooled" in name or LOSSES[name][1].startswith("gen")}
WEIGHT = [1.0, 0.0, 3.0, 0.5, 2.0]


def indices(shape=(SIZE[0], *SIZE[2:])):
    """Class indices of all but the last class, which is absent."""
    return torch.randint(CLASSES - 1, shape)


def with_ignored(labels, share=0.2):
    """Some of them 255, and those of the last image all."""
    labels = labels.masked_fill(torch.rand(labels.shape) < share, 255)
    labels[-1] = 255
    return labels


def soft(shape=SIZE):
    """Soft labels, some of them hard, and a class that is absent."""
    q = (3 * torch.randn(shape)).softmax(1)
    q[:, -1] = 0
    q = torch.where(torch.rand(shape[0], 1, *shape[2:]) < 0.3, q.round(), q)
    return q / q.sum(1, keepdim=True).clamp(min=1)


def several():
    """Label maps of three annotators."""
    return [with_ignored(indices()) for _ in range(3)]


def pixel_weight():
    # multiples of 1/8, which all dtypes and counts have exactly
    return torch.randint(0, 16, (SIZE[0], *SIZE[2:])) / 8


# Options of softmax losses: labels and arguments of the package.
OPTIONS = {
    "plain": lambda: (indices(), {}),
    "by image": lambda: (with_ignored(indices()), {"per_image": True, "ignore_index": 255}),
    "none": lambda: (indices(), {"reduction": "none"}),
    "none by image": lambda: (indices(), {"reduction": "none", "per_image": True}),
    "sum": lambda: (indices(), {"reduction": "sum", "weight": WEIGHT}),
    "foreground": lambda: (indices(), {"classes": "foreground", "smooth": 1.0}),
    "present": lambda: (indices(), {"classes": "present"}),
    "present by image": lambda: (
        with_ignored(indices()),
        {"classes": "present", "per_image": True, "ignore_index": 255},
    ),
    "two classes": lambda: (indices(), {"classes": [3, 4], "smooth": (0.0, 1e-3)}),
    "mean of classes": lambda: (
        with_ignored(indices()),
        {"averaging": "class", "classes": "present", "ignore_index": 255},
    ),
    "means": lambda: (
        indices(),
        {"averaging": {"dataset": 1.0, "image": 0.5, "class": 2.0}, "classes": "foreground"},
    ),
    "weighted": lambda: (indices(), {"weight": WEIGHT}),
    "weighted by number": lambda: (indices(), {"weight": WEIGHT, "normalize_weight": False}),
    "smooth": lambda: (indices(), {"smooth": (1.0, 2.0)}),
    "not smooth": lambda: (indices(), {"smooth": 0.0, "classes": "present"}),
    "ignored": lambda: (with_ignored(indices()), {"ignore_index": 255}),
    "ignored class": lambda: (indices(), {"ignore_index": 1}),
    "masked": lambda: (indices(), {"ignore_mask": torch.rand(pixel_weight().shape) < 0.3}),
    "pixel weights": lambda: (indices(), {"pixel_weight": pixel_weight()}),
    "label smoothing": lambda: (
        with_ignored(indices()),
        {"label_smoothing": 0.15, "ignore_index": 255},
    ),
    "label smoothing of present": lambda: (
        indices(),
        {"label_smoothing": 0.15, "classes": "present"},
    ),
    "soft": lambda: (soft(), {}),
    "soft, masked": lambda: (
        soft().double(),
        {"ignore_mask": torch.rand(pixel_weight().shape) < 0.3, "classes": "present"},
    ),
    "soft, smoothed": lambda: (
        soft(),
        {"label_smoothing": 0.1, "pixel_weight": pixel_weight(), "per_image": True},
    ),
    "several": lambda: (several(), {"ignore_index": 255}),
    "several, weighted": lambda: (
        several(),
        {"ignore_index": 255, "target_weight": [0.5, 0.3, 0.2], "label_smoothing": 0.1},
    ),
}


def compare(got, want, value=1e-6, gradient=1e-5):
    assert got[0].shape == want[0].shape
    assert relative(got[0], want[0]) < value
    assert relative(got[1], want[1]) < gradient


def both(name, logits, target, options, of=None):
    """Value and gradient of the package, and of the formula for float64 logits."""
    function, kind, formula = LOSSES[name]
    formula = {**formula, **options}
    got = value_and_gradient(lambda x: getattr(lovasz, function)(x, target, **formula), logits)
    upsample = formula.pop("upsample", None)
    align_corners = formula.pop("align_corners", False)
    formula.pop("multilabel", None)

    def want(x):
        if upsample:
            size = (target[0] if isinstance(target, list) else target).shape[-(x.dim() - 2) :]
            x = F.interpolate(x, size, mode=upsample, align_corners=align_corners)
        return oracle.region_loss(kind, x, target, **formula)

    return got, value_and_gradient(want if of is None else of, logits.double())


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", LOSSES)
def test_softmax(name, option):
    target, options = OPTIONS[option]()
    if name in ONE_NUMBER and ("weight" in options or option.startswith("none")):
        pytest.skip("one number of all classes")
    compare(*both(name, 2 * torch.randn(SIZE), target, options))


# Labels of their own for each channel.
SETS = {
    "plain": lambda: (torch.randint(2, SIZE), {}),
    "bool": lambda: (torch.rand(SIZE) < 0.4, {"per_image": True}),
    "ignored": lambda: (
        torch.randint(2, SIZE).masked_fill(torch.rand(SIZE) < 0.2, 255),
        {"ignore_index": 255, "classes": "present"},
    ),
    "soft": lambda: (torch.rand(SIZE), {}),
    "soft, ignored": lambda: (
        torch.rand(SIZE).masked_fill(torch.rand(SIZE) < 0.2, -1),
        {"ignore_index": -1, "per_image": True, "classes": "foreground"},
    ),
    "weighted": lambda: (torch.rand(SIZE), {"weight": WEIGHT, "pixel_weight": 2 * soft()}),
    "masked": lambda: (torch.rand(SIZE), {"ignore_mask": torch.rand(SIZE) < 0.3}),
}


@pytest.mark.parametrize("option", SETS)
@pytest.mark.parametrize("name", LOSSES)
def test_sigmoid(name, option):
    target, options = SETS[option]()
    if name in ONE_NUMBER and "weight" in options:
        options.pop("weight")
    if "pixel_weight" in options:
        options["pixel_weight"] = (8 * options["pixel_weight"]).round() / 8
    options = {**options, "activation": "sigmoid", "multilabel": True}
    compare(*both(name, 2 * torch.randn(SIZE), target, options))


@pytest.mark.parametrize("multilabel", [None, True])
@pytest.mark.parametrize("name", LOSSES)
def test_probabilities(name, multilabel):
    p = torch.rand(SIZE) if multilabel else torch.randn(SIZE).softmax(1)
    options = {"activation": "none", "multilabel": multilabel, "classes": "foreground"}
    compare(*both(name, p, soft(), options))
    compare(*both(name, p, indices() if multilabel is None else soft().round(), options))


UPSAMPLED = {
    "bilinear": ((3, CLASSES, 4, 3), {"upsample": "bilinear"}),
    "corners": ((3, CLASSES, 4, 3), {"upsample": "bilinear", "align_corners": True}),
}


@pytest.mark.parametrize("upsampled", UPSAMPLED)
@pytest.mark.parametrize("option", ["ignored", "soft", "several, weighted", "by image"])
@pytest.mark.parametrize("name", ["dice", "squared jaccard", "jaccard metric"])
def test_upsampled_logits(name, option, upsampled):
    shape, more = UPSAMPLED[upsampled]
    target, options = OPTIONS[option]()
    compare(*both(name, 2 * torch.randn(shape), target, {**options, **more}), 1e-6, 2e-5)


@pytest.mark.parametrize("name", ["dice", "jaccard metric"])
def test_upsampled_logits_of_sets(name):
    options = {"activation": "sigmoid", "multilabel": True, "upsample": "bilinear"}
    compare(*both(name, 2 * torch.randn(3, CLASSES, 4, 3), torch.rand(SIZE), options))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("option", ["plain", "soft"])
@pytest.mark.parametrize("name", ["squared dice", "jaccard metric"])
def test_dtypes_and_layouts(name, option, memory_format, dtype):
    target, options = OPTIONS[option]()
    if target.is_floating_point():
        target = target.to(dtype).to(memory_format=memory_format)
    logits = (2 * torch.randn(SIZE)).to(dtype).to(memory_format=memory_format)
    got, want = both(name, logits, target, options)
    assert got[0].dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert got[1].dtype == dtype
    # In float64 a soft label of so few digits stays what it is.
    bounds = {
        torch.float64: (1e-12, 1e-12),
        torch.float32: (1e-6, 1e-5),
        torch.bfloat16: (1e-6, 4e-3),
        torch.float16: (1e-6, 5e-4),
    }
    compare(got, want, *bounds[dtype])


@pytest.mark.parametrize("option", ["labels", "soft", "several", "sets"])
@pytest.mark.parametrize("name", LOSSES)
def test_points_and_clouds(name, option):
    points, sizes = 60, (11, 0, 30, 19)
    logits = 2 * torch.randn(points, CLASSES)
    labels = torch.randint(CLASSES - 1, (points,)).masked_fill(torch.rand(points) < 0.2, 255)
    target, options = {
        "labels": (labels, {"ignore_index": 255}),
        "soft": (torch.randn(points, CLASSES).softmax(1), {}),
        "several": ([labels, labels.flip(0)], {"ignore_index": 255, "target_weight": [0.7, 0.3]}),
        "sets": (torch.rand(points, CLASSES), {"activation": "sigmoid", "multilabel": True}),
    }[option]
    compare(*both(name, logits, target, options))
    function, kind, formula = LOSSES[name]
    cloud = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    formula = {**formula, **options, "per_image": True}
    got = value_and_gradient(
        lambda x: getattr(lovasz, function)(
            x, target, offsets=torch.tensor(sizes).cumsum(0), **formula
        ),
        logits,
    )
    formula.pop("multilabel", None)
    want = value_and_gradient(
        lambda x: oracle.region_loss(kind, x, target, group=cloud, **formula), logits.double()
    )
    compare(got, want)
    again = value_and_gradient(
        lambda x: getattr(lovasz, function)(
            x,
            target,
            batch_index=cloud,
            batch_size=4,
            **{**LOSSES[name][2], **options, "per_image": True},
        ),
        logits,
    )
    compare(again, want)


@pytest.mark.parametrize("axes", [1, 3])
def test_other_numbers_of_axes(axes):
    shape = (2, CLASSES, *(5, 4, 3)[:axes])
    target = indices((2, *shape[2:]))
    compare(*both("dice", torch.randn(shape), target, {}))
    compare(*both("jaccard metric", torch.randn(shape), soft(shape), {}))


@pytest.mark.parametrize("confident", [12.0, 30.0, 100.0])
@pytest.mark.parametrize("name", [name for name in LOSSES if "focal" not in name])
def test_confident_logits(name, confident):
    if "metric" in name and confident > 20:
        pytest.skip("a float32 probability that is 1 is at its label, where |p - q| has no slope")
    # Right, but for one pixel: 1 - p of the others is far below one step of a float32.
    target = indices()
    logits = confident * F.one_hot(target, CLASSES).movedim(-1, 1) + torch.randn(SIZE)
    logits[0, :, 0, 0] = logits[0, :, 0, 0].roll(1)
    compare(*both(name, logits, target, {"smooth": 1e-5}), 1e-5, 1e-3)


@pytest.mark.parametrize("function", ["dice_loss", "jaccard_metric_loss"])
def test_nothing_that_counts_is_zero(function):
    loss = getattr(lovasz, function)
    for target, options in (
        (torch.full((2, 4), 255), {"ignore_index": 255}),
        (torch.rand(2, 3, 4).softmax(1), {"ignore_mask": torch.ones(2, 4, dtype=torch.bool)}),
    ):
        for per_image in (False, True):
            value, gradient = value_and_gradient(
                lambda x, y=target, o=options, i=per_image: loss(x, y, per_image=i, **o),
                torch.randn(2, 3, 4),
            )
            assert value == 0
            assert not gradient.any()


@pytest.mark.parametrize("option", ["plain", "soft", "several, weighted", "ignored"])
@pytest.mark.parametrize("name", ["dice", "jaccard metric", "generalized dice"])
def test_a_window_is_an_average_batch(name, option):
    function, kind, formula = LOSSES[name]
    window, momentum = lovasz.Window(0.5), 0.5
    kept, count = None, 0.0
    for _ in range(3):
        logits = 2 * torch.randn(SIZE)
        target, options = OPTIONS[option]()
        got = value_and_gradient(
            lambda x, y=target, o=options: getattr(lovasz, function)(
                x, y, window=window, **formula, **o
            ),
            logits,
        )
        count = momentum * count + 1
        held = {}

        def want(x, y=target, o=options, before=kept, n=count, held=held):
            raw, valid = oracle.labels_of(
                x, y, "softmax", o.get("ignore_index"), o.get("target_weight")
            )
            smoothing = o.get("label_smoothing", 0.0)
            pixels = oracle.pixels_of(x.softmax(1), raw, valid, smoothing=smoothing)
            now = oracle.sums_of(pixels, 1)
            held["sums"] = oracle.Sums(*(term.detach() for term in now))
            if before is not None:
                now = oracle.Sums(*(momentum * a + b for a, b in zip(before, now, strict=True)))
                held["sums"] = oracle.Sums(*(term.detach() for term in now))
            mean = oracle.Sums(*(term / n for term in now))
            active = oracle.active_classes(mean, "all")
            more = {k: v for k, v in formula.items() if k not in ("smooth", "pooled")}
            losses, active = oracle.losses_of(kind, mean, active, 1e-5, False, **more)
            return (
                n * oracle.mean_of(losses, active)
                - (n - 1) * oracle.mean_of(losses, active).detach()
            )

        reference = value_and_gradient(want, logits.double())
        kept = held["sums"]
        compare(got, reference, 1e-5, 1e-4)


PAIRED = {
    "ignored": lambda: (with_ignored(indices()), {"ignore_index": 255}),
    "pixel weights": lambda: (
        with_ignored(indices()),
        {"ignore_index": 255, "pixel_weight": pixel_weight()},
    ),
    "soft": lambda: (soft(), {"pixel_weight": pixel_weight()}),
    "several": lambda: (several(), {"ignore_index": 255, "target_weight": [0.5, 0.3, 0.2]}),
}


@pytest.mark.parametrize("smoothed", [False, True])
@pytest.mark.parametrize("option", PAIRED)
def test_cross_entropy_dice_is_the_sum_of_both(option, smoothed):
    logits = 2 * torch.randn(SIZE)
    target, options = PAIRED[option]()
    # Smoothing and weights of classes are those of the cross-entropy.
    weight, smoothing = (WEIGHT, 0.1) if smoothed else (None, 0.0)
    dice = {"classes": "foreground", "squared": smoothed, "per_image": smoothed, **options}
    raw, valid = oracle.labels_of(
        logits, target, "softmax", options.get("ignore_index"), options.get("target_weight")
    )
    valid, weight_of_pixel = oracle.left(valid, options.get("pixel_weight"), None)
    got = value_and_gradient(
        lambda x: lovasz.cross_entropy_dice(
            x,
            target,
            cross_entropy_weight=0.5,
            dice_weight=2.0,
            weight=weight,
            label_smoothing=smoothing,
            **dice,
        ),
        logits,
    )

    def want(x):
        entropy = oracle.cross_entropy(
            x,
            raw,
            valid,
            weight=weight,
            smoothing=smoothing,
            pixel_weight=weight_of_pixel,
            indices=option in ("ignored", "pixel weights"),
        )
        return 0.5 * entropy + 2.0 * oracle.region_loss("dice", x, target, **dice)

    compare(got, value_and_gradient(want, logits.double()))


@pytest.mark.parametrize("kind", ["hard", "soft", "ignored"])
def test_binary_cross_entropy_dice_is_the_sum_of_both(kind):
    logits = 2 * torch.randn(SIZE)
    target = {"hard": torch.randint(2, SIZE), "soft": torch.rand(SIZE)}.get(kind)
    options = {}
    if target is None:
        target = torch.rand(SIZE).masked_fill(torch.rand(SIZE) < 0.3, -1)
        options = {"ignore_index": -1}
    raw, valid = oracle.labels_of(logits, target, "sigmoid", options.get("ignore_index"))
    got = value_and_gradient(
        lambda x: lovasz.binary_cross_entropy_dice(
            x, target, multilabel=True, pos_weight=WEIGHT, dice_weight=3.0, **options
        ),
        logits,
    )
    want = value_and_gradient(
        lambda x: (
            oracle.binary_cross_entropy(x, raw, valid, pos_weight=WEIGHT)
            + 3.0 * oracle.region_loss("dice", x, target, activation="sigmoid", **options)
        ),
        logits.double(),
    )
    compare(got, want)


@pytest.mark.parametrize("kind", ["hard", "soft", "several"])
def test_a_region_beside_lovasz_is_the_sum_of_all_three(kind):
    logits = 2 * torch.randn(SIZE)
    target = {"hard": indices, "soft": soft, "several": several}[kind]()
    options = {"ignore_index": 255} if kind == "several" else {}
    region = lovasz.SoftTversky(0.3, 0.7, smooth=0.1)
    got = value_and_gradient(
        lambda x: lovasz.cross_entropy_lovasz_softmax(
            x, target, classes="all", region=region, region_weight=0.7, **options
        ),
        logits,
    )
    want = value_and_gradient(
        lambda x: (
            lovasz.cross_entropy_lovasz_softmax(x, target, classes="all", **options)
            + 0.7 * lovasz.tversky_loss(x, target, alpha=0.3, beta=0.7, smooth=0.1, **options)
        ),
        logits,
    )
    compare(got, want)


def test_a_region_beside_lovasz_sigmoid_is_the_sum_of_all_three():
    logits, target = 2 * torch.randn(SIZE), torch.rand(SIZE)
    got = value_and_gradient(
        lambda x: lovasz.binary_cross_entropy_lovasz_sigmoid(
            x, target, multilabel=True, classes="all", region=lovasz.SoftDice(), region_weight=2.0
        ),
        logits,
    )
    want = value_and_gradient(
        lambda x: (
            lovasz.binary_cross_entropy_lovasz_sigmoid(x, target, multilabel=True, classes="all")
            + 2.0 * lovasz.dice_loss(x, target, activation="sigmoid", multilabel=True)
        ),
        logits,
    )
    compare(got, want)
