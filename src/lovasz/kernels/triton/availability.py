"""Whether Triton is there.

It comes with the builds of torch for CUDA and ROCm and is never a dependency: it is imported at the
first call on a device. Without it the reference runs, and one warning says so.
"""

from __future__ import annotations

import functools
import importlib
import warnings
from types import ModuleType

import torch
from torch import Tensor

from lovasz.core import native

_SCORE_TYPES = (torch.float32, torch.bfloat16, torch.float16)


def launches(module: str) -> ModuleType | None:
    """A module of launches; None without Triton, or with ``LOVASZ_KERNELS=off``."""
    if native.setting() == "off" or not has_triton():
        return None
    return importlib.import_module(f"lovasz.kernels.triton.{module}")


@functools.cache
def has_triton() -> bool:
    """Whether Triton can be imported; if not, one warning says so."""
    try:
        importlib.import_module("triton")
    except ImportError as error:
        warnings.warn(
            f"lovasz: Triton cannot be imported ({error}), so the slow reference runs on this"
            " device; install the triton that your torch was built for",
            RuntimeWarning,
            stacklevel=4,
        )
        return False
    return True


def supported(scores: Tensor) -> bool:
    """Whether the kernels read such scores."""
    return scores.dtype in _SCORE_TYPES and scores.numel() > 0
