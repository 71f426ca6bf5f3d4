"""The compiled kernels as foreign functions of XLA, registered when they are first needed."""

from __future__ import annotations

import ctypes
import functools
import threading
import warnings

import jax

from lovasz.core import compiled, native

# The functions of csrc/jax_ffi.cpp, without "lovasz_jax_".
FUNCTIONS = ("histogram", "extend", "sort_and_extend", "backward")
# Those of the kernels that it calls, in its order.
_CALLED = (
    "lovasz_lend_parallel_for",
    "lovasz_expect_writes",
    "lovasz_histogram",
    "lovasz_extend",
    "lovasz_sort_and_extend",
    "lovasz_backward",
)
_LOADING = threading.Lock()


@functools.cache
def available() -> bool:
    """Whether the kernels can be called; if not, one warning says why and what to do."""
    with _LOADING:
        return _register()


@functools.cache
def _register() -> bool:
    kernels = compiled.load()
    if kernels is None:
        return False
    path = native.installed("_jax_ffi")
    if path is None:
        _warn(
            "this installation has no compiled kernels for JAX (install lovasz again from source"
            " where jax is installed: they are built with its headers)"
        )
        return False
    try:
        bridge = ctypes.CDLL(str(path))
    except OSError as error:
        _warn(f"the compiled kernels for JAX cannot be loaded ({error})")
        return False
    bridge.lovasz_jax_abi.restype = ctypes.c_int64
    if bridge.lovasz_jax_abi() != native.ABI:
        raise RuntimeError(
            f"lovasz: expected the compiled kernels for JAX of this version (ABI {native.ABI}), got"
            f" others (ABI {bridge.lovasz_jax_abi()}) in {path.name}: install lovasz again"
        )
    addresses = [ctypes.cast(getattr(kernels, name), ctypes.c_void_p) for name in _CALLED]
    bridge.lovasz_jax_use((ctypes.c_void_p * len(addresses))(*addresses))
    for name in FUNCTIONS:
        function = getattr(bridge, f"lovasz_jax_{name}")
        jax.ffi.register_ffi_target(f"lovasz_{name}", jax.ffi.pycapsule(function), platform="cpu")
    return True


def _warn(reason: str) -> None:
    warnings.warn(
        f"lovasz: {reason}; on the CPU the losses run in plain jax.numpy, with the same results and"
        " many times slower",
        RuntimeWarning,
        stacklevel=2,
    )
