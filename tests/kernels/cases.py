"""Inputs of the kernel tests: shapes, layouts, labels."""

import torch
from torch import Tensor

# (N, C, L): sizes around a tile, and few, some and very many classes
SHAPES = [
    (1, 1, 1),
    (2, 1, 63),
    (1, 2, 65),
    (3, 4, 7),
    (2, 19, 257),
    (1, 5, 64),
    (2, 7, 600),
    (1, 150, 300),
    (1, 1001, 70),
]
LAYOUTS = ["pixels", "classes", "some of the classes", "interleaved images", "neither"]
IGNORE = 77


def scores_of(shape: tuple[int, int, int], layout: str, dtype: torch.dtype, scale: float) -> Tensor:
    """Random scores whose pixels, classes, or neither, lie next to each other.

    With some of the classes of a wider tensor, others lie between two pixels; interleaved are the
    images of networks that keep the sequence first.
    """
    images, classes, length = shape
    generator = torch.Generator().manual_seed(classes * 1000 + length)
    scores = (torch.randn(shape, generator=generator) * scale).to(dtype)
    if layout == "classes":
        return scores.transpose(1, 2).contiguous().transpose(1, 2)
    if layout == "some of the classes":
        wide = scores.new_zeros(images, length, 2 * classes + 3)
        return wide[..., :classes].transpose(1, 2).copy_(scores)
    if layout == "interleaved images":
        return scores.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    if layout == "neither":
        return scores.new_zeros(images, classes, 2 * length)[:, :, ::2].copy_(scores)
    return scores


def labels_of(shape: tuple[int, int, int], dtype: torch.dtype = torch.int64) -> Tensor:
    """Random labels, a tenth of them ``IGNORE``."""
    images, classes, length = shape
    generator = torch.Generator().manual_seed(length)
    labels = torch.randint(min(classes, IGNORE), (images, length), generator=generator)
    dropped = torch.rand(labels.shape, generator=generator) < 0.1
    return labels.masked_fill(dropped, IGNORE).to(dtype)


def slopes_of(groups: int, classes: int, bins: int) -> Tensor:
    """Slopes that change from bin to bin as real ones do, by small steps."""
    generator = torch.Generator().manual_seed(groups + classes)
    ramp = torch.linspace(0.2, 1.0, bins)
    return torch.rand(groups, classes, 2, 1, generator=generator) * ramp


def relative(got: Tensor, expected: Tensor) -> float:
    """Distance to the expected tensor, relative unless that is next to nothing."""
    scale = expected.double().norm().clamp(min=0.1)
    return float((got.double() - expected.double()).norm() / scale)


def assert_decided(labels: Tensor, scores: Tensor, within: float, *, multilabel: bool) -> None:
    """Labels are those of the largest of the scores (N, C, *), or of the channels above 0."""
    if multilabel:
        clear = scores.abs() > within
        assert torch.equal(labels[clear], (scores > 0).long()[clear])
    else:
        chosen = scores.gather(1, labels.unsqueeze(1)).squeeze(1)
        torch.testing.assert_close(chosen, scores.amax(1), rtol=0, atol=within)


def factors_of(groups: int, classes: int) -> Tensor:
    """Factors of the losses, as of a mean with class weights: some are 0, some negative."""
    generator = torch.Generator().manual_seed(groups * 1000 + classes)
    return (torch.randn(groups, classes, generator=generator) * 2).round() / 2
