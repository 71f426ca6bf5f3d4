"""What kernels have to do like the reference with soft labels, on whatever device.

``kernels`` is an implementation of the operators: ``cpu`` or ``triton``.
"""

from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lovasz.core.links import LOGITS, MULTICLASS, UNBOUNDED
from lovasz.core.regions import SUMS
from lovasz.kernels import reference
from tests.kernels.cases import IGNORE, factors_of, relative, scores_of, slopes_of
from tests.kernels.multilabel_checks import moved

BINS = 64
#: what labels are: floats, label maps that are mixed, or one label of each pixel or channel
KINDS = ["floats", "maps", "labels"]
LINKS = ["softmax", "probabilities", "sigmoid", "channel_probabilities"]
TOLERANCE = {torch.float32: 5e-4, torch.bfloat16: 8e-3, torch.float16: 1e-3}


class Case(NamedTuple):
    """Inputs of both passes."""

    scores: Tensor
    target: Tensor
    link: str
    mixture: Tensor | None = None
    smoothing: float = 0.0  # of the labels
    weight: Tensor | None = None
    per_image: bool = False
    ids: Tensor | None = None
    clouds: int = 1
    upsample: str | None = None
    size: tuple[int, int, int] | None = None
    bins: int = BINS

    def to(self, device: str) -> "Case":
        """The same on a device, with all strides."""
        fields = self._asdict()
        return Case(**{k: v.to(device) if isinstance(v, Tensor) else v for k, v in fields.items()})

    @property
    def entropy(self) -> tuple[bool, Tensor | None, float]:
        """Whether there is a cross-entropy, its class weights and smoothing."""
        if self.link not in LOGITS or self.link in UNBOUNDED:
            return False, None, 0.0
        generator = torch.Generator().manual_seed(5)
        weight = torch.rand(self.scores.shape[1], generator=generator).to(self.scores.device)
        return True, weight, 0.2 if self.link == "softmax" else 0.0

    @property
    def groups(self) -> int:
        """Number of groups."""
        return self.clouds if self.ids is not None else len(self.scores) if self.per_image else 1

    def count(self, kernels: ModuleType, scores: Tensor | None = None) -> tuple[Tensor, ...]:
        """The first pass."""
        found: tuple[Tensor, ...] = kernels.histogram(
            self.scores if scores is None else scores,
            self.target, self.bins, IGNORE, self.per_image, self.link, *self.entropy, self.weight,
            self.ids, self.clouds, self.upsample, self.size, self.mixture, self.smoothing, True,
        )  # fmt: skip
        return found

    def differentiate(
        self, kernels: ModuleType, lse: Tensor, by_regions: Tensor | None, wide: bool = False
    ) -> Tensor:
        """The second pass, of some slopes and factors."""
        classes, device = self.scores.shape[1], self.scores.device
        slopes = slopes_of(self.groups, classes, self.bins).to(device)
        factors = factors_of(self.groups, classes).to(device)
        there, *options = self.entropy
        scale = torch.tensor(0.3, device=device) if there else None
        scores, slopes = (t.double() if wide else t for t in (self.scores, slopes))
        found: Tensor = kernels.backward(
            scores, self.target, lse, slopes, factors, IGNORE, self.link, scale, *options,
            self.ids, self.weight, self.upsample, self.size, self.mixture, self.smoothing,
            by_regions,
        )  # fmt: skip
        return found


def labels_of(shape: tuple[int, int, int], link: str, kind: str) -> tuple[Tensor, Tensor | None]:
    """Labels of a kind, and the weights of label maps; a tenth is ignored."""
    images, classes, length = shape
    generator = torch.Generator().manual_seed(length)

    def drop(labels: Tensor) -> Tensor:
        return labels.masked_fill(torch.rand(labels.shape, generator=generator) < 0.1, IGNORE)

    if kind == "floats" and link in MULTICLASS:
        return torch.softmax(4 * torch.randn(shape, generator=generator), 1), None
    if kind == "floats":  # a third of them are zeros and ones
        labels = 1.5 * torch.rand(shape, generator=generator) - 0.25
        return drop(labels.clamp(0, 1)), None
    if kind == "maps":
        maps = torch.randint(classes, (images, 3, length), generator=generator)
        return drop(maps), torch.rand(images, 3, generator=generator)
    if link in MULTICLASS:
        return drop(torch.randint(classes, (images, length), generator=generator)), None
    return drop(torch.randint(2, shape, generator=generator)), None


def case_of(
    shape: tuple[int, int, int],
    link: str,
    kind: str,
    layout: str = "pixels",
    dtype: torch.dtype = torch.float32,
    weighted: bool = False,
    **options: Any,
) -> Case:
    """Random scores and labels."""
    kind = "floats" if kind == "maps" and link not in MULTICLASS else kind
    target, mixture = labels_of(shape, link, kind)
    scores = scores_of(shape, layout, dtype, 3.0)
    if link not in LOGITS:
        p = scores.float().softmax(1) if link == "probabilities" else scores.float().sigmoid()
        scores.copy_(p)
    weight = None
    if weighted:
        of_pixels = (shape[0], shape[2]) if link in MULTICLASS else shape
        weight = 3 * torch.rand(of_pixels, generator=torch.Generator().manual_seed(1))
        weight[..., ::7] = 0
    return Case(scores, target, link, mixture, weight=weight, **options)


def by_sums(case: Case) -> Tensor:
    """Derivatives by sums, (G, C, 8)."""
    generator = torch.Generator().manual_seed(3)
    shape = (case.groups, case.scores.shape[1], SUMS)
    found = torch.randn(shape, generator=generator, dtype=torch.float64)
    return found.to(case.scores.device)


def check_counts(kernels: ModuleType, case: Case, rounding: float = 2e-6) -> Tensor:
    """The first pass; returns the log-sum-exp."""
    counts, lse, invalid, sums, regions = case.count(kernels)
    wide = case.scores.double() if case.upsample else case.scores
    expected, lse_expected, _, sums_expected, regions_expected = case.count(reference, wide)
    assert counts.shape == expected.shape
    # an error at the edge of two bins may be in either, and where it is next to 0 on either side
    assert torch.equal(counts.sum((2, 3)), expected.sum((2, 3)))
    assert moved(counts, expected) < 2e-3 + 1 / max(float(counts[0].sum()), 1)
    torch.testing.assert_close(lse, lse_expected, rtol=1e-6, atol=2e-6)
    assert not invalid.any()
    torch.testing.assert_close(sums, sums_expected, rtol=rounding, atol=2e-6)
    torch.testing.assert_close(regions, regions_expected, rtol=rounding, atol=2e-6)
    return lse_expected


def check_gradient(kernels: ModuleType, case: Case, lse: Tensor) -> None:
    """The second pass, with and without losses by sums."""
    for regions in (by_sums(case), None):
        gradient = case.differentiate(kernels, lse, regions)
        expected = case.differentiate(reference, lse, regions, wide=case.upsample is not None)
        assert gradient.dtype == case.scores.dtype
        assert gradient.stride() == torch.empty_like(case.scores).stride()
        assert relative(gradient, expected) < TOLERANCE[case.scores.dtype]
