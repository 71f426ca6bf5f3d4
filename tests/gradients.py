"""Value and gradient of a loss, and how far they are from others."""

import torch
from torch import Tensor


def value_and_gradient(loss, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Of a function of the logits; of several numbers the gradient of their mixture."""
    logits = logits.detach().requires_grad_()
    value = loss(logits)
    # Not all alike, so that no part of a value can hide.
    mixed = (value * torch.arange(1, value.numel() + 1).view(value.shape)).sum()
    return value.detach(), torch.autograd.grad(mixed, logits)[0]


def relative(got: Tensor, want: Tensor) -> float:
    """Norm of the difference by the norm of what is wanted."""
    return float((got.double() - want.double()).norm() / want.double().norm().clamp(min=1e-30))
