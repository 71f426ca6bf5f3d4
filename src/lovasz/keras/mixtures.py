"""The losses with a cross-entropy, as classes of Keras."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from lovasz.core.options import DEFAULT_BINS, Classes
from lovasz.core.set_functions import SetFunction, jaccard
from lovasz.keras.base import OfClasses, OfMasks, SegmentationLoss, registered
from lovasz.keras.labels import Pixels, beyond

__all__ = ["BinaryCrossEntropyLovaszSigmoid", "CrossEntropyLovaszSoftmax"]


@registered
class CrossEntropyLovaszSoftmax(OfClasses):
    r"""Cross-entropy and the Lovász-Softmax loss together.

    $$L = \lambda_{CE}\, \mathrm{CE} + \lambda_{Lovász}\, L_{Lovász}$$

    with `LovaszSoftmax` and the mean of the cross-entropy over all pixels that are not ignored,
    weighted by the weights of their classes and by ``sample_weight``, and divided by the sum of
    these weights.

    Shapes, and arguments that are not described here, are those of `LovaszSoftmax`. They are for
    the Lovász loss, but for ``from_logits``, ``axis`` and ``ignore_class``, which hold for the
    cross-entropy too.

    Args:
        from_logits: whether ``y_pred`` are logits, or probabilities, whose logarithms are taken.
        cross_entropy_weight: factor of the cross-entropy, finite and not negative.
        lovasz_weight: factor of the Lovász-Softmax loss, finite and not negative.
        class_weight: of the cross-entropy, a number for each class. None: all 1.
        label_smoothing: of the cross-entropy, in [0, 1].
        lovasz_class_weight: of the Lovász-Softmax loss, a number for each class. None: all 1.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit; on the CPU outside of compiled code also
            for labels out of range.

    Examples:
        >>> import numpy as np
        >>> from lovasz.keras import CrossEntropyLovaszSoftmax, LovaszSoftmax
        >>> labels, logits = np.array([0, 1, 1]), np.array([[2.0, 0.0], [0.0, 2.0], [1.0, 0.0]])
        >>> both = CrossEntropyLovaszSoftmax(from_logits=True, lovasz_weight=0.5)(labels, logits)
        >>> apart = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, logits)
        >>> apart = apart + 0.5 * LovaszSoftmax(from_logits=True)(labels, logits)
        >>> abs(float(both) - float(apart)) < 1e-6
        True

    References:
        Berman, Triki, Blaschko, CVPR 2018, arXiv 1705.08790; combined with cross-entropy as its
        authors recommend, https://github.com/bermanmaxim/LovaszSoftmax.
    """

    def __init__(
        self,
        *,
        from_logits: bool = False,
        axis: int = -1,
        cross_entropy_weight: float = 1.0,
        lovasz_weight: float = 1.0,
        ignore_class: int | None = None,
        class_weight: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        lovasz_class_weight: Sequence[float] | None = None,
        normalize_weight: bool = True,
        classes: Classes = "present",
        per_image: bool = False,
        set_function: SetFunction = jaccard,
        bins: int = DEFAULT_BINS,
        name: str | None = "cross_entropy_lovasz_softmax",
        dtype: Any = None,
    ) -> None:
        config = {
            "from_logits": from_logits,
            "axis": axis,
            "cross_entropy_weight": cross_entropy_weight,
            "lovasz_weight": lovasz_weight,
            "ignore_class": ignore_class,
            "class_weight": class_weight,
            "label_smoothing": label_smoothing,
            "lovasz_class_weight": lovasz_class_weight,
            "normalize_weight": normalize_weight,
            "classes": classes,
            "per_image": per_image,
            "set_function": set_function,
            "bins": bins,
        }
        super().__init__(multilabel=False, name=name, dtype=dtype, config=config)

    @property
    def function(self) -> str:
        """Name of the function."""
        return "cross_entropy_lovasz_softmax"

    def read(self, y_true: Any, y_pred: Any, weights: tuple[Any, Any]) -> Pixels:
        """Logits and class indices."""
        pixels = super().read(y_true, y_pred, weights)
        if self.config["from_logits"]:
            return pixels
        p = _probabilities(self, pixels, ops.expand_dims(_valid(self, pixels), pixels.axis))
        # The softmax of logarithms is what they are the logarithms of, if that sums to 1.
        return pixels._replace(scores=ops.log(p))


@registered
class BinaryCrossEntropyLovaszSigmoid(OfMasks):
    r"""Binary cross-entropy and the Lovász loss of the sigmoid together.

    $$L = \lambda_{BCE}\, \mathrm{BCE} + \lambda_{Lovász}\, L_{Lovász}$$

    with `LovaszSigmoid` and the mean of the binary cross-entropy over all labels that are not
    ignored, weighted by ``sample_weight``.

    Shapes, and arguments that are not described here, are those of `LovaszSigmoid`. They are for
    the Lovász loss, but for ``from_logits``, ``multilabel`` and ``ignore_class``, which hold for
    the cross-entropy too.

    Args:
        from_logits: whether ``y_pred`` are logits, or probabilities, whose logits are taken.
        cross_entropy_weight: factor of the binary cross-entropy, finite and not negative.
        lovasz_weight: factor of the Lovász loss, finite and not negative.
        pos_weight: of the ones in the binary cross-entropy, a number for each channel. None: all 1.
        lovasz_class_weight: of the Lovász loss, a number for each channel. None: all 1.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit.

    Examples:
        >>> import numpy as np
        >>> from lovasz.keras import BinaryCrossEntropyLovaszSigmoid, LovaszSigmoid
        >>> labels, logits = np.array([1.0, 1.0, 0.0]), np.array([3.0, -1.0, 0.5])
        >>> both = BinaryCrossEntropyLovaszSigmoid(from_logits=True)(labels, logits)
        >>> apart = keras.losses.BinaryCrossentropy(from_logits=True)(labels, logits)
        >>> apart = apart + LovaszSigmoid(from_logits=True)(labels, logits)
        >>> abs(float(both) - float(apart)) < 1e-6
        True

    References:
        Berman, Triki, Blaschko, CVPR 2018, arXiv 1705.08790.
    """

    def __init__(
        self,
        *,
        from_logits: bool = False,
        multilabel: bool | None = None,
        symmetric: bool = False,
        cross_entropy_weight: float = 1.0,
        lovasz_weight: float = 1.0,
        ignore_class: int | None = None,
        pos_weight: Sequence[float] | None = None,
        lovasz_class_weight: Sequence[float] | None = None,
        normalize_weight: bool = True,
        classes: Classes = "all",
        per_image: bool = False,
        set_function: SetFunction = jaccard,
        bins: int = DEFAULT_BINS,
        name: str | None = "binary_cross_entropy_lovasz_sigmoid",
        dtype: Any = None,
    ) -> None:
        config = {
            "from_logits": from_logits,
            "multilabel": multilabel,
            "symmetric": symmetric,
            "cross_entropy_weight": cross_entropy_weight,
            "lovasz_weight": lovasz_weight,
            "ignore_class": ignore_class,
            "pos_weight": pos_weight,
            "lovasz_class_weight": lovasz_class_weight,
            "normalize_weight": normalize_weight,
            "classes": classes,
            "per_image": per_image,
            "set_function": set_function,
            "bins": bins,
        }
        super().__init__(multilabel=True, name=name, dtype=dtype, config=config)

    @property
    def function(self) -> str:
        """Name of the function."""
        return "binary_cross_entropy_lovasz_sigmoid"

    def read(self, y_true: Any, y_pred: Any, weights: tuple[Any, Any]) -> Pixels:
        """Logits with the channels last, or of one channel without an axis, and zeros and ones."""
        pixels = super().read(y_true, y_pred, weights)
        if self.config["from_logits"]:
            return pixels
        p = _probabilities(self, pixels, _valid(self, pixels))
        return pixels._replace(scores=ops.log(p) - ops.log(1 - p))


def _valid(loss: SegmentationLoss, pixels: Pixels) -> Any:
    """Which labels count, of their shape."""
    valid = ops.ones_like(pixels.labels, dtype="bool")
    if loss.config["ignore_class"] is not None:
        valid = pixels.labels != loss.config["ignore_class"]
    return valid if pixels.weight is None else valid & (pixels.weight != 0)


def _probabilities(loss: SegmentationLoss, pixels: Pixels, valid: Any) -> Any:
    """Probabilities that have a logarithm; NaN for numbers that are none."""
    least = keras.config.epsilon()
    wrong = beyond(type(loss).__name__, pixels.scores, valid)
    p = ops.clip(pixels.scores, least, 1 - least)
    return ops.where(wrong, float("nan"), p)
