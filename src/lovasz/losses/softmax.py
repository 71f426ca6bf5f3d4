"""The losses as functions."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from typing_extensions import Unpack

from lovasz.core.set_functions import SetFunction, jaccard
from lovasz.kernels import DEFAULT_BINS
from lovasz.losses import _inputs, _layouts
from lovasz.losses._compute import Options, compute
from lovasz.losses._layouts import Extras
from lovasz.losses.distributed import Group, check_group
from lovasz.losses.window import Window, check_window

__all__ = ["lovasz_softmax", "lovasz_softmax_from_probabilities"]


def lovasz_softmax(
    logits: Tensor,
    target: Tensor,
    *,
    classes: str | Sequence[int] = "present",
    ignore_index: int | None = None,
    weight: Tensor | Sequence[float] | None = None,
    normalize_weight: bool = True,
    per_image: bool = False,
    reduction: str = "mean",
    set_function: SetFunction = jaccard,
    method: str = "histogram",
    bins: int = DEFAULT_BINS,
    window: Window | None = None,
    process_group: Group = None,
    pixel_weight: Tensor | None = None,
    ignore_mask: Tensor | None = None,
    offsets: Tensor | None = None,
    batch_index: Tensor | None = None,
    batch_size: int | None = None,
) -> Tensor:
    r"""Lovász-Softmax loss of logits.

    With $p = \mathrm{softmax}(\mathrm{logits})$ over the classes, pixel i has for class c the
    error $m_{ic} = 1 - p_{ic}$ if ``target`` is c and $p_{ic}$ otherwise. The loss of a
    class is the Lovász extension of the set function Δ (by default the Jaccard loss) at its errors,

    $$
    L_c = \int_0^1 \Delta(fn_c(t), fp_c(t); G_c)\, dt, \qquad
    L = \frac{\sum_c \alpha_c L_c}{\sum_c \alpha_c},
    $$

    where $fn_c(t), fp_c(t)$ are the pixels of class c, and the others, whose error exceeds t,
    $G_c$ the pixels of class c, and the sums go over the chosen ``classes``.

    Args:
        logits: (N, C, *) with any number of further axes, or (P, C); float64, float32, bfloat16 or
            float16, any strides. Not probabilities: see ``lovasz_softmax_from_probabilities``.
        target: (N, *) or (P,), class indices in [0, C) or ``ignore_index``; any integer dtype or
            bool.
        classes: which classes count. "present": those with a pixel in ``target``; "all"; or a list
            of class indices, which count whether present or not.
        ignore_index: label of pixels that are treated as if they were not there; any integer. None,
            the default, ignores none (``torch.nn.functional.cross_entropy`` ignores -100).
        weight: (C,), class weights α, finite and not negative. None: all 1.
        normalize_weight: True divides a mean by the sum of the weights of the classes that count,
            as ``cross_entropy`` does, so that a rare class that is missing from a batch does not
            shrink the loss of the others; False divides by their number.
        per_image: False takes the batch as one image; True averages the losses of the images, each
            with its own present classes. Images in which no class counts are left out.
        reduction: "mean" over classes (and images), "sum" of $\alpha_c L_c$, or "none".
        set_function: Δ(fn, fp, positives), see ``lovasz.core.set_functions``.
        method: "histogram" counts the errors in bins, with an error of the loss of at most
            ``error_bound(bins)`` times Δ of all pixels; "sort" is exact and slower.
        bins: number of bins of the histogram method, from 2 to 2**20.
        window: remembers the counts of earlier batches, so that the loss is that of an average
            batch of the last few; see ``lovasz.Window``. None: the batch alone.
        process_group: the ranks of ``torch.distributed`` whose batches are one, the global batch:
            a ``ProcessGroup``, or "world" for the default group where there is one. All ranks have
            to call the loss, with the same options; each returns the loss of the global batch, and
            as many times its gradient as there are ranks, because DDP and FSDP take the mean. None:
            this process alone. See "Many processes" in the documentation.
        pixel_weight: of the shape of ``target``, floating, in [0, 65536]: how much each pixel
            counts in Δ, rounded to a multiple of 2**-20. Weights of 1 change nothing, pixels of
            weight 0 are ignored.
        ignore_mask: of the shape of ``target``, bool: True for further pixels to leave out.
        offsets: (B,) int32 or int64, ascending: where each of B clouds of points ends, the last
            entry P, for logits (P, C) with ``per_image=True``, which then means per cloud. A
            leading 0 is a cloud without points.
        batch_index: (P,) int32 or int64, the same as the number of the cloud of each point, in any
            order.
        batch_size: number of clouds, with ``batch_index``; on the CPU it is found if None.

    Returns:
        A scalar; for "none" $\alpha_c L_c$ of shape (C,), or (N, C) with ``per_image``,
        with 0 for classes that do not count. float64 for float64 logits, otherwise float32. 0,
        connected to the graph, where nothing counts. NaN if a logit that is not ignored is NaN or
        +inf, or (on devices other than the CPU) if a label is out of range.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit; on the CPU also for labels out of range.

    Examples:
        >>> import torch
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [1.0, 0.0]], requires_grad=True)
        >>> loss = lovasz_softmax(logits, torch.tensor([0, 1, 1]), method="sort")
        >>> round(loss.item(), 4)
        0.4251
        >>> loss.backward()

    References:
        Berman, Triki, Blaschko, *The Lovász-Softmax loss: a tractable surrogate for the
        optimization of the intersection-over-union measure in neural networks*, CVPR 2018,
        arXiv 1705.08790: equations 2 to 4 (softmax, Jaccard loss), definition 2 (the extension),
        algorithm 1 (its slopes, here in closed form).
    """
    return _multiclass(
        "lovasz_softmax",
        "logits",
        "softmax",
        logits,
        target,
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
        process_group=process_group,
        extras=Extras(pixel_weight, ignore_mask, offsets, batch_index, batch_size),
    )


def lovasz_softmax_from_probabilities(
    probabilities: Tensor,
    target: Tensor,
    *,
    classes: str | Sequence[int] = "present",
    ignore_index: int | None = None,
    weight: Tensor | Sequence[float] | None = None,
    normalize_weight: bool = True,
    per_image: bool = False,
    reduction: str = "mean",
    set_function: SetFunction = jaccard,
    method: str = "histogram",
    bins: int = DEFAULT_BINS,
    window: Window | None = None,
    process_group: Group = None,
    pixel_weight: Tensor | None = None,
    ignore_mask: Tensor | None = None,
    offsets: Tensor | None = None,
    batch_index: Tensor | None = None,
    batch_size: int | None = None,
) -> Tensor:
    r"""Lovász-Softmax loss of probabilities, for networks that end in a softmax.

    As ``lovasz_softmax``, with $p$ given instead of computed from logits. Prefer logits where
    you have them: they cost less memory and keep more digits.

    Args:
        probabilities: (N, C, *) or (P, C), in [0, 1]; they are not normalised.
        target: as for ``lovasz_softmax``.
        classes: as for ``lovasz_softmax``.
        ignore_index: as for ``lovasz_softmax``.
        weight: as for ``lovasz_softmax``.
        normalize_weight: as for ``lovasz_softmax``.
        per_image: as for ``lovasz_softmax``.
        reduction: as for ``lovasz_softmax``.
        set_function: as for ``lovasz_softmax``.
        method: as for ``lovasz_softmax``.
        bins: as for ``lovasz_softmax``.
        window: as for ``lovasz_softmax``.
        process_group: as for ``lovasz_softmax``.
        pixel_weight: as for ``lovasz_softmax``.
        ignore_mask: as for ``lovasz_softmax``.
        offsets: as for ``lovasz_softmax``.
        batch_index: as for ``lovasz_softmax``.
        batch_size: as for ``lovasz_softmax``.

    Returns:
        As for ``lovasz_softmax``.

    Raises:
        TypeError: as for ``lovasz_softmax``.
        ValueError: as for ``lovasz_softmax``, and on the CPU for values outside [0, 1] (beyond the
            rounding of 16-bit numbers), which turn the loss into NaN on other devices.

    Examples:
        >>> import torch
        >>> probabilities = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> target = torch.tensor([0, 0])
        >>> lovasz_softmax_from_probabilities(probabilities, target, method="sort").item()
        0.5

    References:
        Berman, Triki, Blaschko, CVPR 2018, arXiv 1705.08790, definition 2.
    """
    return _multiclass(
        "lovasz_softmax_from_probabilities",
        "probabilities",
        "probabilities",
        probabilities,
        target,
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
        process_group=process_group,
        extras=Extras(pixel_weight, ignore_mask, offsets, batch_index, batch_size),
    )


def _multiclass(
    name: str,
    scores_name: str,
    link: str,
    scores: Tensor,
    target: Tensor,
    *,
    ignore_index: int | None,
    per_image: bool,
    extras: Extras,
    **options: Unpack[Options],
) -> Tensor:
    """Check, then compute."""
    _inputs.check_options(
        name,
        ignore_index=ignore_index,
        per_image=per_image,
        normalize_weight=options["normalize_weight"],
        reduction=options["reduction"],
        set_function=options["set_function"],
        method=options["method"],
        bins=options["bins"],
    )
    check_window(name, options["window"], per_image=per_image, method=options["method"])
    check_group(
        name,
        options["process_group"],
        per_image=per_image,
        reduction=options["reduction"],
        method=options["method"],
    )
    given = _layouts.multiclass(
        name,
        scores_name,
        scores,
        target,
        link=link,
        ignore_index=ignore_index,
        per_image=per_image,
        extras=extras,
    )
    return compute(name, given, options)
