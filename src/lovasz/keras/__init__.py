"""The Lovász losses for Keras 3, on torch, JAX and TensorFlow.

>>> import keras
>>> from lovasz.keras import CrossEntropyLovaszSoftmax, DatasetIoU
>>> model = keras.Sequential([keras.layers.Input((32, 32, 3)), keras.layers.Conv2D(19, 1)])
>>> model.compile(
...     optimizer="adam",
...     loss=CrossEntropyLovaszSoftmax(from_logits=True, ignore_class=255),
...     metrics=[DatasetIoU(num_classes=19, ignore_class=255)],
... )

The classes have the names of the modules for PyTorch without "Loss", as Keras names its own, and
Keras' names for what it has too: ``from_logits``, ``ignore_class``, ``axis``, ``sample_weight``. As
in Keras ``from_logits`` is False unless said otherwise; logits that are taken for probabilities are
an error, or NaN in compiled code.

They are computed by the functions of the backend: ``lovasz`` on torch, ``lovasz.jax`` on JAX,
``lovasz.tensorflow`` on TensorFlow. Neither of the others has to be there.
"""

try:
    import keras as _keras  # noqa: F401 (where it is missing one sentence is to say so)
except ModuleNotFoundError as error:
    if error.name != "keras":  # it is there, and lacks something itself
        raise
    raise ImportError(
        "lovasz.keras: expected Keras 3 to be installed (pip install 'lovasz[keras]'), got:"
        f" {error}"
    ) from error

from lovasz.keras.losses import LovaszHinge, LovaszSigmoid, LovaszSoftmax
from lovasz.keras.metrics import DatasetIoU
from lovasz.keras.mixtures import BinaryCrossEntropyLovaszSigmoid, CrossEntropyLovaszSoftmax

__all__ = [
    "BinaryCrossEntropyLovaszSigmoid",
    "CrossEntropyLovaszSoftmax",
    "DatasetIoU",
    "LovaszHinge",
    "LovaszSigmoid",
    "LovaszSoftmax",
]
