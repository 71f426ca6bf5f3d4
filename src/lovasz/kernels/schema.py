"""The operators: schema, implementations, and the shapes of their results.

Only shapes, strides and dtypes are decided here, so that compilers can trace through without
running anything. Results of the scores' own precision ("wide") are float64 for float64 scores and
float32 for everything narrower.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lovasz.kernels import autograd, between, channels, cpu, cpu_channels, reference, triton
from lovasz.kernels.backward import backward_by
from lovasz.kernels.batching import vmap_rule
from lovasz.kernels.precision import wide_dtype
from lovasz.kernels.reduction import reduce_by
from lovasz.kernels.tables import Groups, group_count
from lovasz.kernels.triton import channels as triton_channels

_library = torch.library.Library("lovasz", "DEF")
_library.define(
    "count(Tensor scores, Tensor target, int bins, int? ignore_index, bool per_image, bool softmax,"
    " bool entropy=False, Tensor? entropy_weight=None, float smoothing=0.,"
    " Tensor? pixel_weight=None, Tensor? group=None, int groups=1)"
    " -> (Tensor counts, Tensor lse, Tensor invalid, Tensor entropy)"
)
_library.define(
    "count_channels(Tensor scores, Tensor target, int bins, int? ignore_index, bool per_image,"
    " str link, bool entropy=False, Tensor? positive_weight=None, Tensor? pixel_weight=None,"
    " Tensor? group=None, int groups=1) -> (Tensor counts, Tensor invalid, Tensor entropy)"
)
_library.define(
    "weigh(Tensor counts, float alpha, float beta, bool wide, int unit=1, bool unbounded=False)"
    " -> (Tensor losses, Tensor slopes, Tensor seen)"
)
# No defaults in what has a gradient: the dispatcher leaves out arguments that are equal to theirs.
_library.define(
    "backward(Tensor scores, Tensor target, Tensor lse, Tensor slopes, Tensor? factors,"
    " int? ignore_index, str link, Tensor? entropy_scale, Tensor? entropy_weight, float smoothing,"
    " Tensor? group, Tensor? pixel_weight) -> Tensor"
)
_library.define(
    "reduce(Tensor losses, Tensor counting, Tensor invalid, Tensor? weight, bool normalize,"
    " str reduction, bool per_image, Tensor? sums, Tensor scores, Tensor target, Tensor lse,"
    " Tensor slopes, Tensor? entropy_weight, Tensor? group, Tensor? pixel_weight,"
    " int? ignore_index, str link, float smoothing)"
    " -> (Tensor value, Tensor factors, Tensor entropy, Tensor by_sum)"
)
_library.define(
    "rank(Tensor scores, Tensor target, int? ignore_index, bool per_image, bool softmax,"
    " Tensor? group=None, int groups=1)"
    " -> (Tensor errors, Tensor order, Tensor lse, Tensor invalid)"
)
_library.define(
    "rank_channels(Tensor scores, Tensor target, int? ignore_index, bool per_image, str link,"
    " Tensor? group=None, int groups=1) -> (Tensor errors, Tensor order, Tensor invalid)"
)
_library.define(
    "exact(Tensor scores, Tensor target, int? ignore_index, bool per_image, bool softmax,"
    " float alpha, float beta) -> (Tensor losses, Tensor slopes, Tensor positives, Tensor pixels,"
    " Tensor lse, Tensor invalid)"
)
_library.define(
    "exact_channels(Tensor scores, Tensor target, int? ignore_index, bool per_image, str link,"
    " float alpha, float beta) -> (Tensor losses, Tensor slopes, Tensor positives, Tensor pixels,"
    " Tensor invalid)"
)
_BETWEEN = ("weigh",)
_MULTICLASS = ("count", "rank", "exact")
_CHANNELS = ("count_channels", "rank_channels", "exact_channels")
for _names, _module in ((_BETWEEN, between), (_MULTICLASS, reference), (_CHANNELS, channels)):
    for _name in _names:
        _library.impl(_name, getattr(_module, _name), "CompositeExplicitAutograd")
for _key, _classes, _of_channels in (("CPU", cpu, cpu_channels), ("CUDA", triton, triton_channels)):
    for _name in ("count", "weigh", "exact"):
        _library.impl(_name, getattr(_classes, _name), _key)
    for _name in ("count_channels", "exact_channels"):
        _library.impl(_name, getattr(_of_channels, _name), _key)
    _library.impl("reduce", reduce_by(_classes.reduce), _key)
    _library.impl("backward", backward_by(_classes, _of_channels), _key)
# Without a gradient: a program from which a compiler has taken ``detach`` must not look for one.
for _name in (*_BETWEEN, *_MULTICLASS, *_CHANNELS):
    _library.impl(_name, torch.library.fallthrough_kernel, "Autograd")
_library.impl("backward", backward_by(reference, channels), "CompositeExplicitAutograd")
_library.impl("reduce", reduce_by(between.reduce), "CompositeExplicitAutograd")
autograd.register(_library)


def _groups(scores: Tensor, per_image: bool, group: Tensor | None, groups: int) -> int:
    return group_count(scores.shape[0], Groups(per_image, group, groups))


@torch.library.register_fake("lovasz::count")
def _(  # type: ignore[no-untyped-def]
    scores,
    target,
    bins,
    ignore_index,
    per_image,
    softmax,
    entropy=False,
    entropy_weight=None,
    smoothing=0.0,
    pixel_weight=None,
    group=None,
    groups=1,
):
    groups, classes = _groups(scores, per_image, group, groups), scores.shape[1]
    return (
        scores.new_empty((groups, classes, 2, bins), dtype=torch.int64),
        scores.new_empty(target.shape if softmax else (0,), dtype=wide_dtype(scores)),
        scores.new_empty((groups,), dtype=torch.int64),
        scores.new_empty((2 if entropy else 0,), dtype=torch.float64),
    )


@torch.library.register_fake("lovasz::count_channels")
def _(  # type: ignore[no-untyped-def]
    scores,
    target,
    bins,
    ignore_index,
    per_image,
    link,
    entropy=False,
    positive_weight=None,
    pixel_weight=None,
    group=None,
    groups=1,
):
    groups, classes = _groups(scores, per_image, group, groups), scores.shape[1]
    return (
        scores.new_empty((groups, classes, 2, bins), dtype=torch.int64),
        scores.new_empty((groups,), dtype=torch.int64),
        scores.new_empty((2 if entropy else 0,), dtype=torch.float64),
    )


@torch.library.register_fake("lovasz::weigh")
def _(counts, alpha, beta, wide, unit=1, unbounded=False):  # type: ignore[no-untyped-def]
    return (
        counts.new_empty(counts.shape[:2], dtype=torch.float64),
        counts.new_empty(counts.shape, dtype=torch.float64 if wide else torch.float32),
        counts.new_empty((2, *counts.shape[:2]), dtype=torch.bool),
    )


@torch.library.register_fake("lovasz::reduce")
def _(losses, counting, invalid, weight, normalize, reduction, per_image, sums, scores, *_):  # type: ignore[no-untyped-def]
    shape = losses.shape if reduction == "none" else ()
    entropy = (0,) if sums is None else ()
    shapes = (shape, losses.shape, entropy, entropy)
    return tuple(losses.new_empty(shape, dtype=wide_dtype(scores)) for shape in shapes)


@torch.library.register_fake("lovasz::rank")
def _(scores, target, ignore_index, per_image, softmax, group=None, groups=1):  # type: ignore[no-untyped-def]
    errors, order, invalid = _ranked(scores, per_image, group, groups)
    lse = scores.new_empty(target.shape if softmax else (0,), dtype=wide_dtype(scores))
    return errors, order, lse, invalid


@torch.library.register_fake("lovasz::rank_channels")
def _(scores, target, ignore_index, per_image, link, group=None, groups=1):  # type: ignore[no-untyped-def]
    return _ranked(scores, per_image, group, groups)


def _ranked(
    scores: Tensor, per_image: bool, group: Tensor | None, groups: int
) -> tuple[Tensor, Tensor, Tensor]:
    images, classes, length = scores.shape
    groups = _groups(scores, per_image, group, groups)
    # clouds get rows as long as all of them
    shape = (groups, classes, length if per_image or group is not None else images * length)
    return (
        scores.new_empty(shape, dtype=wide_dtype(scores)),
        scores.new_empty(shape, dtype=torch.int64),
        scores.new_empty((groups,), dtype=torch.int64),
    )


@torch.library.register_fake("lovasz::exact")
def _(scores, target, ignore_index, per_image, softmax, alpha, beta):  # type: ignore[no-untyped-def]
    *extended, invalid = _extended(scores, per_image)
    lse = scores.new_empty(target.shape if softmax else (0,), dtype=wide_dtype(scores))
    return *extended, lse, invalid


@torch.library.register_fake("lovasz::exact_channels")
def _(scores, target, ignore_index, per_image, link, alpha, beta):  # type: ignore[no-untyped-def]
    return _extended(scores, per_image)


def _extended(scores: Tensor, per_image: bool) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    groups, classes = _groups(scores, per_image, None, 1), scores.shape[1]
    return (
        scores.new_empty((groups, classes), dtype=torch.float64),
        scores.new_empty(scores.shape, dtype=wide_dtype(scores)),
        scores.new_empty((groups, classes), dtype=torch.int64),
        scores.new_empty((groups, classes), dtype=torch.int64),
        scores.new_empty((groups,), dtype=torch.int64),
    )


@torch.library.register_fake("lovasz::backward")
def _(scores, *_):  # type: ignore[no-untyped-def]
    return torch.empty_like(scores)


# Those of ``reduce`` and ``backward`` are part of their gradients.
for _name in (*_BETWEEN, *_MULTICLASS, *_CHANNELS):
    torch.library.register_vmap(f"lovasz::{_name}", vmap_rule(getattr(torch.ops.lovasz, _name)))
