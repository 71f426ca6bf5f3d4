"""From the tensors of a user to what the operators read.

The contents of tensors are read on the CPU alone: elsewhere it would wait for the device.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lovasz.core import shapes
from lovasz.core.links import MULTICLASS, PROBABILITIES, UNBOUNDED
from lovasz.core.options import Options
from lovasz.core.set_functions import SetFunction, instead_of, makes_set_functions
from lovasz.core.shapes import Layout
from lovasz.kernels.contents import SPARE_LABEL
from lovasz.kernels.passes import Inputs
from lovasz.losses._first_calls import LOOKED_AT, look
from lovasz.losses._labels import (
    class_indices,
    label_maps,
    map_weights,
    mask_and_weight,
    mixed_maps,
    soft_target,
    whole_labels,
)
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
    maps = None
    if not isinstance(target, Tensor) or options.target_weight is not None:
        maps = label_maps(name, link, target)
        target = maps[0]
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
    if not torch.compiler.is_compiling() and name not in LOOKED_AT:
        look(name, link, scores, target, layout, options.ignore_index)
    if layout.one_more or layout.whole or layout.one_hot:
        several = [class_indices(name, found, layout, options) for found in maps or [target]]
        target, maps = several[0], maps and several
    if layout.soft and link in UNBOUNDED:
        target = whole_labels(name, target, options, "0 or 1 (margins have no soft labels)")
        layout = layout._replace(soft=False)
    ignored, weight, mixture = options.ignore_index, options.pixel_weight, None
    if layout.soft:
        target, weight = soft_target(name, link, target, options)
    elif weight is not None or options.ignore_mask is not None:
        weight, mask = mask_and_weight(name, target, target.shape, options)
        ignored = SPARE_LABEL if ignored is None else ignored
        target = torch.where(mask, ignored, target.to(torch.int64))
    if layout.squeezed:
        target, weight = target.unsqueeze(1), None if weight is None else weight.unsqueeze(1)
    flat = _flatten_classes if link in MULTICLASS else _flatten_channels
    labels = (_flatten_channels if layout.soft else flat)(target, layout)
    if maps is not None:
        mixture = map_weights(name, options.target_weight, maps, scores)
        labels = mixed_maps(labels, ignored, [flat(found, layout) for found in maps])
    inputs = Inputs(
        scores if layout.upsampled else _flatten_channels(scores, layout),
        labels,
        link,
        ignored,
        options.per_image,
        None if weight is None else flat(weight, layout),
        mixture=mixture,
        label_smoothing=float(options.label_smoothing),
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
                f"{_part_of(value) if argument == scores_name else ''}"
            )
        if hasattr(value, "to_local"):  # without importing what few processes have loaded
            raise TypeError(
                f"{name}: expected {argument} to be this process's own part, got a DTensor: take"
                " its to_local(), and process_group= for the loss of all parts"
            )
    if target.device != scores.device:
        shapes.check_device(name, "target", target, scores.device, scores_name)


def _part_of(output: Any) -> str:
    """Which part of what a network returned would be the tensor."""
    if isinstance(getattr(output, "logits", None), Tensor):
        return ": pass its .logits"
    if isinstance(output, Mapping):
        names = [key for key, value in output.items() if isinstance(value, Tensor)]
        return f": pass one of its tensors, {names}" if names else ""
    if isinstance(output, list | tuple) and any(isinstance(part, Tensor) for part in output):
        return ": pass one of its tensors, or all of them to lovasz.deep_supervision"
    return ""


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


def check_set_function(name: str, set_function: SetFunction) -> None:
    """Try a set function on three sets: elementwise, and no cost where there is no mistake."""
    wanted = f"{name}: expected set_function to be a callable Δ(fn, fp, positives)"
    no_function = not callable(set_function) or isinstance(set_function, type)
    if no_function or makes_set_functions(set_function):
        raise TypeError(f"{wanted}, got {instead_of(set_function)}")
    if torch.compiler.is_compiling():
        return  # data-dependent; whoever compiles has called it once without
    counts = ([0.0, 1.0, 2.0], [0.0, 0.0, 3.0], [2.0, 2.0, 2.0])
    tried = [torch.tensor(values, dtype=torch.float64, device="cpu") for values in counts]
    try:
        cost = set_function(*tried)
    except Exception as error:
        raise TypeError(
            f"{wanted} of float64 tensors, got {instead_of(set_function)}, which raises"
            f" {type(error).__name__}: {error}"
        ) from error
    if not isinstance(cost, Tensor) or cost.shape != (3,) or cost.dtype != torch.float64:
        kind = type(cost).__name__
        if isinstance(cost, Tensor):
            kind = f"{cost.dtype} of shape {tuple(cost.shape)}"
        raise ValueError(
            f"{name}: expected set_function to return a float64 tensor of the shape of its"
            f" arguments, (3,), got {kind}"
        )
    if any(tensor.tolist() != values for tensor, values in zip(tried, counts, strict=True)):
        raise ValueError(
            f"{name}: expected set_function to leave its arguments as they are, got"
            f" {instead_of(set_function)}, which changes them in place"
        )
    if float(cost[0]) != 0 or not bool(cost.isfinite().all()):
        raise ValueError(
            f"{name}: expected set_function to be finite, and 0 where fn = fp = 0,"
            f" got {cost.tolist()} at (fn, fp) = (0, 0), (1, 0), (2, 3) with 2 positives"
        )
