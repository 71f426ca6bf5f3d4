"""The workloads: shapes of one call in published segmentation work."""

from __future__ import annotations

import torch
from torch import Tensor

#: shape of the logits, class axis second; (P, C) is points first
WORKLOADS = {
    "cityscapes": (2, 19, 512, 1024),
    "voc": (8, 21, 320, 320),
    "ade": (2, 150, 512, 512),
    "scannet": (307_200, 20),
    "scannet200": (307_200, 200),
    "occupancy": (1, 20, 480, 360, 32),
    "volume": (1, 4, 128, 128, 128),
    "patches": (8, 17, 96, 96),  # make demo
    "small": (1, 19, 64, 64),
}
QUICK = {"images": (1, 5, 32, 48), "points": (700, 6)}
IGNORE = 255


def draw(shape: tuple[int, ...], stage: str = "random") -> tuple[Tensor, Tensor]:
    """Logits and labels; "random" scores as of an untrained network, or "trained" ones.

    A trained network is right nearly everywhere: signal 8 over noise 3, as in ``distributions``.
    """
    generator = torch.Generator().manual_seed(0)
    classes = shape[1]
    target = torch.randint(min(classes, IGNORE), (shape[0], *shape[2:]), generator=generator)
    logits = torch.randn(shape, generator=generator)
    if stage == "trained":
        logits.mul_(3)
        signal = torch.tensor(8.0).expand(target.unsqueeze(1).shape)
        logits.scatter_add_(1, target.unsqueeze(1), signal)
    return logits.requires_grad_(), target
