"""The emulator in the place of a device: kernels are compiled as for one, and executed here."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from tools.launches import Launch, compile_for, kernels
from tools.ptx_emulator.execution import code_of, run
from tools.ptx_emulator.memory import Memory
from tools.ptx_emulator.meter import Meter


class Emulated:
    """Stands in for a kernel and executes its launches."""

    def __init__(self, kernel: Any, target: Any, meters: dict[str, Meter]):
        self.kernel, self.target, self.meters = kernel, target, meters
        self.__name__ = kernel.__name__

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        def launch(*args: Any, **kwargs: Any) -> None:
            found = self.execute(Launch(self.kernel, grid, args, kwargs))
            self.meters.setdefault(self.__name__, Meter()).update(found)

        return launch

    def execute(self, launch: Launch) -> Meter:
        """Compile and execute; what it took."""
        compiled = compile_for(launch, self.target)
        return execute(launch, compiled, compiled.asm["ptx"])


def execute(launch: Launch, compiled: Any, ptx: str) -> Meter:
    """Execute a launch of a compiled kernel, by this text; what it took."""
    names = launch.kernel.arg_names
    values = dict(zip(names, launch.args, strict=False)) | launch.kwargs
    signature = compiled.src.signature
    given = [values[name] for name in names if signature[name] != "constexpr"]
    tensors = {
        value.untyped_storage().data_ptr(): value for value in given if isinstance(value, Tensor)
    }
    memories = [
        (start, Memory(_name_of(tensor, values), _bytes_of(tensor), known=True))
        for start, tensor in tensors.items()
    ]
    arguments = [value.data_ptr() if isinstance(value, Tensor) else value for value in given]
    (programs,) = launch.grid
    return run(
        code_of(ptx),
        programs,
        compiled.metadata.num_warps,
        [*arguments, 0, 0],  # Triton's own memory, of which these kernels have none
        memories,
        compiled.metadata.shared,
    )


def _name_of(tensor: Tensor, values: dict[str, Any]) -> str:
    return next(name for name, value in values.items() if value is tensor)


def _bytes_of(tensor: Tensor) -> np.ndarray:
    storage = tensor.untyped_storage()
    content = (ctypes.c_uint8 * storage.nbytes()).from_address(storage.data_ptr())
    return np.frombuffer(content, np.uint8)


def use_emulator(
    monkeypatch: pytest.MonkeyPatch, architecture: int = 90, *, shared: bool = True
) -> dict[str, Meter]:
    """Execute all kernels on the emulator; what they took is in the result, by name."""
    from triton.backends.compiler import GPUTarget

    from lovasz.kernels.triton import blocks

    meters: dict[str, Meter] = {}
    target = GPUTarget("cuda", architecture, 32)
    monkeypatch.setattr(blocks, "has_ptx", lambda device: shared)
    for module, name in kernels():
        monkeypatch.setattr(module, name, Emulated(getattr(module, name), target, meters))
    return meters
