"""Attaching the gradient: a value goes in without one and comes out with one.

The extension is computed without autograd, from counts or sorted errors; its slopes are constants
almost everywhere, so the gradient of the scores is the push of (slopes × incoming gradient), and
the second derivative is the derivative of that push.

``torch.autograd.Function`` with ``setup_context`` rather than ``register_autograd``, which breaks
``torch.func.grad`` in torch 2.13, and without ``jvp``, which would break
``torch.compile(fullgraph=True)``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lovasz.ops import channels, reference
from lovasz.ops.calls import Entropy, Scores
from lovasz.ops.links import MULTICLASS
from lovasz.ops.precision import wide_dtype


class Reading(NamedTuple):
    """How the operators that push read their tensors; one argument, because each costs time."""

    ignore_index: int | None
    link: str
    ranked: bool
    smoothing: float = 0.0


def attach(
    value: Tensor,
    factors: Tensor | None,
    given: Scores,
    slopes: Tensor,
    lse: Tensor,
    mean: Tensor,
    entropy: Entropy | None,
) -> tuple[Tensor, Tensor | None]:
    """Give a linear function of the losses, and the cross-entropy, their gradient.

    Args:
        value: of the losses, without gradient.
        factors: derivatives of the value by the losses, which times its gradient are (G, C); None
            for ones.
        given: scores, to which the gradient flows, and labels.
        slopes: (G, C, 2, B), derivatives of the losses with respect to the errors by bin, or
            (N, C, L) by pixel; the weights of the pixels are in the latter already.
        lse: as ``count`` and ``exact`` return it.
        mean: with ``entropy``, the mean cross-entropy and its derivative by the sum, (2,).
        entropy: as for ``count``.

    Returns:
        The same value in wide precision, connected to ``scores``; and so, with ``entropy``, the
        mean cross-entropy, ().
    """
    ranked = slopes.dim() == 3
    first, by_sum, weight, smoothing = None, None, None, 0.0
    if entropy is not None:
        first, by_sum = mean[0], mean[1]
        weight, smoothing = entropy
    tensors = (lse, slopes, factors, by_sum, weight, given.group)
    pixel_weight = None if ranked else given.pixel_weight
    reading = Reading(given.ignore_index, given.link, ranked, smoothing)
    attached = _attach(value, first, given.scores, given.target, *tensors, pixel_weight, reading)
    return attached[0], None if entropy is None else attached[1]


def _attach(*inputs: Any) -> tuple[Tensor, ...]:
    attached: tuple[Tensor, ...] = _Attach.apply(*inputs)  # type: ignore[no-untyped-call]
    return attached


class _Signature(inspect.Signature):
    """A signature of arguments that are all given in their order, which leaves nothing to bind.

    In every call torch finds out the signature of ``forward``, binds the arguments to their names
    and fills in the defaults. That takes longer than all else that ``apply`` does.
    """

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        return super().bind(*args, **kwargs) if kwargs else _Bound(args)


class _Bound(NamedTuple):
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = {}  # noqa: RUF012 - nobody adds to it

    def apply_defaults(self) -> None:
        pass


def _signed(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A ``forward`` that torch need not look at."""
    parameters = inspect.signature(forward).parameters.values()
    forward.__signature__ = _Signature(list(parameters))  # type: ignore[attr-defined]
    return forward


class _Attach(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    @_signed
    def forward(
        value: Tensor,
        mean: Tensor | None,
        scores: Tensor,
        target: Tensor,
        lse: Tensor,
        slopes: Tensor,
        factors: Tensor | None,
        by_sum: Tensor | None,
        weight: Tensor | None,
        group: Tensor | None,
        pixel_weight: Tensor | None,
        reading: Reading,
    ) -> tuple[Tensor, ...]:
        dtype = wide_dtype(scores)
        # Torch would make views of what is returned as it came, which nobody may change in place.
        return tuple(t.detach().to(dtype) for t in (value, mean) if t is not None)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        *_, ctx.reading = inputs
        ctx.save_for_backward(*inputs[2:11])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, grad_mean: Tensor | None = None) -> tuple[Any, ...]:
        scores, target, lse, slopes, factors, by_sum, weight, group, pixel_weight = (
            ctx.saved_tensors
        )
        by_loss = grad if factors is None else grad * factors  # (G, C)
        if ctx.reading.ranked and group is not None:
            # Pixels of a row are of many clouds.
            slopes, by_loss = slopes * by_loss[group].transpose(1, 2), None
        scale = None if grad_mean is None else grad_mean * by_sum
        tensors = (scores, slopes, by_loss, scale, target, lse, weight, group)
        gradient = _pushed(*tensors, ctx.reading)
        if pixel_weight is not None:
            # Slopes and cross-entropies of a pixel are all multiplied by its weight.
            gradient = gradient * _by_channel(pixel_weight, scores)
        return None, None, gradient, *(None,) * 9


def _by_channel(pixel_weight: Tensor, scores: Tensor) -> Tensor:
    """Weights (N, L) or (N, C, L), broadcastable against the scores; 0 for those that are none."""
    weight = pixel_weight.to(scores.dtype)
    return weight if weight.dim() == scores.dim() else weight.unsqueeze(1)


class _Push(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    @_signed
    def forward(
        scores: Tensor,
        slopes: Tensor,
        factors: Tensor | None,
        scale: Tensor | None,
        target: Tensor,
        lse: Tensor,
        weight: Tensor | None,
        group: Tensor | None,
        reading: Reading,
    ) -> Tensor:
        tensors = (scores, slopes, factors, scale, target, lse, weight, group)
        return _push(torch.ops.lovasz, *tensors, reading)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, ctx.reading = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        """Second derivative, from the reference in plain torch."""
        *floating, target, lse, weight, group = ctx.saved_tensors
        with torch.enable_grad():
            # scores, slopes, factors and scale
            inputs: list[Any] = [None if tensor is None else _leaf(tensor) for tensor in floating]
            # push takes the log-sum-exp as given; here it has to depend on the scores
            lse = reference.log_sum_exp(inputs[0]) if ctx.reading.link == "softmax" else lse
            tensors: Any = (*inputs, target, lse, weight, group, ctx.reading)
            pushed = _push(_Reference, *tensors)
            there = [tensor for tensor in inputs if tensor is not None]
            found = iter(
                torch.autograd.grad(pushed, there, grad, allow_unused=True, materialize_grads=True)
            )
        return *(None if tensor is None else next(found) for tensor in inputs), *(None,) * 5


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_()


def _pushed(*inputs: Any) -> Tensor:
    """The push, which can itself be differentiated where that is asked for."""
    if torch.is_grad_enabled():
        gradient: Tensor = _Push.apply(*inputs)  # type: ignore[no-untyped-call]
        return gradient
    return _push(torch.ops.lovasz, *inputs)


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
    factors: Tensor | None,
    scale: Tensor | None,
    target: Tensor,
    lse: Tensor,
    weight: Tensor | None,
    group: Tensor | None,
    reading: Reading,
) -> Tensor:
    """The operator for link and method."""
    ignore_index, link, ranked, smoothing = reading
    if link in MULTICLASS:
        common = (scores, target, lse, slopes, ignore_index, link == "softmax")
        if ranked:
            pushed: Tensor = operators.push_ranked(*common, factors)
        else:
            pushed = operators.push(*common, scale, weight, smoothing, group, factors)
        return pushed
    if ranked:
        pushed = operators.push_ranked_channels(scores, target, slopes, ignore_index, link, factors)
    else:
        options = (ignore_index, link, scale, weight, group, factors)
        pushed = operators.push_channels(scores, target, slopes, *options)
    return pushed
