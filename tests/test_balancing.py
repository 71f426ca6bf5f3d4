"""Label counts and class weights, against numbers worked out by hand and plain Python."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lovasz import (
    CrossEntropyLovaszSoftmaxLoss,
    LovaszSoftmaxLoss,
    class_weights,
    count_labels,
    lovasz_softmax,
)
from lovasz.compat import mmseg

# Three images, four classes, 9 for no label. Class 2 never occurs.
MASKS = torch.tensor(
    [[[0, 0, 0], [0, 1, 9]], [[0, 0, 0], [0, 0, 0]], [[3, 3, 1], [9, 9, 9]]], dtype=torch.uint8
)
IMAGES = torch.zeros(3, 1, 2, 3)
PIXELS, HOLDING, SURROUNDING = [10, 2, 0, 2], [2, 2, 0, 1], [11, 8, 0, 3]
PRESENT = [[True, True, False, False], [True, False, False, False], [False, True, False, True]]


class Endless(Dataset):
    """A data set that does not raise IndexError, as many."""

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return {"image": IMAGES[index % 3], "mask": MASKS[index % 3]}


PAIRS = TensorDataset(IMAGES, MASKS)
SOURCES = [
    (list(MASKS), {}),
    (PAIRS, {}),
    ([(mask, image) for image, mask in PAIRS], {"key": 0}),
    (Endless(), {"key": "mask"}),
    (({"mask": mask.numpy().astype(np.uint16)} for mask in MASKS), {"key": "mask"}),
    (DataLoader(PAIRS, batch_size=2), {}),
    (DataLoader(PAIRS, batch_size=None), {}),
    (DataLoader(Endless(), batch_size=3), {"key": "mask"}),
    ([(IMAGES[:2], MASKS[:2]), (IMAGES[2:], list(MASKS[2:]))], {"batched": True}),
    ([MASKS.long()], {"batched": True, "progress": iter}),
]


@pytest.mark.parametrize(("data", "options"), SOURCES)
def test_counts_of_every_kind_of_data(data, options):
    counts = count_labels(data, 4, ignore_index=9, **options)
    assert counts.pixels.tolist() == PIXELS
    assert counts.images.tolist() == HOLDING
    assert counts.image_pixels.tolist() == SURROUNDING
    assert counts.present.tolist() == PRESENT
    assert {counts.pixels.dtype, counts.images.dtype} == {torch.int64}


def test_no_image_counts_nothing():
    assert count_labels([], 2).pixels.tolist() == [0, 0]
    assert count_labels([], 2).present.shape == (0, 2)


def test_progress_sees_every_item():
    seen = []

    def show(items):
        for item in items:
            seen.append(item)
            yield item

    count_labels(Endless(), 4, ignore_index=9, key="mask", progress=show)
    assert seen == [0, 1, 2]


@pytest.mark.parametrize(
    ("data", "options", "error", "sentence"),
    [
        (
            MASKS,
            {},
            ValueError,
            r"item 0 to be in \[0, 3\] or .*index=None, got 9 \(pass ignore_index=9 if",
        ),
        ([MASKS[1], -MASKS[2].long()], {}, ValueError, r"item 1 to be in \[0, 3\] .* got -3"),
        ([MASKS[2] / 255], {}, TypeError, "integer dtype .*torch.float32 .ToTensor divides"),
        ([MASKS[2] / 0], {}, TypeError, "of item 0 to have an integer dtype .*torch.float32"),
        ([(IMAGES, "mask.png")], {}, TypeError, "target of item 0 to be a tensor, .* got str"),
        ([([], [{"mask": 0}])], {}, TypeError, "target of item 0 to be a tensor, .* got list"),
        ([{"mask": 0}], {}, TypeError, "item 0 to be a target .* or a key, got dict with 'mask'"),
        ([(IMAGES,)], {}, TypeError, "item 0 to be a target .* got tuple of 1"),
        (
            [{"mask": 0}],
            {"key": "label"},
            ValueError,
            "have the entry key='label', got dict",
        ),
        (7, {}, TypeError, "data to be an iterable, a Dataset or a DataLoader, got int"),
        ([], {"ignore_index": 0.5}, TypeError, "ignore_index to be an integer or None, got 0.5"),
        ([], {"batched": 1}, TypeError, "batched to be True or False, got 1"),
    ],
)
def test_data_that_do_not_fit(data, options, error, sentence):
    with pytest.raises(error, match="^count_labels: expected .*" + sentence):
        count_labels(data, 4, **options)


def pictures(mode):
    """Of the three masks, as data sets of torchvision give them."""
    for mask in MASKS.numpy():
        grey = Image.fromarray(mask)
        if mode == "P":
            grey.putpalette([7 * index % 256 for index in range(768)])
            yield IMAGES, grey
        elif mode == "L":
            yield IMAGES, grey
        else:
            wide = {"I;16": "<u2", "I;16B": ">u2", "I": np.int32}[mode]
            yield IMAGES, Image.frombytes(mode, grey.size, mask.astype(wide).tobytes())


@pytest.mark.parametrize("mode", ["L", "P", "I", "I;16", "I;16B"])
def test_pictures(mode):
    counts = count_labels(pictures(mode), 4, ignore_index=9)
    assert counts.pixels.tolist() == PIXELS
    assert counts.image_pixels.tolist() == SURROUNDING
    batch = [(None, [picture for _, picture in pictures(mode)])]
    assert count_labels(batch, 4, ignore_index=9, batched=True).present.tolist() == PRESENT


def test_pictures_of_bits_and_those_with_colours():
    mask = np.zeros((5, 11), dtype=bool)
    mask[1:3, 2:7] = True
    assert count_labels([Image.fromarray(mask)], 2).pixels.tolist() == [45, 10]
    assert count_labels([Image.new("L", (0, 3))], 2).pixels.tolist() == [0, 0]
    for mode in ("RGB", "RGBA", "LA", "F", "CMYK"):
        with pytest.raises(TypeError, match=f"item 0 to be a picture .* got mode {mode} .*key="):
            count_labels([Image.new(mode, (3, 2))], 2)


@pytest.mark.parametrize(
    "convert",
    [
        lambda mask: mask.float(),
        lambda mask: mask.double()[None],
        lambda mask: mask.numpy().astype(">i4"),
        lambda mask: mask.numpy()[::-1, ::-1],
        lambda mask: mask.numpy().astype(np.float32),
        lambda mask: np.asarray(Image.fromarray(mask.numpy())),  # not to be written to
    ],
)
def test_whole_numbers_of_any_kind(convert):
    counts = count_labels([convert(mask) for mask in MASKS], 4, ignore_index=9)
    assert counts.pixels.tolist() == PIXELS


# Three classes, two images of 2 x 2; in the first classes 0 and 1 overlap, in the second class 2
# has no label in one pixel.
OVERLAPPING = torch.tensor(
    [[[[1, 1], [0, 0]], [[1, 0], [0, 0]], [[0, 0], [0, 0]]],
     [[[0, 0], [0, 0]], [[1, 1], [1, 1]], [[9, 1], [0, 1]]]]
)  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.float32])
@pytest.mark.parametrize("batched", [True, False])
def test_overlapping_masks(dtype, batched):
    data = [OVERLAPPING.to(dtype)] if batched else list(OVERLAPPING.to(dtype))
    options = {"ignore_index": 9, "batched": batched}
    counts = count_labels(data, 3, multilabel=True, **options)
    assert counts.pixels.tolist() == [2, 5, 2]
    assert counts.images.tolist() == [1, 2, 1]
    assert counts.image_pixels.tolist() == [4, 8, 3]
    assert counts.present.tolist() == [[True, True, False], [False, True, True]]
    with pytest.raises(ValueError, match=r"without a doubt, got torch\..* of shape \(3, 2, 2\)"):
        count_labels(data, 3, **options)
    assert count_labels(data, 3, multilabel=False, **options).pixels.tolist() == [14, 9, 0]


def test_bools():
    masks = OVERLAPPING == 1
    assert count_labels(list(masks), 3, multilabel=True).pixels.tolist() == [2, 5, 2]
    for unclear in (masks[0], masks[0, 0], masks[0, :2]):
        with pytest.raises(ValueError, match=r"got torch.bool .*multilabel=True for 3 masks"):
            count_labels([unclear], 3)
    with pytest.raises(ValueError, match="pass multilabel=True for 2 masks"):
        count_labels([masks[0, :2]], 2)
    assert count_labels([masks[0, 0], masks[:1, 1]], 2).pixels.tolist() == [5, 3]
    assert count_labels([masks[0, 0]], 1, multilabel=True).pixels.tolist() == [2]


def test_subclasses_of_tensors_are_counted_as_tensors():
    monai = pytest.importorskip("monai.data")
    counts = count_labels(
        [monai.MetaTensor(mask[None].float()) for mask in MASKS], 4, ignore_index=9
    )
    assert counts.pixels.tolist() == PIXELS
    assert {type(field) for field in counts} == {torch.Tensor}


def test_volumes_are_class_indices():
    volume = torch.tensor([[[0, 1]], [[2, 1]], [[0, 0]]])  # as deep as there are classes
    assert count_labels([volume], 3).pixels.tolist() == [3, 2, 1]


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        (torch.zeros(2, 4, 4), r"of shape \(C, \*\) with C=3 and multilabel=True, got \(2, 4, 4\)"),
        (torch.zeros(3), r"of shape \(C, \*\) with C=3 and multilabel=True, got \(3,\)"),
        (torch.full((3, 2), 2), "masks of item 0 to hold 0, 1 or ignore_index=None, got 2"),
    ],
)
def test_masks_that_do_not_fit(target, sentence):
    with pytest.raises(ValueError, match=sentence):
        count_labels([target], 3, multilabel=True)
    with pytest.raises(TypeError, match="multilabel to be True or False, got 1"):
        count_labels([target], 3, multilabel=1)


DICTS = [
    ({0: 1.0, 1: 2.0, 2: 3.0}, [1.0, 2.0, 3.0]),
    ({2: 3, np.int64(0): np.float32(1), 1: torch.tensor(2.0)}, [1.0, 2.0, 3.0]),
]


@pytest.mark.parametrize(("weight", "expected"), DICTS)
def test_weights_as_a_dict(weight, expected):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 8, generator=generator, requires_grad=True)
    target = torch.randint(3, (2, 8), generator=generator)
    pairs = [
        (lovasz_softmax(logits, target, weight=w), LovaszSoftmaxLoss(weight=w)(logits, target),
         CrossEntropyLovaszSoftmaxLoss(weight=w, lovasz_class_weight=w)(logits, target),
         mmseg.LovaszLoss(class_weight=w)(logits.unflatten(2, (2, 4)), target.unflatten(1, (2, 4))))
        for w in (weight, expected)
    ]  # fmt: skip
    for got, want in zip(*pairs, strict=True):
        assert torch.equal(got, want)
        assert torch.equal(*(torch.autograd.grad(loss, logits)[0] for loss in (got, want)))
    assert torch.equal(class_weights(weight), class_weights(expected))


@pytest.mark.parametrize(
    ("weight", "error", "sentence"),
    [
        ({0: 1.0, 2: 1.0}, ValueError, r"every class from 0 to 2, got none for \[1\]"),
        ({-1: 1.0, 0: 1.0, 1: 1.0, 2: 1.0}, ValueError, "from 0 to 2, got one for -1"),
        ({"road": 1.0, "car": 2.0}, TypeError, "class indices as keys, got 'road' .pass a list in"),
        ({True: 1.0, 0: 2.0}, TypeError, "class indices as keys, got True"),
        ({0: 1.0, 1: "much", 2: 1.0}, TypeError, "tensor or a sequence of numbers"),
        ({}, ValueError, "a number for every class"),
    ],
)
def test_dicts_that_do_not_fit(weight, error, sentence):
    logits, target = torch.zeros(2, 3), torch.tensor([0, 1])
    with pytest.raises(error, match=r"^lovasz_softmax: expected weight to .*"):
        lovasz_softmax(logits, target, weight=weight)
    with pytest.raises(error, match="^LovaszSoftmaxLoss: expected weight to .*" + sentence):
        LovaszSoftmaxLoss(weight=weight)
    with pytest.raises(error, match="^class_weights: expected counts to .*" + sentence):
        class_weights(weight)


def test_a_dict_in_a_compiled_loss():
    logits, target = torch.randn(2, 3, 8, requires_grad=True), torch.arange(16).reshape(2, 8) % 3
    compiled = torch.compile(lovasz_softmax, backend="aot_eager", fullgraph=True)
    got = compiled(logits, target, weight={0: 1.0, 1: 2.0, 2: 3.0})
    want = lovasz_softmax(logits, target, weight=[1.0, 2.0, 3.0])
    torch.testing.assert_close(got, want)
    gradients = [torch.autograd.grad(loss, logits)[0] for loss in (got, want)]
    torch.testing.assert_close(*gradients)


def test_a_dict_with_too_few_or_too_many_classes_for_the_logits():
    logits, target = torch.zeros(2, 3), torch.tensor([0, 1])
    for weight, words in (
        ({0: 1, 1: 1}, r"none for \[2\]"),
        (dict.fromkeys(range(4), 1), "one for 3"),
    ):
        with pytest.raises(ValueError, match=f"expected weight to have a number .* got {words}"):
            lovasz_softmax(logits, target, weight=weight)


@pytest.mark.parametrize(("classes", "error"), [(0, ValueError), (2.0, TypeError)])
def test_number_of_classes(classes, error):
    with pytest.raises(error, match=r"^count_labels: expected num_classes to be"):
        count_labels([], classes)


# Of 10, 2, 0 and 2 pixels, worked out from the published formulas; the third takes the largest.
SHARES = [10 / 14, 2 / 14, 2 / 14]
EFFECTIVE = [0.1 / (1 - 0.9**n) for n in (10, 2, 2)]
MEAN = 14 / 3  # of the classes that occur; beta = 1 - 1 / MEAN
EXPECTED = [
    ("inverse", {}, [1.4, 7, 7, 7]),
    ("sqrt", {}, [1.4**0.5, 7**0.5, 7**0.5, 7**0.5]),
    # frequencies 10/11, 2/8, 2/3, whose median is 2/3
    ("median", {}, [2 / 3 * 11 / 10, 2 / 3 * 4, 2 / 3 * 4, 1]),
    ("effective", {"beta": 0.9}, [EFFECTIVE[0], EFFECTIVE[1], EFFECTIVE[1], EFFECTIVE[1]]),
    ("effective", {"beta": 0.0}, [1, 1, 1, 1]),
    (
        "effective",
        {},
        [1 / MEAN / (1 - (1 - 1 / MEAN) ** n) for n in (10, 2, 2, 2)],
    ),
    ("enet", {}, [1 / math.log(1.02 + n / 14) for n in (10, 2, 2, 2)]),
    ("enet", {"c": 1.5}, [1 / math.log(1.5 + n / 14) for n in (10, 2, 2, 2)]),
]


@pytest.mark.parametrize(("scheme", "options", "expected"), EXPECTED)
def test_schemes(scheme, options, expected):
    counts = count_labels(MASKS, 4, ignore_index=9)
    weights = class_weights(counts, scheme, normalize=False, **options)
    torch.testing.assert_close(weights, torch.tensor(expected, dtype=torch.float32))
    normalized = class_weights(counts, scheme, **options)
    mean = (expected[0] + expected[1] + expected[3]) / 3
    torch.testing.assert_close(normalized, torch.tensor(expected) / mean)


@pytest.mark.parametrize("scheme", ["inverse", "sqrt", "effective", "enet"])
def test_pixel_counts_alone_will_do(scheme):
    counts = count_labels(MASKS, 4, ignore_index=9)
    for given in (counts.pixels, PIXELS, counts.pixels.float()):
        assert torch.equal(class_weights(given, scheme), class_weights(counts, scheme))


def test_effective_number_of_many_pixels_is_exact():
    # in float32, and as a plain power, 1 - beta^n would be 0 or without digits
    weights = class_weights([10**9, 10], "effective", beta=1 - 1e-12, normalize=False)
    torch.testing.assert_close(
        weights, torch.tensor([1 / (1e9 * (1 - 5e-4)), 0.1]), rtol=1e-4, atol=0
    )


def test_the_default_of_effective_still_tells_classes_of_many_pixels_apart():
    weights = class_weights([10**9, 10**7, 10**6], "effective")
    assert weights[2] > 9 * weights[1] > 90 * weights[0]


def test_losses_take_them():
    weights = class_weights(PIXELS)
    criterion = LovaszSoftmaxLoss(weight=weights, ignore_index=9)
    logits = torch.zeros(3, 4, 2, 3, requires_grad=True)
    criterion(logits, MASKS).backward()
    assert logits.grad.isfinite().all()


def test_weights_on_other_devices_are_not_looked_at():
    assert class_weights(torch.zeros(3, device="meta")).device.type == "meta"


@pytest.mark.parametrize(
    ("counts", "options", "error", "sentence"),
    [
        ([1, 2], {"scheme": "log"}, ValueError, "scheme to be one of 'inverse', .* got 'log'"),
        ([1, 2], {"scheme": "median"}, ValueError, "result of count_labels .* got list"),
        ([0, 0], {}, ValueError, r"counts with a pixel of some class, got \[0, 0\]"),
        ([1, -1], {}, ValueError, "counts to be finite and not negative"),
        ([[1, 2]], {}, ValueError, r"counts of shape \(C,\), .* got \(1, 2\)"),
        ("many", {}, TypeError, "counts to be a tensor or a sequence of numbers, got 'many'"),
        (None, {}, TypeError, "counts to be a tensor or a sequence, got None"),
        ([1, 2], {"beta": 0.9}, ValueError, "beta with the scheme 'effective' alone, got 0.9 with"),
        ([1, 2], {"scheme": "effective", "c": 2}, ValueError, "c with the scheme 'enet' alone"),
        ([1, 2], {"scheme": "effective", "beta": 1.0}, ValueError, r"in \[0, 1\), got 1.0"),
        ([1, 2], {"scheme": "enet", "c": 1.0}, ValueError, "c to be more than 1, got 1.0"),
        ([1, 2], {"scheme": "enet", "c": "2"}, TypeError, "c to be a number, got '2'"),
        ([1, 2], {"normalize": None}, TypeError, "normalize to be True or False, got None"),
    ],
)
def test_weights_that_make_no_sense(counts, options, error, sentence):
    with pytest.raises(error, match="^class_weights: expected .*" + sentence):
        class_weights(counts, **options)
