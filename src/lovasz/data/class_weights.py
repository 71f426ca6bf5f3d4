"""Class weights from the number of pixels of each class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from lovasz.core.options import check_choice, check_flags, is_number
from lovasz.data.label_counts import LabelCounts
from lovasz.kernels.precision import float64_device
from lovasz.losses._classes import class_weight, in_order

__all__ = ["Scheme", "class_weights"]

Scheme = Literal["inverse", "sqrt", "median", "effective", "enet"]


def class_weights(
    counts: LabelCounts | Tensor | Sequence[float] | Mapping[int, float],
    scheme: Scheme = "inverse",
    *,
    beta: float | None = None,
    c: float | None = None,
    normalize: bool = True,
) -> Tensor:
    r"""Weights that make rare classes count more.

    With $n_c$ the pixels of class c, $f_c = n_c / \sum_k n_k$ its share, and $I_c$ the labelled
    pixels of the images that hold it, the weight of a class is

    $$
    \alpha_c = \begin{cases}
    1 / f_c & \text{"inverse"} \\
    1 / \sqrt{f_c} & \text{"sqrt"} \\
    \mathrm{median}_k(n_k / I_k) \,/\, (n_c / I_c) & \text{"median"} \\
    (1 - \beta) / (1 - \beta^{n_c}) & \text{"effective"} \\
    1 / \ln(c + f_c) & \text{"enet"}
    \end{cases}
    $$

    and then divided by the mean over the classes that occur. A class without a pixel gets the
    largest weight of those that occur: rarer is heavier, and the weight stays finite.

    Losses that divide by the sum of the weights, as cross-entropy and, with ``normalize_weight``,
    the Lovász losses do, depend on the ratios alone. The Lovász losses already count
    every class the same, whatever its size: give them weights to go beyond that.

    Args:
        counts: (C,), pixels of each class, finite and not negative, not all 0, as a dict with one
            for every class too; or the result of `count_labels`, which "median" needs.
        scheme: "inverse", "sqrt", "median", "effective" or "enet", as above.
        beta: of "effective" alone, in [0, 1): $1/(1 - \beta)$ is the number from which more
            pixels of a class say little new. None: the mean of the counts of the classes that
            occur. The 0.9 to 0.9999 of the source are meant for numbers of images, and
            give all classes with 100,000 pixels or more the same weight.
        c: of "enet" alone, more than 1. None: 1.02, which bounds the ratio of two weights by 35.5.
        normalize: divide by the mean over the classes that occur.

    Returns:
        (C,), positive, in torch's default dtype, on the device of the counts.

    Raises:
        TypeError: for arguments of a wrong type.
        ValueError: for arguments of a wrong value, an option that the scheme does not have, and
            "median" without the result of `count_labels`.

    Examples:
        >>> class_weights([900, 90, 10])
        tensor([0.0297, 0.2970, 2.6733])
        >>> class_weights([900, 90, 10], "sqrt", normalize=False)
        tensor([ 1.0541,  3.3333, 10.0000])

    References:
        "median": Eigen, Fergus, ICCV 2015, arXiv 1411.4734. "effective": Cui, Jia,
        Lin, Song, Belongie, *Class-balanced loss based on effective number of samples*, CVPR 2019,
        arXiv 1901.05555, proposition 1. "enet": Paszke, Chaurasia, Kim, Culurciello,
        *ENet*, 2016, arXiv 1606.02147. "sqrt" softens "inverse", as Mahajan et
        al., *Exploring the limits of weakly supervised pretraining*, ECCV 2018, arXiv 1805.00932,
        do with the sampling of labels.
    """
    name = "class_weights"
    check_choice(name, "scheme", scheme, get_args(Scheme))
    check_flags(name, normalize=normalize)
    _check_option(name, "beta", beta, scheme, "effective", "in [0, 1)")
    _check_option(name, "c", c, scheme, "enet", "more than 1")
    counts = _with_float64(counts)
    given = counts.pixels if isinstance(counts, LabelCounts) else counts
    pixels = class_weight(name, _double(given), argument="counts")
    if pixels is None:
        raise TypeError(f"{name}: expected counts to be a tensor or a sequence, got None")
    # Values on other devices are not looked at: that would wait for the device.
    if pixels.device.type == "cpu" and not bool((pixels > 0).any()):
        raise ValueError(f"{name}: expected counts with a pixel of some class, got {given}")
    pixels = pixels.double()
    share = pixels / pixels.sum()
    if scheme == "inverse":
        weights = 1 / share
    elif scheme == "sqrt":
        weights = share.rsqrt()
    elif scheme == "median":
        weights = _median(name, counts)
    elif scheme == "effective":
        weights = _effective(pixels, beta)
    else:
        weights = 1 / ((1.02 if c is None else c) + share).log()
    occurs = pixels > 0
    weights = weights.where(occurs, weights.where(occurs, 0).max())
    if normalize:
        weights = weights / (weights.where(occurs, 0).sum() / occurs.sum())
    return weights.to(torch.get_default_dtype())


def _with_float64(counts: Any) -> Any:
    """Tensors on a device that has it; anything else as it is."""
    if isinstance(counts, LabelCounts):
        return LabelCounts(*map(_with_float64, counts))
    return counts.to(float64_device(counts.device)) if isinstance(counts, Tensor) else counts


def _median(name: str, counts: Any) -> Tensor:
    """Frequencies in the images that hold the class; NaN for classes without a pixel."""
    if not isinstance(counts, LabelCounts):
        raise ValueError(
            f"{name}: expected counts to be the result of count_labels for the scheme 'median',"
            f" got {type(counts).__name__}"
        )
    frequency = counts.pixels.double() / counts.image_pixels
    return frequency.nanquantile(0.5) / frequency


def _effective(pixels: Tensor, beta: float | None) -> Tensor:
    """With the difference of 1 and a power of almost 1 kept exact."""
    if beta is None:
        # 1 - beta = 1/N; a table of single pixels would have N = 1, which is beta = 0
        one_minus = (pixels > 0).sum() / pixels.sum()
        log_beta = torch.log1p(-one_minus)
    else:
        one_minus = torch.as_tensor(1 - beta, dtype=torch.float64, device=pixels.device)
        log_beta = torch.as_tensor(beta, dtype=torch.float64, device=pixels.device).log()
    return one_minus / -torch.expm1(pixels * log_beta)


def _double(counts: Any) -> Any:
    """Sequences in float64, because float32 cannot hold every count."""
    if isinstance(counts, Tensor) or counts is None:
        return counts
    if isinstance(counts, Mapping):
        counts = in_order("class_weights", counts, "counts")
    try:
        return torch.tensor(counts, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"class_weights: expected counts to be a tensor or a sequence of numbers,"
            f" got {counts!r}"
        ) from error


def _check_option(
    name: str, argument: str, value: Any, scheme: str, owner: str, limits: str
) -> None:
    """An option of one scheme alone: a number within its limits, or None."""
    if value is None:
        return
    if scheme != owner:
        raise ValueError(
            f"{name}: expected {argument} with the scheme {owner!r} alone, got {value!r}"
            f" with {scheme!r}"
        )
    if not is_number(value):
        raise TypeError(f"{name}: expected {argument} to be a number, got {value!r}")
    number = float(value)
    fits = 0 <= number < 1 if owner == "effective" else 1 < number < math.inf
    if not fits:
        raise ValueError(f"{name}: expected {argument} to be {limits}, got {value!r}")
