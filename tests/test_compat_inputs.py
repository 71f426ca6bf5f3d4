"""What `lovasz.compat` is given: subclasses of tensors, arrays, lists, labels as floats."""

import statistics

import numpy as np
import pytest
import torch

from lovasz.compat import lovasz_losses
from tests.test_compat_compiles import CASES, value_and_gradient

C, IGNORE = 4, 255


class Subclass(torch.Tensor):
    """A tensor with a class of its own, as data sets have them."""


def monai_tensor(tensor):
    return pytest.importorskip("monai.data").MetaTensor(tensor)


KINDS = {"subclass": lambda tensor: tensor.as_subclass(Subclass), "MetaTensor": monai_tensor}
LOSSES = [name for name in CASES if name not in ("iou", "iou_binary")]


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LOSSES)
def test_subclasses_of_tensors(name, kind, per_image):
    make_loss, make_inputs = CASES[name]
    loss, (scores, target) = make_loss(per_image, IGNORE), make_inputs()
    value, gradient = value_and_gradient(loss, scores, target)
    wrap = KINDS[kind]
    for one, other in (
        (wrap(scores), target),
        (scores, wrap(target)),
        (wrap(scores), wrap(target)),
    ):
        leaf = one.clone().requires_grad_()
        got = loss(leaf, other)
        got.backward()
        assert isinstance(got, torch.Tensor)
        assert torch.equal(got.as_subclass(torch.Tensor), value)
        assert torch.equal(leaf.grad.as_subclass(torch.Tensor), gradient)


# Torch's own functions of 16 bits are rounded to them.
OF_TORCH = ("xloss", "binary_xloss", "StableBCELoss", "lovasz_grad", "flatten_probas")
OF_TORCH += ("flatten_binary_scores", "monai other_act")
ROUNDED = [name for name in LOSSES if name not in OF_TORCH]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ROUNDED)
def test_logits_of_sixteen_bits_are_read_as_they_are(name, dtype):
    make_loss, make_inputs = CASES[name]
    loss, (scores, target) = make_loss(True, None), make_inputs()
    scores = scores.to(dtype)
    with torch.autocast("cpu", dtype):
        value, gradient = value_and_gradient(loss, scores, target)
    wanted = value_and_gradient(loss, scores.float(), target)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, wanted[0], rtol=1e-5, atol=1e-7)
    assert gradient.dtype == dtype
    torch.testing.assert_close(gradient, wanted[1].to(dtype), rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_gradients_by_torch_func(name, per_image):
    make_loss, make_inputs = CASES[name]
    loss, (scores, target) = make_loss(per_image, None), make_inputs()
    gradient, value = torch.func.grad_and_value(loss)(scores, target)
    wanted = value_and_gradient(loss, scores, target)
    torch.testing.assert_close(value, wanted[0])
    torch.testing.assert_close(gradient, wanted[1])


def labels():
    prediction, target = torch.randint(0, C, (2, 3, 4, 5))
    target[0, 0] = IGNORE
    return prediction, target


KINDS_OF_IMAGES = {
    "arrays": lambda x: x.numpy(),
    "bytes": lambda x: x.numpy().astype(np.uint8),
    "lists": lambda x: x.tolist(),
    "list of tensors": list,
    "list of arrays": lambda x: [image.numpy() for image in x],
}


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("ignore", [None, 0, IGNORE])
@pytest.mark.parametrize("kind", KINDS_OF_IMAGES)
def test_ious_of_arrays_and_lists(kind, ignore, per_image):
    given = [KINDS_OF_IMAGES[kind](x) for x in labels()]
    torch.manual_seed(20180618)
    options = {"ignore": ignore, "per_image": per_image}
    expected = lovasz_losses.iou(*labels(), C, **options)
    found = lovasz_losses.iou(*given, C, **options)
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, expected)
    assert np.mean(found) == pytest.approx(statistics.fmean(expected.tolist()))
    torch.manual_seed(20180618)
    foreground = lovasz_losses.iou_binary(*labels(), ignore=ignore, per_image=per_image)
    assert lovasz_losses.iou_binary(*given, ignore=ignore, per_image=per_image) == foreground


def test_images_of_several_sizes():
    sizes = [(4, 5), (2, 3), (1, 7)]
    pairs = [torch.randint(0, C, (2, *size)) for size in sizes]
    each = [lovasz_losses.iou(x[None], y[None], C) for x, y in pairs]
    found = lovasz_losses.iou([x for x, _ in pairs], [y for _, y in pairs], C, per_image=True)
    np.testing.assert_allclose(found, np.mean(each, 0))
    flat = [torch.cat([pair[k].flatten() for pair in pairs])[None] for k in (0, 1)]
    batch = lovasz_losses.iou([x for x, _ in pairs], [y for _, y in pairs], C)
    np.testing.assert_array_equal(batch, lovasz_losses.iou(*flat, C))


def test_ious_of_other_shapes_are_refused():
    x = torch.zeros(2, 3, 4)
    with pytest.raises(ValueError, match="iou: expected labels of the shape of preds"):
        lovasz_losses.iou(x, x[:1], C)
    with pytest.raises(ValueError, match="iou_binary: expected labels of the shape of preds"):
        lovasz_losses.iou_binary([x[0], x[1]], [x[0], x[1, :2]])


@pytest.mark.parametrize("name", ["smp multiclass", "pointcept multiclass", "mmseg multi_class"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.uint8])
@pytest.mark.parametrize("channel", [False, True])
def test_labels_of_any_dtype(name, dtype, channel):
    make_loss, make_inputs = CASES[name]
    loss, (scores, target) = make_loss(False, IGNORE), make_inputs()
    target[:, 0] = IGNORE
    expected = value_and_gradient(loss, scores, target)
    other = target.to(dtype).unsqueeze(1) if channel else target.to(dtype)
    got = value_and_gradient(loss, scores, other)
    assert all(torch.equal(*both) for both in zip(got, expected, strict=True))
    assert loss(scores.to("meta"), other.to("meta")).is_meta


def test_labels_that_are_no_whole_numbers_are_refused():
    make_loss, make_inputs = CASES["smp multiclass"]
    scores, target = make_inputs()
    for wrong in (0.5, float("nan")):
        labels_ = target.float()
        labels_[0, 0, 0] = wrong
        with pytest.raises(ValueError, match="expected labels to be whole numbers"):
            make_loss(False, IGNORE)(scores, labels_)


def test_labels_of_a_dtype_that_rounds_them_are_refused():
    scores, target = torch.randn(5, 258), torch.arange(253, 258)
    loss = CASES["smp multiclass"][0](False, None)
    assert torch.equal(loss(scores, target.half()), loss(scores, target))
    assert torch.equal(
        loss(scores[:, :257], target[:4].bfloat16().clone()[[0, 1, 2, 3, 3]]),
        loss(scores[:, :257], target[[0, 1, 2, 3, 3]]),
    )
    with pytest.raises(TypeError, match="bfloat16, which holds every integer up to 256 only"):
        loss(scores, target.bfloat16())


def test_points_with_a_column_of_labels():
    make_loss, make_inputs = CASES["pointcept multiclass"]
    scores, target = make_inputs()
    points, column = scores.movedim(1, -1).flatten(0, -2), target.reshape(-1, 1)
    loss = make_loss(False, None)
    assert torch.equal(loss(points, column), loss(points, column.squeeze(1)))


# Whose labels may have any shape: they make rows, or are torch's.
ANY_SHAPE = ("flatten_binary_scores", "flatten_probas", "lovasz_grad", "binary_xloss", "iou")


@pytest.mark.parametrize("name", [name for name in LOSSES if name.split()[0] not in ANY_SHAPE])
def test_labels_in_a_row_are_refused(name):
    """Originals take them in the order of memory, whatever the shape of the scores."""
    make_loss, make_inputs = CASES[name]
    loss, (scores, target) = make_loss(False, None), make_inputs()
    if name.endswith("_flat"):
        scores, target = scores.movedim(1, -1), target.flatten()[:-1]
    with pytest.raises((ValueError, RuntimeError)):
        loss(scores, target.flatten())


POINTS = ("smp", "pointcept", "toolbelt", "catalyst")


@pytest.mark.parametrize("name", [name for name in LOSSES if name.split()[0] in POINTS])
def test_points_are_one_image(name):
    make_loss, make_inputs = CASES[name]
    scores, target = make_inputs()
    if scores.dim() == 4:
        scores = scores.movedim(1, -1).flatten(0, -2)
        target = target.movedim(1, -1).flatten(0, -2) if target.dim() == 4 else target.flatten()
    else:
        scores, target = scores.flatten(), target.flatten()
    one = value_and_gradient(make_loss(True, None), scores, target)
    other = value_and_gradient(make_loss(False, None), scores, target)
    for got, want in zip(one, other, strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("name", ["smp multiclass", "toolbelt softmax", "mmseg multi_class"])
def test_three_axes_are_classes_of_sequences(name):
    make_loss, make_inputs = CASES[name]
    scores, target = make_inputs()
    flat, labels_ = scores.flatten(2), target.flatten(1)
    got = value_and_gradient(make_loss(True, None), flat, labels_)
    want = value_and_gradient(make_loss(True, None), scores, target)
    torch.testing.assert_close(got[0], want[0])
    torch.testing.assert_close(got[1].view_as(scores), want[1])
