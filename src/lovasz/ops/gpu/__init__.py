"""The operators on CUDA and ROCm devices, by Triton kernels; float64 goes to the reference.

Triton comes with the builds of torch for such devices and is never a dependency: it is imported at
the first call on a device. Without it the reference runs, and one warning says so.
"""

from __future__ import annotations

import functools
import os
import warnings
from types import ModuleType

import torch
from torch import Tensor

from lovasz.ops import reference

_SCORE_TYPES = (torch.float32, torch.bfloat16, torch.float16)


@functools.cache
def _launch() -> ModuleType | None:
    """The launches, or None without Triton or where LOVASZ_DISABLE_KERNELS=1 asks for none."""
    if os.environ.get("LOVASZ_DISABLE_KERNELS") == "1":
        return None
    try:
        from lovasz.ops.gpu import launch  # noqa: PLC0415
    except ImportError as error:
        warnings.warn(
            f"lovasz: Triton cannot be imported ({error}), so the slow reference runs on this"
            " device; install the triton that your torch was built for",
            RuntimeWarning,
            stacklevel=3,
        )
        return None
    return launch


def _supported(scores: Tensor, softmax: bool) -> bool:
    return softmax and scores.dtype in _SCORE_TYPES and scores.numel() > 0


def count(
    scores: Tensor,
    target: Tensor,
    bins: int,
    ignore_index: int | None,
    per_image: bool,
    softmax: bool,
    entropy: bool = False,
    entropy_weight: Tensor | None = None,
    smoothing: float = 0.0,
    pixel_weight: Tensor | None = None,
    group: Tensor | None = None,
    groups: int = 1,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """``lovasz::count`` for CUDA tensors."""
    plain = pixel_weight is None and group is None
    launch = _launch() if plain and _supported(scores, softmax) else None
    if launch is None:
        return reference.count(
            scores, target, bins, ignore_index, per_image, softmax, entropy, entropy_weight,
            smoothing, pixel_weight, group, groups,
        )  # fmt: skip
    riding = launch.Entropy.of(entropy_weight, smoothing) if entropy else None
    with torch.cuda.device_of(scores):
        labels = launch.Labels.of(target, ignore_index)
        counts, lse, invalid, sums = launch.count(scores, labels, bins, per_image, riding)
    return counts, lse, invalid, sums


def push(
    scores: Tensor,
    target: Tensor,
    lse: Tensor,
    slopes: Tensor,
    ignore_index: int | None,
    softmax: bool,
    entropy_scale: Tensor | None = None,
    entropy_weight: Tensor | None = None,
    smoothing: float = 0.0,
    group: Tensor | None = None,
) -> Tensor:
    """``lovasz::push`` for CUDA tensors."""
    launch = _launch() if group is None and _supported(scores, softmax) else None
    if launch is None:
        return reference.push(
            scores, target, lse, slopes, ignore_index, softmax, entropy_scale, entropy_weight,
            smoothing, group,
        )  # fmt: skip
    riding = None if entropy_scale is None else launch.Entropy.of(entropy_weight, smoothing)
    with torch.cuda.device_of(scores):
        labels = launch.Labels.of(target, ignore_index)
        gradient: Tensor = launch.push(scores, labels, lse, slopes, entropy_scale, riding)
    return gradient


def exact(
    scores: Tensor,
    target: Tensor,
    ignore_index: int | None,
    per_image: bool,
    softmax: bool,
    alpha: float,
    beta: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """``lovasz::exact`` for CUDA tensors."""
    launch = _launch() if _supported(scores, softmax) else None
    if launch is None:
        return reference.exact(scores, target, ignore_index, per_image, softmax, alpha, beta)
    with torch.cuda.device_of(scores):
        labels = launch.Labels.of(target, ignore_index)
        losses, slopes, *rest = launch.exact(scores, labels, per_image, alpha, beta)
    positives, pixels, lse, invalid = rest
    of_class = pixels.unsqueeze(-1).repeat(1, positives.shape[1])  # the same for all
    return losses, slopes, positives, of_class, lse, invalid


def push_ranked(
    scores: Tensor,
    target: Tensor,
    lse: Tensor,
    slopes: Tensor,
    ignore_index: int | None,
    softmax: bool,
) -> Tensor:
    """``lovasz::push_ranked`` for CUDA tensors."""
    launch = _launch() if _supported(scores, softmax) else None
    if launch is None:
        return reference.push_ranked(scores, target, lse, slopes, ignore_index, softmax)
    with torch.cuda.device_of(scores):
        labels = launch.Labels.of(target, ignore_index)
        gradient: Tensor = launch.push(scores, labels, lse, slopes)
    return gradient
