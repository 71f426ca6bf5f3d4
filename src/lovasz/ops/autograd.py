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
from lovasz.ops.schema import Counted, Entropy


def attach_counted(
    losses: Tensor,
    scores: Tensor,
    target: Tensor,
    counted: Counted,
    slopes: Tensor,
    *,
    ignore_index: int | None,
    softmax: bool,
    entropy: Entropy | None = None,
) -> tuple[Tensor, Tensor]:
    """Give the losses of the histogram method, and the cross-entropy, their gradient.

    Args:
        losses: (G, C), without gradient.
        scores: (N, C, L), what the gradient flows to.
        target: (N, L).
        counted: as ``count`` returned it.
        slopes: (G, C, 2, B), derivatives of the losses with respect to the errors by bin.
        ignore_index: as for ``count``.
        softmax: as for ``count``.
        entropy: as for ``count``.

    Returns:
        The same losses and sums of cross-entropy, connected to ``scores``.
    """
    weight, smoothing = (None, None) if entropy is None else entropy
    options = (ignore_index, softmax, False, smoothing)
    return _attach(losses, counted.entropy, scores, target, counted.lse, slopes, weight, *options)


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
    nothing = losses.new_empty(0)
    options = (ignore_index, softmax, True, None)
    return _attach(losses, nothing, scores, target, lse, slopes, None, *options)[0]


def _attach(losses: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    attached: tuple[Tensor, Tensor] = _Attach.apply(  # type: ignore[no-untyped-call]
        losses, *rest
    )
    return attached


class _Attach(torch.autograd.Function):
    @staticmethod
    def forward(
        losses: Tensor,
        sums: Tensor,
        scores: Tensor,
        target: Tensor,
        lse: Tensor,
        slopes: Tensor,
        weight: Tensor | None,
        ignore_index: int | None,
        softmax: bool,
        ranked: bool,
        smoothing: float | None,
    ) -> tuple[Tensor, Tensor]:
        return losses.clone(), sums.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        _, _, scores, target, lse, slopes, weight, *ctx.options = inputs
        ctx.save_for_backward(scores, target, lse, slopes, weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        grad, grad_sums = grads
        scores, target, lse, slopes, weight = ctx.saved_tensors
        *_, ranked, smoothing = ctx.options
        factor = _by_pixel(grad, slopes) if ranked else grad[..., None, None]
        scaled = slopes * factor.to(slopes.dtype)
        # The second sum, that of the weights, is constant.
        scale = None if smoothing is None else grad_sums[0]
        # apply, not a plain call: the gradient can itself be differentiated
        gradient = _Push.apply(  # type: ignore[no-untyped-call]
            scores, scaled, scale, target, lse, weight, *ctx.options
        )
        return None, None, gradient, *(None,) * 8


def _by_pixel(grad: Tensor, slopes: Tensor) -> Tensor:
    """Gradient of the (G, C) losses, broadcastable against slopes (N, C, L)."""
    return grad.expand(-1 if grad.shape[0] > 1 else slopes.shape[0], -1).unsqueeze(-1)


class _Push(torch.autograd.Function):
    @staticmethod
    def forward(
        scores: Tensor,
        slopes: Tensor,
        scale: Tensor | None,
        target: Tensor,
        lse: Tensor,
        weight: Tensor | None,
        ignore_index: int | None,
        softmax: bool,
        ranked: bool,
        smoothing: float | None,
    ) -> Tensor:
        operators = torch.ops.lovasz
        common = (scores, target, lse, slopes, ignore_index, softmax)
        if ranked:
            pushed: Tensor = operators.push_ranked(*common)
        elif smoothing is None:
            pushed = operators.push(*common)
        else:
            pushed = operators.push(*common, scale, weight, smoothing)
        return pushed

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        scores, slopes, scale, target, lse, weight, *ctx.options = inputs
        ctx.save_for_backward(scores, slopes, scale, target, lse, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        """Second derivative, from the reference in plain torch."""
        scores, slopes, scale, target, lse, weight = ctx.saved_tensors
        ignore_index, softmax, ranked, smoothing = ctx.options
        with torch.enable_grad():
            inputs = [
                tensor.detach().requires_grad_()
                for tensor in (scores, slopes, scale)
                if tensor is not None
            ]
            # push takes the log-sum-exp as given; here it has to depend on the scores
            lse = reference.log_sum_exp(inputs[0]) if softmax else lse
            common = (inputs[0], target, lse, inputs[1], ignore_index, softmax)
            if ranked:
                pushed = reference.push_ranked(*common)
            elif smoothing is None:
                pushed = reference.push(*common)
            else:
                pushed = reference.push(*common, inputs[2], weight, smoothing)
            by_inputs = torch.autograd.grad(
                pushed, inputs, grad, allow_unused=True, materialize_grads=True
            )
        return *by_inputs, *(None,) * (10 - len(by_inputs))
