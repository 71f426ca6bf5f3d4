"""Deep supervision: one loss of a network's outputs at several resolutions."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from lovasz.core.options import check_choice, is_integer, is_number
from lovasz.losses._module import PythonModule, python_only

__all__ = ["DeepSupervision", "deep_supervision"]

Loss: TypeAlias = Callable[..., Tensor]
#: One target, or a list of label maps of the same image.
Target: TypeAlias = "Tensor | Sequence[Tensor]"

#: How labels come to the resolution of a scale.
Shrinking: TypeAlias = Literal["auto", "nearest", "given"]

_LABELS: tuple[str, ...] = get_args(Shrinking)
#: Options of the losses with a number for each pixel, which are shrunk as the labels are.
_OF_PIXELS = ("pixel_weight", "ignore_mask")


def deep_supervision(
    loss: Loss,
    logits: Tensor | Sequence[Tensor],
    target: Target | Sequence[Target],
    *,
    weights: Sequence[float] | None = None,
    labels: Shrinking = "auto",
    **options: Any,
) -> Tensor:
    r"""Weighted sum of a loss over outputs of several resolutions.

    $$L = \sum_k w_k\, \mathrm{loss}(\mathrm{logits}_k, \mathrm{target}_k)$$

    where the target of scale k is the one that is given, shrunk to the spatial sizes of its logits.
    Class indices, masks of an integer dtype and bool are shrunk to the *nearest* pixel, as nnU-Net
    and MONAI do it (``torch.nn.functional.interpolate`` with ``mode="nearest-exact"``): label i of
    a scale is the pixel $\lfloor (i + \tfrac12) s \rfloor$ of an axis that is s times as long, for
    s = 2 the pixels 1, 3, 5, …. Floating targets, which are soft labels, are *averaged* over
    the area that a label covers, with ``pixel_weight`` and without ignored pixels. Floats without
    an axis of classes are class indices, of which the nearest is taken. A floating mask
    of zeros and ones becomes soft that way: make it bool, or pass ``labels="nearest"``, for labels
    that stay as hard as they are.

    With ``upsample=`` (an option of the losses of logits) no label is shrunk: all logits are
    interpolated to the target while they are read.

    Args:
        loss: a loss of this package, a function or a module, or any other of logits and target.
            A module with a window needs one for each scale: see `DeepSupervision`.
        logits: outputs of the network, each as ``loss`` takes them, of any resolutions and in any
            order. A tensor is the only scale, as many networks return it in evaluation mode.
        target: as ``loss`` takes it: class indices, soft labels, or a list of label maps. With
            ``labels="given"`` a list with such a target for each scale.
        weights: one finite number for each scale, not negative and not all 0, used as they are.
            A scale of weight 0 is not computed; its logits get a gradient of 0 and not None, so
            that in DDP no parameter is unused. None: 1 for the largest resolution, halved for
            every next one (equal ones weigh the same), and divided by their sum. nnU-Net has
            these too, with 0 for the smallest: ``[4/7, 2/7, 1/7, 0]``.
        labels: "auto" shrinks them as above, "nearest" takes the nearest pixel of floating targets
            too, and "given" takes a target for each scale from the caller.
        options: of ``loss``, the same for every scale. ``pixel_weight`` and ``ignore_mask`` are
            shrunk as the labels are, or lists with ``labels="given"``.

    Returns:
        What ``loss`` returns, summed.

    Raises:
        TypeError: for arguments of a wrong type.
        ValueError: for numbers of scales, weights or targets that do not fit; and what ``loss``
            raises.

    Examples:
        >>> import torch
        >>> from lovasz import lovasz_softmax
        >>> scales = [torch.randn(2, 3, n, n, requires_grad=True) for n in (8, 4, 2)]
        >>> target = torch.randint(3, (2, 8, 8))
        >>> value = deep_supervision(lovasz_softmax, scales, target)
        >>> apart = [lovasz_softmax(scales[0], target)]
        >>> apart += [lovasz_softmax(x, target[:, s // 2 :: s, s // 2 :: s])
        ...           for x, s in zip(scales[1:], (2, 4))]
        >>> torch.testing.assert_close(value, sum(w * v for w, v in zip((4/7, 2/7, 1/7), apart)))

    References:
        Lee et al., *Deeply-supervised nets*, AISTATS 2015, arXiv 1409.5185; Isensee et al.,
        *nnU-Net*, Nature Methods 2021, for weights and labels.
    """
    _check_callable("deep_supervision", loss)
    if getattr(loss, "window", None) is not None or options.get("window") is not None:
        raise ValueError(
            "deep_supervision: expected a loss without a window, which would mix the counts of all"
            " scales (DeepSupervision has one for each), got one with a window"
        )
    scales = _scales("deep_supervision", logits)
    return _weighted_sum(
        "deep_supervision", [loss] * len(scales), scales, target, weights, labels, options
    )


class DeepSupervision(PythonModule):
    r"""Weighted sum of a loss over outputs of several resolutions, as a module.

    Definition, result, errors and all other arguments are those of `deep_supervision`.

    Args:
        loss: a module, which becomes a submodule; or a function, with ``options``. A module with a
            window (``momentum``) is copied for every scale but the first, because counts of
            one resolution say nothing about another.
        weights: as for `deep_supervision`.
        labels: as for `deep_supervision`.
        scales: number of scales; needed for a loss with a window if there are no weights.
        options: of the function, the same in every call.

    Shape:
        - logits: a list of what ``loss`` takes.
        - target: what ``loss`` takes, or a list of it with ``labels="given"``.
        - output: that of ``loss``.

    Raises:
        TypeError: for arguments of a wrong type.
        ValueError: for arguments of a wrong value.

    Examples:
        >>> import torch
        >>> from lovasz import CrossEntropyLovaszSoftmaxLoss
        >>> criterion = DeepSupervision(CrossEntropyLovaszSoftmaxLoss(ignore_index=255))
        >>> scales = [torch.zeros(2, 3, n, n, requires_grad=True) for n in (8, 4, 2)]
        >>> criterion(scales, torch.zeros(2, 8, 8, dtype=torch.uint8)).backward()
    """

    def __init__(
        self,
        loss: Loss,
        weights: Sequence[float] | None = None,
        *,
        labels: Shrinking = "auto",
        scales: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        _check_callable(name, loss)
        check_choice(name, "labels", labels, _LABELS)
        if scales is not None and (not is_integer(scales) or scales < 1):
            raise ValueError(f"{name}: expected scales to be 1 or more or None, got {scales!r}")
        self.weights = None if weights is None else _checked_weights(name, weights, scales)
        self.labels = labels
        self.options = options
        number = scales if self.weights is None else len(self.weights)
        if getattr(loss, "window", None) is None:
            number = 1
        elif number is None:
            raise ValueError(
                f"{name}: expected scales or weights for a loss with a window, of which every scale"
                " needs one, got None"
            )
        # A function is no submodule.
        self.function = None if isinstance(loss, nn.Module) else loss
        copies = [loss, *(copy.deepcopy(loss) for _ in range(number - 1))]
        self.losses = nn.ModuleList(part for part in copies if isinstance(part, nn.Module))

    @python_only
    def forward(
        self, logits: Tensor | Sequence[Tensor], target: Target | Sequence[Target], **options: Any
    ) -> Tensor:
        """Loss of the outputs and labels; further tensors as for the loss."""
        name = type(self).__name__
        scales = _scales(name, logits)
        losses: list[Loss] = list(self.losses) if self.function is None else [self.function]
        if len(losses) == 1:
            losses *= len(scales)
        alone = isinstance(logits, Tensor)  # in evaluation mode, where weights are for more
        if len(losses) != len(scales) and not alone:
            raise ValueError(
                f"{name}: expected logits of {len(losses)} scales, as many as there are windows,"
                f" got {len(scales)}"
            )
        weights = None if alone else self.weights
        merged = {**self.options, **options}
        return _weighted_sum(name, losses, scales, target, weights, self.labels, merged)

    @python_only
    def reset_window(self) -> None:
        """Forget the batches before, of all scales, if there are windows."""
        loss: Any
        for loss in self.losses:
            if getattr(loss, "window", None) is not None:
                loss.reset_window()

    def extra_repr(self) -> str:
        """What was chosen."""
        parts = [] if self.function is None else [getattr(self.function, "__name__", "function")]
        parts += [f"weights={self.weights}", f"labels={self.labels!r}"]
        return ", ".join([*parts, *(f"{key}={value!r}" for key, value in self.options.items())])


def _weighted_sum(
    name: str,
    losses: Sequence[Loss],
    scales: Sequence[Tensor],
    target: Target | Sequence[Target],
    weights: Sequence[float] | None,
    labels: str,
    options: dict[str, Any],
) -> Tensor:
    """The loss of every scale that counts, times its weight."""
    check_choice(name, "labels", labels, _LABELS)
    if not isinstance(target, (Tensor, list, tuple)):
        raise TypeError(
            f"{name}: expected target to be a tensor or a list of tensors,"
            f" got {type(target).__name__}"
        )
    if weights is None:
        weights = _halved(scales)
    else:
        weights = _checked_weights(name, weights, len(scales))
    if labels == "given":
        for argument in ("target", *(key for key in _OF_PIXELS if options.get(key) is not None)):
            _check_given(name, argument, options.get(argument, target), len(scales))
    total: Tensor | None = None
    for k, (loss, scores, weight) in enumerate(zip(losses, scales, weights, strict=False)):
        if weight == 0:
            continue
        if labels == "given":
            here = {key: options[key] and options[key][k] for key in _OF_PIXELS if key in options}
            own, here = target[k], {**options, **here}
        else:
            own, here = _shrunk(loss, scores, target, options, nearest=labels == "nearest")
        value = weight * loss(scores, own, **here)
        total = value if total is None else total + value
    assert total is not None  # a weight is above 0
    for scores, weight in zip(scales, weights, strict=False):
        if weight == 0 and scores.requires_grad:
            # Connected, by the sum of no numbers, which is 0 even if there are NaNs.
            total = total + scores.flatten()[:0].sum().to(total.dtype)
    return total


def _halved(scales: Sequence[Tensor]) -> list[float]:
    """1 for the largest resolution, a half for the next one, and so on; they sum to 1."""
    sizes = [math.prod(scores.shape[2:]) for scores in scales]
    distinct: list[int] = []
    for size in sizes:  # which a compiler may know by a symbol alone, that is in no set
        if size not in distinct:
            distinct.append(size)
    weights = [0.5 ** sum(other > size for other in distinct) for size in sizes]
    return [weight / sum(weights) for weight in weights]


def _shrunk(
    loss: Loss, scores: Tensor, target: Any, options: dict[str, Any], *, nearest: bool
) -> tuple[Any, dict[str, Any]]:
    """Target and options for the resolution of the scores."""
    maps = list(target) if isinstance(target, (list, tuple)) else [target]
    if _option(loss, options, "upsample") is not None or not isinstance(maps[0], Tensor):
        return target, options
    labels = maps[0]
    sizes = _sizes(loss, scores, labels, options)
    if sizes == tuple(labels.shape[labels.dim() - len(sizes) :]):
        return target, options
    if labels.is_floating_point() and not nearest and not _are_indices(scores, labels):
        ignore_index = _option(loss, options, "ignore_index")
        return _averaged(labels, sizes, ignore_index, options)
    small = [_nearest(one, sizes) for one in maps]
    options = dict(options)
    for key in _OF_PIXELS:
        if isinstance(options.get(key), Tensor):
            options[key] = _nearest(options[key], sizes)
    return small if isinstance(target, (list, tuple)) else small[0], options


def _sizes(loss: Loss, scores: Tensor, labels: Tensor, options: dict[str, Any]) -> tuple[int, ...]:
    """Spatial sizes of the scores, with which the labels end."""
    channels = _option(loss, options, "multilabel") is not False
    if labels.dim() == scores.dim() - 1:
        return tuple(scores.shape[2:])
    if labels.dim() == scores.dim():
        return tuple(scores.shape[2 if channels else 1 :])
    return ()  # they do not fit, as the loss will say


def _are_indices(scores: Tensor, labels: Tensor) -> bool:
    """Whether floats are class indices, of which a mean would be another class."""
    without_classes = labels.dim() == scores.dim() - 1 or labels.shape[1] == 1
    return without_classes and scores.shape[1] > 1


def _nearest(labels: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """The pixel in the middle of what each label covers, or the one after it."""
    for axis, size in zip(range(labels.dim() - len(sizes), labels.dim()), sizes, strict=True):
        length = labels.shape[axis]
        if size == length or 0 in (size, length):
            continue  # of nothing, as the loss may say
        if length % size == 0:
            step = length // size
            labels = labels[(slice(None),) * axis + (slice(step // 2, None, step),)]
        else:
            # In float32, as torch rounds it.
            middle = torch.arange(size, dtype=torch.float32, device=labels.device) + 0.5
            index = (middle * (length / size)).to(torch.int64)
            labels = labels.index_select(axis, index.clamp(max=length - 1))
    return labels


def _averaged(
    labels: Tensor, sizes: tuple[int, ...], ignore_index: int | None, options: dict[str, Any]
) -> tuple[Tensor, dict[str, Any]]:
    """Soft labels of the area that each covers, of pixels that count as much as they weigh."""
    wide = labels if labels.dtype == torch.float64 else labels.float()
    pixel_weight, mask = (options.get(key) for key in _OF_PIXELS)
    if pixel_weight is None and mask is None and ignore_index is None:
        return _area(wide, sizes), options
    of_pixels = wide if mask is None else mask  # one for each pixel, or for each label
    weight = torch.ones_like(of_pixels, dtype=wide.dtype)
    if pixel_weight is not None:
        weight = pixel_weight.to(wide.dtype)
    if mask is not None:
        weight = torch.where(mask, 0.0, weight)
    # A weight for each pixel of soft labels of classes, or for each label of a channel.
    each = weight if weight.dim() == wide.dim() else weight.unsqueeze(1)
    if ignore_index is not None:
        each = torch.where(wide == ignore_index, 0.0, each)
    whole = _area(each, sizes)
    summed = _area(torch.where(each > 0, wide * each, 0.0), sizes)
    mean = torch.where(whole > 0, summed / torch.where(whole > 0, whole, 1.0), 0.0)
    if ignore_index is not None:
        mean = torch.where(whole > 0, mean, float(ignore_index))
    options, share = dict(options), _area(weight, sizes)
    if pixel_weight is not None:
        options["pixel_weight"] = share
    if mask is not None:
        options["ignore_mask"] = share == 0
    return mean, options


def _area(tensor: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Means over the areas of the last axes."""
    before = tensor.shape[: tensor.dim() - len(sizes)]
    flat = tensor.reshape(1, -1, *tensor.shape[len(before) :])
    small = nn.functional.interpolate(flat, size=list(sizes), mode="area")
    return small.reshape(*before, *sizes)


def _option(loss: Loss, options: dict[str, Any], name: str) -> Any:
    """What a loss is asked for: in the call, by a partial function, or by a module."""
    bound = getattr(loss, "keywords", {})
    return options.get(name, bound.get(name, getattr(loss, name, None)))


def _check_callable(name: str, loss: Any) -> None:
    if not callable(loss):
        raise TypeError(
            f"{name}: expected loss to be a function or module of logits and target, got {loss!r}"
        )


def _scales(name: str, logits: Any) -> list[Tensor]:
    """The outputs as a list of one tensor or more."""
    if isinstance(logits, Tensor):
        return [logits]
    if not isinstance(logits, (list, tuple)):
        raise TypeError(
            f"{name}: expected logits to be a list of tensors, got {type(logits).__name__}"
        )
    if not logits:
        raise ValueError(f"{name}: expected logits of one scale or more, got an empty list")
    for scores in logits:
        if not isinstance(scores, Tensor):
            raise TypeError(
                f"{name}: expected logits to be a list of tensors, got a list with"
                f" {type(scores).__name__}"
            )
    return list(logits)


def _checked_weights(name: str, weights: Any, number: int | None) -> list[float]:
    """As many numbers as there are scales, if that is known."""
    values = weights.tolist() if hasattr(weights, "tolist") else weights
    if not isinstance(values, (list, tuple)) or not all(is_number(value) for value in values):
        raise TypeError(f"{name}: expected weights to be a list of numbers, got {weights!r}")
    if number is not None and len(values) != number:
        raise ValueError(
            f"{name}: expected weights of {number} scales, got {len(values)}: {list(values)}"
        )
    good = all(0 <= float(value) < math.inf for value in values)
    if not good or not any(value > 0 for value in values):
        raise ValueError(
            f"{name}: expected weights to be finite, not negative and not all 0, got {list(values)}"
        )
    return [float(value) for value in values]


def _check_given(name: str, argument: str, value: Any, number: int) -> None:
    if not isinstance(value, (list, tuple)) or len(value) != number:
        got = f"{len(value)}" if isinstance(value, (list, tuple)) else type(value).__name__
        raise ValueError(
            f"{name}: expected {argument} to be a list of {number}, one for each scale, with"
            f' labels="given", got {got}'
        )
