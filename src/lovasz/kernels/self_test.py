"""Kernels prove themselves: before the first use their results are compared with the reference.

Once per process, device, and kind of call: scores, labels and options of the same kinds, with few
pixels (`small_inputs`). An exception or another result (`comparison`) means one warning, and the
reference from then on, for all calls of that operator of the kind. ``LOVASZ_KERNELS=on`` leaves the
tests out, ``check`` makes all of them anew and raises.
"""

from __future__ import annotations

import contextlib
import inspect
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from lovasz.core import native
from lovasz.kernels import verdicts
from lovasz.kernels.comparison import difference
from lovasz.kernels.small_inputs import small
from lovasz.kernels.soft import is_soft
from lovasz.kernels.triton import availability

_Function = Callable[..., Any]

# By kind of call, whether the kernels are used; and operators of which they are not, with devices.
_known: dict[Any, bool] = {}
_failed: set[tuple[str, torch.device]] = set()
_testing = threading.RLock()
_this_thread = threading.local()


def proven(name: str, kernel: _Function, plain: _Function) -> _Function:
    """The operator by its kernels where they pass their test, and by the reference elsewhere.

    Args:
        name: the operator.
        kernel: its implementation by kernels.
        plain: the reference.
    """

    def operator(*arguments: Any, **options: Any) -> Any:
        key = (
            name,
            arguments[0].device,
            *map(_kind_of, arguments),
            *map(_kind_of, options.items()),
        )
        trusted = _known.get(key)
        if trusted is None:
            trusted = _decide(key, name, kernel, plain, arguments, options)
        return (kernel if trusted else plain)(*arguments, **options)

    return operator


def forget() -> None:
    """Test everything anew, as a new process does."""
    _known.clear()
    _failed.clear()


def _kind_of(argument: Any) -> Any:
    """What of an argument decides which kernels run, roughly."""
    if isinstance(argument, Tensor):
        shape = argument.shape
        if len(shape) < 3:
            return argument.dtype, len(shape), shape[:1] == (1,)
        # Scores and whatever is like them: how many classes, and which axis is contiguous.
        classes = shape[1].bit_length(), argument.stride(1) == 1
        lengths = shape[2] % 16 == 0, shape[-1] == 0
        return argument.dtype, len(shape), shape[0] == 1, *classes, *lengths
    if isinstance(argument, (int, float)) and not isinstance(argument, bool):
        return bool(argument)
    return tuple(n > 1 for n in argument) if isinstance(argument, list) else argument


def _decide(
    key: Any,
    name: str,
    kernel: _Function,
    plain: _Function,
    arguments: tuple[Any, ...],
    options: dict[str, Any],
) -> bool:
    """Whether the kernels are to be used for a kind of call that was not seen before."""
    bound = inspect.signature(plain).bind(*arguments, **options)
    bound.apply_defaults()
    with _testing, torch.cuda.device_of(arguments[0]):
        if key in _known or getattr(
            _this_thread, "tests", False
        ):  # by another thread; or this call belongs to a test
            return _known.get(key, True)
        if not _to_be_tested(name, bound.arguments, arguments[0]):
            return _known.setdefault(key, True)
        _this_thread.tests = True
        try:
            verdict = _verdict(key, name, kernel, plain, bound.arguments)
        finally:
            _this_thread.tests = False
    return verdict


def _to_be_tested(name: str, call: dict[str, Any], first: Tensor) -> bool:
    """Whether kernels would run, on a device."""
    if verdicts.identity(first.device) is None or native.setting() in ("off", "on"):
        return False
    if not availability.has_triton() or first.numel() == 0:
        return False
    if "scores" not in call:
        return True
    soft = name == "sort_and_extend" and is_soft(
        call["target"], call["mixture"], call["label_smoothing"]
    )
    return availability.supported(first) and not soft


def _verdict(
    key: Any, name: str, kernel: _Function, plain: _Function, call: dict[str, Any]
) -> bool:
    device = key[1]
    kind = _name_of(name, call)
    if (kind, device) in _failed:
        return _known.setdefault(key, False)
    who, check = verdicts.identity(device) or "", native.setting() == "check"
    case = " ".join(map(str, (name, *key[2:])))
    if not check and verdicts.passed(who, case):
        return _known.setdefault(key, True)
    if _is_recording(device):
        _warn(
            "lovasz: the first call of its kind was made while a CUDA graph is recorded, in which"
            " kernels cannot be tested, so plain PyTorch was recorded, with the same results and"
            " more slowly; call it once before, or set LOVASZ_KERNELS=on"
        )
        return False
    try:
        wrong = _test(name, kernel, plain, call, device)
    except torch.OutOfMemoryError:  # nothing is known; the next call asks again
        return True
    if wrong is None:
        if not check:
            verdicts.keep(who, case)
        return _known.setdefault(key, True)
    message = f"lovasz: the kernels of {kind} fail their test on {who} ({wrong})"
    if check:
        raise RuntimeError(f"{message}; LOVASZ_KERNELS=off does without kernels")
    _failed.add((kind, device))
    for other in [k for k in _known if k[:2] == key[:2]]:
        del _known[other]  # to be decided anew, by the line above
    _known[key] = False
    _warn(
        f"{message}; from now on plain PyTorch computes it there, with the same results and more"
        " slowly, as LOVASZ_KERNELS=off does without a test"
    )
    return False


def _test(
    name: str, kernel: _Function, plain: _Function, call: dict[str, Any], device: torch.device
) -> str | None:
    """What is wrong with the kernels, in words, or None."""
    with torch.no_grad(), torch.autocast(device.type, enabled=False), _may_wait(device):
        arguments = small(name, call)
        there = {key: _moved(value, device) for key, value in arguments.items()}
        try:
            got = _results(kernel(**there))
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            reason = str(error).strip().partition("\n")[0]
            return f"{type(error).__name__}: {reason}"
        try:
            expected = _results(plain(**there))
        except Exception:  # torch's deterministic mode refuses some operators of devices
            expected = _results(plain(**arguments))
        return difference(name, arguments, got, expected)


def _results(found: Any) -> tuple[Tensor, ...]:
    """On the CPU; the device is done then."""
    tensors = (found,) if isinstance(found, Tensor) else found
    return tuple(tensor.cpu() for tensor in tensors)


def _moved(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value


def _name_of(name: str, call: dict[str, Any]) -> str:
    """The kind of kernels, for people."""
    if call.get("upsample") is not None and name != "argmax":
        return f"{name} of interpolated scores"
    regions = call.get("regions", call.get("by_regions"))
    soft = "target" in call and is_soft(call["target"], call["mixture"], call["label_smoothing"])
    return f"{name} of soft labels" if soft or regions not in (None, False) else name


def _is_recording(device: torch.device) -> bool:
    """Whether a graph is recorded, in which nothing can be waited for."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


@contextlib.contextmanager
def _may_wait(device: torch.device) -> Iterator[None]:
    """The test waits for the device, also where torch is asked to tell of it."""
    if device.type != "cuda":
        yield
        return
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("default")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(mode)


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=4)
