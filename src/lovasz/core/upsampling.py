r"""Interpolation from the resolution of the logits to that of the labels.

Along each axis, output x of X lies at the place s among the source values $v_0 \ldots v_{n-1}$:

==================================  ============================================
``"linear"``, ``"bilinear"``,       $s = \max(0, (x + \tfrac12)\, n / X - \tfrac12)$
``"trilinear"``
the same with ``align_corners``     $s = x (n - 1) / (X - 1)$
``"nearest"``                       $s = \lfloor x\, n / X \rfloor$
==================================  ============================================

and is $(1 - \lambda)\, v_i + \lambda\, v_j$ with $i = \lfloor s \rfloor$, $\lambda = s - i$ and
$j = \min(i + 1, n - 1)$. This is `torch.nn.functional.interpolate` of a given size, without
antialiasing.
"""

from __future__ import annotations

# Number of spatial axes that a mode is for; "nearest" is for any.
AXES = {"linear": 1, "bilinear": 2, "trilinear": 3, "nearest": None}
LINEAR_MODES = {axes: mode for mode, axes in AXES.items() if axes is not None}
MOST_AXES = 3

# What the operators know: the names of the linear modes say no more than how many axes there are.
LINEAR, LINEAR_CORNERS, NEAREST = "linear", "linear_align_corners", "nearest"
KERNEL_MODES = (LINEAR, LINEAR_CORNERS, NEAREST)


def kernel_mode(upsample: str, align_corners: bool) -> str:
    """The mode as the operators know it."""
    if upsample == "nearest":
        return NEAREST
    return LINEAR_CORNERS if align_corners else LINEAR


def check_sizes(
    name: str,
    scores_name: str,
    upsample: str,
    source: tuple[int, ...],
    size: tuple[int, ...],
    sized: str = "target",
) -> None:
    """As many axes as the mode is for, and none of them empty.

    Args:
        name: of the function, for the sentence.
        scores_name: what it calls the scores.
        upsample: the mode.
        source: spatial sizes of the scores.
        size: sizes to enlarge them to.
        sized: what has these sizes.
    """
    axes = AXES[upsample]
    if len(source) != axes if axes is not None else not 1 <= len(source) <= MOST_AXES:
        wanted = f"{axes} spatial axes" if axes is not None else f"1 to {MOST_AXES} spatial axes"
        if len(source) in LINEAR_MODES:
            wanted += f' (for {len(source)} pass upsample="{LINEAR_MODES[len(source)]}")'
        raise ValueError(
            f'{name}: expected {scores_name} with {wanted} for upsample="{upsample}",'
            f" got {len(source)}, of sizes {source}"
        )
    for what, sizes in ((scores_name, source), (sized, size)):
        if 0 in sizes:
            raise ValueError(
                f'{name}: expected {what} without an empty axis for upsample="{upsample}",'
                f" got the spatial sizes {sizes}"
            )
