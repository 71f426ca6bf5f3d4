"""Every wrong argument gets one sentence: function, expectation, value."""

import pytest
import torch

import lovasz
from lovasz import (
    LovaszSoftmaxLoss,
    dice,
    lovasz_softmax,
    lovasz_softmax_from_probabilities,
    tversky,
)

LOGITS = torch.zeros(2, 3, 4, 4)
TARGET = torch.zeros(2, 4, 4, dtype=torch.long)

PAIRS = [
    (torch.zeros(2, 3, 4, 5), torch.zeros(2, 4, 5, 3), ValueError, "classes .* axis 1, .*movedim"),
    (None, TARGET, TypeError, "expected logits to be a tensor, got NoneType"),
    (LOGITS, [0], TypeError, "expected target to be a tensor or a list of tensors .*, got int"),
    (LOGITS, 0, TypeError, "expected target to be a tensor, got int"),
    (LOGITS.long(), TARGET, TypeError, "float64, float32, bfloat16 or float16, got torch.int64"),
    (LOGITS.cfloat(), TARGET, TypeError, "or float16, got torch.complex64"),
    (LOGITS, TARGET.cfloat(), TypeError, "an integer dtype or bool .* got torch.complex64"),
    (torch.zeros(3), TARGET, ValueError, r"shape \(N, C, \*\) or \(P, C\), got \(3,\)"),
    (torch.tensor(1.0), TARGET, ValueError, r"shape \(N, C, \*\) or \(P, C\), got \(\)"),
    (
        torch.zeros(2, 0, 4, 4),
        TARGET,
        ValueError,
        r"at least one class .* got shape \(2, 0, 4, 4\)",
    ),
    (
        LOGITS,
        TARGET[:, :3],
        ValueError,
        r"expected target of shape \(2, 4, 4\) to match logits \(2, 3, 4, 4\), got \(2, 3, 4\)",
    ),
    (LOGITS, TARGET[:, None, :2], ValueError, r"shape \(2, 4, 4\) to match .* got \(2, 2, 4\)"),
    (torch.zeros(5, 3), TARGET, ValueError, r"shape \(5,\) to match logits \(5, 3\)"),
    (LOGITS, TARGET.to("meta"), ValueError, "on the device of logits, cpu, got meta"),
]


@pytest.mark.parametrize(("logits", "target", "error", "sentence"), PAIRS)
def test_tensors_that_do_not_fit(logits, target, error, sentence):
    with pytest.raises(error, match="^lovasz_softmax: .*" + sentence):
        lovasz_softmax(logits, target)


def nothing(fn, fp, positives):
    return fn + 1


OPTIONS = [
    (
        {"classes": "some"},
        ValueError,
        "classes to be one of 'present', 'all', 'foreground', got 'some'",
    ),
    ({"classes": []}, ValueError, r"a list of distinct class indices, got \[\]"),
    ({"classes": [1, 1]}, ValueError, r"a list of distinct class indices, got \[1, 1\]"),
    ({"classes": [-1]}, ValueError, r"a list of distinct class indices, got \[-1\]"),
    ({"classes": [0.5]}, TypeError, r"a list of distinct class indices, got \[0.5\]"),
    ({"classes": [True]}, TypeError, r"a list of distinct class indices, got \[True\]"),
    ({"classes": None}, TypeError, "a list of distinct class indices, got None"),
    ({"ignore_index": 1.5}, TypeError, "ignore_index to be an integer or None, got 1.5"),
    ({"ignore_index": True}, TypeError, "ignore_index to be an integer or None, got True"),
    ({"weight": [1.0, -1.0, 1.0]}, ValueError, "weight to be finite and not negative, got"),
    ({"weight": [1.0, float("nan"), 1.0]}, ValueError, "finite and not negative, got"),
    ({"weight": "heavy"}, TypeError, "a tensor or a sequence of numbers, got 'heavy'"),
    ({"weight": torch.ones(1, 3)}, ValueError, r"one number for each class, got \(1, 3\)"),
    ({"normalize_weight": 1}, TypeError, "normalize_weight to be True or False, got 1"),
    ({"per_image": "yes"}, TypeError, "per_image to be True or False, got 'yes'"),
    ({"reduction": "avg"}, ValueError, "reduction to be one of .*'none', got 'avg'"),
    ({"method": "cumsum"}, ValueError, "method to be one of 'histogram', 'sort', got 'cumsum'"),
    ({"bins": 1}, ValueError, "bins to be an integer from 2 to 1048576, got 1"),
    ({"bins": 64.0}, ValueError, "bins to be an integer from 2 to 1048576, got 64.0"),
    ({"set_function": "jaccard"}, TypeError, "set_function to be a callable .* got 'jaccard'"),
    ({"set_function": nothing}, ValueError, "0 where fn = fp = 0, got"),
    (
        {"set_function": lambda fn, fp, g: (fn + fp).sum()},
        ValueError,
        r"a float64 tensor of the shape of its arguments, \(3,\), got torch.float64 of shape \(\)",
    ),
    ({"set_function": lambda fn, fp, g: 0}, ValueError, "of its arguments, .* got int"),
    ({"set_function": lambda fn, fp, g: (fn + fp) / fn}, ValueError, "0 where fn = fp = 0"),
]


@pytest.mark.parametrize(("option", "error", "sentence"), OPTIONS)
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("lovasz_softmax", lambda option: lovasz_softmax(LOGITS, TARGET, **option)),
        (
            "lovasz_softmax_from_probabilities",
            lambda option: lovasz_softmax_from_probabilities(LOGITS, TARGET, **option),
        ),
        ("LovaszSoftmaxLoss", lambda option: LovaszSoftmaxLoss(**option)),
    ],
)
def test_wrong_options(name, call, option, error, sentence):
    with pytest.raises(error, match=f"^{name}: expected .*{sentence}"):
        call(option)


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ({"classes": [3]}, r"classes to hold indices from 0 to 2, got \[3\]"),
        ({"weight": [1.0, 2.0]}, r"weight of shape \(3,\), one number for each class, got \(2,\)"),
        ({"weight": torch.ones(3, device="meta")}, "weight on cpu, got meta"),
    ],
)
def test_options_that_depend_on_the_logits(option, sentence):
    with pytest.raises(ValueError, match=f"^lovasz_softmax: expected {sentence}"):
        lovasz_softmax(LOGITS, TARGET, **option)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: tversky(0.0, 1.0), "tversky: expected alpha to be positive and finite, got 0.0"),
        (lambda: tversky(1.0, float("inf")), "expected beta to be positive and finite, got inf"),
        (lambda: tversky(0.5, 0.5), "tversky: expected beta >= 1, .* got beta=0.5"),
        (dice, "dice: expected accept_nonconvex=True, .* got False"),
    ],
)
def test_set_functions_that_have_to_be_accepted(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_numbers_of_other_libraries_are_integers():
    numpy = pytest.importorskip("numpy")
    loss = lovasz_softmax(
        LOGITS, TARGET, classes=list(numpy.array([0, 1])), ignore_index=numpy.int64(255)
    )
    assert loss.isfinite()


def test_class_weights_come_third_as_in_torch():
    logits, target, weight = (
        torch.randn(9, 3),
        torch.randint(3, (9,)),
        torch.tensor([1.0, 2.0, 5.0]),
    )
    for name in (
        "lovasz_softmax",
        "lovasz_softmax_from_probabilities",
        "cross_entropy_lovasz_softmax",
        "cross_entropy_dice",
    ):
        function = getattr(lovasz, name)
        scores = logits.softmax(1) if "probabilities" in name else logits
        assert function(scores, target, weight) == function(scores, target, weight=weight)
        with pytest.raises((TypeError, ValueError), match=f"^{name}: expected weight"):
            function(scores, target, 255)
    for name in ("LovaszSoftmaxLoss", "CrossEntropyLovaszSoftmaxLoss", "CrossEntropyDiceLoss"):
        module = getattr(lovasz, name)
        assert module(weight)(logits, target) == module(weight=weight)(logits, target)
