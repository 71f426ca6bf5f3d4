"""Instructions by which the 32 lanes of a warp exchange values: all of them have to be there."""

from __future__ import annotations

from typing import Any

import numpy as np

from tools.ptx_emulator.program import Instruction, Operand
from tools.ptx_emulator.values import Read, Step, Threads, Values, reader, writer

LANES = 32


def step_of(instruction: Instruction) -> Step | None:
    """How to execute an instruction, if it is one of these."""
    exchange = {"shfl": _shuffle, "vote": _vote, "redux": _reduce, "match": _match}.get(
        instruction.name
    )
    return exchange(instruction) if exchange else None


def by_lane(values: Values, state: Any, threads: Threads) -> np.ndarray:
    """Values by warp and lane."""
    numbers = state.numbers[threads]
    assert len(numbers) % LANES == 0, "some lanes of a warp are elsewhere"
    numbers = numbers.reshape(-1, LANES)
    assert (numbers == numbers[:, :1] // LANES * LANES + np.arange(LANES)).all(), (
        "some lanes of a warp are elsewhere"
    )
    return np.broadcast_to(values, numbers.size).reshape(numbers.shape)


def _read_by_lane(operand: Operand, type_: str, members: Operand) -> Read:
    """How to read an operand by warp and lane, for an exchange among all lanes."""
    read, mask = reader(operand, type_), reader(members, "s32")

    def values(state: Any, threads: Threads) -> np.ndarray:
        assert np.all(mask(state, threads) == -1), "an exchange among some of the lanes"
        return by_lane(read(state, threads), state, threads)

    return values


def _shuffle(instruction: Instruction) -> Step:
    _, _, mode, type_ = instruction.parts
    target, source, by, bound, members = instruction.operands
    read = _read_by_lane(source, type_, members)
    read_by, read_bound = (_read_by_lane(operand, "s32", members) for operand in (by, bound))
    write = writer(target, type_)

    def step(state: Any, threads: Threads) -> None:
        values, distance = read(state, threads), read_by(state, threads)
        bounds = read_bound(state, threads)
        segment, clamp, lane = bounds >> 8 & 31, bounds & 31, np.arange(LANES)
        last = lane & segment | clamp & ~segment
        others = {
            "bfly": lane ^ distance,
            "up": lane - distance,
            "down": lane + distance,
            "idx": lane & segment | distance & ~segment,
        }
        other = others[mode]
        inside = other >= last if mode == "up" else other <= last
        taken = np.where(inside, other, lane)
        write(state, threads, np.take_along_axis(values, taken, 1).ravel())

    return step


def _ballots(votes: np.ndarray) -> np.ndarray:
    """Votes of the lanes, on the last axis, as the bits of a number."""
    bits = votes.astype(np.uint32) << np.arange(LANES, dtype=np.uint32)
    return bits.sum(-1, dtype=np.uint32)


def _vote(instruction: Instruction) -> Step:
    _, _, mode, _ = instruction.parts
    assert mode == "ballot", instruction.text
    target, source, members = instruction.operands
    read, write = _read_by_lane(source, "pred", members), writer(target, "b32")

    def step(state: Any, threads: Threads) -> None:
        write(state, threads, _ballots(read(state, threads)).repeat(LANES))

    return step


def _reduce(instruction: Instruction) -> Step:
    _, _, operation, type_ = instruction.parts
    target, source, members = instruction.operands
    function = {"add": np.add, "min": np.minimum, "max": np.maximum}[operation]
    read, write = _read_by_lane(source, type_, members), writer(target, type_)

    def step(state: Any, threads: Threads) -> None:
        values = read(state, threads)
        write(state, threads, function.reduce(values, 1, dtype=values.dtype).repeat(LANES))

    return step


def _match(instruction: Instruction) -> Step:
    _, mode, _, type_ = instruction.parts
    assert mode == "any", instruction.text
    target, source, members = instruction.operands
    read, write = _read_by_lane(source, type_, members), writer(target, "b32")

    def step(state: Any, threads: Threads) -> None:
        values = read(state, threads)
        write(state, threads, _ballots(values[:, :, None] == values[:, None, :]).ravel())

    return step
