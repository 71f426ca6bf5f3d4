"""From the tensors of a user to what the operators read.

The contents of tensors are read on the CPU alone: elsewhere it would wait for the device.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lovasz.core import shapes
from lovasz.core.links import MULTICLASS, PROBABILITIES
from lovasz.core.options import Options
from lovasz.core.set_functions import SetFunction
from lovasz.core.shapes import Layout, dtype_name
from lovasz.kernels.contents import SPARE_LABEL
from lovasz.kernels.fixed_point import is_weight
from lovasz.kernels.passes import Inputs
from lovasz.losses._segments import with_segments
from lovasz.losses._upsampling import with_upsampling


def prepare(
    name: str, scores_name: str, link: str, scores: Any, target: Any, options: Options
) -> Inputs:
    """Check scores and labels, and flatten both.

    Args:
        name: of the function, for sentences about wrong arguments.
        scores_name: of its first argument, likewise.
        link: whether the target holds class indices, or zeros and ones for each channel.
        scores: (N, C, *), (P, C) or for multilabel (N, *) and (P,).
        target: labels.
        options: of the loss; those that are tensors of pixels or points are read here.
    """
    check_tensors(name, scores_name, scores, target)
    tensors, upsample = (name, scores_name, scores, target), options.upsample
    has_upsample = link not in PROBABILITIES
    if link in MULTICLASS:
        layout = shapes.multiclass(
            *tensors, softmax=link == "softmax", upsample=upsample, has_upsample=has_upsample
        )
    else:
        layout = shapes.multilabel(
            *tensors, options.multilabel, upsample=upsample, has_upsample=has_upsample
        )
        if dtype_name(target) in shapes.FLOATING:
            target = _whole_labels(name, target, options.ignore_index)
    ignored, weight = options.ignore_index, options.pixel_weight
    if weight is not None or options.ignore_mask is not None:
        target, ignored, weight = _leave_out(name, target, options)
    if layout.squeezed:
        target, weight = target.unsqueeze(1), None if weight is None else weight.unsqueeze(1)
    flat = _flatten_classes if link in MULTICLASS else _flatten_channels
    inputs = Inputs(
        scores if layout.upsampled else _flatten_channels(scores, layout),
        flat(target, layout),
        link,
        ignored,
        options.per_image,
        None if weight is None else flat(weight, layout),
    )
    if layout.upsampled:
        inputs = with_upsampling(inputs, scores, target, layout, options)
    segmented = (options.offsets, options.batch_index, options.batch_size)
    if segmented != (None, None, None):
        inputs = with_segments(name, inputs, layout, options)
    return inputs


def check_tensors(name: str, scores_name: str, scores: Any, target: Any) -> None:
    """Tensors of this process, both on one device."""
    for argument, value in ((scores_name, scores), ("target", target)):
        if not isinstance(value, Tensor):
            raise TypeError(
                f"{name}: expected {argument} to be a tensor, got {type(value).__name__}"
            )
        if hasattr(value, "to_local"):  # without importing what few processes have loaded
            raise TypeError(
                f"{name}: expected {argument} to be this process's own part, got a DTensor: take"
                " its to_local(), and process_group= for the loss of all parts"
            )
    if target.device != scores.device:
        shapes.check_device(name, "target", target, scores.device, scores_name)


def check_pair(name: str, scores_name: str, scores: Any, target: Any) -> None:
    """Scores (N, C, *) or (P, C) and class indices (N, *) or (P,)."""
    check_tensors(name, scores_name, scores, target)
    shapes.multiclass(name, scores_name, scores, target)


def _flatten_classes(labels: Tensor, layout: Layout) -> Tensor:
    """One number for each pixel, (N, L)."""
    return labels.unsqueeze(0) if layout.points else labels.flatten(1)


def _flatten_channels(tensor: Tensor, layout: Layout) -> Tensor:
    """One number for each pixel and class or channel, (N, C, L)."""
    if layout.points:  # (P,), or classes last
        return tensor.reshape(1, 1, -1) if tensor.dim() == 1 else tensor.t().unsqueeze(0)
    return tensor.flatten(2) if layout.channels else tensor.flatten(1).unsqueeze(1)


def _whole_labels(name: str, target: Tensor, ignore_index: int | None) -> Tensor:
    """Floating zeros and ones, as binary cross-entropy wants them, as integers."""
    labels = target.to(torch.int64)
    soft = labels != target  # NaN too
    if target.device.type == "cpu" and not torch.compiler.is_compiling() and bool(soft.any()):
        raise ValueError(
            f"{name}: expected every label to be 0 or 1 or equal to ignore_index={ignore_index}"
            f" (Lovász losses take no soft labels), got {float(target[soft][0]):g}"
        )
    return torch.where(soft, SPARE_LABEL + 1, labels)  # no label: reported as NaN


def _leave_out(
    name: str, target: Tensor, options: Options
) -> tuple[Tensor, int | None, Tensor | None]:
    """Labels in which masked pixels and those of weight 0 are ignored ones; and the weights."""
    mask, weight = options.ignore_mask, options.pixel_weight
    for argument, tensor in (("ignore_mask", mask), ("pixel_weight", weight)):
        if tensor is None:
            continue
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"{name}: expected {argument} to be a tensor, got {type(tensor).__name__}"
            )
        shapes.check_same_shape(name, argument, tensor, target)
        shapes.check_device(name, argument, tensor, target.device)
    if mask is not None and mask.dtype != torch.bool:
        raise TypeError(f"{name}: expected ignore_mask of dtype bool, got {mask.dtype}")
    if weight is not None:
        weight = _checked_weight(name, weight)
        mask = weight == 0 if mask is None else mask | (weight == 0)
    assert mask is not None  # one of the two is there
    ignored = SPARE_LABEL if options.ignore_index is None else options.ignore_index
    return torch.where(mask, ignored, target.to(torch.int64)), ignored, weight


def _checked_weight(name: str, weight: Tensor) -> Tensor:
    if dtype_name(weight) not in shapes.FLOATING:
        raise TypeError(f"{name}: expected pixel_weight of a floating dtype, got {weight.dtype}")
    readable = weight.device.type == "cpu" and not torch.compiler.is_compiling()
    if readable and not bool((good := is_weight(weight)).all()):
        raise ValueError(
            f"{name}: expected pixel_weight to be in [0, 65536], got {float(weight[~good][0]):g}"
        )
    return weight.detach()


def check_set_function(name: str, set_function: SetFunction) -> None:
    """Try a set function on three sets: elementwise, and no cost where there is no mistake."""
    if not callable(set_function):
        raise TypeError(
            f"{name}: expected set_function to be a callable Δ(fn, fp, positives),"
            f" got {set_function!r}"
        )
    if torch.compiler.is_compiling():
        return  # data-dependent; whoever compiles has called it once without
    fn, fp = (torch.tensor(values, dtype=torch.float64) for values in ((0, 1, 2), (0, 0, 3)))
    cost = set_function(fn, fp, torch.full((3,), 2.0, dtype=torch.float64))
    if not isinstance(cost, Tensor) or cost.shape != (3,) or cost.dtype != torch.float64:
        kind = type(cost).__name__
        if isinstance(cost, Tensor):
            kind = f"{cost.dtype} of shape {tuple(cost.shape)}"
        raise ValueError(
            f"{name}: expected set_function to return a float64 tensor of the shape of its"
            f" arguments, (3,), got {kind}"
        )
    if float(cost[0]) != 0 or not bool(cost.isfinite().all()):
        raise ValueError(
            f"{name}: expected set_function to be finite, and 0 where fn = fp = 0,"
            f" got {cost.tolist()} at (fn, fp) = (0, 0), (1, 0), (2, 3) with 2 positives"
        )
