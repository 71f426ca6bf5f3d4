r"""The window: counts of earlier batches, remembered and decayed.

A loss of the data set instead of the batch: the IoU that is reported is computed from the counts of
the whole data set, and the mean of the IoUs of batches is another quantity (Berman et al. 2018,
section 3.3). Counts add up, so they can be remembered: the loss is that of an average batch of the
last few. ``docs/window.md`` derives it, and says what it costs and when it pays.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lovasz.core.options import (
    DEFAULT_BINS,
    check_at_least,
    check_bins,
    check_flags,
    check_momentum,
)
from lovasz.core.regions import SUMS

__all__ = ["Window"]

# What one pixel counts in the memory: a decayed pixel keeps twenty binary digits, and integers
# stay as they are when a module is converted to half precision.
PIXEL = 2**20


MEMORY = ("counts", "batches", "sums")


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

    What is remembered is in the ``state_dict`` and follows the module to other devices, but is no
    buffer: the averages of weights that are kept during training (`AveragedModel` and the like)
    leave it alone, and `DistributedDataParallel` does not overwrite one process's with another's.

    Args:
        momentum: β in [0, 1): the window is about 1 / (1 − β) batches long. With 0 it is the batch.
        num_classes: C, for a ``state_dict`` whose tensors have the same shapes before the first
            batch as afterwards, which `torch.distributed.checkpoint` needs. None: the first batch
            decides.
        bins: with ``num_classes``, those of the loss; 0 for one that counts no errors.
        sums: with ``num_classes``, whether soft labels or a loss by sums have sums to remember.

    Shape:
        - counts: (C, 2, B) int64, in units of 2**-20 pixels; empty before the first batch.
        - batches: () int64, n in units of 2**-20.
        - sums: (C, 8) int64, in units of 2**-20 pixels: those of losses by sums and of soft labels,
          decayed as the counts are; empty without them.

    Raises:
        TypeError: for arguments of a wrong type.
        ValueError: if momentum is not in [0, 1), and for arguments of a wrong value.

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
    _original: weakref.ref[Window] | None = None  # of which this is a copy

    def __init__(
        self,
        momentum: float,
        num_classes: int | None = None,
        *,
        bins: int = DEFAULT_BINS,
        sums: bool = False,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        check_momentum(name, momentum)
        check_flags(name, sums=sums)
        if bins != 0:
            check_bins(name, bins)
        if num_classes is not None:
            check_at_least(name, "num_classes", num_classes, 1)
        elif bins != DEFAULT_BINS or sums:
            raise ValueError(
                f"{name}: expected bins and sums with num_classes, got bins={bins!r}, sums={sums!r}"
                " and num_classes=None"
            )
        self.momentum = float(momentum)
        self.num_classes = num_classes
        self._without_gradient = 0
        shapes: dict[str, tuple[int, ...]] = {"counts": (0,), "batches": (), "sums": (0,)}
        if num_classes is not None:
            shapes["counts"] = (num_classes, 2, bins)
            shapes["sums"] = (num_classes, SUMS) if sums else (0,)
        for key, shape in shapes.items():
            # On the CPU until the module is moved or a batch comes, whatever the default device: a
            # module that is made without storage has nothing to fill in here.
            setattr(self, key, torch.zeros(shape, dtype=torch.int64, device="cpu"))

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
                f"Window: expected {self.counts.shape[0]} classes and {self.counts.shape[2]} bins,"
                f" as {'it was made for' if self.num_classes else 'in the batches before'} (make"
                f" another window for others), got {counts.shape[0]} and {counts.shape[2]}"
            )
        if seen and (self.sums.dim() == 2) != (sums is not None):
            if self.num_classes:
                raise ValueError(
                    f"Window: expected sums={sums is not None} of a window with num_classes for"
                    f" this loss and its labels, got sums={sums is None}"
                )
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
        compiling = torch.compiler.is_compiling()
        for name, new in window._asdict().items():
            if new is None:
                continue
            plain = new if compiling else _outside_of_transforms(new)
            memory = getattr(self, name)
            # Memory of another shape before the first batch, on another device after the module was
            # moved, or made in inference mode, which nobody may change afterwards; nor may a
            # transform of torch.func change what is outside of it.
            fits = memory.shape == new.shape and memory.device == new.device and plain is new
            if fits and (compiling or not memory.is_inference()):
                memory.copy_(new)
            else:
                setattr(self, name, new.clone() if plain is new else plain)

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

    def checksum(self, device: torch.device) -> Tensor:
        """A number that differs where what is remembered differs, (1,) int64."""
        parts = (getattr(self, name) for name in MEMORY)
        return torch.stack([part.to(device).sum() for part in parts]).sum(0, keepdim=True)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Window:
        """Move with the module, contents and dtype staying what they are."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        device = fn(torch.empty(0, dtype=torch.int64, device=self.counts.device)).device
        if device.type != "meta":
            for name in MEMORY:
                setattr(self, name, getattr(self, name).to(device))
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Window:
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
        copied._original = weakref.ref(self)
        return copied

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_original"}

    def get_extra_state(self) -> Tensor:
        """What is remembered in one tensor, for the ``state_dict``.

        Averages of weights keep a copy of the network, and some go through the state dicts of both
        at once. So a copy without a batch has a tensor of the size of its original's, filled up.

        Returns:
            (4 + C (2 B + S),) int64: n, C, B, the number S of sums of a class, counts and sums.
        """
        state = _packed(Remembered(self.counts, self.batches, self.sums))
        original = None if self._original is None else self._original()
        if original is None or self.counts.dim() == 3:
            return state
        return nn.functional.pad(state, (0, len(original.get_extra_state()) - len(state)))

    def set_extra_state(self, state: Tensor) -> None:
        """Take over what another window remembered.

        Raises:
            ValueError: if this one was made for another number of classes or bins, or other sums.
        """
        loaded = _unpacked(state.detach().to(self.counts, copy=True))
        for name, new in loaded._asdict().items():
            memory: Tensor = getattr(self, name)
            fits = self.num_classes is None or new.shape == memory.shape
            if not fits and new.numel():
                raise ValueError(
                    f"Window: expected a state with {name} of shape {tuple(memory.shape)}, that"
                    f" of num_classes={self.num_classes}, got {tuple(new.shape)}"
                )
            # What does not fit and is empty is of a window without a batch.
            setattr(self, name, new if fits else torch.zeros_like(memory))

    def _load_from_state_dict(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, state_dict: dict[str, Any], prefix: str, *rest: Any
    ) -> None:
        """Of older checkpoints too, in which what is remembered has three names."""
        if prefix + "counts" in state_dict:
            state_dict = dict(state_dict)
            counts, batches = state_dict.pop(prefix + "counts"), state_dict.pop(prefix + "batches")
            sums = state_dict.pop(prefix + "sums", None)  # the oldest have none
            state_dict[prefix + "_extra_state"] = _packed(Remembered(counts, batches, sums))
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


def _outside_of_transforms(tensor: Tensor) -> Tensor:
    """The tensor itself, in ``torch.func.grad`` too."""
    functorch: Any = torch._C._functorch  # pyright: ignore[reportAttributeAccessIssue]
    while functorch.is_functorch_wrapped_tensor(tensor):
        if functorch.is_batchedtensor(tensor):
            raise ValueError(
                "Window: expected one batch at a time, got several in torch.func.vmap, whose order"
                " is not known (call the loss for one after the other, or without a window)"
            )
        tensor = functorch.get_unwrapped(tensor)
    return tensor


def check_alike(at_odds: bool) -> None:
    """With a process group all ranks remember the same."""
    if at_odds:
        raise ValueError(
            "Window: expected all ranks of process_group to remember the same batches, got others"
            " (load the checkpoint on every rank, or reset the window on every rank)"
        )


def _packed(window: Remembered) -> Tensor:
    counts, sums = window.counts, window.sums
    if sums is None:
        sums = counts.new_empty(0)
    classes, bins = (counts.shape[0], counts.shape[2]) if counts.dim() == 3 else (0, 0)
    sizes = counts.new_tensor((classes, bins, sums.shape[1] if sums.dim() == 2 else 0))
    return torch.cat((window.batches.reshape(1), sizes, counts.flatten(), sums.flatten()))


def _unpacked(state: Tensor) -> Remembered:
    classes, bins, sums = state[1:4].tolist()
    end = 4 + classes * 2 * bins
    counts = state[4:end].reshape((classes, 2, bins) if classes else (0,))
    summed = state[end : end + classes * sums].reshape((classes, sums) if sums else (0,))
    # Each with a storage of its own, because they are changed apart.
    return Remembered(counts.clone(), state[0].clone(), summed.clone())


def _decayed(memory: Tensor, momentum: float) -> Tensor:
    # float64 holds 53 binary digits: 2**33 pixels and the twenty digits of their fractions. Rounded
    # down, so that what is left of a class that does not come again ends at 0.
    return (memory.double() * momentum).to(torch.int64)


def _recomputing() -> bool:
    """Whether a checkpoint repeats a forward pass, whose batch is remembered already."""
    if torch.compiler.is_compiling():
        return False
    return torch._C._current_graph_task_id() != -1  # inside a backward pass
