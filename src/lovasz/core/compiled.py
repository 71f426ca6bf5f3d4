"""The compiled library, once it has given the results that are known."""

from __future__ import annotations

import ctypes
import functools
import os
import threading
import warnings

from lovasz.core import known_results, native

_LOADING = threading.Lock()


@functools.cache
def load() -> ctypes.CDLL | None:
    """The library; None without it, or if it computes anything else than it should, with a warning.

    ``LOVASZ_KERNELS=off`` leaves it out without a word, ``on`` takes it as it is, and with
    ``check`` a wrong result is an error.

    Raises:
        RuntimeError: if an environment variable names what is not there, if the library is one of
            another version, or for a wrong result with ``LOVASZ_KERNELS=check``.
    """
    with _LOADING:
        return _load()


@functools.cache
def _load() -> ctypes.CDLL | None:
    setting = native.setting()
    if setting == "off":
        return None
    path = native.find()
    if path is None:
        _warn("this installation has no compiled kernels")
        return None
    try:
        library = native.open_library(path)
    except OSError as error:
        if os.environ.get("LOVASZ_LIBRARY"):
            raise RuntimeError(
                "lovasz: expected LOVASZ_LIBRARY to name the library of the compiled kernels, got"
                f" {os.environ['LOVASZ_LIBRARY']!r}, which cannot be loaded ({error})"
            ) from error
        _warn(f"the compiled kernels cannot be loaded ({error})")
        return None
    wrong = None if setting == "on" else known_results.difference(library)
    if wrong is None:
        return library
    level = str(library.lovasz_level(), "ascii")
    found = f"the compiled kernels of level {level} in {path.name} compute wrong results ({wrong})"
    if setting == "check":
        raise RuntimeError(f"lovasz: {found}; LOVASZ_KERNELS=off does without them")
    _warn(found)
    return None


def _warn(reason: str) -> None:
    warnings.warn(
        f"lovasz: {reason}; on the CPU the losses run in plain PyTorch, or jax.numpy, with the same"
        " results and many times slower",
        RuntimeWarning,
        stacklevel=4,
    )
