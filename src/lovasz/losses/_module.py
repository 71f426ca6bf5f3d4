"""What all losses that are modules do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from lovasz.core.options import CrossEntropy, Names, Options
from lovasz.core.regions import Region
from lovasz.losses._classes import class_weight
from lovasz.losses._loss import check
from lovasz.losses.window import Window, make_window

_WEIGHTS = ("weight", "pos_weight", "lovasz_class_weight", "dice_class_weight")
_OF_ANY_MODULE = frozenset(vars(nn.Module()))
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def python_only(forward: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Mark a method that TorchScript leaves out, and of which it cannot read the types.

    Nor may its source have a comment that begins with "type:", which TorchScript would read.
    """
    forward.__annotations__ = {}
    return torch.jit.unused(forward)


class PythonModule(nn.Module):
    """A module that `torch.jit.script` of a network that holds it leaves to Python.

    The scripted network has its buffers, and Python can call it; its methods are `python_only`.
    """

    # TorchScript would compile properties.
    __jit_unused_properties__: ClassVar[list[str]] = ["__jit_ignored_attributes__"]

    @property
    def __jit_ignored_attributes__(self) -> list[str]:
        """What TorchScript need not understand, and the scripted module gets as it is."""
        of_class = [name for name in ("function", "link") if hasattr(self, name)]
        unused = self.__jit_unused_properties__[1:]
        return [*(vars(self).keys() - _OF_ANY_MODULE), *self._modules, *of_class, *unused]


class Loss(PythonModule):
    """A function with its options.

    Options are attributes, class weights buffers, and the window a submodule.

    Args:
        by_sums: of a loss without a Lovász loss, for the check of the options.
        momentum: of the window; None: no window.
        options: further ones of the function.
    """

    function: ClassVar[Callable[..., Tensor]]
    link: str
    window: Window | None

    def __init__(
        self, by_sums: Region | None = None, *, momentum: float | None, **options: Any
    ) -> None:
        super().__init__()
        name = type(self).__name__
        window = make_window(name, momentum)
        plain = {key: value for key, value in options.items() if key in Options._fields}
        plain.update(window=window, region_factor=options.get("region_weight", 1.0))
        if by_sums is not None:
            plain.update(region=by_sums, lovasz_factor=None)
        if "cross_entropy_weight" in options:
            plain.update(_with_cross_entropy(options))
        check(name, self.link, Options(**plain))
        self._options = tuple(options)
        for key, value in options.items():
            if key in _WEIGHTS:
                self.register_buffer(key, class_weight(name, value, argument=key))
            else:
                setattr(self, key, value)
        self.window = window

    @python_only
    def forward(
        self,
        logits: Tensor,
        target: Tensor,
        *,
        pixel_weight: Tensor | None = None,
        ignore_mask: Tensor | None = None,
        offsets: Tensor | None = None,
        batch_index: Tensor | None = None,
        batch_size: int | None = None,
        target_weight: Any = None,
    ) -> Tensor:
        """Loss of logits and labels; further tensors as for the function."""
        options = {name: getattr(self, name) for name in self._options}
        window = self.window if self.training else None
        if window is not None:
            _check_not_traced(type(self).__name__, window)
        if target_weight is not None:
            options["target_weight"] = target_weight
        # Of a scripted network's module too, which is of another type.
        return self.function(
            logits,
            target,
            window=window,
            pixel_weight=pixel_weight,
            ignore_mask=ignore_mask,
            offsets=offsets,
            batch_index=batch_index,
            batch_size=batch_size,
            **options,
        )

    @python_only
    def reset_window(self) -> None:
        """Forget the batches before, if there is a window."""
        if self.window is not None:
            self.window.reset()

    def extra_repr(self) -> str:
        """All options but the class weights, which are buffers."""
        shown = [name for name in self._options if name not in _WEIGHTS]
        return ", ".join(f"{name}={_shown(getattr(self, name))}" for name in shown)


def _check_not_traced(name: str, window: Window) -> None:
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        raise RuntimeError(
            f"{name}: expected momentum=None or evaluation mode in torch.jit.trace, which would"
            f" record the window of one batch, got momentum={window.momentum}"
        )


def _shown(value: Any) -> str:
    if callable(value):
        return getattr(value, "__name__", None) or repr(value)
    return f"{value:g}" if isinstance(value, float) else repr(value)


def _with_cross_entropy(options: dict[str, Any]) -> dict[str, Any]:
    """Those that are called otherwise where there is a cross-entropy."""
    other = "dice" if "dice_weight" in options else "lovasz"
    return {
        "weight": None,  # is the cross-entropy's, and checked with the other class weights
        "cross_entropy": CrossEntropy(
            options["cross_entropy_weight"], smoothing=options.get("label_smoothing", 0.0)
        ),
        "label_smoothing": options.get(f"{other}_label_smoothing", 0.0),
        "lovasz_factor": options.get("lovasz_weight"),
        "region_factor": options.get("dice_weight", options.get("region_weight", 1.0)),
        "names": Names(
            f"{other}_class_weight",
            "dice_weight" if other == "dice" else "region_weight",
            f"{other}_label_smoothing",
        ),
    }
