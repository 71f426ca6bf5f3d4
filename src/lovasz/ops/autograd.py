"""The operators that own a gradient: ``attach`` and ``backward``.

The extension is computed without autograd, from counts or sorted errors; its slopes are constants
almost everywhere. ``attach`` takes a value without a gradient and gives it one: the gradient of the
scores is ``backward`` of (slopes × incoming gradient), and the second derivative is the derivative
of ``backward``.

Both are registered for two keys of torch's dispatcher, so that the gradient belongs to the
operator and not to the Python code that calls it: whoever records the operator (``torch.export``,
``make_fx``, ``torch.compile``) has recorded its gradient.

==================================  ===========================================================
``Autograd``                        eager mode, and every trace of it: ``_Attach``, ``_Backward``
``FuncTorchDynamicLayerFrontMode``  transforms of ``torch.func``: their ``...UnderTransforms``
==================================  ===========================================================

Not ``torch.library.register_autograd``: it knows the first alone, and ``torch.func.grad`` fails. No
``jvp``, which the second kind could not have; forward mode has an error of torch's own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from lovasz.ops import channels, reference
from lovasz.ops.backward import backward_by
from lovasz.ops.batching import one_by_one
from lovasz.ops.precision import wide_dtype

_reference_backward = backward_by(reference, channels)


def attach_values(
    value: Tensor, mean: Tensor | None, scores: Tensor, *_: Any
) -> tuple[Tensor, Tensor]:
    """``lovasz::attach`` below autograd: the values, in memory of their own."""
    dtype = wide_dtype(scores)
    if mean is None:
        return value.to(dtype, copy=True), scores.new_empty(0, dtype=dtype)
    return value.to(dtype, copy=True), mean.to(dtype, copy=True)


class Attached(NamedTuple):
    """What ``attach`` keeps for its gradient."""

    scores: Tensor
    target: Tensor
    lse: Tensor
    slopes: Tensor
    factors: Tensor | None
    by_sum: Tensor | None
    weight: Tensor | None
    group: Tensor | None
    pixel_weight: Tensor | None

    def gradient(
        self, reading: tuple[Any, ...], grad: Tensor | None, grad_mean: Tensor | None
    ) -> Tensor:
        """The gradient of the scores from those of the value and of the mean cross-entropy."""
        ignore_index, link, smoothing = reading
        if grad is None:  # the cross-entropy alone is asked for
            by_loss = self.slopes.new_zeros(self.slopes.shape[:2])
        else:
            by_loss = grad if self.factors is None else grad * self.factors  # (G, C)
        slopes = self.slopes
        factors: Tensor | None = by_loss
        if slopes.dim() == 3 and self.group is not None:
            # Pixels of a row are of many clouds.
            slopes, factors = slopes * by_loss[self.group].transpose(1, 2), None
        scale = None if self.by_sum is None or grad_mean is None else grad_mean * self.by_sum
        gradient: Tensor = torch.ops.lovasz.backward(
            self.scores, self.target, self.lse, slopes, factors, ignore_index, link,
            scale, self.weight, smoothing, self.group, self.pixel_weight,
        )  # fmt: skip
        return gradient


class _Attach(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        _keep_for_attach(ctx, inputs)
        return _below_autograd(torch.ops.lovasz.attach, inputs)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        gradient = Attached(*ctx.saved_tensors).gradient(ctx.reading, *grads)
        return None, None, gradient, *(None,) * 11


class _AttachUnderTransforms(_Attach):
    @staticmethod
    def forward(*inputs: Any) -> tuple[Tensor, Tensor]:
        return _below_autograd(torch.ops.lovasz.attach, inputs)  # type: ignore[no-any-return]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        _keep_for_attach(ctx, inputs)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Any) -> Any:
        return one_by_one(torch.ops.lovasz.attach, info, in_dims, inputs)


def _keep_for_attach(ctx: Any, inputs: tuple[Any, ...]) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[2:11])
    ctx.reading = inputs[11:]


class _Backward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        _keep_for_backward(ctx, inputs)
        return _below_autograd(torch.ops.lovasz.backward, inputs)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        """Second derivative, from the reference in plain torch."""
        scores, target, lse, slopes, factors, scale, *rest = ctx.saved_tensors
        ignore_index, link, smoothing = ctx.reading
        weight, group, pixel_weight = rest
        with torch.enable_grad():
            leaves: list[Any] = [
                None if tensor is None else tensor.detach().requires_grad_()
                for tensor in (scores, slopes, factors, scale)
            ]
            scores, slopes, factors, scale = leaves
            # The pass takes the log-sum-exp as given; here it has to depend on the scores.
            lse = reference.log_sum_exp(scores) if link == "softmax" else lse
            gradient = _reference_backward(
                scores, target, lse, slopes, factors, ignore_index, link,
                scale, weight, smoothing, group, pixel_weight,
            )  # fmt: skip
            found = iter(
                torch.autograd.grad(
                    gradient,
                    [leaf for leaf in leaves if leaf is not None],
                    grad,
                    allow_unused=True,
                    materialize_grads=True,
                )
            )
        of_scores, of_slopes, of_factors, of_scale = (
            None if leaf is None else next(found) for leaf in leaves
        )
        head = (of_scores, None, None, of_slopes, of_factors, None, None, of_scale)
        return *head, *(None,) * 4


class _BackwardUnderTransforms(_Backward):
    @staticmethod
    def forward(*inputs: Any) -> Tensor:
        return _below_autograd(torch.ops.lovasz.backward, inputs)  # type: ignore[no-any-return]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _keep_for_backward(ctx, inputs)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Any) -> Any:
        return one_by_one(torch.ops.lovasz.backward, info, in_dims, inputs)


def _keep_for_backward(ctx: Any, inputs: tuple[Any, ...]) -> None:
    scores, target, lse, slopes, factors, ignore_index, link, scale, weight, smoothing, *rest = (
        inputs
    )
    ctx.save_for_backward(scores, target, lse, slopes, factors, scale, weight, *rest)
    ctx.reading = (ignore_index, link, smoothing)


def _below_autograd(operator: Any, inputs: tuple[Any, ...]) -> Any:
    """The operator without its gradient, by the kernel of the device; recorded all the same."""
    with torch._C._AutoDispatchBelowAutograd():
        return operator(*inputs)


def _kernel(operator: Any, function: type[torch.autograd.Function]) -> Any:
    """The kernel of an operator for ``Autograd``."""

    def kernel(*inputs: Any) -> Any:
        if torch.is_grad_enabled():
            return function.apply(*inputs)
        return _below_autograd(operator, inputs)

    return kernel


def register(library: torch.library.Library) -> None:
    """Give ``attach`` and ``backward``, which are defined, their gradients."""
    for name, function, under_transforms in (
        ("attach", _Attach, _AttachUnderTransforms),
        ("backward", _Backward, _BackwardUnderTransforms),
    ):
        operator = getattr(torch.ops.lovasz, name)
        library.impl(name, _kernel(operator, function), "Autograd")
        library.impl(name, under_transforms.apply, "FuncTorchDynamicLayerFrontMode")
