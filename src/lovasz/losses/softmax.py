"""The losses of classes that exclude each other: Lovász-Softmax, alone or with cross-entropy."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lovasz.core.options import (
    DEFAULT_BINS,
    Averaging,
    Classes,
    CrossEntropy,
    Method,
    Names,
    Options,
    Reduction,
    Upsample,
)
from lovasz.core.regions import Region
from lovasz.core.set_functions import SetFunction, jaccard
from lovasz.losses._classes import ClassWeights
from lovasz.losses._loss import loss
from lovasz.losses.distributed import Group
from lovasz.losses.window import Window

__all__ = [
    "cross_entropy_lovasz_softmax",
    "lovasz_softmax",
    "lovasz_softmax_from_probabilities",
]


def lovasz_softmax(
    logits: Tensor,
    target: Tensor | Sequence[Tensor],
    weight: ClassWeights | None = None,
    *,
    classes: Classes = "present",
    ignore_index: int | None = None,
    normalize_weight: bool = True,
    per_image: bool = False,
    averaging: Averaging | None = None,
    reduction: Reduction = "mean",
    set_function: SetFunction = jaccard,
    label_smoothing: float = 0.0,
    target_weight: Tensor | Sequence[float] | None = None,
    method: Method = "histogram",
    bins: int = DEFAULT_BINS,
    window: Window | None = None,
    process_group: Group = None,
    pixel_weight: Tensor | None = None,
    ignore_mask: Tensor | None = None,
    offsets: Tensor | None = None,
    batch_index: Tensor | None = None,
    batch_size: int | None = None,
    upsample: Upsample | None = None,
    align_corners: bool = False,
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

    With soft labels $q_{ic}$ the error is $|p_{ic} - q_{ic}|$, fn are the pixels whose p is below
    q, fp the others, $G_c = \sum_i q_{ic}$, and fn is capped at it: $\Delta(\min(fn, G), fp; G)$.
    The loss is convex in p, 0 only at p = q, and of hard labels what it is without. See "Soft
    labels" in the documentation.

    Args:
        logits: (N, C, *) with any number of further axes, or (P, C); float64, float32, bfloat16 or
            float16, any strides. Not probabilities: see ``lovasz_softmax_from_probabilities``.
        target: (N, *), (N, 1, *) or (P,), class indices in [0, C) or ``ignore_index``; any integer
            dtype or bool, or whole floats. Or one-hot, of an integer dtype or bool and the shape of
            the logits: a 1 and zeros for each pixel, or ``ignore_index`` in all channels. Or soft
            labels, floating, of that shape: q in [0, 1], whose sum over the classes is at most 1.
            Or a list of K maps of class indices, mixed by ``target_weight``.
        classes: which classes count. "present": those with a pixel in ``target``; "all"; or a list
            of class indices, which count whether present or not.
        ignore_index: label of pixels that are treated as if they were not there; any integer. None,
            the default, ignores none (``torch.nn.functional.cross_entropy`` ignores -100).
        weight: (C,), class weights α, finite and not negative, or a dict with one for every class.
            None: all 1.
        normalize_weight: True divides a mean by the sum of the weights of the classes that count,
            as ``cross_entropy`` does, so that a rare class that is missing from a batch does not
            shrink the loss of the others; False divides by their number.
        per_image: False takes the batch as one image; True averages the losses of the images, each
            with its own present classes. Images in which no class counts are left out.
        averaging: for another mean over images and classes: "class" averages the losses of a class
            over the images in which it counts, and then the classes; or a mapping with weights of
            several means, of "dataset" (the batch as one image), "image" (as ``per_image=True``)
            and "class", whose weighted sum is the loss. None: as ``per_image`` says.
        reduction: "mean" over classes (and images), "sum" of $\alpha_c L_c$, or "none".
        set_function: Δ(fn, fp, positives), see ``lovasz.core.set_functions``.
        label_smoothing: ε in [0, 1]: the labels are $(1 - \epsilon) q + \epsilon / C$. The
            classes that are present are those of q.
        target_weight: (K,), or (N, K) for each image, weights of the label maps in a list, which
            sum to 1: λ and 1 − λ for MixUp or CutMix. None: all the same, as for several
            annotators. A map that is ignored at a pixel leaves its weight to the others.
        method: "histogram" counts the errors in bins, with an error of the loss of at most
            ``error_bound(bins)`` times Δ of all pixels; "sort" is exact and slower. Counted errors
            make the loss a step function of the logits: for `torch.autograd.gradcheck` take "sort".
        bins: number of bins of the histogram method, from 2 to 2**20.
        window: remembers the counts of earlier batches, so that the loss is that of an average
            batch of the last few; see ``lovasz.Window``. None: the batch alone.
        process_group: the ranks of ``torch.distributed`` whose batches are one, the global batch:
            a ``ProcessGroup``, or "world" for the default group where there is one. All ranks have
            to call the loss, with the same options; each returns the loss of the global batch, and
            as many times its gradient as there are ranks, because DDP and FSDP take the mean. None:
            this process alone. See "Many processes" in the documentation.
        pixel_weight: (N, *) or (P,), floating, in [0, 65536]: how much each pixel
            counts in Δ, rounded to a multiple of 2**-20. Weights of 1 change nothing, pixels of
            weight 0 are ignored.
        ignore_mask: (N, *) or (P,), bool: True for further pixels to leave out; and for soft
            labels, which have no index to ignore.
        offsets: (B,) int32 or int64, ascending: where each of B clouds of points ends, the last
            entry P, for logits (P, C) with ``per_image=True``, which then means per cloud. A
            leading 0 is a cloud without points. Clouds of fewer than 4 * ``bins`` points on average
            are sorted, whatever the method: histograms of them would take more memory.
        batch_index: (P,) int32 or int64, the same as the number of the cloud of each point, in any
            order.
        batch_size: number of clouds, with ``batch_index``; on the CPU it is found if None.
        upsample: for logits of another resolution than the labels, which most networks end in: the
            mode by which they are interpolated to the spatial sizes of ``target``, "linear" for
            one spatial axis, "bilinear" for two, "trilinear" for three, or "nearest" for any. The
            loss and the gradient are those of ``torch.nn.functional.interpolate`` (of float32, if
            the logits have 16 bits) followed by the loss, but the enlarged logits are never stored.
            None: the sizes have to agree.
        align_corners: of ``upsample``, as torch has it: whether the centres of the outermost
            logits and labels coincide, instead of their edges.

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
    options = Options(
        classes=classes,
        ignore_index=ignore_index,
        weight=weight,
        normalize_weight=normalize_weight,
        per_image=per_image,
        averaging=averaging,
        reduction=reduction,
        set_function=set_function,
        label_smoothing=label_smoothing,
        target_weight=target_weight,
        method=method,
        bins=bins,
        window=window,
        process_group=process_group,
        pixel_weight=pixel_weight,
        ignore_mask=ignore_mask,
        offsets=offsets,
        batch_index=batch_index,
        batch_size=batch_size,
        upsample=upsample,
        align_corners=align_corners,
    )
    return loss("lovasz_softmax", "softmax", logits, target, options)


def lovasz_softmax_from_probabilities(
    probabilities: Tensor,
    target: Tensor | Sequence[Tensor],
    weight: ClassWeights | None = None,
    *,
    classes: Classes = "present",
    ignore_index: int | None = None,
    normalize_weight: bool = True,
    per_image: bool = False,
    averaging: Averaging | None = None,
    reduction: Reduction = "mean",
    set_function: SetFunction = jaccard,
    label_smoothing: float = 0.0,
    target_weight: Tensor | Sequence[float] | None = None,
    method: Method = "histogram",
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

    As `lovasz_softmax`, with $p$ given instead of computed from logits. Prefer logits where
    you have them: they cost less memory and keep more digits.

    All other arguments, the result and the errors are those of `lovasz_softmax`.

    Args:
        probabilities: (N, C, *) or (P, C), in [0, 1]; they are not normalised.
        target: (N, *) or (P,), as for `lovasz_softmax`.

    Returns:
        A scalar, or for "none" (C,) or (N, C).

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit; on the CPU also for values outside [0, 1]
            (beyond the rounding of 16-bit numbers), which turn the loss into NaN on other devices.

    Examples:
        >>> import torch
        >>> probabilities = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> target = torch.tensor([0, 0])
        >>> lovasz_softmax_from_probabilities(probabilities, target, method="sort").item()
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
        averaging=averaging,
        reduction=reduction,
        set_function=set_function,
        label_smoothing=label_smoothing,
        target_weight=target_weight,
        method=method,
        bins=bins,
        window=window,
        process_group=process_group,
        pixel_weight=pixel_weight,
        ignore_mask=ignore_mask,
        offsets=offsets,
        batch_index=batch_index,
        batch_size=batch_size,
    )
    name = "lovasz_softmax_from_probabilities"
    return loss(name, "probabilities", probabilities, target, options, "probabilities")


def cross_entropy_lovasz_softmax(
    logits: Tensor,
    target: Tensor | Sequence[Tensor],
    weight: ClassWeights | None = None,
    *,
    cross_entropy_weight: float = 1.0,
    lovasz_weight: float = 1.0,
    label_smoothing: float = 0.0,
    lovasz_label_smoothing: float = 0.0,
    target_weight: Tensor | Sequence[float] | None = None,
    region: Region | None = None,
    region_weight: float = 1.0,
    classes: Classes = "present",
    ignore_index: int | None = None,
    lovasz_class_weight: ClassWeights | None = None,
    normalize_weight: bool = True,
    per_image: bool = False,
    averaging: Averaging | None = None,
    set_function: SetFunction = jaccard,
    bins: int = DEFAULT_BINS,
    window: Window | None = None,
    process_group: Group = None,
    pixel_weight: Tensor | None = None,
    ignore_mask: Tensor | None = None,
    offsets: Tensor | None = None,
    batch_index: Tensor | None = None,
    batch_size: int | None = None,
    upsample: Upsample | None = None,
    align_corners: bool = False,
) -> Tensor:
    r"""Cross-entropy and Lovász-Softmax together, for the price of one.

    $$L = \lambda_{CE}\, \mathrm{CE} + \lambda_{Lovász}\, L_{Lovász} + \lambda_{R}\, L_{R}$$

    with the cross-entropy of `torch.nn.functional.cross_entropy` (its mean, its class weights, its
    label smoothing, its soft labels), the Lovász-Softmax loss of `lovasz_softmax`, and if asked for
    a loss by sums as ``region``. All need the softmax of every pixel, which is computed once here;
    the sum equals that of the functions to the rounding of float32.

    All other arguments are those of `lovasz_softmax`. They are for the Lovász loss, but for
    ``target_weight``, ``ignore_index``, ``ignore_mask``, ``pixel_weight`` and ``process_group``,
    which hold for the cross-entropy too: it is the mean over all pixels that are left, of the
    global batch, weighted by ``pixel_weight``. With ``per_image`` or a ``window`` it stays that of
    the batch.

    Args:
        logits: (N, C, *) or (P, C), as for `lovasz_softmax`.
        target: (N, *) or (P,), as for `lovasz_softmax`.
        cross_entropy_weight: factor of the cross-entropy, finite and not negative.
        lovasz_weight: factor of the Lovász-Softmax loss, finite and not negative.
        weight: (C,), class weights of the cross-entropy, finite and not negative. None: all 1.
        label_smoothing: of the cross-entropy, in [0, 1].
        lovasz_label_smoothing: of the Lovász loss and the region: its ``label_smoothing``.
        lovasz_class_weight: (C,), class weights of the Lovász-Softmax loss: its ``weight``. They
            are those of the region too.
        region: a loss by sums to be added, from the same passes, such as ``lovasz.SoftDice()``: its
            mean over the classes that count for the Lovász loss. None: none.
        region_weight: factor of the region, finite and not negative.

    Returns:
        A scalar, float64 for float64 logits, otherwise float32. Where every pixel is ignored: 0,
        connected to the graph, while `cross_entropy` gives NaN.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit; on the CPU also for labels out of range.

    Examples:
        >>> import torch
        >>> from lovasz import lovasz_softmax
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [1.0, 0.0]], requires_grad=True)
        >>> target = torch.tensor([0, 1, 1])
        >>> both = cross_entropy_lovasz_softmax(logits, target, lovasz_weight=0.5)
        >>> apart = torch.nn.functional.cross_entropy(logits, target)
        >>> apart = apart + 0.5 * lovasz_softmax(logits, target)
        >>> torch.testing.assert_close(both, apart)

    References:
        Berman, Triki, Blaschko, CVPR 2018, arXiv 1705.08790; combined with cross-entropy as its
        authors recommend, https://github.com/bermanmaxim/LovaszSoftmax.
    """
    options = Options(
        classes=classes,
        ignore_index=ignore_index,
        weight=lovasz_class_weight,
        normalize_weight=normalize_weight,
        per_image=per_image,
        averaging=averaging,
        set_function=set_function,
        bins=bins,
        window=window,
        process_group=process_group,
        pixel_weight=pixel_weight,
        ignore_mask=ignore_mask,
        offsets=offsets,
        batch_index=batch_index,
        batch_size=batch_size,
        upsample=upsample,
        align_corners=align_corners,
        label_smoothing=lovasz_label_smoothing,
        target_weight=target_weight,
        cross_entropy=CrossEntropy(cross_entropy_weight, weight, label_smoothing),
        lovasz_factor=lovasz_weight,
        region=region,
        region_factor=region_weight,
        names=Names(weight="lovasz_class_weight", label_smoothing="lovasz_label_smoothing"),
    )
    return loss("cross_entropy_lovasz_softmax", "softmax", logits, target, options)
