"""The seven operators of torch: schemas, implementations, and the shapes of their results.

===================  ==============================================================================
``histogram``        first pass: counts the errors of all pixels in bins
``sort``             first pass of the exact method: sorts them
``extend``           from counts to losses, and their derivatives by the errors, the slopes
``sort_and_extend``  both at once, for Tversky's family
``reduce``           from the losses of the classes to the loss; here its gradient begins
``backward``         second pass: from slopes to the gradient of the scores
``argmax``           labels without a loss: the class with the largest score of each pixel, or
                     with ``multilabel`` whether the score of each channel is above 0
===================  ==============================================================================

Scores are (N, C, L) with any strides. ``link`` says how they become errors (``core.links``); the
target is (N, L) class indices, or (N, C, L) zeros and ones for links of multilabel. Labels are soft
if the target is floating, (N, C, L), or ``label_smoothing`` is not 0, or the target holds K label
maps (N, K, L) that are weighted by the ``mixture`` (N, K). Groups G are 1,
or N with ``per_image``, or with ``segment_ids`` (1, L) as many as there are ``segments``. ``lse``
is the log-sum-exp (N, L), and empty without softmax. Slopes are (G, C, 2, B) by bin, or (N, C, L)
by pixel; losses (G, C), counts (G, C, 2, B): negatives and positives by bin of ascending error.
``regions`` (G, C, 8) are the sums of ``core.regions``, made for soft labels and where they are
asked for; if they are not, those of predictions may be 0. ``smoothing`` is the cross-entropy's,
``label_smoothing`` that of everything else.

For ``argmax``, ``lines`` (2, C) are factors, by which scores are multiplied before, and what is
added then.

With ``upsample`` (``core.upsampling``) the scores are (N, C, d, h, w) and interpolated to ``size``
(D, H, W) while they are read; L is D · H · W, and the gradient is that of the scores as given.

PyTorch's dispatcher picks the implementation by device: ``cpu``, ``triton`` where it passes its
test (``self_test``), and for all others ``reference``, which is plain torch and the specification.
Only shapes, strides and dtypes are decided here, so that compilers can trace through without
running anything.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lovasz.core.regions import SUMS
from lovasz.kernels import autograd, cpu, reference, triton
from lovasz.kernels.batching import vmap_rule
from lovasz.kernels.comparison import RESULTS
from lovasz.kernels.contract import checked, checked_reduction
from lovasz.kernels.precision import compute_dtype
from lovasz.kernels.segments import Segments
from lovasz.kernels.self_test import proven
from lovasz.kernels.soft import is_soft

_WITHOUT_GRADIENT = ("histogram", "extend", "sort", "sort_and_extend", "argmax")
_SEGMENTS = "Tensor? segment_ids=None, int segments=1"
_UPSAMPLED = "str? upsample=None, SymInt[]? size=None"
_SOFT = "Tensor? mixture=None, float label_smoothing=0."
_SCHEMAS = (
    "histogram(Tensor scores, Tensor target, int bins, int? ignore_index, bool per_image, str link,"
    " bool cross_entropy=False, Tensor? class_weight=None, float smoothing=0.,"
    f" Tensor? pixel_weight=None, {_SEGMENTS}, {_UPSAMPLED}, {_SOFT}, bool regions=False)"
    " -> (Tensor counts, Tensor lse, Tensor invalid, Tensor sums, Tensor region_sums)",
    "extend(Tensor counts, float alpha, float beta, bool wide, int scale=1, bool unbounded=False,"
    " Tensor? positives=None) -> (Tensor losses, Tensor slopes, Tensor present)",
    "sort(Tensor scores, Tensor target, int? ignore_index, bool per_image, str link,"
    f" {_SEGMENTS}, {_UPSAMPLED}, Tensor? pixel_weight=None, {_SOFT})"
    " -> (Tensor errors, Tensor order, Tensor lse, Tensor invalid, Tensor positive)",
    "sort_and_extend(Tensor scores, Tensor target, int? ignore_index, bool per_image, str link,"
    " float alpha, float beta, bool symmetric=False, Tensor? pixel_weight=None,"
    f" {_SEGMENTS}, {_UPSAMPLED}, {_SOFT}, Tensor? regions=None)"
    " -> (Tensor losses, Tensor slopes, Tensor positives, Tensor pixels, Tensor lse,"
    " Tensor invalid)",
    # No defaults in what has a gradient: the dispatcher leaves out arguments equal to theirs.
    "backward(Tensor scores, Tensor target, Tensor lse, Tensor slopes, Tensor? factors,"
    " int? ignore_index, str link, Tensor? scale, Tensor? class_weight, float smoothing,"
    " Tensor? segment_ids, Tensor? pixel_weight, str? upsample, SymInt[]? size, Tensor? mixture,"
    " float label_smoothing, Tensor? by_regions) -> Tensor",
    "reduce(Tensor losses, Tensor active, Tensor invalid, Tensor? weight, bool normalize,"
    " str reduction, bool per_image, Tensor? sums, Tensor scores, Tensor target, Tensor lse,"
    " Tensor slopes, Tensor? class_weight, Tensor? segment_ids, Tensor? pixel_weight,"
    " Tensor? mixture, Tensor? regions, int? ignore_index, str link, float smoothing,"
    " str? upsample, SymInt[]? size, float label_smoothing)"
    " -> (Tensor value, Tensor factors, Tensor cross_entropy, Tensor by_sum, Tensor region_sums)",
    "argmax(Tensor scores, SymInt[]? size, str? upsample, bool narrow, Tensor? lines=None,"
    " bool multilabel=False) -> Tensor labels",
)


def _define() -> torch.library.Library:
    library = torch.library.Library("lovasz", "DEF")
    for schema in _SCHEMAS:
        library.define(schema)
    fallback = "CompositeExplicitAutograd"
    for name in _WITHOUT_GRADIENT:
        library.impl(name, checked(name, getattr(reference, name)), fallback)
        # A program from which a compiler has taken ``detach`` must not look for a gradient.
        library.impl(name, torch.library.fallthrough_kernel, "Autograd")
    by_triton = {
        name: proven(name, getattr(triton, name), getattr(reference, name)) for name in RESULTS
    }
    for name in ("histogram", "extend", "sort_and_extend", "argmax"):
        library.impl(name, checked(name, getattr(cpu, name)), "CPU")
        library.impl(name, checked(name, by_triton[name]), "CUDA")
    for key, module in ((fallback, vars(reference)), ("CPU", vars(cpu)), ("CUDA", by_triton)):
        library.impl("backward", checked("backward", module["backward"]), key)
        library.impl("reduce", checked_reduction(module["reduce"]), key)
    autograd.register(library)
    return library


_library = _define()


@torch.library.register_fake("lovasz::histogram")
def _(  # type: ignore[no-untyped-def]
    scores,
    target,
    bins,
    ignore_index,
    per_image,
    link,
    cross_entropy=False,
    class_weight=None,
    smoothing=0.0,
    pixel_weight=None,
    segment_ids=None,
    segments=1,
    upsample=None,
    size=None,
    mixture=None,
    label_smoothing=0.0,
    regions=False,
):
    images, classes = scores.shape[:2]
    groups = Segments(per_image, segment_ids, segments).count(images)
    summed = regions or is_soft(target, mixture, label_smoothing)
    return (
        scores.new_empty((groups, classes, 2, bins), dtype=torch.int64),
        _lse(scores, target, link),
        scores.new_empty((groups,), dtype=torch.int64),
        scores.new_empty((2 if cross_entropy else 0,), dtype=torch.float64),
        scores.new_empty((groups, classes, SUMS) if summed else (0,), dtype=torch.float64),
    )


@torch.library.register_fake("lovasz::extend")
def _(counts, alpha, beta, wide, scale=1, unbounded=False, positives=None):  # type: ignore[no-untyped-def]
    return (
        counts.new_empty(counts.shape[:2], dtype=torch.float64),
        counts.new_empty(counts.shape, dtype=torch.float64 if wide else torch.float32),
        counts.new_empty((2, *counts.shape[:2]), dtype=torch.bool),
    )


@torch.library.register_fake("lovasz::sort")
def _(  # type: ignore[no-untyped-def]
    scores,
    target,
    ignore_index,
    per_image,
    link,
    segment_ids=None,
    segments=1,
    upsample=None,
    size=None,
    pixel_weight=None,
    mixture=None,
    label_smoothing=0.0,
):
    (images, classes), length = scores.shape[:2], target.shape[-1]
    groups = Segments(per_image, segment_ids, segments).count(images)
    shape = (1, classes, images * length)  # also of clouds
    if per_image:
        shape = (images, classes, length)
    return (
        scores.new_empty(shape, dtype=compute_dtype(scores)),
        scores.new_empty(shape, dtype=torch.int64),
        _lse(scores, target, link),
        scores.new_empty((groups,), dtype=torch.int64),
        scores.new_empty((images, classes, length), dtype=torch.bool),
    )


@torch.library.register_fake("lovasz::sort_and_extend")
def _(  # type: ignore[no-untyped-def]
    scores,
    target,
    ignore_index,
    per_image,
    link,
    alpha,
    beta,
    symmetric=False,
    pixel_weight=None,
    segment_ids=None,
    segments=1,
    upsample=None,
    size=None,
    mixture=None,
    label_smoothing=0.0,
    regions=None,
):
    images, classes = scores.shape[:2]
    groups = Segments(per_image, segment_ids, segments).count(images)
    return (
        scores.new_empty((groups, classes), dtype=torch.float64),
        scores.new_empty((images, classes, target.shape[-1]), dtype=compute_dtype(scores)),
        scores.new_empty((groups, classes), dtype=torch.int64),
        scores.new_empty((groups, classes), dtype=torch.int64),
        _lse(scores, target, link),
        scores.new_empty((groups,), dtype=torch.int64),
    )


@torch.library.register_fake("lovasz::backward")
def _(scores, *_):  # type: ignore[no-untyped-def]
    return torch.empty_like(scores)


@torch.library.register_fake("lovasz::reduce")
def _(losses, active, invalid, weight, normalize, reduction, per_image, sums, scores, *rest):  # type: ignore[no-untyped-def]
    shape = losses.shape if reduction == "none" else ()
    mean = (0,) if sums is None else ()
    shapes = (shape, losses.shape, mean, mean)
    regions = rest[7]  # of target, lse, slopes, class_weight, segment_ids, pixel_weight, mixture
    found = [losses.new_empty(shape, dtype=compute_dtype(scores)) for shape in shapes]
    return *found, losses.new_empty((0,) if regions is None else regions.shape)


@torch.library.register_fake("lovasz::argmax")
def _(scores, size, upsample, narrow, lines=None, multilabel=False):  # type: ignore[no-untyped-def]
    length = scores.shape[2] if size is None else size[0] * size[1] * size[2]
    dtype = torch.uint8 if narrow else torch.int64
    return scores.new_empty((*scores.shape[: 2 if multilabel else 1], length), dtype=dtype)


def _lse(scores: Tensor, target: Tensor, link: str) -> Tensor:
    shape = (scores.shape[0], target.shape[-1]) if link == "softmax" else (0,)
    return scores.new_empty(shape, dtype=torch.float64)


# Those of ``reduce`` and ``backward`` are part of their gradients.
for _name in _WITHOUT_GRADIENT:
    torch.library.register_vmap(f"lovasz::{_name}", vmap_rule(getattr(torch.ops.lovasz, _name)))
