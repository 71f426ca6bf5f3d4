"""Registers of all threads as arrays, read and written as the types of instructions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tools.ptx_emulator.program import Number, Operand, Register, Special

TYPES = {
    "pred": np.bool_,
    **{f"{kind}{bits}": np.dtype(f"u{bits // 8}") for kind in "bu" for bits in (8, 16, 32, 64)},
    **{f"s{bits}": np.dtype(f"i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"f{bits}": np.dtype(f"f{bits // 8}") for bits in (16, 32, 64)},
    "bf16": np.dtype("u2"),  # its bits
}
WIDTHS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}

#: which threads execute: their numbers in ascending order, or all of them
Threads = Any
#: a value of every thread that executes, or one for all
Values = Any
Read = Callable[[Any, Threads], Values]
Write = Callable[[Any, Threads, Values], None]
#: executes one instruction for some threads of a grid
Step = Callable[[Any, Threads], None]


def reader(operand: Operand, type_: str) -> Read:
    """How to read an operand as a type."""
    dtype = np.dtype(TYPES[type_])
    if isinstance(operand, Number):
        if dtype == np.bool_:
            constant = np.bool_(operand.value != 0)
        else:
            bits = operand.value % 2 ** (8 * dtype.itemsize)
            constant = np.array(bits, WIDTHS[dtype.itemsize]).view(dtype)[()]
        return lambda state, threads: constant
    if isinstance(operand, Special):
        special = operand.name
        return lambda state, threads: state.specials[special][threads].astype(dtype)
    assert isinstance(operand, Register), operand
    name = operand.name

    def read(state: Any, threads: Threads) -> Values:
        values = state.registers[name][threads]
        if values.dtype == dtype:
            return values
        assert values.dtype.itemsize >= dtype.itemsize, f"{name} as {type_}"
        return values.astype(WIDTHS[dtype.itemsize], copy=False).view(dtype)

    return read


def writer(operand: Operand | None, type_: str) -> Write:
    """How to write values of a type; into a wider register by their sign, if they have one."""
    if operand is None:
        return lambda state, threads, values: None
    assert isinstance(operand, Register), operand
    name, dtype = operand.name, np.dtype(TYPES[type_])

    def write(state: Any, threads: Threads, values: Values) -> None:
        register = state.registers[name]
        values = np.asarray(values, dtype)
        if register.dtype != np.bool_:
            size = register.dtype.itemsize
            assert size >= dtype.itemsize, f"{name} as {type_}"
            if dtype.kind == "i":
                values = values.astype(np.dtype(f"i{size}"))
            values = values.view(WIDTHS[values.dtype.itemsize])
        register[threads] = values

    return write
