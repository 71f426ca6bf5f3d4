"""What the sort has to do like the reference, on whatever device."""

from types import ModuleType

import torch
from torch import Tensor

from lovasz.kernels import reference
from tests.kernels.cases import IGNORE, labels_of, relative, scores_of


def channels_of(shape: tuple[int, int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Scores with many that are equal, labels, and weights of which some are 0."""
    generator = torch.Generator().manual_seed(shape[2])
    scores = torch.randn(shape, generator=generator)
    coarse = torch.rand(shape, generator=generator) < 0.3
    scores = torch.where(coarse, (scores * 4).round() / 4, scores)
    draw = torch.rand(shape, generator=generator)
    target = (draw < 0.3).long().masked_fill(draw > 0.9, IGNORE)
    weight = torch.rand(shape, generator=generator) * 3
    return scores, target, weight.masked_fill(draw % 0.1 < 0.02, 0.0)


def clouds_of(sizes: list[int], *, ascending: bool) -> Tensor:
    """The cloud of each point, (1, L)."""
    ids = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    if not ascending:
        ids = ids[torch.randperm(len(ids), generator=torch.Generator().manual_seed(1))]
    return ids.unsqueeze(0)


def check(got: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    """Slope by slope, where errors have the same order in both."""
    losses, slopes, positives, pixels, _, invalid = got
    torch.testing.assert_close(losses, expected[0], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(slopes, expected[1], rtol=1e-6, atol=1e-12)
    assert torch.equal(positives, expected[2])
    assert torch.equal(pixels, expected[3])
    assert not invalid.any()


def check_classes(
    kernels: ModuleType,
    clouds: list[int] | None,
    shape: tuple[int, int, int] = (1, 5, 600),
    device: str = "cpu",
    *,
    symmetric: bool,
    weighted: bool,
) -> None:
    """Softmax, where neighbours in the order may change places."""
    scores = scores_of(shape, "pixels", torch.float32, 2.0).to(device)
    target = labels_of(shape).to(device)
    weight = (torch.rand(shape[0], shape[2]) * 3).round().to(device) if weighted else None
    segments = (None, 1)
    if clouds is not None:
        segments = (clouds_of(clouds, ascending=False).to(device), len(clouds))
    head = (scores, target, IGNORE, False, "softmax", 1.0, 1.0, symmetric)
    losses, slopes, *counts, _, _ = kernels.sort_and_extend(*head, weight, *segments)
    want, want_slopes, *want_counts, _, _ = reference.sort_and_extend(*head, weight, *segments)
    torch.testing.assert_close(losses, want, rtol=2e-6, atol=1e-7)
    assert all(torch.equal(a, b) for a, b in zip(counts, want_counts, strict=True))
    assert relative(slopes, want_slopes) < 0.02
