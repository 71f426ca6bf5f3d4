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

from lovasz.ops import channels, reference
from lovasz.ops.calls import Counted, Entropy, Scores
from lovasz.ops.links import MULTICLASS


def attach_counted(
    losses: Tensor,
    given: Scores,
    counted: Counted,
    slopes: Tensor,
    entropy: Entropy | None = None,
) -> tuple[Tensor, Tensor]:
    """Give the losses of the histogram method, and the cross-entropy, their gradient.

    Args:
        losses: (G, C), without gradient.
        given: scores, to which the gradient flows, and labels.
        counted: as ``count`` returned it.
        slopes: (G, C, 2, B), derivatives of the losses with respect to the errors by bin.
        entropy: as for ``count``.

    Returns:
        The same losses and sums of cross-entropy, connected to ``scores``.
    """
    weight, smoothing = (None, None) if entropy is None else entropy
    tensors = (counted.lse, slopes, weight, given.group, given.pixel_weight)
    options = (given.ignore_index, given.link, False, smoothing)
    return _attach(losses, counted.entropy, given.scores, given.target, *tensors, *options)


def attach_ranked(losses: Tensor, given: Scores, lse: Tensor, slopes: Tensor) -> Tensor:
    """Give the losses of the sorting method their gradient; slopes are (N, C, L), by pixel.

    The weights of the pixels are in these slopes already.
    """
    tensors = (lse, slopes, None, given.group, None)
    options = (given.ignore_index, given.link, True, None)
    nothing = losses.new_empty(0)
    return _attach(losses, nothing, given.scores, given.target, *tensors, *options)[0]


def _attach(losses: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    attached: tuple[Tensor, Tensor] = _Attach.apply(  # type: ignore[no-untyped-call]
        losses, *rest
    )
    return attached


class _Attach(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(
        losses: Tensor,
        sums: Tensor,
        scores: Tensor,
        target: Tensor,
        lse: Tensor,
        slopes: Tensor,
        weight: Tensor | None,
        group: Tensor | None,
        pixel_weight: Tensor | None,
        ignore_index: int | None,
        link: str,
        ranked: bool,
        smoothing: float | None,
    ) -> tuple[Tensor, Tensor]:
        return losses.clone(), sums.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs[2:9])
        ctx.options = inputs[9:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        grad, grad_sums = grads
        scores, target, lse, slopes, weight, group, pixel_weight = ctx.saved_tensors
        *_, ranked, smoothing = ctx.options
        factor = _by_pixel(grad, slopes, group) if ranked else grad[..., None, None]
        scaled = slopes * factor.to(slopes.dtype)
        # The second sum, that of the weights, is constant.
        scale = None if smoothing is None else grad_sums[0]
        # apply, not a plain call: the gradient can itself be differentiated
        gradient = _Push.apply(  # type: ignore[no-untyped-call]
            scores, scaled, scale, target, lse, weight, group, *ctx.options
        )
        if pixel_weight is not None:
            # Slopes and cross-entropies of a pixel are all multiplied by its weight.
            gradient = gradient * _by_channel(pixel_weight, scores)
        return None, None, gradient, *(None,) * 10


def _by_pixel(grad: Tensor, slopes: Tensor, group: Tensor | None) -> Tensor:
    """Gradient of the (G, C) losses, broadcastable against slopes (N, C, L)."""
    if group is not None:
        return grad[group].transpose(1, 2)
    return grad.expand(-1 if grad.shape[0] > 1 else slopes.shape[0], -1).unsqueeze(-1)


def _by_channel(pixel_weight: Tensor, scores: Tensor) -> Tensor:
    """Weights (N, L) or (N, C, L), broadcastable against the scores; 0 for those that are none."""
    weight = pixel_weight.to(scores.dtype)
    return weight if weight.dim() == scores.dim() else weight.unsqueeze(1)


class _Push(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(
        scores: Tensor,
        slopes: Tensor,
        scale: Tensor | None,
        target: Tensor,
        lse: Tensor,
        weight: Tensor | None,
        group: Tensor | None,
        ignore_index: int | None,
        link: str,
        ranked: bool,
        smoothing: float | None,
    ) -> Tensor:
        tensors = (scores, slopes, scale, target, lse, weight, group)
        return _push(torch.ops.lovasz, *tensors, ignore_index, link, ranked, smoothing)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:7])
        ctx.options = inputs[7:]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        """Second derivative, from the reference in plain torch."""
        scores, slopes, scale, target, lse, weight, group = ctx.saved_tensors
        _, link, *_ = ctx.options
        with torch.enable_grad():
            inputs = [
                tensor.detach().requires_grad_()
                for tensor in (scores, slopes, scale)
                if tensor is not None
            ]
            first, second, third = (*inputs, None)[:3]
            # push takes the log-sum-exp as given; here it has to depend on the scores
            lse = reference.log_sum_exp(first) if link == "softmax" else lse
            pushed = _push(
                _Reference, first, second, third, target, lse, weight, group, *ctx.options
            )
            by_inputs = torch.autograd.grad(
                pushed, inputs, grad, allow_unused=True, materialize_grads=True
            )
        return *by_inputs, *(None,) * (11 - len(by_inputs))


class _Reference:
    """The same operators in plain torch, which can be differentiated."""

    push = staticmethod(reference.push)
    push_ranked = staticmethod(reference.push_ranked)
    push_channels = staticmethod(channels.push_channels)
    push_ranked_channels = staticmethod(channels.push_ranked_channels)


def _push(
    operators: Any,
    scores: Tensor,
    slopes: Tensor,
    scale: Tensor | None,
    target: Tensor,
    lse: Tensor,
    weight: Tensor | None,
    group: Tensor | None,
    ignore_index: int | None,
    link: str,
    ranked: bool,
    smoothing: float | None,
) -> Tensor:
    """The operator for link and method."""
    if link in MULTICLASS:
        common = (scores, target, lse, slopes, ignore_index, link == "softmax")
        if ranked:
            pushed: Tensor = operators.push_ranked(*common)
        else:
            pushed = operators.push(*common, scale, weight, smoothing or 0.0, group)
        return pushed
    if ranked:
        pushed = operators.push_ranked_channels(scores, target, slopes, ignore_index, link)
    else:
        options = (ignore_index, link, scale, weight, group)
        pushed = operators.push_channels(scores, target, slopes, *options)
    return pushed
