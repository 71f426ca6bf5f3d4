"""The compiled library: where it is, and its functions with their C types.

A plain C interface called through ctypes, csrc/lovasz.h: no symbol of Python or of a tensor library
is linked, so one build serves every version of them.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from pathlib import Path

# LOVASZ_ABI in csrc/lovasz.h.
ABI = 7

_SUFFIXES = {"win32": ".dll", "darwin": ".dylib"}


class Strided(ctypes.Structure):
    """``lovasz_strided``: address and strides, in elements."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("image_stride", ctypes.c_int64),
        ("class_stride", ctypes.c_int64),
        ("pixel_stride", ctypes.c_int64),
    )


class Inputs(ctypes.Structure):
    """``lovasz_inputs``: what both passes read."""

    _fields_ = (
        ("scores", Strided),
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
        ("cross_entropy", ctypes.c_int32),
        ("smoothing", ctypes.c_float),
        ("class_weight", ctypes.c_void_p),
        ("pixel_weight", ctypes.c_void_p),
        ("fixed_weight", ctypes.c_void_p),
        ("weight_image_stride", ctypes.c_int64),
        ("weight_class_stride", ctypes.c_int64),
        ("target_class_stride", ctypes.c_int64),
        ("link", ctypes.c_int32),
        ("offsets", ctypes.c_void_p),
        ("clouds", ctypes.c_int64),
        ("cloud_ids", ctypes.c_void_p),
        ("upsample", ctypes.c_int32),
        ("source", ctypes.c_int64 * 3),
        ("size", ctypes.c_int64 * 3),
        ("soft", Strided),
        ("soft_type", ctypes.c_int32),
        ("maps", ctypes.c_int32),
        ("mixture", ctypes.c_void_p),
        ("label_smoothing", ctypes.c_float),
        ("regions", ctypes.c_int32),
    )


class HistogramResult(ctypes.Structure):
    """``lovasz_histogram_result``."""

    _fields_ = (
        ("counts", ctypes.c_void_p),
        ("invalid", ctypes.c_void_p),
        ("bad_labels", ctypes.c_int64),
        ("cross_entropy", ctypes.c_double * 2),
        ("regions", ctypes.c_void_p),
    )


class SortResult(ctypes.Structure):
    """``lovasz_sort_result``."""

    _fields_ = (
        ("slopes", ctypes.c_void_p),
        ("losses", ctypes.c_void_p),
        ("positives", ctypes.c_void_p),
        ("pixels", ctypes.c_void_p),
        ("invalid", ctypes.c_void_p),
        ("alpha", ctypes.c_double),
        ("beta", ctypes.c_double),
        ("unit", ctypes.c_int64),
        ("symmetric", ctypes.c_int32),
        ("bad_labels", ctypes.c_int64),
    )


class Extension(ctypes.Structure):
    """``lovasz_extension``."""

    _fields_ = (
        ("counts", ctypes.c_void_p),
        ("centres", ctypes.c_void_p),
        ("losses", ctypes.c_void_p),
        ("slopes", ctypes.c_void_p),
        ("present", ctypes.c_void_p),
        ("rows", ctypes.c_int64),
        ("bins", ctypes.c_int64),
        ("unit", ctypes.c_int64),
        ("alpha", ctypes.c_double),
        ("beta", ctypes.c_double),
        ("wide", ctypes.c_int32),
        ("positives", ctypes.c_void_p),
    )


class Reduction(ctypes.Structure):
    """``lovasz_reduction``."""

    _fields_ = (
        ("losses", ctypes.c_void_p),
        ("active", ctypes.c_void_p),
        ("invalid", ctypes.c_void_p),
        ("weight", ctypes.c_void_p),
        ("factors", ctypes.c_void_p),
        ("sums", ctypes.c_void_p),
        ("total", ctypes.c_void_p),
        ("cross_entropy", ctypes.c_void_p),
        ("by_sum", ctypes.c_void_p),
        ("groups", ctypes.c_int64),
        ("classes", ctypes.c_int64),
        ("mean", ctypes.c_int32),
        ("normalize", ctypes.c_int32),
        ("per_image", ctypes.c_int32),
        ("wide", ctypes.c_int32),
    )


def setting() -> str:
    """``LOVASZ_KERNELS``: off, on, check, or default, which checks once.

    Raises:
        RuntimeError: for anything else.
    """
    value = os.environ.get("LOVASZ_KERNELS", "")
    if value not in ("", "off", "on", "check"):
        raise RuntimeError(
            "lovasz: expected the environment variable LOVASZ_KERNELS to be off, on or check, or"
            f" not to be set, got {value!r}"
        )
    return value or "default"


def find() -> Path | None:
    """Where the library is: where ``LOVASZ_LIBRARY`` says, or as it was installed, or nowhere."""
    if chosen := os.environ.get("LOVASZ_LIBRARY"):
        return Path(chosen)
    return installed("_kernels")


def installed(name: str) -> Path | None:
    """Where a library of this package is, or None."""
    # An editable installation keeps it elsewhere than beside this file.
    spec = importlib.util.find_spec(f"lovasz.{name}")
    origins = [spec.origin] if spec is not None and spec.origin else []
    beside = (Path(__file__).parents[1] / name).with_suffix(_SUFFIXES.get(sys.platform, ".so"))
    return next((path for path in (*map(Path, origins), beside) if path.exists()), None)


def open_library(path: Path) -> ctypes.CDLL:
    """The library, of the instruction-set level that ``LOVASZ_CPU_LEVEL`` names.

    It computes in one thread until ``lovasz_set_parallel_for`` lends it others. Whether it computes
    what it should is not known yet: `compiled.load` asks.

    Raises:
        OSError: if the file is no library that this system can load.
        RuntimeError: if it is one of another version, or the level is none.
    """
    library = ctypes.CDLL(str(path))
    _check_layout(library, path)
    _declare(library)
    level = os.environ.get("LOVASZ_CPU_LEVEL")
    if level and not library.lovasz_choose_level(level.encode()):
        raise RuntimeError(
            "lovasz: expected LOVASZ_CPU_LEVEL to be best, baseline, v3 or v4, and one that this"
            f" processor has, got {level!r}"
        )
    return library


def _declare(library: ctypes.CDLL) -> None:
    """The types of the functions."""
    pointer, threads = ctypes.c_void_p, ctypes.c_int32
    inputs = ctypes.POINTER(Inputs)
    library.lovasz_set_parallel_for.argtypes = (pointer,)
    library.lovasz_set_parallel_for.restype = None
    library.lovasz_lend_parallel_for.argtypes = (pointer,)
    library.lovasz_lend_parallel_for.restype = None
    library.lovasz_level.restype = ctypes.c_char_p
    library.lovasz_choose_level.argtypes = (ctypes.c_char_p,)
    library.lovasz_clouds.argtypes = (
        pointer,  # ids
        ctypes.c_int64,  # length
        ctypes.c_int64,  # clouds
        pointer,  # offsets
        pointer,  # order
        pointer,  # places
    )
    library.lovasz_argmax.argtypes = (inputs, pointer, pointer, ctypes.c_int32, threads)
    library.lovasz_histogram.argtypes = (inputs, ctypes.POINTER(HistogramResult), threads)
    library.lovasz_extend.argtypes = (ctypes.POINTER(Extension), threads)
    library.lovasz_extend.restype = None
    library.lovasz_sort_and_extend.argtypes = (inputs, ctypes.POINTER(SortResult), threads)
    library.lovasz_reduce.argtypes = (ctypes.POINTER(Reduction),)
    library.lovasz_reduce.restype = None
    library.lovasz_backward.argtypes = (
        inputs,
        pointer,  # slopes
        ctypes.c_int32,  # by_pixel
        pointer,  # factors
        ctypes.c_float,  # cross_entropy_scale
        pointer,  # by_regions
        ctypes.POINTER(Strided),  # gradient
        threads,
    )
    library.lovasz_expect_writes.argtypes = (pointer, ctypes.c_int64)
    library.lovasz_expect_writes.restype = None


def layout() -> list[int]:
    """The ABI that this file is written for, as ``lovasz_layout`` tells that of the library."""
    numbers = [ABI]
    for struct in (Strided, Inputs, HistogramResult, SortResult, Extension, Reduction):
        numbers.append(ctypes.sizeof(struct))
        numbers += [getattr(struct, field[0]).offset for field in struct._fields_]
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
