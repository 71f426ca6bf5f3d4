"""Labels other than one index of each pixel: soft ones, several maps, and pixels that are left out.

The contents of tensors are read on the CPU alone: elsewhere it would wait for the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lovasz.core import shapes
from lovasz.core.links import MULTICLASS
from lovasz.core.options import Options
from lovasz.core.shapes import Layout, dtype_name
from lovasz.kernels.contents import NO_LABEL
from lovasz.kernels.fixed_point import is_weight
from lovasz.losses._subclasses import plain
from lovasz.losses._tracing import is_traced

_UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)


def soft_target(
    name: str, link: str, target: Tensor, options: Options
) -> tuple[Tensor, Tensor | None]:
    """Floating labels, and weights that are 0 where pixels are left out.

    Args:
        name: of the function, for sentences about wrong arguments.
        link: see ``core.links``.
        target: of the shape of the scores.
        options: of the loss.
    """
    if target.requires_grad and torch.is_grad_enabled():
        raise ValueError(
            f"{name}: expected target without requires_grad, because a loss has no gradient by its"
            " labels, got one that requires it: pass target.detach()"
        )
    if link in MULTICLASS and options.ignore_index is not None:
        raise ValueError(
            f"{name}: expected ignore_mask or pixel_weight for soft labels, none of which is an"
            f" index, got ignore_index={options.ignore_index}"
        )
    shape = target.shape
    if link in MULTICLASS:
        shape = shape[:1] + shape[2:]
    weight = None
    if options.pixel_weight is not None or options.ignore_mask is not None:
        weight, mask = mask_and_weight(name, target, shape, options)
        if options.ignore_mask is not None:
            weight = torch.ones_like(mask, dtype=torch.float32) if weight is None else weight
            weight = torch.where(mask, 0.0, weight)
    return target, weight


def class_indices(name: str, target: Tensor, layout: Layout, options: Options) -> Tensor:
    """Labels of other forms as indices (N, *) or (P,).

    Args:
        name: of the function, for sentences about wrong arguments.
        target: with an axis 1 of size 1, as whole floats, or one-hot.
        layout: which of these it is.
        options: of the loss; what they leave out may hold anything.
    """
    if layout.one_more:
        target = target.squeeze(1)
    if layout.whole:
        wanted = "class indices, or soft labels of shape (N, C, *) or (P, C)"
        return whole_labels(name, target, options, wanted)
    return _hottest(name, target, options) if layout.one_hot else target


def whole_labels(name: str, target: Tensor, options: Options, wanted: str) -> Tensor:
    """Whole floats, of which binary cross-entropy wants zeros and ones, as integers."""
    labels = target.to(torch.int64)
    wrong = _counted(labels != target, options)  # NaN too
    if _is_readable(target) and bool(wrong.any()):
        raise ValueError(
            f"{name}: expected every label to be {wanted}, or equal to"
            f" ignore_index={options.ignore_index}, got {float(target[wrong][0]):g}"
        )
    return torch.where(wrong, NO_LABEL, labels)  # reported as NaN


def from_one_hot(target: Tensor) -> tuple[Tensor, Tensor]:
    """Classes of (N, C, *) or (P, C), and where axis 1 holds anything but a 1 and zeros."""
    hot = target == 1
    wrong = ((target != 0) & ~hot).any(1) | (hot.sum(1) != 1)
    return hot.to(torch.uint8).argmax(1), wrong


def _hottest(name: str, target: Tensor, options: Options) -> Tensor:
    """The class of every pixel of a one-hot target (N, C, *) or (P, C)."""
    labels, wrong = from_one_hot(target)
    if options.ignore_index not in (None, 0, 1):  # in all channels of a pixel
        left_out = (target == options.ignore_index).all(1)
        labels, wrong = torch.where(left_out, options.ignore_index, labels), wrong & ~left_out
    wrong = _counted(wrong, options)
    if _is_readable(target) and bool(wrong.any()):
        # Numbers of the first of these pixels.
        numbers = target.movedim(1, -1)[wrong][0].tolist()
        raise ValueError(
            f"{name}: expected a target of an integer dtype and shape {tuple(target.shape)} to be"
            f" one-hot, a 1 and zeros on axis 1, got {numbers} at a pixel; pass target.float() for"
            " soft labels, and ignore_mask for pixels without a class"
        )
    return torch.where(wrong, NO_LABEL, labels)


def _counted(wrong: Tensor, options: Options) -> Tensor:
    """Pixels whose label is wrong, without those that are left out."""
    mask, weight = options.ignore_mask, options.pixel_weight
    for out in (mask, None if weight is None else weight == 0):
        if isinstance(out, Tensor) and out.dtype == torch.bool and out.numel() == wrong.numel():
            wrong = wrong & ~out.reshape(wrong.shape)
    return wrong


def _is_readable(tensor: Tensor) -> bool:
    """Whether its contents can be looked at, and without waiting for a device."""
    return tensor.device.type == "cpu" and not is_traced()


def label_maps(name: str, link: str, target: Any) -> list[Tensor]:
    """Maps of class indices, all of one shape."""
    wanted = f"{name}: expected target to be a tensor or a list of tensors of class indices"
    if not isinstance(target, list | tuple) or not target:
        if isinstance(target, Tensor):
            raise ValueError(
                f"{name}: expected target_weight with a list of label maps alone, got one target"
            )
        if isinstance(target, list | tuple):
            raise ValueError(f"{wanted}, got an empty {type(target).__name__}")
        raise TypeError(f"{name}: expected target to be a tensor, got {type(target).__name__}")
    if link not in MULTICLASS:
        raise TypeError(
            f"{name}: expected target to be one tensor, got a {type(target).__name__}; of several"
            " sets of zeros and ones pass their mean, which is a soft label"
        )
    for found in target:
        if not isinstance(found, Tensor) or dtype_name(found) not in shapes.INTEGRAL:
            kind = found.dtype if isinstance(found, Tensor) else type(found).__name__
            raise TypeError(f"{wanted}, got {kind}")
        first = target[0]
        if found.shape != first.shape or found.device != first.device:
            raise ValueError(
                f"{wanted}, all of one shape and on one device, got {tuple(first.shape)} on"
                f" {first.device} and {tuple(found.shape)} on {found.device}"
            )
    return [plain(found) for found in target]


def map_weights(name: str, weights: Any, maps: Sequence[Tensor], scores: Tensor) -> Tensor:
    """Weights of the maps for every image, (N, K)."""
    images, number = (1 if scores.dim() == 2 else len(scores)), len(maps)
    dtype = torch.float64 if scores.dtype == torch.float64 else torch.float32
    if weights is None:
        return torch.full((images, number), 1 / number, dtype=dtype, device=scores.device)
    filled = not isinstance(weights, Tensor)
    if filled:
        try:
            weights = torch.tensor(weights, dtype=dtype, device="cpu")
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(
                f"{name}: expected target_weight to be a tensor or a sequence of numbers,"
                f" got {weights!r}"
            ) from error
    if tuple(weights.shape) not in ((number,), (images, number)):
        raise ValueError(
            f"{name}: expected target_weight of shape ({number},) or ({images}, {number}), a number"
            f" for each label map, got {tuple(weights.shape)}"
        )
    if weights.device.type == "cpu" and not torch.compiler.is_compiling():
        sums = weights.sum(-1)
        if not bool((weights >= 0).all()) or not bool(((sums - 1).abs() < 1e-3).all()):
            raise ValueError(
                f"{name}: expected target_weight to be not negative and to sum to 1,"
                f" got {weights.tolist()}"
            )
    weights = plain(weights).detach()
    if filled and scores.device.type != "cpu":
        # Number by number on the device: a copy from the host would wait for it.
        options: dict[str, Any] = {"dtype": dtype, "device": scores.device}
        numbers = [torch.full((1,), value, **options) for value in weights.flatten().tolist()]
        weights = torch.cat(numbers).view(weights.shape)
    expanded: Tensor = weights.to(scores.device, dtype).expand(images, number).contiguous()
    return expanded


def mixed_maps(first: Tensor, ignored: int | None, maps: Sequence[Tensor]) -> Tensor:
    """Label maps (N, L) as one tensor (N, K, L), with the pixels that the first one leaves out.

    Args:
        first: the first of the maps, in which masked pixels are ignored ones.
        ignored: the ignored label, if there is one.
        maps: all of them, as they were given.
    """
    stacked = torch.stack([found.to(first.dtype) for found in maps], 1)
    if ignored is None:
        return stacked
    if first.dtype in _UNSIGNED:  # which not every torch can choose from
        first, stacked = first.to(torch.int64), stacked.to(torch.int64)
    left_out = (first == ignored) & (stacked[:, 0] != ignored)
    return torch.where(left_out.unsqueeze(1), ignored, stacked)


def mask_and_weight(
    name: str, target: Tensor, shape: Sequence[int], options: Options
) -> tuple[Tensor | None, Tensor]:
    """Weights of pixels, and which pixels are masked or have the weight 0."""
    mask, weight = options.ignore_mask, options.pixel_weight
    for argument, tensor in (("ignore_mask", mask), ("pixel_weight", weight)):
        if tensor is None:
            continue
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"{name}: expected {argument} to be a tensor, got {type(tensor).__name__}"
            )
        shapes.check_device(name, argument, tensor, target.device)
    mask = _with_axes(name, "ignore_mask", mask, tuple(shape))
    weight = _with_axes(name, "pixel_weight", weight, tuple(shape))
    if mask is not None and mask.dtype != torch.bool:
        raise TypeError(f"{name}: expected ignore_mask of dtype bool, got {mask.dtype}")
    if weight is not None:
        weight = _checked_weight(name, weight)
        mask = weight == 0 if mask is None else mask | (weight == 0)
    assert mask is not None  # one of the two is there
    return weight, mask


def _with_axes(name: str, argument: str, tensor: Any, shape: tuple[int, ...]) -> Any:
    """One number for each label, with or without an axis of one channel."""
    if tensor is None:
        return None
    if tensor.dim() == len(shape) + 1 and tensor.dim() > 1 and tensor.shape[1] == 1:
        tensor = tensor.squeeze(1)
    elif tensor.dim() == len(shape) - 1 and shape[1] == 1:
        tensor = tensor.unsqueeze(1)
    shapes.check_same_shape(name, argument, tensor, shape)
    return tensor


def _checked_weight(name: str, weight: Tensor) -> Tensor:
    if dtype_name(weight) not in shapes.FLOATING:
        raise TypeError(f"{name}: expected pixel_weight of a floating dtype, got {weight.dtype}")
    if _is_readable(weight) and not bool((good := is_weight(weight)).all()):
        raise ValueError(
            f"{name}: expected pixel_weight to be in [0, 65536], got {float(weight[~good][0]):g}"
        )
    return weight.detach()
