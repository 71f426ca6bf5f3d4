"""The compiled kernels on torch's threads, and the numbers that they have for what they read."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import torch

from lovasz.core import compiled
from lovasz.core.upsampling import LINEAR, LINEAR_CORNERS, NEAREST

LINKS = {
    "softmax": 0,
    "sigmoid": 1,
    "hinge": 2,
    "elu": 3,
    "probabilities": 4,
    "channel_probabilities": 5,
}
SCORE_TYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
LABEL_TYPES = {
    torch.bool: 0,
    torch.uint8: 0,
    torch.int8: 1,
    torch.uint16: 2,
    torch.int16: 3,
    torch.uint32: 4,
    torch.int32: 5,
    torch.int64: 6,
    torch.uint64: 7,
}
UPSAMPLE = {LINEAR: 1, LINEAR_CORNERS: 2, NEAREST: 3}


@functools.cache
def load() -> ctypes.CDLL | None:
    """The library, which runs on torch's threads, so that ``torch.set_num_threads`` holds."""
    library = compiled.load()
    if library is not None:
        library.lovasz_set_parallel_for(_parallel_for())
    return library


def _parallel_for() -> int | None:
    """Address of torch's parallel loop, or None: then the kernels use one thread."""
    folder = Path(torch.__file__).parent / "lib"
    for name in ("libtorch_cpu.so", "libtorch_cpu.dylib", "torch_cpu.dll"):
        if (folder / name).exists():
            function = getattr(ctypes.CDLL(str(folder / name)), "torch_parallel_for", None)
            return ctypes.cast(function, ctypes.c_void_p).value if function else None
    return None
