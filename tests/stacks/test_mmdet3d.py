"""mmdetection3d builds the losses by name; a stand-in has its interface where it is missing."""

from types import SimpleNamespace

import pytest
import torch

import lovasz
from tests.gradients import value_and_gradient
from tests.stacks import stand_ins

CLASSES = 5
SOFTMAX = ["CrossEntropyLovaszSoftmaxLoss", "LovaszSoftmaxLoss", "CrossEntropyDiceLoss"]


@pytest.fixture(scope="module")
def models():
    with pytest.MonkeyPatch.context() as monkeypatch:
        found, _ = stand_ins.integration("mmdet3d", stand_ins.mmdet3d, monkeypatch)
        assert "LovaszSoftmaxLoss" in found.__all__
        yield found.MODELS


@pytest.fixture
def batch():
    """Two samples of 40 points, the last one mostly without labels."""
    logits, labels = 2 * torch.randn(2, CLASSES, 40), torch.randint(CLASSES - 1, (2, 40))
    labels[1, :30] = 255
    return logits, labels


def head(models, **loss):
    stand_ins.SegmentationHead.models = models
    return stand_ins.SegmentationHead(loss)


def same(got, want):
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-7)


def by_head(made, labels):
    samples = [SimpleNamespace(pts_semantic_mask=one) for one in labels]
    return lambda logits: made.loss_by_feat(logits, samples)["loss_sem_seg"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("name", SOFTMAX)
def test_scores_of_samples(name, per_sample, dtype, models, batch):
    logits, labels = batch[0].to(dtype), batch[1]
    made = head(models, type=name, per_sample=per_sample, loss_weight=2.0)
    direct = getattr(lovasz, name)(ignore_index=255, per_image=per_sample)
    got = value_and_gradient(by_head(made, labels), logits)
    same(got, value_and_gradient(lambda x: 2 * direct(x, labels), logits))
    other = getattr(lovasz, name)(ignore_index=255, per_image=not per_sample)(logits, labels)
    assert not torch.isclose(got[0], 2 * other)


@pytest.mark.parametrize("name", SOFTMAX)
def test_points_in_a_row(name, models, batch):
    """As heads of voxels have them, (P, C) of all samples."""
    logits, labels = batch[0].movedim(1, 2).flatten(0, 1), batch[1].flatten()
    criterion = models.build({"type": name})
    direct = getattr(lovasz, name)(ignore_index=3)
    got = value_and_gradient(lambda x: criterion(x, labels.clamp(max=3), ignore_index=3), logits)
    same(got, value_and_gradient(lambda x: direct(x, labels.clamp(max=3)), logits))


def test_samples_in_a_row_need_their_ends(models, batch):
    logits, labels = batch[0].movedim(1, 2).flatten(0, 1), batch[1].flatten()
    criterion = models.build({"type": "LovaszSoftmaxLoss", "per_sample": True})
    with pytest.raises(ValueError, match="offsets or batch_index"):
        criterion(logits, labels)
    offsets = torch.tensor([40, 80])
    got = value_and_gradient(lambda x: criterion(x, labels, offsets=offsets), logits)
    options = {"ignore_index": 255, "per_image": True, "offsets": offsets}
    same(got, value_and_gradient(lambda x: lovasz.lovasz_softmax(x, labels, **options), logits))


@pytest.mark.parametrize("name", SOFTMAX)
def test_nothing_is_left(name, models, batch):
    for samples in (2, 0):
        logits, labels = batch[0][:samples], torch.full_like(batch[1][:samples], 255)
        criterion = models.build({"type": name})
        got = value_and_gradient(lambda x, c=criterion, y=labels: c(x, y), logits)
        assert got[0] == 0
        assert not got[1].any()
