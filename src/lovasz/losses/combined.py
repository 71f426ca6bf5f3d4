"""Cross-entropy and a Lovász loss in the same two passes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lovasz.core.set_functions import SetFunction, jaccard
from lovasz.kernels import DEFAULT_BINS, Entropy
from lovasz.losses import _inputs, _layouts
from lovasz.losses._channels import channel_loss
from lovasz.losses._compute import Mixture, compute
from lovasz.losses._layouts import Extras
from lovasz.losses._tensors import check_tensors
from lovasz.losses.distributed import Group, check_group
from lovasz.losses.window import Window, check_window

__all__ = ["binary_cross_entropy_lovasz_sigmoid", "cross_entropy_lovasz_softmax"]


def cross_entropy_lovasz_softmax(
    logits: Tensor,
    target: Tensor,
    *,
    cross_entropy_weight: float = 1.0,
    lovasz_weight: float = 1.0,
    weight: Tensor | Sequence[float] | None = None,
    label_smoothing: float = 0.0,
    classes: str | Sequence[int] = "present",
    ignore_index: int | None = None,
    lovasz_class_weight: Tensor | Sequence[float] | None = None,
    normalize_weight: bool = True,
    per_image: bool = False,
    set_function: SetFunction = jaccard,
    bins: int = DEFAULT_BINS,
    window: Window | None = None,
    process_group: Group = None,
    pixel_weight: Tensor | None = None,
    ignore_mask: Tensor | None = None,
    offsets: Tensor | None = None,
    batch_index: Tensor | None = None,
    batch_size: int | None = None,
) -> Tensor:
    r"""Cross-entropy and Lovász-Softmax together, for the price of one.

    $$L = \lambda_{CE}\, \mathrm{CE} + \lambda_{Lovász}\, L_{Lovász}$$

    with the cross-entropy of `torch.nn.functional.cross_entropy` (its mean, its class weights, its
    label smoothing) and the Lovász-Softmax loss of `lovasz_softmax`. Both need the softmax of every
    pixel, which is computed once here; the sum equals that of the two functions to the rounding of
    float32.

    Args:
        logits: (N, C, *) or (P, C), as for `lovasz_softmax`.
        target: (N, *) or (P,), as for `lovasz_softmax`.
        cross_entropy_weight: factor of the cross-entropy, finite and not negative.
        lovasz_weight: factor of the Lovász-Softmax loss, finite and not negative.
        weight: (C,), class weights of the cross-entropy, finite and not negative. None: all 1.
        label_smoothing: of the cross-entropy, in [0, 1]. A Lovász loss takes no soft labels.
        classes: classes that count in the Lovász-Softmax loss, as for `lovasz_softmax`.
        ignore_index: label of pixels that both leave out. None, the default, ignores none.
        lovasz_class_weight: (C,), class weights of the Lovász-Softmax loss: its ``weight``.
        normalize_weight: as for `lovasz_softmax`.
        per_image: as for `lovasz_softmax`; the cross-entropy is a mean over the batch always.
        set_function: as for `lovasz_softmax`.
        bins: as for `lovasz_softmax`. For the exact method add the two losses yourself.
        window: as for `lovasz_softmax`; the cross-entropy is that of the batch always.
        process_group: as for `lovasz_softmax`; the cross-entropy is of the global batch as well.
        pixel_weight: as for `lovasz_softmax`; the cross-entropy is the mean weighted by them.
        ignore_mask: as for `lovasz_softmax`.
        offsets: as for `lovasz_softmax`.
        batch_index: as for `lovasz_softmax`.
        batch_size: as for `lovasz_softmax`.

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
    name = "cross_entropy_lovasz_softmax"
    _inputs.check_options(
        name,
        ignore_index=ignore_index,
        per_image=per_image,
        normalize_weight=normalize_weight,
        set_function=set_function,
        bins=bins,
    )
    _inputs.check_mixture(name, cross_entropy_weight, lovasz_weight, label_smoothing)
    check_window(name, window, per_image=per_image)
    check_group(name, process_group, per_image=per_image)
    given = _layouts.multiclass(
        name,
        "logits",
        logits,
        target,
        link="softmax",
        ignore_index=ignore_index,
        per_image=per_image,
        extras=Extras(pixel_weight, ignore_mask, offsets, batch_index, batch_size),
    )
    count, device = logits.shape[1], logits.device
    entropy = Entropy(_inputs.class_weight(name, weight, count, device), float(label_smoothing))
    return compute(
        name,
        given,
        {
            "classes": classes,
            "weight": lovasz_class_weight,
            "normalize_weight": normalize_weight,
            "reduction": "mean",
            "set_function": set_function,
            "method": "histogram",
            "bins": bins,
            "window": window,
            "process_group": process_group,
        },
        mixture={
            "entropy": entropy,
            "cross_entropy_weight": cross_entropy_weight,
            "lovasz_weight": lovasz_weight,
        },
        weight_name="lovasz_class_weight",
    )


def binary_cross_entropy_lovasz_sigmoid(
    logits: Tensor,
    target: Tensor,
    *,
    cross_entropy_weight: float = 1.0,
    lovasz_weight: float = 1.0,
    pos_weight: Tensor | Sequence[float] | None = None,
    multilabel: bool | None = None,
    symmetric: bool = False,
    classes: str | Sequence[int] = "all",
    ignore_index: int | None = None,
    lovasz_class_weight: Tensor | Sequence[float] | None = None,
    normalize_weight: bool = True,
    per_image: bool = False,
    set_function: SetFunction = jaccard,
    bins: int = DEFAULT_BINS,
    window: Window | None = None,
    process_group: Group = None,
    pixel_weight: Tensor | None = None,
    ignore_mask: Tensor | None = None,
    offsets: Tensor | None = None,
    batch_index: Tensor | None = None,
    batch_size: int | None = None,
) -> Tensor:
    r"""Binary cross-entropy and the Lovász loss of the sigmoid together.

    $$L = \lambda_{BCE}\, \mathrm{BCE} + \lambda_{Lovász}\, L_{Lovász}$$

    with the cross-entropy of `torch.nn.functional.binary_cross_entropy_with_logits` (its mean over
    all pixels and channels that are not ignored, its ``pos_weight``) and `lovasz_sigmoid`.

    Args:
        logits: as for `lovasz_sigmoid`.
        target: as for `lovasz_sigmoid`.
        cross_entropy_weight: factor of the binary cross-entropy, finite and not negative.
        lovasz_weight: factor of the Lovász loss, finite and not negative.
        pos_weight: (C,), weights of the ones in the binary cross-entropy. None: all 1.
        multilabel: as for `lovasz_sigmoid`.
        symmetric: as for `lovasz_sigmoid`.
        classes: as for `lovasz_sigmoid`.
        ignore_index: label of pixels that both leave out.
        lovasz_class_weight: (C,), weights of the channels in the Lovász loss: its ``weight``.
        normalize_weight: as for `lovasz_softmax`.
        per_image: as for `lovasz_softmax`; the cross-entropy is a mean over the batch always.
        set_function: as for `lovasz_softmax`.
        bins: as for `lovasz_softmax`.
        window: as for `lovasz_softmax`; the cross-entropy is that of the batch always.
        process_group: as for `lovasz_softmax`; the cross-entropy is of the global batch as well.
        pixel_weight: as for `lovasz_sigmoid`; the cross-entropy is the mean weighted by them.
        ignore_mask: as for `lovasz_sigmoid`.
        offsets: as for `lovasz_sigmoid`.
        batch_index: as for `lovasz_softmax`.
        batch_size: as for `lovasz_softmax`.

    Returns:
        A scalar, float64 for float64 logits, otherwise float32; 0 where everything is ignored.

    Raises:
        TypeError: as for `lovasz_sigmoid`.
        ValueError: as for `lovasz_sigmoid`.

    Examples:
        >>> import torch
        >>> from lovasz import lovasz_sigmoid
        >>> logits, target = torch.tensor([3.0, -1.0, 0.5, -2.0]), torch.tensor([1, 1, 0, 0])
        >>> both = binary_cross_entropy_lovasz_sigmoid(logits, target)
        >>> bce = torch.nn.functional.binary_cross_entropy_with_logits(logits, target.float())
        >>> torch.testing.assert_close(both, bce + lovasz_sigmoid(logits, target))

    References:
        Berman, Triki, Blaschko, CVPR 2018, arXiv 1705.08790.
    """
    name = "binary_cross_entropy_lovasz_sigmoid"
    _inputs.check_mixture(name, cross_entropy_weight, lovasz_weight)
    check_tensors(name, "logits", logits, target)
    channels = logits.shape[1] if multilabel and logits.dim() > 1 else 1
    weight = _inputs.class_weight(name, pos_weight, channels, logits.device, "pos_weight")
    mixture: Mixture = {
        "entropy": Entropy(weight, 0.0),
        "cross_entropy_weight": cross_entropy_weight,
        "lovasz_weight": lovasz_weight,
    }
    return channel_loss(
        name,
        "logits",
        "sigmoid",
        logits,
        target,
        multilabel=multilabel,
        symmetric=symmetric,
        ignore_index=ignore_index,
        per_image=per_image,
        extras=Extras(pixel_weight, ignore_mask, offsets, batch_index, batch_size),
        mixture=mixture,
        weight_name="lovasz_class_weight",
        classes=classes,
        weight=lovasz_class_weight,
        normalize_weight=normalize_weight,
        reduction="mean",
        set_function=set_function,
        method="histogram",
        bins=bins,
        window=window,
        process_group=process_group,
    )
