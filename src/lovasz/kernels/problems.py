"""What the compiled kernels are told: the problem, and tensors that they can read and write."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from lovasz.core import native
from lovasz.kernels.tables import fixed_point

# An element of the sort holds its place in 32 bits.
SORTED_SCORES = 2**32
_NO_MEMORY = -1

SCORE_TYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
LABEL_TYPES = {
    torch.bool: 0,
    torch.uint8: 0,
    torch.int8: 1,
    torch.uint16: 2,
    torch.int16: 3,
    torch.uint32: 4,
    torch.int32: 5,
    torch.int64: 6,
    torch.uint64: 7,
}


def make_problem(
    scores: Tensor,
    target: Tensor,
    lse: Tensor,
    bins: int,
    ignore_index: int | None,
    per_image: bool,
) -> native.Problem:
    """What a kernel is told; the fields that are left out are zero."""
    images, classes, length = scores.shape
    return native.Problem(
        scores=address(scores),
        target=target.data_ptr(),
        target_stride=target.stride(0),
        images=images,
        classes=classes,
        length=length,
        bins=bins,
        ignore_index=0 if ignore_index is None else ignore_index,
        lse=lse.data_ptr(),
        score_type=SCORE_TYPES[scores.dtype],
        label_type=LABEL_TYPES[target.dtype],
        has_ignore_index=ignore_index is not None,
        per_image=per_image,
    )


def add_entropy(
    problem: native.Problem, entropy: bool, weight: Tensor | None, smoothing: float
) -> list[Tensor]:
    """Ask for cross-entropy; the result has to live as long as the problem is in use."""
    problem.entropy, problem.smoothing = entropy, smoothing
    if weight is None:
        return []
    weight = weight.to(torch.float32).contiguous()
    problem.entropy_weight = weight.data_ptr()
    return [weight]


def entropy_of(result: native.CountResult, entropy: bool) -> Tensor:
    """The sums of cross-entropies and of their weights, if they were asked for."""
    if not entropy:
        return torch.empty(0, dtype=torch.float64)
    return torch.tensor(result.entropy[:], dtype=torch.float64)


def add_pixel_weight(problem: native.Problem, weight: Tensor | None) -> list[Tensor]:
    """Weights (N, L), or (N, C, L) of channels; the result has to live as long as the problem."""
    if weight is None:
        return []
    weight = weight.to(torch.float32).contiguous()
    problem.pixel_weight = weight.data_ptr()
    problem.weight_image_stride = weight.stride(0)
    problem.weight_class_stride = weight.stride(1) if weight.dim() == 3 else 0
    return [weight]


def add_pixel_mass(problem: native.Problem, weight: Tensor | None) -> list[Tensor]:
    """The same weights in the units that are counted, of which the first pass alone has need."""
    if weight is None:
        return []
    mass = fixed_point(weight).contiguous()
    problem.pixel_mass = mass.data_ptr()
    return [mass]


def sort_exactly(
    kernels: ctypes.CDLL, problem: native.Problem, alpha: float, beta: float
) -> tuple[tuple[Tensor, ...], int]:
    """Losses (G, C), slopes (N, C, L), positives, pixels (G, C), invalid (G); and bad labels."""
    images, classes, length = problem.images, problem.classes, problem.length
    groups = images if problem.per_image else 1
    slopes = torch.empty((images, classes, length), dtype=torch.float32)
    kernels.lovasz_expect_writes(slopes.data_ptr(), slopes.numel() * 4)
    losses = torch.empty((groups, classes), dtype=torch.float64)
    positives, pixels = (torch.empty((groups, classes), dtype=torch.int64) for _ in range(2))
    invalid = torch.zeros(groups, dtype=torch.int64)
    result = native.ExactResult(
        slopes=slopes.data_ptr(),
        losses=losses.data_ptr(),
        positives=positives.data_ptr(),
        pixels=pixels.data_ptr(),
        invalid=invalid.data_ptr(),
        alpha=alpha,
        beta=beta,
    )
    check(kernels.lovasz_exact(problem, result, torch.get_num_threads()))
    return (losses, slopes, positives, pixels, invalid), result.bad_labels


def narrow(table: Tensor | None) -> tuple[Tensor | None, int | None]:
    """Slopes or factors as the kernels read them, and their address; None for none."""
    if table is None:
        return None, None
    table = table.to(torch.float32).contiguous()
    return table, table.data_ptr()


def gradient_of(scores: Tensor, kernels: ctypes.CDLL) -> tuple[Tensor, Tensor]:
    """The gradient, and what the kernel writes: the same, or a copy that it can write."""
    gradient = torch.empty_like(scores)
    out = gradient if _in_place(gradient) else torch.empty(scores.shape, dtype=scores.dtype)
    kernels.lovasz_expect_writes(out.data_ptr(), out.numel() * out.element_size())
    return gradient, out


def readable(scores: Tensor) -> Tensor:
    """The scores, copied where neither pixels nor classes lie next to each other."""
    return scores if _in_place(scores) else scores.contiguous()


def pixels_contiguous(target: Tensor) -> Tensor:
    """Labels whose pixels lie next to each other."""
    return target if target.stride(-1) == 1 else target.contiguous()


def address(scores: Tensor) -> native.Scores:
    """Where a tensor is, and its strides."""
    image, channel, pixel = scores.stride()
    if channel != 1 or scores.shape[2] == 1:
        pixel = 1
    return native.Scores(scores.data_ptr(), image, channel, pixel)


def check(status: int) -> None:
    """Raise where the kernels could not work, ``lovasz_status`` in csrc/lovasz.h."""
    if status == _NO_MEMORY:
        raise MemoryError("lovasz: the CPU kernels could not allocate their tables")
    if status != 0:
        raise RuntimeError(
            "lovasz: expected arguments that csrc/lovasz.h allows, and the CPU kernels got others;"
            " this is an error of lovasz, please report it with the shapes and strides of the call"
        )


def _in_place(scores: Tensor) -> bool:
    """Whether pixels or classes lie next to each other."""
    return 1 in scores.stride()[1:] or scores.shape[2] == 1
