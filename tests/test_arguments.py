"""Every argument of everything public: a wrong one is named in one sentence."""

import inspect

import pytest
import torch

import lovasz

LOGITS, TARGET = torch.zeros(6, 3), torch.zeros(6, dtype=torch.long)
COUNTS = torch.tensor([5, 3, 2])
TABLE = torch.tensor([[True, False], [True, True], [False, True]])

# What each public name is called with where nothing is wrong.
MULTICLASS = {"logits": LOGITS, "target": TARGET}
CHANNELS = {"logits": LOGITS, "target": LOGITS.long(), "multilabel": True}
GIVEN = {
    "lovasz_softmax": MULTICLASS,
    "lovasz_softmax_from_probabilities": {"probabilities": LOGITS + 1 / 3, "target": TARGET},
    "cross_entropy_lovasz_softmax": MULTICLASS,
    "lovasz_sigmoid": CHANNELS,
    "lovasz_sigmoid_from_probabilities": {
        "probabilities": LOGITS,
        "target": LOGITS.long(),
        "multilabel": True,
    },
    "lovasz_hinge": CHANNELS,
    "binary_cross_entropy_lovasz_sigmoid": CHANNELS,
    "binary_cross_entropy_lovasz_hinge": CHANNELS,
    "cross_entropy_lovasz_hinge": {"logits": LOGITS[:, :2], "target": TARGET},
    **{name: MULTICLASS for name in lovasz.__all__ if name.endswith("_loss")},
    "cross_entropy_dice": MULTICLASS,
    "binary_cross_entropy_dice": CHANNELS,
    **{name: {} for name in ("SoftDice", "SoftJaccard", "JaccardMetric", "GeneralizedDice")},
    "SoftTversky": {"alpha": 0.5, "beta": 0.5},
    **{name: {} for name in lovasz.__all__ if name.endswith("Loss")},
    "deep_supervision": {"loss": lovasz.lovasz_softmax, "logits": [LOGITS], "target": TARGET},
    "DeepSupervision": {"loss": lovasz.lovasz_softmax},
    "Window": {"momentum": 0.9, "num_classes": 3},
    "check_labels": {"target": TARGET, "num_classes": 3},
    "class_weights": {"counts": COUNTS, "scheme": "effective"},
    "count_labels": {"data": [(LOGITS, TARGET)], "num_classes": 3},
    "Decision": {"num_classes": 3},
    "DecisionFit": {"num_classes": 3},
    "EquibatchSampler": {"table": TABLE},
    "image_decision": {"logits": LOGITS},
    "LossSchedule": {"points": [(0, 1, 0)]},
    "tversky": {"alpha": 0.5, "beta": 0.5, "accept_nonconvex": True},
    "dice": {"accept_nonconvex": True},
    "error_bound": {"bins": 1024},
    "relative_bound": {"bins": 1024},
    "upsampled_argmax": {"logits": LOGITS.view(1, 3, 6, 1), "size": (9, 2)},
}
# Types, and functions of three tensors of counts that are called by the losses alone.
NOT_CALLED = {"LabelCounts", "LossWeights", "Region", "SetFunction", "jaccard", "missed_positives"}

# A wrong value of each argument, for all that have it.
WRONG = {
    "logits": None,
    "probabilities": None,
    "target": None,
    "classes": "some",
    "ignore_index": 1.5,
    "weight": "heavy",
    "lovasz_class_weight": "heavy",
    "dice_class_weight": "heavy",
    "target_weight": "heavy",
    "pos_weight": "heavy",
    "normalize_weight": 1,
    "per_image": "yes",
    "averaging": "all",
    "reduction": "avg",
    "set_function": "jaccard",
    "method": "cumsum",
    "bins": 1,
    "window": "long",
    "momentum": 1.0,
    "sums": "yes",
    "process_group": "everyone",
    "from_logits": 1,
    "max_pixels": 0,
    "score": "accuracy",
    "pixel_weight": torch.full((6,), -1.0),
    "ignore_mask": torch.zeros(6),
    "offsets": [3, 6],
    "batch_index": torch.zeros(6),
    "batch_size": 2,
    "upsample": "bicubic",
    "align_corners": 1,
    "multilabel": "yes",
    "symmetric": 1,
    "activation": "gelu",
    "cross_entropy_weight": -1.0,
    "lovasz_weight": float("nan"),
    "dice_weight": -1.0,
    "region": "dice",
    "region_weight": -1.0,
    "label_smoothing": 2.0,
    "lovasz_label_smoothing": 2.0,
    "dice_label_smoothing": -0.1,
    "smooth": -1.0,
    "squared": 1,
    "pooled": 1,
    "gamma": -1.0,
    "weighting": "cubic",
    "loss": "lovasz_softmax",
    "weights": [1.0, -1.0],
    "labels": "largest",
    "scales": 0,
    "num_classes": 0,
    "counts": torch.tensor([-1.0, 2.0]),
    "scheme": "none",
    "beta": -1.0,
    "alpha": -1.0,
    "data": 5,
    "key": "mask",
    "batched": 1,
    "progress": 5,
    "table": 5,
    "num_replicas": 0,
    "rank": 3,
    "c": -1.0,
    "normalize": "yes",
    "points": [],
    "accept_nonconvex": False,
    "num_samples": 0,
    "seed": -1,
    "size": (9,),
    "dtype": torch.int32,
}


def cases():
    for name in GIVEN:
        parameters = inspect.signature(getattr(lovasz, name)).parameters
        for parameter, described in parameters.items():
            if described.kind is not inspect.Parameter.VAR_KEYWORD:
                yield pytest.param(name, parameter, id=f"{name}-{parameter}")


def test_everything_public_is_in_the_table():
    assert set(GIVEN) | NOT_CALLED == set(lovasz.__all__)


@pytest.mark.parametrize(("name", "parameter"), list(cases()))
def test_a_wrong_argument_is_named(name, parameter):
    arguments = {**GIVEN[name], parameter: WRONG[parameter]}
    with pytest.raises((TypeError, ValueError)) as caught:
        getattr(lovasz, name)(**arguments)
    sentence = str(caught.value)
    assert sentence.startswith(f"{name}: expected ")
    assert parameter in sentence
    assert "got" in sentence


LOSSES = [name for name in GIVEN if "lovasz_" in name or name.endswith(("_loss", "_dice"))]


@pytest.mark.parametrize("name", LOSSES)
def test_wrong_labels_are_the_called_function_s(name):
    target = GIVEN[name]["target"].clone()
    target[0] = 7
    with pytest.raises(ValueError, match=f"^{name}: expected every label .* got 7"):
        getattr(lovasz, name)(**{**GIVEN[name], "target": target})
