"""Instructions that read and write memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tools.ptx_emulator.lanes import LANES, by_lane
from tools.ptx_emulator.memory import Memory, Visitors
from tools.ptx_emulator.program import Address, Instruction, Operand, Symbol, Vector
from tools.ptx_emulator.values import TYPES, WIDTHS, Step, Threads, reader, writer

#: where shared memory begins: an address of 0 would hide what was forgotten
SHARED_BASE = 1024
#: what speaks of caches and of an order that the kernels do not rely on
IGNORED = {"relaxed", "gpu"}


def step_of(instruction: Instruction) -> Step | None:
    """How to execute an instruction, if it is one of these."""
    steps = {"ld": _load, "st": _store, "red": _add, "atom": _add}
    steps |= {"ldmatrix": _load_matrices, "stmatrix": _store_matrices}
    step = steps.get(instruction.name)
    return step(instruction) if step else None


def _registers_of(operand: Operand) -> tuple[Any, ...]:
    return operand.parts if isinstance(operand, Vector) else (operand,)


def _addresses(operand: Operand, space: str) -> Callable[[Any, Threads], np.ndarray]:
    """Addresses as int64, which holds those of both memories."""
    assert isinstance(operand, Address)
    base, offset = operand
    if isinstance(base, Symbol):
        return lambda state, threads: np.full(
            state.numbers[threads].shape, state.address_of(base.name) + offset, np.int64
        )
    read = reader(base, "s64" if space == "global" else "u32")
    return lambda state, threads: np.broadcast_to(
        np.asarray(read(state, threads)).astype(np.int64) + offset, state.numbers[threads].shape
    )


def _places(
    state: Any, threads: Threads, addresses: np.ndarray, width: int, space: str, kind: str
) -> list[tuple[Memory, np.ndarray, np.ndarray]]:
    """Memories, which of the accesses are theirs, and where in them."""
    state.meter.note(kind, space, state.numbers[threads] // LANES, addresses)
    aligned = addresses % width == 0
    assert aligned.all(), f"address {addresses[~aligned][0]} is no multiple of {width}"
    if space == "shared":
        offsets = addresses - SHARED_BASE
        inside = (offsets >= 0) & (offsets + width <= state.shared_size)
        assert inside.all(), f"byte {offsets[~inside][0]} is outside shared memory"
        whole = offsets + state.programs[threads] * state.shared_size
        return [(state.shared, np.arange(len(addresses)), whole)]
    found, left = [], np.ones(addresses.shape, np.bool_)
    for start, memory in state.tensors:
        inside = (addresses >= start) & (addresses + width <= start + memory.content.size)
        if inside.any():
            found.append((memory, np.flatnonzero(inside), addresses[inside] - start))
            left &= ~inside
    assert not left.any(), (
        f"thread {state.numbers[threads][left][0] % state.width} at {addresses[left][0]}, outside"
        " the tensors "
        + ", ".join(f"{start}+{memory.content.size}" for start, memory in state.tensors)
    )
    return found


def _form_of(instruction: Instruction) -> tuple[str, int, str]:
    """Space, number of elements, and type."""
    space, *rest = (part for part in instruction.parts[1:] if part not in IGNORED)
    many = [part for part in rest[:-1] if part in ("v2", "v4", "v8")]
    assert len(many) == len(rest) - 1, instruction.text
    return space, int(many[0][1]) if many else 1, rest[-1]


def _load(instruction: Instruction) -> Step:
    space, _, type_ = _form_of(instruction)
    target, source = instruction.operands
    if space == "param":
        assert isinstance(source, Address)
        assert isinstance(source.base, Symbol)
        name, write = source.base.name, writer(target, type_)
        return lambda state, threads: write(
            state, threads, np.asarray(state.arguments[name]).view(TYPES[type_])
        )
    writes = [writer(register, type_) for register in _registers_of(target)]
    addresses_of, dtype = _addresses(source, space), TYPES[type_]
    size = dtype.itemsize

    def step(state: Any, threads: Threads) -> None:
        addresses, visitors = addresses_of(state, threads), state.visitors(threads)
        values = np.empty((len(writes), len(addresses)), WIDTHS[size])
        for memory, chosen, offsets in _places(
            state, threads, addresses, size * len(writes), space, "read"
        ):
            for index in range(len(writes)):
                values[index, chosen] = memory.read(
                    offsets + index * size, size, visitors.at(chosen)
                )
        for write, value in zip(writes, values, strict=True):
            write(state, threads, value.view(dtype))

    return step


def _store(instruction: Instruction) -> Step:
    space, _, type_ = _form_of(instruction)
    target, source = instruction.operands
    reads = [reader(register, type_) for register in _registers_of(source)]
    addresses_of, size = _addresses(target, space), TYPES[type_].itemsize

    def step(state: Any, threads: Threads) -> None:
        addresses, visitors = addresses_of(state, threads), state.visitors(threads)
        for memory, chosen, offsets in _places(
            state, threads, addresses, size * len(reads), space, "written"
        ):
            for index, read in enumerate(reads):
                values = np.broadcast_to(read(state, threads), addresses.shape)[chosen]
                memory.write(offsets + index * size, values.view(WIDTHS[size]), visitors.at(chosen))

    return step


def _add(instruction: Instruction) -> Step:
    """``red`` and ``atom``, which also returns what was there."""
    space, operation, type_ = (part for part in instruction.parts[1:] if part not in IGNORED)
    assert operation == "add", instruction.text
    assert type_ in ("u32", "s32", "u64"), instruction.text
    returns = instruction.name == "atom"
    address, value = instruction.operands[-2:]
    write = writer(instruction.operands[0] if returns else None, type_)
    read, addresses_of, dtype = reader(value, type_), _addresses(address, space), TYPES[type_]

    def step(state: Any, threads: Threads) -> None:
        addresses, visitors = addresses_of(state, threads), state.visitors(threads)
        values = np.broadcast_to(read(state, threads), addresses.shape)
        before = np.empty(addresses.shape, WIDTHS[dtype.itemsize])
        for memory, chosen, offsets in _places(
            state, threads, addresses, dtype.itemsize, space, "added"
        ):
            before[chosen] = memory.add(
                offsets, values[chosen].view(before.dtype), visitors.at(chosen)
            )
        write(state, threads, before.view(dtype))

    return step


class _Matrices:
    """Matrices of 8 by 8 numbers of 16 bits in shared memory, and in registers of a warp.

    A lane has the address of a row, and in each register two neighbours of a row, or of a column.
    """

    def __init__(self, instruction: Instruction, address: Operand, registers: Operand):
        self.registers = _registers_of(registers)
        assert f"x{len(self.registers)}" in instruction.parts
        assert instruction.parts[-1] == "b16"
        self.addresses = _addresses(address, "shared")
        lane = np.arange(LANES)
        # (2, lane), for both halves of a register
        self.row = np.broadcast_to(lane // 4, (2, LANES))
        self.column = np.stack([lane % 4 * 2, lane % 4 * 2 + 1])
        if "trans" in instruction.parts:
            self.row, self.column = self.column, self.row

    def places(self, state: Any, threads: Threads, kind: str) -> tuple[np.ndarray, Visitors]:
        """Offsets of the numbers (warp, matrix, row, column), and who visits each."""
        [(_, _, offsets)] = _places(
            state, threads, self.addresses(state, threads), 16, "shared", kind
        )
        lanes = 8 * len(self.registers)
        rows = by_lane(offsets, state, threads)[:, :lanes]
        owners = by_lane(state.numbers[threads], state, threads)[:, :lanes]
        places = rows.reshape(-1, len(self.registers), 8, 1) + 2 * np.arange(8)
        return places, state.visitors(owners.ravel()).repeated(8)


def _load_matrices(instruction: Instruction) -> Step:
    target, source = instruction.operands
    matrices = _Matrices(instruction, source, target)
    writes = [writer(register, "b32") for register in matrices.registers]

    def step(state: Any, threads: Threads) -> None:
        places, visitors = matrices.places(state, threads, "read")
        values = state.shared.read(places.ravel(), 2, visitors).reshape(places.shape)
        halves = values[:, :, matrices.row, matrices.column].astype(np.uint32)
        both = halves[:, :, 0] | halves[:, :, 1] << np.uint32(16)
        for index, write in enumerate(writes):
            write(state, threads, both[:, index].ravel())

    return step


def _store_matrices(instruction: Instruction) -> Step:
    target, source = instruction.operands
    matrices = _Matrices(instruction, target, source)
    reads = [reader(register, "b32") for register in matrices.registers]

    def step(state: Any, threads: Threads) -> None:
        places, visitors = matrices.places(state, threads, "written")
        both = np.stack([by_lane(read(state, threads), state, threads) for read in reads], 1)
        halves = np.stack([both & np.uint32(0xFFFF), both >> np.uint32(16)], 2)
        values = np.empty(places.shape, np.uint16)
        values[:, :, matrices.row, matrices.column] = halves.astype(np.uint16)
        state.shared.write(places.ravel(), values.ravel(), visitors)

    return step
