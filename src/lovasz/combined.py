"""Cross-entropy and the Lovász-Softmax loss in the same two passes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lovasz import _inputs
from lovasz._class_losses import Recipe, by_counting
from lovasz._reduction import mean_entropy, reduce_classes
from lovasz.ops import DEFAULT_BINS, Entropy, Scores
from lovasz.set_functions import SetFunction, jaccard
from lovasz.window import Window, check_window

__all__ = ["cross_entropy_lovasz_softmax"]


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
        reduction="mean",
        set_function=set_function,
        method="histogram",
        bins=bins,
    )
    _inputs.check_mixture(name, cross_entropy_weight, lovasz_weight, label_smoothing)
    check_window(name, window, per_image=per_image)
    layout = _inputs.check_pair(name, "logits", logits, target)
    count, device = logits.shape[1], logits.device
    mask = _inputs.class_mask(name, classes, count, device)
    entropy = Entropy(_inputs.class_weight(name, weight, count, device), float(label_smoothing))
    alpha = _inputs.class_weight(name, lovasz_class_weight, count, device, "lovasz_class_weight")
    given = Scores(*layout, "softmax", ignore_index, per_image)
    recipe = Recipe(set_function, bins, window=window)
    class_losses = by_counting(given, mask, recipe, entropy)
    lovasz = reduce_classes(
        class_losses,
        alpha,
        normalize_weight=normalize_weight,
        per_image=per_image,
        reduction="mean",
    )
    return cross_entropy_weight * mean_entropy(class_losses, lovasz) + lovasz_weight * lovasz
