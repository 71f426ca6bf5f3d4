"""Labels by offsets: against torch's own on any layout, and all that a module has to stand."""

import copy
import pickle

import pytest
import torch
from torch.nn import functional as F

from lovasz import Decision
from tests.kernels.cases import assert_decided

SHAPES = [(5,), (2, 9), (2, 6, 7), (2, 3, 4, 5)]


def made(classes=4, **options):
    decision = Decision(classes, **options)
    generator = torch.Generator().manual_seed(1)
    decision.offsets.copy_(torch.randn(classes, generator=generator))
    return decision


def shifted(decision, logits):
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return wide + decision.offsets.view(-1, *[1] * (logits.dim() - 2))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_labels_are_those_of_shifted_logits(shape, dtype):
    decision = made()
    logits = torch.randn(shape[0], 4, *shape[1:]).to(dtype)
    wanted = shifted(decision, logits).argmax(1)
    layouts = [logits, logits.movedim(1, -1).contiguous().movedim(-1, 1)]
    layouts.append(torch.randn(shape[0], 8, *shape[1:]).to(dtype)[:, ::2].copy_(logits))
    layouts.append(logits.transpose(0, -1).contiguous().transpose(0, -1))
    for given in layouts:
        labels = decision(given)
        assert labels.dtype == torch.int64
        assert torch.equal(labels, wanted)
        narrow = decision(given, dtype=torch.uint8)
        assert narrow.dtype == torch.uint8
        assert torch.equal(narrow, wanted.to(torch.uint8))


@pytest.mark.parametrize("multilabel", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [*SHAPES, (2, 30, 31)], ids=str)
def test_probabilities_are_decided_as_their_logits(shape, dtype, multilabel):
    logits = torch.randn(shape[0], 4, *shape[1:], dtype=torch.float64)
    given = (logits.sigmoid() if multilabel else logits.softmax(1)).to(dtype)
    decision = made(multilabel=multilabel)
    logits = given.double().logit() if multilabel else given.double().log()
    scores = logits + decision.offsets.double().view(-1, *[1] * (len(shape) - 1))
    probable = made(multilabel=multilabel, from_logits=False)
    for layout in (given, given.movedim(1, -1).contiguous().movedim(-1, 1)):
        assert_decided(probable(layout), scores, 1e-5, multilabel=multilabel)


@pytest.mark.parametrize(("axes", "size"), [(1, (23,)), (2, (13, 31)), (3, (7, 2, 10))])
def test_upsampled_logits(axes, size):
    decision = made()
    logits = torch.randn(2, 4, *(5, 7, 3)[:axes])
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[axes]
    scores = shifted(decision, F.interpolate(logits, size, mode=mode))
    assert_decided(decision(logits, size), scores, 1e-5, multilabel=False)
    probable = made(from_logits=False)
    given = F.interpolate(logits.softmax(1), size, mode=mode)
    scores = given * decision.offsets.exp().view(-1, *[1] * axes)
    assert_decided(probable(logits.softmax(1), size), scores, 1e-5, multilabel=False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_masks_of_several_channels(dtype):
    decision = made(multilabel=True)
    logits = torch.randn(2, 4, 5, 6).to(dtype)
    wanted = (shifted(decision, logits) > 0).long()
    assert torch.equal(decision(logits), wanted)
    assert torch.equal(decision(logits, dtype=torch.uint8), wanted.to(torch.uint8))
    probable = made(multilabel=True, from_logits=False)
    assert torch.equal(probable(logits.double().sigmoid()), wanted)
    scores = shifted(decision, F.interpolate(logits.float(), (9, 8), mode="bilinear"))
    labels = decision(logits, (9, 8))
    clear = scores.abs() > 1e-4
    assert torch.equal(labels[clear], (scores > 0).long()[clear])


@pytest.mark.parametrize("shape", [(9,), (2, 5), (2, 1, 5), (9, 1), (2, 4, 5)], ids=str)
def test_one_mask(shape):
    decision = made(1, multilabel=True)
    logits = torch.randn(shape).half()
    assert torch.equal(decision(logits), (logits.float() > -decision.offsets).long())
    if len(shape) == 3 and shape[1] > 1:  # images without an axis for the channel
        whole = decision(logits.unsqueeze(1), (7, 9)).squeeze(1)
        assert torch.equal(decision(logits, (7, 9)), whole)


def test_no_number_is_no_label():
    logits = torch.randn(2, 4, 5, 7)
    logits[0, 1, 2, 3] = torch.nan
    none = logits.isnan().any(1)
    labels = made()(logits)
    assert torch.equal(labels == -1, none)
    assert torch.equal(made()(logits, dtype=torch.uint8) == 255, none)
    assert torch.equal(made(multilabel=True)(logits) == -1, logits.isnan())
    assert (made()(logits, (10, 14)) == -1).sum() > 1


def test_without_a_fit_it_is_argmax():
    logits = torch.randn(2, 3, 4, 5)
    decision = Decision(3)
    assert torch.equal(decision(logits), logits.argmax(1))
    assert repr(decision) == "Decision(3 classes, not fitted)"
    assert torch.equal(Decision(3, multilabel=True)(logits), (logits > 0).long())


def test_it_is_saved_copied_and_moved():
    decision, logits = made(), torch.randn(2, 4, 6, 7)
    decision.statistics.copy_(torch.tensor([0.2, 0.3, 0.1, 0.05, 0.15]))
    loaded = Decision(4)
    loaded.load_state_dict(decision.state_dict())
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), decision)
    halved = copy.deepcopy(network).half()[1]
    for other in (loaded, copy.deepcopy(decision), pickle.loads(pickle.dumps(decision)), halved):
        assert torch.equal(other(logits), decision(logits))
        assert other.gain == pytest.approx(0.1)
        assert other.interval == pytest.approx((0.05, 0.15))
        assert other.offsets.dtype == torch.float32
    assert network.to("meta")[1].offsets.is_meta


def test_no_gradient():
    logits = torch.randn(2, 4, 6, 7, requires_grad=True)
    for labels in (made()(logits), made()(logits, (9, 9)), made(multilabel=True)(logits)):
        assert not labels.requires_grad


def test_vmap_compile_and_export():
    decision, logits = made(), torch.randn(3, 2, 4, 6, 7)
    wanted = torch.stack([decision(part) for part in logits])
    assert torch.equal(torch.func.vmap(decision)(logits), wanted)
    torch.compiler.reset()
    compiled = torch.compile(decision, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(logits[0]), wanted[0])
    assert torch.equal(compiled(logits[0], (9, 8)), decision(logits[0], (9, 8)))
    exported = torch.export.export(decision, (logits[0],))
    assert torch.equal(exported.module()(logits[0]), wanted[0])


LOGITS = torch.zeros(2, 3, 4)
WRONG = [
    (LOGITS[:, :2], {}, ValueError, r"shape \(N, 3, \*\) or \(P, 3\), got \(2, 2, 4\)"),
    (LOGITS.long(), {}, TypeError, "logits of dtype float64"),
    ([1.0], {}, TypeError, "logits to be a tensor, got list"),
    (LOGITS, {"dtype": torch.int32}, TypeError, "torch.int64 or torch.uint8, got torch.int32"),
    (LOGITS, {"size": 4}, TypeError, "size to be a sequence of integers, .* got 4"),
    (LOGITS, {"size": (4, 4)}, ValueError, r"size of 1 integers, .* got \(4, 4\)"),
    (LOGITS, {"size": (0,)}, ValueError, r"size of integers from 1, got \(0,\)"),
    (LOGITS[..., 0], {"size": (4,)}, ValueError, r"size of 0 integers, .* got \(4,\)"),
]


@pytest.mark.parametrize(("logits", "options", "error", "words"), WRONG)
def test_errors_are_one_sentence(logits, options, error, words):
    with pytest.raises(error, match=f"^Decision: expected .*{words}") as caught:
        Decision(3)(logits, **options)
    assert "\n" not in str(caught.value)
