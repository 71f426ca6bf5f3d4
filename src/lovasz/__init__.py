"""The Lovász-Softmax loss for PyTorch: exact about its error, and cheap.

>>> import torch
>>> from lovasz import lovasz_softmax
>>> logits = torch.zeros(2, 19, 8, 8, requires_grad=True)
>>> target = torch.zeros(2, 8, 8, dtype=torch.long)
>>> lovasz_softmax(logits, target, ignore_index=255).backward()
"""

from lovasz.core.bins import error_bound, relative_bound
from lovasz.core.set_functions import SetFunction, dice, jaccard, missed_positives, tversky
from lovasz.data.class_weights import class_weights
from lovasz.data.label_counts import LabelCounts, count_labels
from lovasz.data.labels import check_labels
from lovasz.data.samplers import EquibatchSampler
from lovasz.losses.hinge import lovasz_hinge
from lovasz.losses.modules import (
    BinaryCrossEntropyLovaszSigmoidLoss,
    CrossEntropyLovaszSoftmaxLoss,
    LovaszHingeLoss,
    LovaszSigmoidLoss,
    LovaszSoftmaxLoss,
)
from lovasz.losses.schedules import LossSchedule, LossWeights
from lovasz.losses.sigmoid import (
    binary_cross_entropy_lovasz_sigmoid,
    lovasz_sigmoid,
    lovasz_sigmoid_from_probabilities,
)
from lovasz.losses.softmax import (
    cross_entropy_lovasz_softmax,
    lovasz_softmax,
    lovasz_softmax_from_probabilities,
)
from lovasz.losses.window import Window

__version__ = "0.1.0"

__all__ = [
    "BinaryCrossEntropyLovaszSigmoidLoss",
    "CrossEntropyLovaszSoftmaxLoss",
    "EquibatchSampler",
    "LabelCounts",
    "LossSchedule",
    "LossWeights",
    "LovaszHingeLoss",
    "LovaszSigmoidLoss",
    "LovaszSoftmaxLoss",
    "SetFunction",
    "Window",
    "binary_cross_entropy_lovasz_sigmoid",
    "check_labels",
    "class_weights",
    "count_labels",
    "cross_entropy_lovasz_softmax",
    "dice",
    "error_bound",
    "jaccard",
    "lovasz_hinge",
    "lovasz_sigmoid",
    "lovasz_sigmoid_from_probabilities",
    "lovasz_softmax",
    "lovasz_softmax_from_probabilities",
    "missed_positives",
    "relative_bound",
    "tversky",
]
