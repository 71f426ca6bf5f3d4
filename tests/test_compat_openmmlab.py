"""mmsegmentation and mmdetection3d in `lovasz.compat`: numbers to divide by, pixels, files."""

import json
import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from lovasz import lovasz_softmax
from lovasz.compat import mmdet3d, mmseg
from tests.gradients import value_and_gradient

C, IGNORE = 4, 255
WEIGHT = [1.0, 2.0, 0.5, 4.0]


def classes():
    target = torch.randint(C, (3, 5, 4))
    target[0, 0] = IGNORE
    return torch.randn(3, C, 5, 4), target


def masks():
    return torch.randn(3, 5, 4), torch.randint(2, (3, 5, 4))


CASES = {"multi_class": classes, "binary": masks}


def assert_same(ours, other, scores):
    """Value and gradient."""
    for one, two in zip(
        value_and_gradient(ours, scores), value_and_gradient(other, scores), strict=True
    ):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("loss_type", CASES)
@pytest.mark.parametrize("zero", [0, 0.0, torch.tensor(0.0)])
def test_nothing_divided_by_nothing_is_nothing(loss_type, zero):
    scores, target = CASES[loss_type]()
    target[:] = IGNORE
    for criterion in (
        mmseg.LovaszLoss(loss_type, per_image=True),
        mmdet3d.LovaszLoss(loss_type, per_sample=True),
    ):
        leaf = scores.clone().requires_grad_()
        loss = criterion(leaf, target, avg_factor=zero)
        loss.backward()
        assert loss == 0
        assert not leaf.grad.any()


@pytest.mark.parametrize("loss_type", CASES)
@pytest.mark.parametrize("factor", [8, 0.5, torch.tensor([8.0])])
def test_the_sum_is_divided(loss_type, factor):
    scores, target = CASES[loss_type]()
    criterion = mmseg.LovaszLoss(loss_type, per_image=True)
    assert_same(
        lambda x: criterion(x, target, avg_factor=factor),
        lambda x: criterion(x, target, reduction_override="sum") / float(factor),
        scores,
    )


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("channel", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bool, torch.long, torch.bfloat16])
@pytest.mark.parametrize("loss_type", CASES)
def test_pixels_that_a_sampler_leaves_out_are_not_there(loss_type, dtype, channel, per_image):
    scores, target = CASES[loss_type]()
    kept = torch.rand(target.shape) < 0.5
    kept[1] = False  # an image without a hard pixel
    criterion = mmseg.LovaszLoss(loss_type, per_image=per_image)
    weight = kept.to(dtype).unsqueeze(1) if channel else kept.to(dtype)
    assert_same(
        lambda x: criterion(x, target, weight=weight),
        lambda x: criterion(x, target.masked_fill(~kept, IGNORE)),
        scores,
    )


def test_a_pixel_of_weight_two_counts_twice():
    scores, target = classes()
    weight = torch.randint(0, 3, target.shape).float()
    criterion = mmseg.LovaszLoss(class_weight=WEIGHT, method="sort")
    rows, labels = scores.movedim(1, -1).flatten(0, -2), target.flatten()
    counts = weight.flatten().long()
    assert_same(
        lambda x: criterion(x, target, weight=weight),
        lambda x: lovasz_softmax(
            x.movedim(1, -1).flatten(0, -2).repeat_interleave(counts, 0),
            labels.repeat_interleave(counts),
            weight=WEIGHT,
            normalize_weight=False,
            ignore_index=IGNORE,
            method="sort",
        ),
        scores,
    )
    assert rows.shape == (len(labels), C)


def write(folder, suffix):
    """Class weights in a file of one kind."""
    path = folder / f"weights{suffix}"
    if suffix == ".npy":
        np.save(path, np.array(WEIGHT))
    else:
        path.write_text(json.dumps(WEIGHT))  # which is YAML too
    return path


@pytest.mark.parametrize("suffix", [".npy", ".json", ".yaml", ".yml"])
@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_class_weights_in_a_file(tmp_path, suffix, kind):
    if suffix.startswith(".y"):
        pytest.importorskip("yaml")
    scores, target = classes()
    read = mmseg.LovaszLoss(class_weight=kind(write(tmp_path, suffix)))
    assert read.class_weight == WEIGHT
    told = mmseg.LovaszLoss(class_weight=WEIGHT)
    assert_same(lambda x: read(x, target), lambda x: told(x, target), scores)


def test_class_weights_that_mmengine_reads(monkeypatch):
    storage = ModuleType("mmengine.fileio")
    storage.get = {"s3://bucket/w.json": json.dumps(WEIGHT).encode()}.__getitem__
    monkeypatch.setitem(sys.modules, "mmengine", ModuleType("mmengine"))
    monkeypatch.setitem(sys.modules, "mmengine.fileio", storage)
    assert mmseg.LovaszLoss(class_weight="s3://bucket/w.json").class_weight == WEIGHT


def test_what_is_missing_to_read_a_file_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "mmengine.fileio", None)
    with pytest.raises(ImportError, match=r"expected mmengine \(pip install mmengine\)"):
        mmseg.LovaszLoss(class_weight="s3://bucket/w.json")
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ImportError, match=r"expected PyYAML \(pip install pyyaml\)"):
        mmseg.LovaszLoss(class_weight=write(tmp_path, ".yaml"))


def test_no_file_can_run_code(tmp_path):
    with pytest.raises(ValueError, match="because a pickle can run any code; read the file"):
        mmseg.LovaszLoss(class_weight=str(tmp_path / "weights.pkl"))
    with pytest.raises(ValueError, match=r"numbers or a \.npy, \.json or \.yaml file, got"):
        mmseg.LovaszLoss(class_weight="weights.txt")
    path = tmp_path / "objects.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        mmseg.LovaszLoss(class_weight=path)
    path = tmp_path / "map.json"
    path.write_text('{"0": 1.0}')
    with pytest.raises(TypeError, match="LovaszLoss: expected class_weight"):
        mmseg.LovaszLoss(class_weight=path)


X, Y = torch.zeros(2, C, 2, 2), torch.zeros(2, 2, 2, dtype=torch.long)
WRONG = [
    (lambda: mmseg.LovaszLoss(per_image=True)(X, Y, avg_factor=-1), ValueError, "finite and not"),
    (lambda: mmseg.LovaszLoss(per_image=True)(X, Y, avg_factor="2"), TypeError, "to be a number"),
    (
        lambda: mmseg.LovaszLoss(per_image=True)(X, Y, avg_factor=torch.ones(2)),
        ValueError,
        r"avg_factor to be one number, got a tensor of shape \(2,\)",
    ),
    (lambda: mmseg.LovaszLoss()(X, Y, weight=[1]), TypeError, "weight to be a tensor, got list"),
    (lambda: mmseg.LovaszLoss(method="exact"), ValueError, "method to be one of 'histogram', 'so"),
    (lambda: mmdet3d.LovaszLoss(per_sample=1), TypeError, "expected per_sample to be True or Fals"),
    (
        lambda: mmdet3d.LovaszLoss(per_sample=True)(X[:, :, 0, 0], Y[:, 0, 0]),
        ValueError,
        r"expected logits \(N, C, \*\) with per_sample=True, got points",
    ),
    (
        lambda: mmdet3d.LovaszLoss(per_sample=True)(X, Y, avg_factor=2, reduction_override="sum"),
        ValueError,
        "expected avg_factor with per_sample=True and reduction='mean' only",
    ),
    (lambda: mmdet3d.LovaszLoss()(X, Y, weight=Y), TypeError, r"no further arguments, got \['weig"),
]


@pytest.mark.parametrize(("call", "error", "words"), WRONG)
def test_wrong_arguments(call, error, words):
    with pytest.raises(error, match=words):
        call()
