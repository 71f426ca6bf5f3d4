"""The second pass as one operator, whatever the link and the method."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from torch import Tensor

from lovasz.core.links import MULTICLASS
from lovasz.kernels.contract import check_pixels, check_slopes


def backward_by(classes: ModuleType, channels: ModuleType) -> Callable[..., Tensor]:
    """``lovasz::backward`` by the functions of two modules, ``push`` and ``push_channels``."""

    def backward(
        scores: Tensor,
        target: Tensor,
        lse: Tensor,
        slopes: Tensor,
        factors: Tensor | None,
        ignore_index: int | None,
        link: str,
        entropy_scale: Tensor | None = None,
        entropy_weight: Tensor | None = None,
        smoothing: float = 0.0,
        group: Tensor | None = None,
        pixel_weight: Tensor | None = None,
    ) -> Tensor:
        """The gradient of the scores, in their dtype and layout."""
        check_pixels(
            "backward",
            scores,
            target,
            link,
            lse=lse,
            pixel_weight=pixel_weight,
            class_weight=entropy_weight,
            group=group,
        )
        check_slopes("backward", scores, slopes, factors, group)
        by_pixel = slopes.dim() == 3  # then they have the weights of the pixels in them
        entropy = (entropy_scale, entropy_weight)
        gradient: Tensor
        if link in MULTICLASS:
            common: tuple[Any, ...] = (scores, target, lse, slopes, ignore_index, link == "softmax")
            tail: tuple[Any, ...] = (*entropy, smoothing, group, factors, pixel_weight)
            by_slopes = (classes.push_ranked, classes.push)
        else:
            common = (scores, target, slopes, ignore_index, link)
            tail = (*entropy, group, factors, pixel_weight)
            by_slopes = (channels.push_ranked_channels, channels.push_channels)
        gradient = by_slopes[0](*common, factors) if by_pixel else by_slopes[1](*common, *tail)
        return gradient

    return backward
