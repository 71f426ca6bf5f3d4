"""The losses of classes that exclude each other: Lovász-Softmax, alone or with cross-entropy."""

from __future__ import annotations

import tensorflow as tf

from lovasz.core.options import (
    DEFAULT_BINS,
    Classes,
    CrossEntropy,
    Method,
    Names,
    Options,
    Reduction,
)
from lovasz.core.set_functions import SetFunction, jaccard
from lovasz.tensorflow._loss import TensorLike, loss


def lovasz_softmax(
    logits: TensorLike,
    labels: TensorLike,
    *,
    axis: int = -1,
    classes: Classes = "present",
    ignore_index: int | None = None,
    weight: TensorLike | None = None,
    normalize_weight: bool = True,
    pixel_weight: TensorLike | None = None,
    per_image: bool = False,
    reduction: Reduction = "mean",
    set_function: SetFunction = jaccard,
    method: Method = "histogram",
    bins: int = DEFAULT_BINS,
) -> tf.Tensor:
    r"""Lovász-Softmax loss of logits.

    With $p = \mathrm{softmax}(\mathrm{logits})$ over the classes, pixel i has for class c the
    error $m_{ic} = 1 - p_{ic}$ if its label is c and $p_{ic}$ otherwise. The loss of a class is the
    Lovász extension of the set function Δ (by default the Jaccard loss) at its errors,

    $$
    L_c = \int_0^1 \Delta(fn_c(t), fp_c(t); G_c)\, dt, \qquad
    L = \frac{\sum_c \alpha_c L_c}{\sum_c \alpha_c},
    $$

    where $fn_c(t), fp_c(t)$ are the pixels of class c, and the others, whose error exceeds t,
    $G_c$ the pixels of class c, and the sums go over the chosen ``classes``.

    It is made of TensorFlow's operators alone, so it can be called eagerly, in `tf.function` and
    with ``jit_compile=True``.

    Args:
        logits: (N, *, C) with any number of axes between, or (P, C) for points; float64, float32,
            bfloat16 or float16. Not probabilities: see `lovasz_softmax_from_probabilities`. The
            number of classes has to be known; other sizes may be None while a graph is traced.
        labels: the shape of the logits without the axis of classes; class indices in [0, C) or
            ``ignore_index``, of any integer dtype or bool, or whole floats.
        axis: of the classes in ``logits``.
        classes: which classes count. "present": those with a pixel in ``labels``; "all";
            "foreground": all but class 0; or a list of class indices, which count whether present
            or not.
        ignore_index: label of pixels that are treated as if they were not there; any integer.
        weight: (C,), class weights α, finite and not negative. None: all 1.
        normalize_weight: True divides a mean by the sum of the weights of the classes that count;
            False divides by their number.
        pixel_weight: the shape of ``labels``, floating, in [0, 65536]: how much each pixel counts
            in Δ, rounded to a multiple of 2**-20. Pixels of weight 0 are ignored.
        per_image: False takes the batch as one image; True averages the losses of the images along
            the first axis, each with its own present classes, without those in which no class
            counts. Points are one image.
        reduction: "mean" over classes (and images), "sum" of $\alpha_c L_c$, or "none".
        set_function: Δ(fn, fp, positives) of float64 tensors, see ``lovasz.core.set_functions``.
        method: "histogram" counts the errors in bins, with an error of the loss of at most
            ``lovasz.error_bound(bins)`` times Δ of all pixels; "sort" is exact, and takes some 300
            bytes for each pixel and class.
        bins: number of bins of the histogram method, from 2 to 2**20.

    Returns:
        A scalar; for "none" $\alpha_c L_c$ of shape (C,), or (N, C) with ``per_image``, with 0 for
        classes that do not count. float64 for float64 logits, otherwise float32. 0 where nothing
        counts. NaN if a logit that is not ignored is NaN or +inf, or if a label is out of range
        where that cannot be raised.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit; eagerly on the CPU also for labels out of
            range.

    Examples:
        >>> import tensorflow as tf
        >>> from lovasz.tensorflow import lovasz_softmax
        >>> logits = tf.constant([[2.0, 0.0], [0.0, 2.0], [1.0, 0.0]])
        >>> with tf.GradientTape() as tape:
        ...     tape.watch(logits)
        ...     loss = lovasz_softmax(logits, [0, 1, 1], method="sort")
        >>> round(float(loss), 4)
        0.4251
        >>> tape.gradient(loss, logits).shape
        TensorShape([3, 2])

    References:
        Berman, Triki, Blaschko, *The Lovász-Softmax loss: a tractable surrogate for the
        optimization of the intersection-over-union measure in neural networks*, CVPR 2018,
        arXiv 1705.08790: equations 2 to 4, definition 2, algorithm 1.
    """
    options = Options(
        classes=classes,
        ignore_index=ignore_index,
        weight=weight,
        normalize_weight=normalize_weight,
        pixel_weight=pixel_weight,
        per_image=per_image,
        reduction=reduction,
        set_function=set_function,
        method=method,
        bins=bins,
    )
    return loss("lovasz_softmax", "softmax", logits, labels, axis, options)


def lovasz_softmax_from_probabilities(
    probabilities: TensorLike,
    labels: TensorLike,
    *,
    axis: int = -1,
    classes: Classes = "present",
    ignore_index: int | None = None,
    weight: TensorLike | None = None,
    normalize_weight: bool = True,
    pixel_weight: TensorLike | None = None,
    per_image: bool = False,
    reduction: Reduction = "mean",
    set_function: SetFunction = jaccard,
    method: Method = "histogram",
    bins: int = DEFAULT_BINS,
) -> tf.Tensor:
    r"""Lovász-Softmax loss of probabilities, for networks that end in a softmax.

    As `lovasz_softmax`, with $p$ given instead of computed from logits. Prefer logits where you
    have them: they keep more digits.

    All other arguments, the result and the errors are those of `lovasz_softmax`.

    Args:
        probabilities: (N, *, C) or (P, C), in [0, 1]; they are not normalised.
        labels: as for `lovasz_softmax`.

    Returns:
        A scalar, or for "none" (C,) or (N, C).

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit; eagerly on the CPU also for values
            outside [0, 1] (beyond the rounding of 16-bit numbers), which make the loss NaN
            elsewhere.

    Examples:
        >>> from lovasz.tensorflow import lovasz_softmax_from_probabilities
        >>> loss = lovasz_softmax_from_probabilities([[1.0, 0.0], [0.0, 1.0]], [0, 0])
        >>> float(loss)
        0.5

    References:
        Berman, Triki, Blaschko, CVPR 2018, arXiv 1705.08790.
    """
    options = Options(
        classes=classes,
        ignore_index=ignore_index,
        weight=weight,
        normalize_weight=normalize_weight,
        pixel_weight=pixel_weight,
        per_image=per_image,
        reduction=reduction,
        set_function=set_function,
        method=method,
        bins=bins,
    )
    name, scores = "lovasz_softmax_from_probabilities", probabilities
    return loss(name, "probabilities", scores, labels, axis, options, "probabilities")


def cross_entropy_lovasz_softmax(
    logits: TensorLike,
    labels: TensorLike,
    *,
    axis: int = -1,
    cross_entropy_weight: float = 1.0,
    lovasz_weight: float = 1.0,
    weight: TensorLike | None = None,
    label_smoothing: float = 0.0,
    classes: Classes = "present",
    ignore_index: int | None = None,
    lovasz_class_weight: TensorLike | None = None,
    normalize_weight: bool = True,
    pixel_weight: TensorLike | None = None,
    per_image: bool = False,
    set_function: SetFunction = jaccard,
    bins: int = DEFAULT_BINS,
) -> tf.Tensor:
    r"""Cross-entropy and the Lovász-Softmax loss together.

    $$L = \lambda_{CE}\, \mathrm{CE} + \lambda_{Lovász}\, L_{Lovász}$$

    with `lovasz_softmax` and the cross-entropy as torch has it: its mean over all pixels that are
    not ignored, weighted by the weights of their classes and by ``pixel_weight``.

    All other arguments are those of `lovasz_softmax`. They are for the Lovász loss, but for
    ``ignore_index`` and ``pixel_weight``, which hold for the cross-entropy too.

    Args:
        logits: (N, *, C) or (P, C), as for `lovasz_softmax`.
        labels: as for `lovasz_softmax`.
        cross_entropy_weight: factor of the cross-entropy, finite and not negative.
        lovasz_weight: factor of the Lovász-Softmax loss, finite and not negative.
        weight: (C,), class weights of the cross-entropy, finite and not negative. None: all 1.
        label_smoothing: of the cross-entropy, in [0, 1].
        lovasz_class_weight: (C,), class weights of the Lovász-Softmax loss: its ``weight``.

    Returns:
        A scalar, float64 for float64 logits, otherwise float32; 0 where every pixel is ignored.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit; eagerly on the CPU also for labels out of
            range.

    Examples:
        >>> import tensorflow as tf
        >>> from lovasz.tensorflow import cross_entropy_lovasz_softmax, lovasz_softmax
        >>> logits, labels = [[2.0, 0.0], [0.0, 2.0], [1.0, 0.0]], [0, 1, 1]
        >>> both = cross_entropy_lovasz_softmax(logits, labels, lovasz_weight=0.5)
        >>> apart = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        >>> apart = tf.reduce_mean(apart) + 0.5 * lovasz_softmax(logits, labels)
        >>> tf.debugging.assert_near(both, apart)

    References:
        Berman, Triki, Blaschko, CVPR 2018, arXiv 1705.08790.
    """
    options = Options(
        classes=classes,
        ignore_index=ignore_index,
        weight=lovasz_class_weight,
        normalize_weight=normalize_weight,
        pixel_weight=pixel_weight,
        per_image=per_image,
        set_function=set_function,
        bins=bins,
        cross_entropy=CrossEntropy(cross_entropy_weight, weight, label_smoothing),
        lovasz_factor=lovasz_weight,
        names=Names(weight="lovasz_class_weight"),
    )
    return loss("cross_entropy_lovasz_softmax", "softmax", logits, labels, axis, options)
