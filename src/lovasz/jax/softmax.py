"""The losses of classes that exclude each other: Lovász-Softmax, alone or with cross-entropy."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import jax

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
from lovasz.jax._loss import Loss, Places, loss
from lovasz.jax.window import Window

__all__ = [
    "cross_entropy_lovasz_softmax",
    "lovasz_softmax",
    "lovasz_softmax_from_probabilities",
]


def lovasz_softmax(
    logits: jax.Array,
    labels: jax.Array,
    *,
    axis: int = -1,
    where: jax.Array | None = None,
    classes: Classes = "present",
    ignore_index: int | None = None,
    weight: jax.Array | Sequence[float] | None = None,
    normalize_weight: bool = True,
    per_image: bool = False,
    reduction: Reduction = "mean",
    set_function: SetFunction = jaccard,
    method: Method = "histogram",
    bins: int = DEFAULT_BINS,
    window: Window | None = None,
    axis_name: Hashable | None = None,
    pixel_weight: jax.Array | None = None,
) -> Loss:
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

    The gradient flows to the logits, and to ``weight`` if that is an array of JAX. It is a
    derivative in reverse, once: forward mode and second derivatives are errors of JAX.

    Args:
        logits: (..., C), or with C on another ``axis``; float64, float32, bfloat16 or float16.
        labels: the shape of the logits without the axis of classes; class indices in [0, C) or
            ``ignore_index``, of any integer dtype or bool.
        axis: of the classes. On the last axis, and on any other unless ``per_image`` finds it
            elsewhere than on the second, they are read where they lie.
        where: of the labels' shape, bool: False for pixels that are treated as if they were not
            there. None: all count.
        classes: which classes count. "present": those with a pixel in ``labels``; "all";
            "foreground", all but class 0; or a list of class indices, which count whether present
            or not.
        ignore_index: label of pixels that are treated as if they were not there; any integer.
        weight: (C,), class weights α, finite and not negative. None: all 1.
        normalize_weight: True divides a mean by the sum of the weights of the classes that count,
            False by their number.
        per_image: False takes the batch as one image; True averages the losses of the images, which
            the first axis holds, each with its own present classes. Images in which no class counts
            are left out.
        reduction: "mean" over classes (and images), "sum" of $\alpha_c L_c$, or "none".
        set_function: Δ(fn, fp, positives), see ``lovasz.core.set_functions``. Pass one function,
            not a new one for every call, for which everything is compiled anew.
        method: "histogram" counts the errors in bins, with an error of the loss of at most
            ``lovasz.error_bound(bins)`` times Δ of all pixels; "sort" is exact and slower.
        bins: number of bins of the histogram method, from 2 to 2**20.
        window: counts of earlier batches, so that the loss is that of an average batch of the last
            few; the window with this batch is returned beside the loss. None: the batch alone.
        axis_name: of `jax.pmap`, `jax.shard_map` or `jax.vmap`, one or several: the batches along
            it are one, the global batch, of which every device has the loss. Derivatives are those
            of ``lax.pmean(loss, axis_name)`` for a loss that is a mean. None: this device's batch
            alone.
        pixel_weight: of the labels' shape, floating, in [0, 65536]: how much each pixel counts in
            Δ, rounded to a multiple of 2**-20.

    Returns:
        A scalar; for "none" $\alpha_c L_c$ of shape (C,), or (N, C) with ``per_image``, with 0 for
        classes that do not count; with a window (loss, window). float64 for float64 logits,
        otherwise float32. NaN if a logit that is not ignored is NaN or +inf, or, in a compiled
        function or on another device than the CPU, if a label is out of range.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit; on the CPU outside of compiled functions
            also for labels out of range.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> logits = jnp.array([[2.0, 0.0], [0.0, 2.0], [1.0, 0.0]])
        >>> labels = jnp.array([0, 1, 1])
        >>> value, gradient = jax.value_and_grad(lovasz_softmax)(logits, labels, method="sort")
        >>> round(float(value), 4)
        0.4251

    References:
        Berman, Triki, Blaschko, *The Lovász-Softmax loss: a tractable surrogate for the
        optimization of the intersection-over-union measure in neural networks*, CVPR 2018,
        arXiv 1705.08790: equations 2 to 4 (softmax, Jaccard loss), definition 2 (the extension),
        algorithm 1 (its slopes, here in closed form).
    """
    options = Options(
        classes=classes,
        ignore_index=ignore_index,
        weight=weight,
        normalize_weight=normalize_weight,
        per_image=per_image,
        reduction=reduction,
        set_function=set_function,
        method=method,
        bins=bins,
        window=window,
        pixel_weight=pixel_weight,
    )
    places = Places(axis, where, axis_name)
    return loss("lovasz_softmax", "softmax", logits, labels, options, places)


def lovasz_softmax_from_probabilities(
    probabilities: jax.Array,
    labels: jax.Array,
    *,
    axis: int = -1,
    where: jax.Array | None = None,
    classes: Classes = "present",
    ignore_index: int | None = None,
    weight: jax.Array | Sequence[float] | None = None,
    normalize_weight: bool = True,
    per_image: bool = False,
    reduction: Reduction = "mean",
    set_function: SetFunction = jaccard,
    method: Method = "histogram",
    bins: int = DEFAULT_BINS,
    window: Window | None = None,
    axis_name: Hashable | None = None,
    pixel_weight: jax.Array | None = None,
) -> Loss:
    r"""Lovász-Softmax loss of probabilities, for networks that end in a softmax.

    As `lovasz_softmax`, with $p$ given instead of computed from logits. Prefer logits where you
    have them: they keep more digits. All other arguments, the result and the errors are those of
    `lovasz_softmax`.

    Args:
        probabilities: (..., C), or with C on another ``axis``, in [0, 1]; they are not normalised.
        labels: as for `lovasz_softmax`.

    Returns:
        A scalar, or for "none" (C,) or (N, C); with a window (loss, window).

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit; on the CPU outside of compiled functions
            also for values outside [0, 1] (beyond the rounding of 16-bit numbers), which turn the
            loss into NaN elsewhere.

    Examples:
        >>> import jax.numpy as jnp
        >>> probabilities, labels = jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([0, 0])
        >>> float(lovasz_softmax_from_probabilities(probabilities, labels, method="sort"))
        0.5

    References:
        Berman, Triki, Blaschko, CVPR 2018, arXiv 1705.08790, definition 2.
    """
    options = Options(
        classes=classes,
        ignore_index=ignore_index,
        weight=weight,
        normalize_weight=normalize_weight,
        per_image=per_image,
        reduction=reduction,
        set_function=set_function,
        method=method,
        bins=bins,
        window=window,
        pixel_weight=pixel_weight,
    )
    name, places = "lovasz_softmax_from_probabilities", Places(axis, where, axis_name)
    return loss(name, "probabilities", probabilities, labels, options, places, "probabilities")


def cross_entropy_lovasz_softmax(
    logits: jax.Array,
    labels: jax.Array,
    *,
    axis: int = -1,
    where: jax.Array | None = None,
    cross_entropy_weight: float | jax.Array = 1.0,
    lovasz_weight: float | jax.Array = 1.0,
    weight: jax.Array | Sequence[float] | None = None,
    label_smoothing: float = 0.0,
    classes: Classes = "present",
    ignore_index: int | None = None,
    lovasz_class_weight: jax.Array | Sequence[float] | None = None,
    normalize_weight: bool = True,
    per_image: bool = False,
    set_function: SetFunction = jaccard,
    bins: int = DEFAULT_BINS,
    window: Window | None = None,
    axis_name: Hashable | None = None,
    pixel_weight: jax.Array | None = None,
) -> Loss:
    r"""Cross-entropy and Lovász-Softmax together, for the price of one.

    $$L = \lambda_{CE}\, \mathrm{CE} + \lambda_{Lovász}\, L_{Lovász}$$

    with the mean over the pixels of ``optax.softmax_cross_entropy_with_integer_labels`` and the
    loss of `lovasz_softmax`. Both need the softmax of every pixel, which is computed once here. The
    class weights and the label smoothing of the cross-entropy are those of PyTorch: the mean is
    divided by the sum of the weights of the labels.

    All other arguments are those of `lovasz_softmax`. They are for the Lovász loss, but for
    ``axis``, ``where``, ``ignore_index``, ``pixel_weight`` and ``axis_name``, which hold for the
    cross-entropy too: it is the mean over all pixels that are left, of the global batch, weighted
    by ``pixel_weight``. With ``per_image`` or a ``window`` it stays that of the batch.

    Args:
        logits: as for `lovasz_softmax`.
        labels: as for `lovasz_softmax`.
        cross_entropy_weight: factor of the cross-entropy, finite and not negative; an array () too,
            such as one of a schedule.
        lovasz_weight: factor of the Lovász-Softmax loss, likewise.
        weight: (C,), class weights of the cross-entropy, which get no gradient. None: all 1.
        label_smoothing: of the cross-entropy, in [0, 1].
        lovasz_class_weight: (C,), class weights of the Lovász loss: its ``weight``.

    Returns:
        A scalar, float64 for float64 logits, otherwise float32; 0 where everything is ignored; with
        a window (loss, window).

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit; on the CPU outside of compiled functions
            also for labels out of range.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> logits, labels = jnp.array([[2.0, 0.0], [0.0, 2.0], [1.0, 0.0]]), jnp.array([0, 1, 1])
        >>> both = cross_entropy_lovasz_softmax(logits, labels)
        >>> log_p = jax.nn.log_softmax(logits)
        >>> mean = -(log_p[0, 0] + log_p[1, 1] + log_p[2, 1]) / 3
        >>> bool(jnp.isclose(both, mean + lovasz_softmax(logits, labels)))
        True

    References:
        Berman, Triki, Blaschko, CVPR 2018, arXiv 1705.08790.
    """
    options = Options(
        classes=classes,
        ignore_index=ignore_index,
        weight=lovasz_class_weight,
        normalize_weight=normalize_weight,
        per_image=per_image,
        set_function=set_function,
        bins=bins,
        window=window,
        pixel_weight=pixel_weight,
        cross_entropy=CrossEntropy(cross_entropy_weight, weight, label_smoothing),
        lovasz_factor=lovasz_weight,
        names=Names(weight="lovasz_class_weight"),
    )
    places = Places(axis, where, axis_name)
    return loss("cross_entropy_lovasz_softmax", "softmax", logits, labels, options, places)
