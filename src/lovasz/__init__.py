"""The Lovász-Softmax loss for PyTorch: exact about its error, and cheap.

>>> import torch
>>> from lovasz import lovasz_softmax
>>> logits = torch.zeros(2, 19, 8, 8, requires_grad=True)
>>> target = torch.zeros(2, 8, 8, dtype=torch.long)
>>> lovasz_softmax(logits, target, ignore_index=255).backward()
"""

from lovasz.balancing import class_weights
from lovasz.binary import lovasz_sigmoid, lovasz_sigmoid_from_probabilities
from lovasz.binary_modules import (
    BinaryCrossEntropyLovaszSigmoidLoss,
    LovaszHingeLoss,
    LovaszSigmoidLoss,
)
from lovasz.combined import binary_cross_entropy_lovasz_sigmoid, cross_entropy_lovasz_softmax
from lovasz.functional import lovasz_softmax, lovasz_softmax_from_probabilities
from lovasz.hinge import lovasz_hinge
from lovasz.label_counts import LabelCounts, count_labels
from lovasz.labels import check_labels
from lovasz.modules import CrossEntropyLovaszSoftmaxLoss, LovaszSoftmaxLoss
from lovasz.ops import error_bound, relative_bound
from lovasz.samplers import EquibatchSampler
from lovasz.schedules import LossSchedule, LossWeights
from lovasz.set_functions import SetFunction, dice, jaccard, missed_positives, tversky
from lovasz.window import Window

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
