"""Attaching the gradient: losses go in without one and come out with one.

The extension is computed without autograd, from counts or sorted errors; its slopes are constants
almost everywhere, so the gradient of the scores is the push of (slopes × incoming gradient), and
the second derivative is the derivative of that push.

``torch.autograd.Function`` with ``setup_context`` rather than ``register_autograd``, which breaks
``torch.func.grad`` in torch 2.13, and without ``jvp``, which would break
``torch.compile(fullgraph=True)``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lovasz.ops import reference


def attach_counted(
    losses: Tensor,
    scores: Tensor,
    target: Tensor,
    lse: Tensor,
    slopes: Tensor,
    *,
    ignore_index: int | None,
    softmax: bool,
) -> Tensor:
    """Give the losses of the histogram method their gradient.

    Args:
        losses: (G, C), without gradient.
        scores: (N, C, L), what the gradient flows to.
        target: (N, L).
        lse: as ``count`` returned it.
        slopes: (G, C, 2, B), derivatives of the losses with respect to the errors by bin.
        ignore_index: as for ``count``.
        softmax: as for ``count``.

    Returns:
        The same losses, connected to ``scores``.
    """
    return _attach(losses, scores, target, lse, slopes, ignore_index, softmax, False)


def attach_ranked(
    losses: Tensor,
    scores: Tensor,
    target: Tensor,
    lse: Tensor,
    slopes: Tensor,
    *,
    ignore_index: int | None,
    softmax: bool,
) -> Tensor:
    """Give the losses of the sorting method their gradient; slopes are (N, C, L), by pixel."""
    return _attach(losses, scores, target, lse, slopes, ignore_index, softmax, True)


def _attach(losses: Tensor, *rest: Any) -> Tensor:
    attached: Tensor = _Attach.apply(losses, *rest)  # type: ignore[no-untyped-call]
    return attached


class _Attach(torch.autograd.Function):
    @staticmethod
    def forward(
        losses: Tensor,
        scores: Tensor,
        target: Tensor,
        lse: Tensor,
        slopes: Tensor,
        ignore_index: int | None,
        softmax: bool,
        ranked: bool,
    ) -> Tensor:
        return losses.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, scores, target, lse, slopes, *ctx.options = inputs
        ctx.save_for_backward(scores, target, lse, slopes)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        scores, target, lse, slopes = ctx.saved_tensors
        ranked = ctx.options[2]
        if ranked:
            scaled = slopes * _by_pixel(grad, slopes).to(slopes.dtype)
        else:
            scaled = slopes * grad[..., None, None].to(slopes.dtype)
        # apply, not a plain call: the gradient can itself be differentiated
        gradient = _Push.apply(  # type: ignore[no-untyped-call]
            scores, scaled, target, lse, *ctx.options
        )
        return None, gradient, None, None, None, None, None, None


def _by_pixel(grad: Tensor, slopes: Tensor) -> Tensor:
    """Gradient of the (G, C) losses, broadcastable against slopes (N, C, L)."""
    return grad.expand(-1 if grad.shape[0] > 1 else slopes.shape[0], -1).unsqueeze(-1)


class _Push(torch.autograd.Function):
    @staticmethod
    def forward(
        scores: Tensor,
        slopes: Tensor,
        target: Tensor,
        lse: Tensor,
        ignore_index: int | None,
        softmax: bool,
        ranked: bool,
    ) -> Tensor:
        operator = torch.ops.lovasz.push_ranked if ranked else torch.ops.lovasz.push
        pushed: Tensor = operator(scores, target, lse, slopes, ignore_index, softmax)
        return pushed

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        scores, slopes, target, lse, *ctx.options = inputs
        ctx.save_for_backward(scores, slopes, target, lse)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        """Second derivative, from the reference in plain torch."""
        scores, slopes, target, lse = ctx.saved_tensors
        ignore_index, softmax, ranked = ctx.options
        formula = reference.push_ranked if ranked else reference.push
        with torch.enable_grad():
            scores, slopes = scores.detach().requires_grad_(), slopes.detach().requires_grad_()
            # push takes the log-sum-exp as given; here it has to depend on the scores
            lse = reference.log_sum_exp(scores) if softmax else lse
            pushed = formula(scores, target, lse, slopes, ignore_index, softmax)
            by_scores, by_slopes = torch.autograd.grad(
                pushed, (scores, slopes), grad, allow_unused=True, materialize_grads=True
            )
        return by_scores, by_slopes, None, None, None, None, None
