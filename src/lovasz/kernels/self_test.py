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

# Whether the kernels are used: by kind of call, and by what some recent calls were exactly.
_known: dict[Any, bool] = {}
_recent: dict[Any, bool] = {}
_MOST_RECENT = 1000
# Kinds of kernels that are not used, with the device.
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
        if options:
            arguments = inspect.signature(plain).bind(*arguments, **options).args
        exactly = [
            (a.dtype, a.shape, a.stride())
            if isinstance(a, Tensor)
            else (tuple(a) if isinstance(a, list) else a)
            for a in arguments
        ]  # can be looked up, and is made faster than by `_kind_of`
        call = (name, arguments[0].device, *exactly)
        trusted = _recent.get(call)
        if trusted is None:
            trusted = _decide(call, name, kernel, plain, arguments)
        return (kernel if trusted else plain)(*arguments)

    return operator


def forget() -> None:
    """Test everything anew, as a new process does."""
    _known.clear()
    _recent.clear()
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
    if isinstance(argument, float):
        return argument != 0
    if isinstance(argument, int):
        return min(max(argument, -1), 2)  # 1 is a unit, and more than that
    return tuple(n > 1 for n in argument) if isinstance(argument, list) else argument


def _decide(
    call: Any, name: str, kernel: _Function, plain: _Function, arguments: tuple[Any, ...]
) -> bool:
    """Whether the kernels are to be used for a call as there was none lately."""
    if arguments[0].numel() == 0:  # nothing is launched
        return True
    bound = inspect.signature(plain).bind(*arguments)
    bound.apply_defaults()
    key = (name, arguments[0].device, *map(_kind_of, bound.args))
    with _testing, torch.cuda.device_of(arguments[0]):
        if getattr(_this_thread, "tests", False):  # the call belongs to a test
            return True
        trusted, certain = _known.get(key), True
        if trusted is None:
            _this_thread.tests = True
            try:
                trusted, certain = _verdict(key, kernel, plain, bound.arguments)
            finally:
                _this_thread.tests = False
        if certain:
            _known[key] = trusted
            if len(_recent) >= _MOST_RECENT:
                _recent.clear()
            _recent[call] = trusted
    return trusted


def _runs_kernels(name: str, call: dict[str, Any]) -> bool:
    """Whether kernels compute this; if not, the implementation passes it on to the reference."""
    if not availability.has_triton():
        return False
    if "scores" not in call:
        return True
    soft = "target" in call and is_soft(call["target"], call["mixture"], call["label_smoothing"])
    return availability.supported(call["scores"]) and not (soft and name == "sort_and_extend")


def _verdict(
    key: Any, kernel: _Function, plain: _Function, call: dict[str, Any]
) -> tuple[bool, bool]:
    """Whether the kernels are to be used, and whether that holds for later calls too."""
    name, device = key[:2]
    setting, kind = native.setting(), _name_of(name, call)
    who = None
    if setting not in ("off", "on") and _runs_kernels(name, call):
        who = verdicts.identity(device)
    if who is None:
        return True, True
    if (kind, device) in _failed:
        return False, True
    case = " ".join(map(str, (name, *key[2:])))
    if setting != "check" and verdicts.passed(who, case):
        return True, True
    if _is_recording(device):
        _warn(
            "lovasz: the first call of its kind was made while a CUDA graph is recorded, in which"
            " kernels cannot be tested, so plain PyTorch was recorded, with the same results and"
            " more slowly; call it once before, or set LOVASZ_KERNELS=on"
        )
        return False, False
    try:
        wrong = _test(name, kernel, plain, call, device)
    except torch.OutOfMemoryError:
        return True, False  # the call itself has to find memory, and the next one tests
    if wrong is not None:
        _give_up(key, kind, f"the kernels of {kind} fail their test on {who} ({wrong})")
    elif setting != "check":
        verdicts.keep(who, case)
    return wrong is None, True


def _give_up(key: Any, kind: str, reason: str) -> None:
    """Use no kernels of a kind on a device any more, and say why."""
    if native.setting() == "check":
        raise RuntimeError(f"lovasz: {reason}; LOVASZ_KERNELS=off does without kernels")
    _failed.add((kind, key[1]))
    # Others of that kind, which have passed, are not trusted any more either.
    for other in [known for known in _known if known[:2] == key[:2]]:
        del _known[other]
    _recent.clear()
    _warn(
        f"lovasz: {reason}; from now on plain PyTorch computes it there, with the same results and"
        " more slowly, as LOVASZ_KERNELS=off does without a test"
    )


def _test(
    name: str, kernel: _Function, plain: _Function, call: dict[str, Any], device: torch.device
) -> str | None:
    """What is wrong with the kernels, in words, or None."""
    with torch.no_grad(), torch.autocast(device.type, enabled=False), _may_wait(device):
        try:
            arguments = small(name, call)
            there = {key: _moved(value, device) for key, value in arguments.items()}
            got = _results(kernel(**there))
            expected = _expected(plain, arguments, there)
            return difference(name, arguments, got, expected)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever it is, nothing has been proven
            reason = str(error).strip().partition("\n")[0]
            return f"{type(error).__name__}: {reason}"


def _expected(
    plain: _Function, arguments: dict[str, Any], there: dict[str, Any]
) -> tuple[Tensor, ...]:
    """By the reference on the device, or on the CPU.

    Torch's deterministic mode refuses some of its operators on devices.
    """
    try:
        return _results(plain(**there))
    except torch.OutOfMemoryError:
        raise
    except Exception:
        return _results(plain(**arguments))


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
