"""The compiled library: where it is, and its functions with their C types.

A plain C interface called through ctypes: no symbol of torch is linked, so one build serves every
Python and every torch. Threads are torch's own: the library is given the address of
``torch_parallel_for``, so ``torch.set_num_threads`` holds.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import sys
import warnings
from pathlib import Path

# LOVASZ_ABI in csrc/lovasz.h.
ABI = 1

_NAMES = {"win32": "_kernels.dll", "darwin": "_kernels.dylib"}


class Scores(ctypes.Structure):
    """``lovasz_scores``: address and strides, in elements."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("image_stride", ctypes.c_int64),
        ("class_stride", ctypes.c_int64),
        ("pixel_stride", ctypes.c_int64),
    )


class Problem(ctypes.Structure):
    """``lovasz_problem``: what both passes read."""

    _fields_ = (
        ("scores", Scores),
        ("target", ctypes.c_void_p),
        ("target_stride", ctypes.c_int64),
        ("images", ctypes.c_int64),
        ("classes", ctypes.c_int64),
        ("length", ctypes.c_int64),
        ("bins", ctypes.c_int64),
        ("ignore_index", ctypes.c_int64),
        ("lse", ctypes.c_void_p),
        ("score_type", ctypes.c_int32),
        ("label_type", ctypes.c_int32),
        ("has_ignore_index", ctypes.c_int32),
        ("per_image", ctypes.c_int32),
        ("entropy", ctypes.c_int32),
        ("smoothing", ctypes.c_float),
        ("entropy_weight", ctypes.c_void_p),
        ("pixel_weight", ctypes.c_void_p),
        ("pixel_mass", ctypes.c_void_p),
        ("weight_image_stride", ctypes.c_int64),
        ("weight_class_stride", ctypes.c_int64),
        ("target_class_stride", ctypes.c_int64),
        ("link", ctypes.c_int32),
    )


class CountResult(ctypes.Structure):
    """``lovasz_count_result``."""

    _fields_ = (
        ("counts", ctypes.c_void_p),
        ("invalid", ctypes.c_void_p),
        ("bad_labels", ctypes.c_int64),
        ("entropy", ctypes.c_double * 2),
    )


class ExactResult(ctypes.Structure):
    """``lovasz_exact_result``."""

    _fields_ = (
        ("slopes", ctypes.c_void_p),
        ("losses", ctypes.c_void_p),
        ("positives", ctypes.c_void_p),
        ("pixels", ctypes.c_void_p),
        ("invalid", ctypes.c_void_p),
        ("alpha", ctypes.c_double),
        ("beta", ctypes.c_double),
        ("bad_labels", ctypes.c_int64),
    )


class Weighing(ctypes.Structure):
    """``lovasz_weighing``."""

    _fields_ = (
        ("counts", ctypes.c_void_p),
        ("centres", ctypes.c_void_p),
        ("losses", ctypes.c_void_p),
        ("slopes", ctypes.c_void_p),
        ("seen", ctypes.c_void_p),
        ("rows", ctypes.c_int64),
        ("bins", ctypes.c_int64),
        ("unit", ctypes.c_int64),
        ("alpha", ctypes.c_double),
        ("beta", ctypes.c_double),
        ("wide", ctypes.c_int32),
    )


class Reduction(ctypes.Structure):
    """``lovasz_reduction``."""

    _fields_ = (
        ("losses", ctypes.c_void_p),
        ("counting", ctypes.c_void_p),
        ("invalid", ctypes.c_void_p),
        ("weight", ctypes.c_void_p),
        ("factors", ctypes.c_void_p),
        ("sums", ctypes.c_void_p),
        ("total", ctypes.c_void_p),
        ("entropy", ctypes.c_void_p),
        ("by_sum", ctypes.c_void_p),
        ("groups", ctypes.c_int64),
        ("classes", ctypes.c_int64),
        ("mean", ctypes.c_int32),
        ("normalize", ctypes.c_int32),
        ("per_image", ctypes.c_int32),
        ("wide", ctypes.c_int32),
    )


@functools.cache
def load() -> ctypes.CDLL | None:
    """The library, or None where the package was built without it, with a warning."""
    path = _find()
    if path is None:
        warnings.warn(
            "lovasz: this installation has no compiled kernels; on the CPU the losses run in plain"
            " PyTorch, with the same results and many times slower",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    library = ctypes.CDLL(str(path))
    _check_layout(library, path)
    library.lovasz_set_parallel_for.argtypes = (ctypes.c_void_p,)
    library.lovasz_set_parallel_for.restype = None
    library.lovasz_level.restype = ctypes.c_char_p
    library.lovasz_choose_level.argtypes = (ctypes.c_char_p,)
    problem, scores = ctypes.POINTER(Problem), ctypes.POINTER(Scores)
    library.lovasz_count.argtypes = (problem, ctypes.POINTER(CountResult), ctypes.c_int32)
    library.lovasz_push.argtypes = (
        problem,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_float,
        scores,
        ctypes.c_int32,
    )
    library.lovasz_exact.argtypes = (problem, ctypes.POINTER(ExactResult), ctypes.c_int32)
    library.lovasz_push_exact.argtypes = (
        problem,
        ctypes.c_void_p,
        ctypes.c_void_p,
        scores,
        ctypes.c_int32,
    )
    library.lovasz_weigh.argtypes = (ctypes.POINTER(Weighing), ctypes.c_int32)
    library.lovasz_weigh.restype = None
    library.lovasz_reduce.argtypes = (ctypes.POINTER(Reduction),)
    library.lovasz_reduce.restype = None
    library.lovasz_expect_writes.argtypes = (ctypes.c_void_p, ctypes.c_int64)
    library.lovasz_expect_writes.restype = None
    library.lovasz_set_parallel_for(_parallel_for())
    level = os.environ.get("LOVASZ_CPU_LEVEL")
    if level and not library.lovasz_choose_level(level.encode()):
        raise RuntimeError(
            "lovasz: expected LOVASZ_CPU_LEVEL to be best, baseline, v3 or v4, and one that this"
            f" processor has, got {level!r}"
        )
    return library


def layout() -> list[int]:
    """The ABI that this file is written for, as ``lovasz_layout`` tells that of the library."""
    numbers = [ABI]
    for struct in (Scores, Problem, CountResult, Weighing, Reduction, ExactResult):
        numbers.append(ctypes.sizeof(struct))
        numbers += [getattr(struct, name).offset for name, _ in struct._fields_]
    return numbers


def _check_layout(library: ctypes.CDLL, path: Path) -> None:
    """A library of another version would read other fields than are meant."""
    found: list[int] = []
    function = getattr(library, "lovasz_layout", None)
    if function is not None:
        function.restype, count = ctypes.POINTER(ctypes.c_int64), ctypes.c_int64()
        numbers = function(ctypes.byref(count))
        found = numbers[: count.value]
    if found != layout():
        raise RuntimeError(
            f"lovasz: expected the compiled kernels of this version (ABI {ABI}), got others"
            f" (ABI {found[0] if found else 'unknown'}) in {path.name}: install lovasz again"
        )


def _find() -> Path | None:
    if os.environ.get("LOVASZ_DISABLE_KERNELS") == "1":
        return None
    if chosen := os.environ.get("LOVASZ_LIBRARY"):
        return Path(chosen)
    # An editable installation keeps the library elsewhere than beside this file.
    spec = importlib.util.find_spec("lovasz._kernels")
    origins = [spec.origin] if spec is not None and spec.origin else []
    beside = Path(__file__).parents[1] / _NAMES.get(sys.platform, "_kernels.so")
    return next((path for path in (*map(Path, origins), beside) if path.exists()), None)


def _parallel_for() -> int | None:
    """Address of torch's parallel loop, or None: then the kernels use one thread."""
    import torch  # noqa: PLC0415 - only to have its libraries loaded

    folder = Path(torch.__file__).parent / "lib"
    for name in ("libtorch_cpu.so", "libtorch_cpu.dylib", "torch_cpu.dll"):
        if (folder / name).exists():
            function = getattr(ctypes.CDLL(str(folder / name)), "torch_parallel_for", None)
            return ctypes.cast(function, ctypes.c_void_p).value if function else None
    return None
