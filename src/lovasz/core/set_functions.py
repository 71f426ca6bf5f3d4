r"""Set functions: what a set of mispredicted pixels costs.

A set function $\Delta(fn, fp; G)$ gives the cost of one class from three counts: ``fn``
mispredicted positives (pixels of the class, false negatives), ``fp`` mispredicted negatives (false
positives) and the number ``positives`` $= G$ of pixels of the class. The losses of this
package are Lovász extensions of such functions, and any callable of the same form can be passed as
``set_function``. It gets float64 tensors that broadcast against each other, must work elementwise,
and must be 0 where ``fn`` and ``fp`` are both 0. Those below use operators of Python alone, so that
they take tensors of any library.

Only a monotone, submodular function has a convex extension (Lovász 1983; Berman et al. 2018,
section 2). The functions here that are not submodular have to be asked for with
``accept_nonconvex=True``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

__all__ = ["SetFunction", "dice", "jaccard", "missed_positives", "tversky"]

#: A tensor of whatever library the loss is computed with.
Array: TypeAlias = Any
SetFunction: TypeAlias = Callable[[Array, Array, Array], Array]


def _ratio(numerator: Array, denominator: Array) -> Array:
    # 0/0 is the empty set of an absent class, which costs nothing. The power is 1 at 0 and 0 at all
    # other counts; not every library adds a bool to a number.
    return numerator / (denominator + 0.0**denominator)


def jaccard(fn: Array, fp: Array, positives: Array) -> Array:
    r"""Jaccard loss, one minus the intersection over union.

    $$\Delta(fn, fp; G) = \frac{fn + fp}{G + fp} = 1 - \mathrm{IoU}$$

    Monotone and submodular, so its Lovász extension is convex in the errors.

    Args:
        fn: any shape, false negatives, in [0, positives].
        fp: shape that broadcasts with ``fn``, false positives, non-negative.
        positives: shape that broadcasts with ``fn``, pixels of the class.

    Returns:
        The broadcast shape, in [0, 1].

    Examples:
        >>> import torch
        >>> as_count = lambda n: torch.tensor(n, dtype=torch.float64)
        >>> jaccard(as_count(1), as_count(2), as_count(4)).item()
        0.5

    References:
        Berman, Triki, Blaschko, *The Lovász-Softmax loss*, CVPR 2018, equations 3 and 4.
    """
    return _ratio(fn + fp, positives + fp)


def missed_positives(fn: Array, fp: Array, positives: Array) -> Array:
    r"""Number of missed positives, a modular set function.

    $$\Delta(fn, fp; G) = fn$$

    Its Lovász extension is the plain sum $\sum_{i: y_i = c} \max(0, 1 - p_{ic})$ over the
    pixels of the class. It is *not* the Lovász extension of the Jaccard loss: false positives cost
    nothing, and there is no division by the union, so the loss grows with the number of pixels.
    With ``reduction="sum"`` and class weights α it is
    $\sum_c \alpha_c \sum_i \phi_{ic} \max(0, 1 - p_{ic})$.

    Args:
        fn: any shape, false negatives, in [0, positives].
        fp: shape that broadcasts with ``fn``, false positives (not used beyond its shape).
        positives: shape that broadcasts with ``fn``, pixels of the class (likewise).

    Returns:
        The broadcast shape, in [0, positives].

    Examples:
        >>> import torch
        >>> as_count = lambda n: torch.tensor(n, dtype=torch.float64)
        >>> missed_positives(as_count(3), as_count(2), as_count(4)).item()
        3.0
    """
    return fn + 0 * fp + 0 * positives  # of the broadcast shape


@dataclass(frozen=True)
class Tversky:
    """Tversky's set function, picklable, so that modules that hold one can be saved and copied."""

    alpha: float
    beta: float

    def __call__(self, fn: Array, fp: Array, positives: Array) -> Array:
        mistakes = self.alpha * fp + self.beta * fn
        return _ratio(mistakes, positives - fn + mistakes)

    def __repr__(self) -> str:
        return f"tversky(alpha={self.alpha:g}, beta={self.beta:g})"


_JACCARD = Tversky(1.0, 1.0)


def as_tversky(set_function: SetFunction) -> Tversky | None:
    """The set function as Tversky's, if it is one, so that an operator can compute it."""
    if set_function is jaccard:
        return _JACCARD
    return set_function if isinstance(set_function, Tversky) else None


def instead_of(value: Any) -> str:
    """What was passed where a set function is expected, and what to pass where that is known.

    >>> instead_of(dice)
    'the function dice that makes one (pass dice(accept_nonconvex=True))'
    >>> instead_of("Jaccard")
    "'Jaccard' (pass lovasz.jaccard)"
    """
    calls = {"dice": "dice(accept_nonconvex=True)", "tversky": "tversky(alpha, beta)"}
    if makes_set_functions(value):
        return f"the function {value.__name__} that makes one (pass {calls[value.__name__]})"
    if isinstance(value, type):
        return f"the class {value.__name__} (pass an object of it, or a function)"
    word = value.lower() if isinstance(value, str) else ""
    known = calls.get(word, word if word in __all__ else None)
    return f"{value!r}" if known is None else f"{value!r} (pass lovasz.{known})"


def makes_set_functions(value: Any) -> bool:
    """Whether it has to be called for a set function."""
    return value is dice or value is tversky


def tversky(alpha: float, beta: float, *, accept_nonconvex: bool = False) -> SetFunction:
    r"""Tversky loss: false positives and false negatives weighed differently.

    $$\Delta(fn, fp; G) = 1 - \frac{G - fn}{G - fn + \alpha\, fp + \beta\, fn}$$

    ``tversky(1, 1)`` is the Jaccard loss. It is monotone, and submodular for ``beta >= 1``. For
    ``beta < 1`` its extension is not convex and has to be accepted.

    Args:
        alpha: weight of a false positive, > 0.
        beta: weight of a false negative, > 0.
        accept_nonconvex: allows ``beta < 1``.

    Returns:
        A set function to pass as ``set_function``.

    Raises:
        ValueError: if a weight is not positive and finite, or ``beta < 1`` was not accepted.

    Examples:
        >>> tversky(0.5, 2.0)
        tversky(alpha=0.5, beta=2)

    References:
        Salehi, Erdogmus, Gholipour, *Tversky loss function for image segmentation using 3D fully
        convolutional deep networks*, MLMI 2017, arXiv 1706.05721 (there too α weighs the false
        positives and β the false negatives).
    """
    for name, value in (("alpha", alpha), ("beta", beta)):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"tversky: expected {name} to be positive and finite, got {value!r}")
    if beta < 1 and not accept_nonconvex:
        raise ValueError(
            "tversky: expected beta >= 1, because the set function is not submodular and its Lovász"
            f" extension not convex otherwise (pass accept_nonconvex=True to use it all the same),"
            f" got beta={beta!r}"
        )
    return Tversky(float(alpha), float(beta))


def dice(*, accept_nonconvex: bool = False) -> SetFunction:
    r"""Sørensen-Dice loss, which is not submodular.

    $$\Delta(fn, fp; G) = 1 - \frac{2 (G - fn)}{2 (G - fn) + fp + fn}$$

    Its extension is defined and can be minimised, but it is not convex in the errors (Yu and
    Blaschko, *A convex surrogate operator for general non-modular loss functions*, AISTATS 2016,
    arXiv 1604.03373), so the caller has to accept that.

    Args:
        accept_nonconvex: must be True.

    Returns:
        A set function to pass as ``set_function``.

    Raises:
        ValueError: if the lack of convexity was not accepted.

    Examples:
        >>> dice(accept_nonconvex=True)
        tversky(alpha=0.5, beta=0.5)
    """
    if not accept_nonconvex:
        raise ValueError(
            "dice: expected accept_nonconvex=True, because the Dice loss is not submodular and its"
            f" Lovász extension not convex, got {accept_nonconvex!r}"
        )
    return Tversky(0.5, 0.5)
