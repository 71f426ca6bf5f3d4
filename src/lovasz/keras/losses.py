"""The losses as classes of Keras: signatures, documentation, and which function computes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lovasz.core.options import DEFAULT_BINS, Classes, Method
from lovasz.core.set_functions import SetFunction, jaccard
from lovasz.keras.base import OfClasses, OfMasks, registered

__all__ = ["LovaszHinge", "LovaszSigmoid", "LovaszSoftmax"]


@registered
class LovaszSoftmax(OfClasses):
    r"""Lovász-Softmax loss, for pixels that each have one class.

    Pixel i has for class c the error $m_{ic} = 1 - p_{ic}$ if its label is c and $p_{ic}$
    otherwise, with the probabilities p of the network. The loss of a class is the Lovász extension
    of the set function Δ (by default the Jaccard loss, 1 - IoU) at its errors, and the loss is the
    mean over the classes, weighted by ``class_weight``. It is one number for a batch, not a mean of
    losses of samples, so there is no ``reduction``.

    ``y_pred`` is (N, \*, C), or (P, C) for points; ``y_true`` (N, \*) or (N, \*, 1), of any integer
    dtype or whole floats, or one-hot (N, \*, C). ``sample_weight`` holds a number for each image,
    (N,), or for each pixel, (N, \*): how much a pixel counts in Δ, in [0, 65536]; those of weight 0
    are ignored.

    The loss is NaN if a score that is not ignored is no number, and in compiled code or on another
    device than the CPU if a label is out of range. It is 0 where nothing counts.

    Args:
        from_logits: whether ``y_pred`` are logits, or probabilities, as a network that ends in a
            softmax returns. Prefer logits: they keep more digits.
        axis: of the classes in ``y_pred``, and in one-hot labels.
        ignore_class: label of pixels that are treated as if they were not there.
        class_weight: a number for each class, finite and not negative. None: all 1.
        normalize_weight: True divides the mean by the sum of the weights of the classes that count,
            False by their number.
        classes: which classes count. "present": those with a pixel in the batch; "all";
            "foreground": all but class 0; or a list of class indices.
        per_image: False takes the batch as one image; True averages the losses of the images, each
            with its own present classes.
        set_function: Δ(fn, fp, positives), see ``lovasz.core.set_functions``. One of your own gets
            float64 tensors of the backend; register it with Keras to load a saved model.
        method: "histogram" counts the errors in bins, with an error of the loss of at most
            ``lovasz.error_bound(bins)`` times Δ of all pixels; "sort" is exact and slower.
        bins: number of bins of the histogram method, from 2 to 2**20.
        name: of the loss in a model.
        dtype: that scores are computed with; None: ``keras.config.floatx()``.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit; on the CPU outside of compiled code also
            for labels out of range.

    Examples:
        >>> import numpy as np
        >>> from lovasz.keras import LovaszSoftmax
        >>> logits = np.array([[2.0, 0.0], [0.0, 2.0], [1.0, 0.0]])
        >>> loss = LovaszSoftmax(from_logits=True, method="sort")
        >>> round(float(loss(np.array([0, 1, 1]), logits)), 4)
        0.4251

    References:
        Berman, Triki, Blaschko, *The Lovász-Softmax loss: a tractable surrogate for the
        optimization of the intersection-over-union measure in neural networks*, CVPR 2018,
        arXiv 1705.08790.
    """

    def __init__(
        self,
        *,
        from_logits: bool = False,
        axis: int = -1,
        ignore_class: int | None = None,
        class_weight: Sequence[float] | None = None,
        normalize_weight: bool = True,
        classes: Classes = "present",
        per_image: bool = False,
        set_function: SetFunction = jaccard,
        method: Method = "histogram",
        bins: int = DEFAULT_BINS,
        name: str | None = "lovasz_softmax",
        dtype: Any = None,
    ) -> None:
        config = {
            "from_logits": from_logits,
            "axis": axis,
            "ignore_class": ignore_class,
            "class_weight": class_weight,
            "normalize_weight": normalize_weight,
            "classes": classes,
            "per_image": per_image,
            "set_function": set_function,
            "method": method,
            "bins": bins,
        }
        super().__init__(multilabel=False, name=name, dtype=dtype, config=config)

    @property
    def function(self) -> str:
        """Name of the function."""
        return "lovasz_softmax" + ("" if self.config["from_logits"] else "_from_probabilities")


@registered
class LovaszSigmoid(OfMasks):
    r"""Lovász loss of the sigmoid, for binary and multilabel segmentation.

    Every channel has labels of its own, 0 and 1, errors $m_{ic} = 1 - p_{ic}$ where they are 1 and
    $p_{ic}$ where they are 0, and a loss as a class has it for `LovaszSoftmax`. The loss is the
    mean over the channels.

    ``y_pred`` is (N, \*, 1) for binary segmentation and (N, \*, C) for multilabel; ``y_true`` has
    its shape, of one channel also without the last axis. ``sample_weight`` is as for
    `LovaszSoftmax`.

    Arguments that are not described here are those of `LovaszSoftmax`, with channels in the place
    of classes.

    Args:
        from_logits: whether ``y_pred`` are logits, or probabilities, as a network that ends in a
            sigmoid returns.
        multilabel: whether the last axis of ``y_pred`` holds channels, each with labels of its own.
            It has to be said unless that axis has the size 1 or is the only one.
        symmetric: True takes the mean of the losses of every channel's set and of its complement.
        ignore_class: of labels to leave out, neither 0 nor 1.
        classes: which channels count: "all", the default, also those without a pixel, whose largest
            false positive is the loss; "present", those with a pixel; or a list.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit.

    Examples:
        >>> import numpy as np
        >>> from lovasz.keras import LovaszSigmoid
        >>> loss = LovaszSigmoid(from_logits=True, method="sort")
        >>> round(float(loss(np.array([1, 1, 0, 0]), np.array([3.0, -1.0, 0.5, -2.0]))), 4)
        0.4911

    References:
        Berman, Triki, Blaschko, CVPR 2018, arXiv 1705.08790, definition 2 and section 3.2.
    """

    def __init__(
        self,
        *,
        from_logits: bool = False,
        multilabel: bool | None = None,
        symmetric: bool = False,
        ignore_class: int | None = None,
        class_weight: Sequence[float] | None = None,
        normalize_weight: bool = True,
        classes: Classes = "all",
        per_image: bool = False,
        set_function: SetFunction = jaccard,
        method: Method = "histogram",
        bins: int = DEFAULT_BINS,
        name: str | None = "lovasz_sigmoid",
        dtype: Any = None,
    ) -> None:
        config = {
            "from_logits": from_logits,
            "multilabel": multilabel,
            "symmetric": symmetric,
            "ignore_class": ignore_class,
            "class_weight": class_weight,
            "normalize_weight": normalize_weight,
            "classes": classes,
            "per_image": per_image,
            "set_function": set_function,
            "method": method,
            "bins": bins,
        }
        super().__init__(multilabel=True, name=name, dtype=dtype, config=config)

    @property
    def function(self) -> str:
        """Name of the function."""
        return "lovasz_sigmoid" + ("" if self.config["from_logits"] else "_from_probabilities")


@registered
class LovaszHinge(OfMasks):
    r"""Lovász hinge loss of logits, for binary and multilabel segmentation.

    With $s_{ic} = +1$ where the label is 1 and $-1$ where it is 0, pixel i has in channel c the
    error $m_{ic} = \max(0, 1 - s_{ic} x_{ic})$. The loss is convex in the logits x; there is none
    of probabilities, so there is no ``from_logits``.

    Arguments that are not described here are those of `LovaszSigmoid`.

    Args:
        method: "histogram" counts the errors in bins of their own: the loss of a channel is off by
            at most ``lovasz.relative_bound(bins)`` times 1/64 + L, and NaN for errors of 65,535 and
            more. "sort" is exact for any.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit.

    Examples:
        >>> import numpy as np
        >>> from lovasz.keras import LovaszHinge
        >>> loss = LovaszHinge(method="sort")
        >>> float(loss(np.array([1, 1, 0, 0]), np.array([3.0, -1.0, 0.5, -2.0])))
        1.25

    References:
        Yu, Blaschko, *Learning submodular losses with the Lovász hinge*, ICML 2015; Berman, Triki,
        Blaschko, CVPR 2018, arXiv 1705.08790, section 3.1.
    """

    def __init__(
        self,
        *,
        multilabel: bool | None = None,
        symmetric: bool = False,
        ignore_class: int | None = None,
        class_weight: Sequence[float] | None = None,
        normalize_weight: bool = True,
        classes: Classes = "all",
        per_image: bool = False,
        set_function: SetFunction = jaccard,
        method: Method = "histogram",
        bins: int = DEFAULT_BINS,
        name: str | None = "lovasz_hinge",
        dtype: Any = None,
    ) -> None:
        config = {
            "multilabel": multilabel,
            "symmetric": symmetric,
            "ignore_class": ignore_class,
            "class_weight": class_weight,
            "normalize_weight": normalize_weight,
            "classes": classes,
            "per_image": per_image,
            "set_function": set_function,
            "method": method,
            "bins": bins,
        }
        super().__init__(multilabel=True, name=name, dtype=dtype, config=config)

    @property
    def function(self) -> str:
        """Name of the function."""
        return "lovasz_hinge"
