"""What the modules share: they keep the options of a function and call it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor, nn

from lovasz.losses.window import Window


class Loss(nn.Module):
    """A function with its options.

    Options are attributes, class weights buffers, and the window a submodule.
    """

    function: ClassVar[Callable[..., Tensor]]
    window: Window | None

    def __init__(
        self, window: Window | None, options: dict[str, Any], weights: dict[str, Tensor | None]
    ) -> None:
        super().__init__()
        self._options = (*options, *weights)
        for name, value in options.items():
            setattr(self, name, value)
        for name, weight in weights.items():
            self.register_buffer(name, weight)
        self.window = window

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
    ) -> Tensor:
        """Loss of logits and labels; further tensors as for the function."""
        options = {name: getattr(self, name) for name in self._options}
        return type(self).function(
            logits,
            target,
            window=self.window if self.training else None,
            pixel_weight=pixel_weight,
            ignore_mask=ignore_mask,
            offsets=offsets,
            batch_index=batch_index,
            batch_size=batch_size,
            **options,
        )

    def reset_window(self) -> None:
        """Forget the batches before, if there is a window."""
        if self.window is not None:
            self.window.reset()

    def extra_repr(self) -> str:
        """All options but the class weights, which are buffers."""
        shown = [name for name in self._options if name not in self._buffers]
        return ", ".join(f"{name}={_shown(getattr(self, name))}" for name in shown)


def _shown(value: Any) -> str:
    if callable(value):
        return getattr(value, "__name__", None) or repr(value)
    return f"{value:g}" if isinstance(value, float) else repr(value)
