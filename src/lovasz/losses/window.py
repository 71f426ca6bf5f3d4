r"""The window: counts of earlier batches, remembered and decayed.

A loss of the data set instead of the batch: the IoU that is reported is computed from the counts of
the whole data set, and the mean of the IoUs of batches is another quantity (Berman et al. 2018,
section 3.3). Counts add up, so they can be remembered: the loss is that of an average batch of the
last few. ``docs/window.md`` derives it, and says what it costs and when it pays.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lovasz.core.options import check_momentum

__all__ = ["Window"]

# What one pixel counts in the memory: a decayed pixel keeps twenty binary digits, and integers
# stay as they are when a module is converted to half precision.
PIXEL = 2**20


class Remembered(NamedTuple):
    """The counts of a window, and how many batches they are."""

    counts: Tensor  # (C, 2, B) int64, H in units of 2**-20 pixels
    batches: Tensor  # () int64, n in units of 2**-20
    sums: Tensor | None = None  # (C, 8) int64 likewise, those of ``core.regions``

    def average(self) -> Tensor:
        """Counts of the average batch, (C, 2, B) int64, in units of 2**-20 pixels."""
        return (self.counts.double() / self._batches()).round().to(torch.int64)

    def average_sums(self) -> Tensor:
        """Sums of the average batch, (C, 8) float64, in pixels."""
        assert self.sums is not None  # whoever asks has added some
        return self.sums.double() / PIXEL / self._batches()

    def _batches(self) -> Tensor:
        return self.batches.clamp(min=PIXEL).double() / PIXEL


class Window(nn.Module):
    r"""Decayed counts of the batches seen so far.

    After batch t with the counts $c_t$ (of negatives and positives of every class, by bin of error)

    $$H_t = \beta H_{t-1} + c_t, \qquad n_t = \beta n_{t-1} + 1,$$

    and the loss and its slopes are those of the average batch $H_t / n_t$. The gradient flows
    to the pixels of the present batch alone.

    Only batches that are trained on are remembered: one whose logits have no gradient (under
    ``torch.no_grad`` or ``torch.inference_mode``, as in a validation loop) gets the loss of the
    window that would end with it, and leaves the window as it was.

    Args:
        momentum: β in [0, 1): the window is about 1 / (1 − β) batches long. With 0 it is the batch.

    Shape:
        - counts: (C, 2, B) int64, in units of 2**-20 pixels; empty before the first batch.
        - batches: () int64, n in units of 2**-20.
        - sums: (C, 8) int64, in units of 2**-20 pixels: those of losses by sums and of soft labels,
          decayed as the counts are; empty without them.

    Raises:
        TypeError: if momentum is no number.
        ValueError: if momentum is not in [0, 1).

    Examples:
        >>> import torch
        >>> from lovasz import lovasz_softmax
        >>> window = Window(0.9)
        >>> logits = torch.randn(8, 3, requires_grad=True)
        >>> target = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
        >>> first = lovasz_softmax(logits, target, window=window)
        >>> bool(first == lovasz_softmax(logits, target))
        True
        >>> window.counts.shape
        torch.Size([3, 2, 2048])
    """

    counts: Tensor
    batches: Tensor
    sums: Tensor

    def __init__(self, momentum: float) -> None:
        super().__init__()
        check_momentum(type(self).__name__, momentum)
        self.momentum = float(momentum)
        self._without_gradient = 0
        self.register_buffer("counts", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))
        self.register_buffer("sums", torch.zeros(0, dtype=torch.int64))

    def reset(self) -> None:
        """Forget everything."""
        self.counts = torch.zeros_like(self.counts)
        self.batches = torch.zeros_like(self.batches)
        self.sums = torch.zeros_like(self.sums)

    def add(
        self,
        counts: Tensor,
        valid: Tensor,
        sums: Tensor | None = None,
        *,
        remember: bool = True,
    ) -> Remembered:
        """The window that ends with a batch.

        Args:
            counts: (C, 2, B) int64, in units of 2**-20 pixels.
            valid: () bool; a batch that is not valid (NaN logits, say) is not added.
            sums: (C, 8) float64, in pixels; None if there are none.
            remember: False leaves the window as it was before, for a batch that is not trained on.

        Returns:
            H and n of the window with the batch.

        Raises:
            ValueError: if the window holds another number of classes or bins, or has sums for some
                batches alone.
        """
        remembered = self._on(counts, sums)
        if _recomputing() and not self._without_gradient:
            return remembered  # with the batch already

        def later(memory: Tensor, new: Tensor | int) -> Tensor:
            return torch.where(valid, _decayed(memory, self.momentum) + new, memory)

        with_batch = Remembered(later(remembered.counts, counts), later(remembered.batches, PIXEL))
        if sums is not None and remembered.sums is not None:
            # Of a batch that is not valid they may be no numbers; what those become is not used.
            whole = (sums.nan_to_num() * PIXEL).round().to(torch.int64)
            with_batch = with_batch._replace(sums=later(remembered.sums, whole))
        if not torch.compiler.is_compiling():
            self._note(remember)
        if remember:
            self._remember(with_batch)
        return with_batch

    def _on(self, counts: Tensor, sums: Tensor | None) -> Remembered:
        """What is remembered, on the device of the counts and of their shape."""
        seen = self.counts.dim() == 3
        if seen and self.counts.shape != counts.shape:
            raise ValueError(
                f"Window: expected {self.counts.shape[0]} classes and {self.counts.shape[2]} bins"
                f" as in the batches before (reset by making another window), got"
                f" {counts.shape[0]} and {counts.shape[2]}"
            )
        if seen and (self.sums.dim() == 2) != (sums is not None):
            raise ValueError(
                "Window: expected soft labels, or a loss by sums, in all batches or in none, got"
                f" them {'in this batch' if sums is not None else 'before'} alone (reset by making"
                " another window)"
            )
        memory = self.counts.to(counts.device) if seen else torch.zeros_like(counts)
        remembered = Remembered(memory, self.batches.to(counts.device))
        if sums is None:
            return remembered
        before = torch.zeros_like(sums, dtype=torch.int64)
        return remembered._replace(sums=self.sums.to(counts.device) if seen else before)

    def _remember(self, window: Remembered) -> None:
        for name, new in window._asdict().items():
            if new is None:
                continue
            memory = getattr(self, name)
            # Memory of another shape before the first batch, on another device after the module was
            # moved, or made in inference mode, which nobody may change afterwards.
            fits = memory.shape == new.shape and memory.device == new.device
            if fits and (torch.compiler.is_compiling() or not memory.is_inference()):
                memory.copy_(new)
            else:
                setattr(self, name, new.clone())

    def _note(self, remember: bool) -> None:
        """How many batches came without a gradient since the last that had one.

        With ``use_reentrant=True`` a checkpoint runs forward without gradients, and what it
        computes anew in the backward pass is the batch to remember.
        """
        if not remember:
            self._without_gradient += 1
        elif _recomputing():
            self._without_gradient -= 1
        else:
            self._without_gradient = 0

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Take over counts and sums of any shape: they have none before the first batch."""
        # Windows of before there were sums have saved none.
        state_dict = {prefix + "sums": torch.zeros(0, dtype=torch.int64), **state_dict}
        for name in ("counts", "sums"):
            loaded = state_dict.get(prefix + name)
            if loaded is not None:
                setattr(self, name, getattr(self, name).new_empty(loaded.shape))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def extra_repr(self) -> str:
        """The momentum."""
        return f"momentum={self.momentum:g}"


def make_window(name: str, momentum: float | None) -> Window | None:
    """The window of a module that may have none."""
    if momentum is None:
        return None
    check_momentum(name, momentum)
    return Window(momentum)


def check_window(name: str, window: Any, *, per_image: bool, method: str = "histogram") -> None:
    """A window remembers the counts of whole batches."""
    if window is None:
        return
    if not isinstance(window, Window):
        raise TypeError(
            f"{name}: expected window to be a lovasz.Window or None, got {type(window).__name__}"
        )
    if per_image:
        raise ValueError(
            f"{name}: expected per_image=False with a window, because counts of images are not"
            f" remembered apart, got per_image={per_image!r}"
        )
    if method != "histogram":
        raise ValueError(
            f"{name}: expected method='histogram' with a window, because it remembers counts,"
            f" got {method!r}"
        )


def _decayed(memory: Tensor, momentum: float) -> Tensor:
    # float64 holds 53 binary digits: 2**33 pixels and the twenty digits of their fractions. Rounded
    # down, so that what is left of a class that does not come again ends at 0.
    return (memory.double() * momentum).to(torch.int64)


def _recomputing() -> bool:
    """Whether a checkpoint repeats a forward pass, whose batch is remembered already."""
    if torch.compiler.is_compiling():
        return False
    return torch._C._current_graph_task_id() != -1  # inside a backward pass
