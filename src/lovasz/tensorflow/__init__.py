"""The Lovász losses for TensorFlow, in its own operators: no torch, and no compiled library.

>>> import tensorflow as tf
>>> from lovasz.tensorflow import lovasz_softmax
>>> logits, labels = tf.zeros((2, 8, 8, 19)), tf.zeros((2, 8, 8), tf.int32)
>>> round(float(lovasz_softmax(logits, labels, ignore_index=255)), 3)
0.947

Names and options are those of the losses for PyTorch, with classes on the last axis. The file of
the paper's authors for TensorFlow is `lovasz.compat.lovasz_losses_tf`.
"""

try:
    import tensorflow as _tensorflow  # noqa: F401 (where it is missing one sentence is to say so)
except ModuleNotFoundError as error:
    if error.name != "tensorflow":  # it is there, and lacks something itself
        raise
    raise ImportError(
        "lovasz.tensorflow: expected TensorFlow to be installed (pip install 'lovasz[tensorflow]'),"
        f" got: {error}"
    ) from error

from lovasz.tensorflow.hinge import lovasz_hinge
from lovasz.tensorflow.sigmoid import (
    binary_cross_entropy_lovasz_sigmoid,
    lovasz_sigmoid,
    lovasz_sigmoid_from_probabilities,
)
from lovasz.tensorflow.softmax import (
    cross_entropy_lovasz_softmax,
    lovasz_softmax,
    lovasz_softmax_from_probabilities,
)

__all__ = [
    "binary_cross_entropy_lovasz_sigmoid",
    "cross_entropy_lovasz_softmax",
    "lovasz_hinge",
    "lovasz_sigmoid",
    "lovasz_sigmoid_from_probabilities",
    "lovasz_softmax",
    "lovasz_softmax_from_probabilities",
]
