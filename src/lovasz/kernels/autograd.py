"""The operators that own a gradient: ``reduce`` and ``backward``.

The extension is computed without autograd, from counts or sorted errors; its slopes are constants
almost everywhere. ``reduce`` gives the loss its gradient: that of the scores is ``backward`` of
(slopes × factors × incoming gradient), and the second derivative is the derivative of ``backward``.

Both are registered for two keys of torch's dispatcher, so that the gradient belongs to the
operator and not to the Python code that calls it: whoever records the operator (``torch.export``,
``make_fx``, ``torch.compile``) has recorded its gradient.

==================================  ===========================================================
``Autograd``                        eager mode, and every trace of it: ``_reduce``, ``_backward``
``FuncTorchDynamicLayerFrontMode``  transforms of ``torch.func``: their ``...UnderTransforms``
==================================  ===========================================================

Not ``torch.library.register_autograd``: it knows the first alone, and ``torch.func.grad`` fails. No
``jvp``, which the second kind could not have; forward mode has an error of torch's own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from lovasz.kernels import reference
from lovasz.kernels.batching import one_by_one
from lovasz.kernels.upsampling import at_target


class _Kept(NamedTuple):
    """What ``reduce`` keeps for its gradient."""

    scores: Tensor
    target: Tensor
    lse: Tensor
    slopes: Tensor
    class_weight: Tensor | None
    segment_ids: Tensor | None
    pixel_weight: Tensor | None
    mixture: Tensor | None
    factors: Tensor
    by_sum: Tensor

    def gradient(
        self,
        reading: tuple[Any, ...],
        grad: Tensor | None,
        grad_cross_entropy: Tensor | None,
        by_regions: Tensor | None,
    ) -> Tensor:
        """The gradient of the scores from those of value, mean cross-entropy and sums."""
        ignore_index, link, smoothing, upsample, size, label_smoothing = reading
        if grad is None:  # something else alone is asked for
            by_loss = torch.zeros_like(self.factors)
        else:
            by_loss = grad * self.factors  # (G, C)
        scale = None
        if grad_cross_entropy is not None and self.by_sum.dim() == 0:  # (0,) without cross-entropy
            scale = grad_cross_entropy * self.by_sum
        slopes, pixel_weight = self.slopes, self.pixel_weight
        if slopes.dim() == 3 and pixel_weight is not None:
            # By pixel the slopes have the weights in them; the cross-entropy and the sums have not,
            # and of soft labels those of weight 0 are ignored, whatever the scores there hold.
            needed = scale is not None or by_regions is not None
            if not needed and not self.target.is_floating_point():
                pixel_weight = None
            else:
                weight = pixel_weight if pixel_weight.dim() == 3 else pixel_weight.unsqueeze(1)
                slopes = torch.where(weight > 0, slopes / weight, 0.0)
        gradient: Tensor = torch.ops.lovasz.backward(
            self.scores, self.target, self.lse, slopes, by_loss, ignore_index, link,
            scale, self.class_weight, smoothing, self.segment_ids, pixel_weight, upsample, size,
            self.mixture, label_smoothing, by_regions,
        )  # fmt: skip
        return gradient


# Of the arguments of ``reduce``: the scores, to which the gradient flows; the tensors from them on;
# what comes after those and after the sums.
_SCORES, _TENSORS, _READING = 8, slice(8, 16), slice(17, None)


def _keep_for_reduce(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _, factors, _, by_sum, regions = output
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(factors, by_sum)
    ctx.has_regions = regions.dim() == 3
    ctx.save_for_backward(*inputs[_TENSORS], factors, by_sum)
    ctx.reading = inputs[_READING]


class _Reduce(torch.autograd.Function):
    """Takes the scores, and all arguments of the operator in one.

    ``Function.apply`` looks at each argument in Python, and the scores alone have a gradient.
    """

    @staticmethod
    def forward(ctx: Any, scores: Tensor, inputs: tuple[Any, ...]) -> tuple[Tensor, ...]:
        output: tuple[Tensor, ...] = _below_autograd(torch.ops.lovasz.reduce, inputs)
        _keep_for_reduce(ctx, inputs, output)
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        grad, _, grad_cross_entropy, _, by_regions = grads
        by_regions = by_regions if ctx.has_regions else None
        kept = _Kept(*ctx.saved_tensors)
        return kept.gradient(ctx.reading, grad, grad_cross_entropy, by_regions), None


class _ReduceUnderTransforms(torch.autograd.Function):
    @staticmethod
    def forward(*inputs: Any) -> tuple[Tensor, ...]:
        return _below_autograd(torch.ops.lovasz.reduce, inputs)  # type: ignore[no-any-return]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        _keep_for_reduce(ctx, inputs, output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        gradient, _ = _Reduce.backward(ctx, *grads)
        return *(None,) * _SCORES, gradient, *(None,) * 14

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Any) -> Any:
        return one_by_one(torch.ops.lovasz.reduce, info, in_dims, inputs)


class _Backward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        _keep_for_backward(ctx, inputs)
        return _below_autograd(torch.ops.lovasz.backward, inputs)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Any, ...]:
        """Second derivative, from the reference in plain torch."""
        scores, target, lse, slopes, factors, scale, *rest = ctx.saved_tensors
        ignore_index, link, smoothing, upsample, size, label_smoothing = ctx.reading
        weight, segment_ids, pixel_weight, mixture, by_regions = rest
        with torch.enable_grad():
            leaves: list[Any] = [
                None if tensor is None else tensor.detach().requires_grad_()
                for tensor in (scores, slopes, factors, scale, by_regions)
            ]
            scores, slopes, factors, scale, by_regions = leaves
            # The pass takes the log-sum-exp as given; here it has to depend on the scores.
            lse = reference.log_sum_exp(at_target(scores, upsample, size), link)
            gradient = reference.backward(
                scores, target, lse, slopes, factors, ignore_index, link,
                scale, weight, smoothing, segment_ids, pixel_weight, upsample, size,
                mixture, label_smoothing, by_regions,
            )  # fmt: skip
            found = iter(
                torch.autograd.grad(
                    gradient,
                    [leaf for leaf in leaves if leaf is not None],
                    list(grad_outputs),
                    allow_unused=True,
                    materialize_grads=True,
                )
            )
        of_scores, of_slopes, of_factors, of_scale, of_regions = (
            None if leaf is None else next(found) for leaf in leaves
        )
        head = (of_scores, None, None, of_slopes, of_factors, None, None, of_scale)
        return *head, *(None,) * 8, of_regions


class _BackwardUnderTransforms(_Backward):
    @staticmethod
    def forward(*inputs: Any) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _below_autograd(torch.ops.lovasz.backward, inputs)  # type: ignore[no-any-return]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _keep_for_backward(ctx, inputs)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Any) -> Any:
        return one_by_one(torch.ops.lovasz.backward, info, in_dims, inputs)


def _keep_for_backward(ctx: Any, inputs: tuple[Any, ...]) -> None:
    *before, ignore_index, link, scale, weight, smoothing, ids, pixel_weight = inputs[:12]
    upsample, size, mixture, label_smoothing, by_regions = inputs[12:]
    ctx.save_for_backward(*before, scale, weight, ids, pixel_weight, mixture, by_regions)
    ctx.reading = (ignore_index, link, smoothing, upsample, size, label_smoothing)


def _below_autograd(operator: Any, inputs: tuple[Any, ...]) -> Any:
    """The operator without its gradient, by the kernel of the device; recorded all the same."""
    with torch._C._AutoDispatchBelowAutograd():
        return operator(*inputs)


def _reduce(*inputs: Any) -> Any:
    """``reduce`` for ``Autograd``."""
    if torch.is_grad_enabled():
        return _Reduce.apply(inputs[_SCORES], inputs)  # type: ignore[no-untyped-call]
    return _below_autograd(torch.ops.lovasz.reduce, inputs)


def _backward(*inputs: Any) -> Any:
    """``backward`` for ``Autograd``."""
    if torch.is_grad_enabled():
        return _Backward.apply(*inputs)  # type: ignore[no-untyped-call]
    return _below_autograd(torch.ops.lovasz.backward, inputs)


def register(library: torch.library.Library) -> None:
    """Give ``reduce`` and ``backward``, which are defined, their gradients."""
    for name, eager, under_transforms in (
        ("reduce", _reduce, _ReduceUnderTransforms),
        ("backward", _backward, _BackwardUnderTransforms),
    ):
        library.impl(name, eager, "Autograd")
        library.impl(name, under_transforms.apply, "FuncTorchDynamicLayerFrontMode")
