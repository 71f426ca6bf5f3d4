"""A grid of programs, executed instruction by instruction for all threads that are at it."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from tools.ptx_emulator import arithmetic, lanes, traffic
from tools.ptx_emulator.memory import Memory, Visitors
from tools.ptx_emulator.meter import Meter
from tools.ptx_emulator.program import Instruction, Program
from tools.ptx_emulator.values import TYPES, Step, Threads

FINISHED = 2**31 - 1


class Code:
    """A kernel ready for execution."""

    def __init__(self, text: str):
        self.program = Program(text)
        self.steps = [_step_of(instruction) for instruction in self.program.instructions]
        self.shared: dict[str, int] = {}
        offset = 0
        # What the launch asks for comes last.
        for name, size in sorted(self.program.shared.items(), key=lambda item: item[1] == 0):
            offset = -(-offset // 128) * 128
            self.shared[name] = traffic.SHARED_BASE + offset
            offset += size
        self.static = offset


@functools.lru_cache(maxsize=256)
def code_of(text: str) -> Code:
    return Code(text)


def _step_of(instruction: Instruction) -> Step | None:
    """How to execute an instruction; None for those that choose the next one."""
    if instruction.name in ("bra", "bar", "ret"):
        return None
    for part in (arithmetic, lanes, traffic):
        if step := part.step_of(instruction):
            return step
    raise NotImplementedError(instruction.text)


class Grid:
    """Programs of one launch: their registers, shared memory, and where their threads are."""

    def __init__(
        self,
        code: Code,
        first: int,
        programs: int,
        warps: int,
        arguments: dict[str, np.generic],
        tensors: list[tuple[int, Memory]],
        shared: int,
        meter: Meter,
    ):
        self.code, self.arguments, self.tensors = code, arguments, tensors
        self.width = warps * lanes.LANES  # threads of a program
        self.threads = programs * self.width
        self.numbers = np.arange(self.threads)
        self.programs = self.numbers // self.width
        self.first = first
        self.specials = {
            "%tid.x": self.numbers % self.width,
            "%ctaid.x": self.programs + first,
            "%lanemask_lt": (1 << self.numbers % lanes.LANES) - 1,
            "%ctaid.y": self.numbers * 0,
            "%ctaid.z": self.numbers * 0,
        }
        generator = np.random.default_rng(0)
        self.registers = {
            name: generator.integers(0, 2, self.threads).astype(np.bool_)
            if type_ == "pred"
            else generator.integers(0, 256, self.threads * TYPES[type_].itemsize, np.uint8).view(
                f"u{TYPES[type_].itemsize}"
            )
            for name, type_ in code.program.registers.items()
        }
        self.shared_size = code.static + shared
        self.shared = Memory(
            "shared memory",
            generator.integers(0, 256, programs * self.shared_size, np.uint8),
            known=False,
        )
        self.barriers = np.zeros(programs, np.int32)
        self.at = np.zeros(self.threads, np.int64)
        self.waiting = np.zeros(self.threads, np.bool_)
        self.meter = meter

    def address_of(self, name: str) -> int:
        return self.code.shared[name]

    def visitors(self, threads: Threads) -> Visitors:
        programs = self.programs[threads]
        return Visitors(
            (self.numbers[threads] + self.first * self.width + 1).astype(np.int32),
            (programs + self.first + 1).astype(np.int32),
            self.barriers[programs],
        )

    def run(self) -> None:
        """Until every thread has returned; those that are behind go first."""
        while True:
            free = np.where(self.waiting, FINISHED, self.at)
            position = int(free.min())
            if position == FINISHED:
                if not self.waiting.any():
                    return
                self._release()
                continue
            here = np.flatnonzero(free == position)
            self._run_from(position, slice(None) if len(here) == self.threads else here)

    def _run_from(self, position: int, threads: Threads) -> None:
        """From an instruction to the next where threads may part or meet."""
        program, steps = self.code.program, self.code.steps
        warps = len(np.unique(self.numbers[threads] // lanes.LANES))
        while True:
            instruction = program.instructions[position]
            self.meter.executed[".".join(instruction.parts[:2])] += warps
            step = steps[position]
            if step is None:
                self._choose(instruction, position, threads)
                return
            chosen = self._guarded(instruction, threads)
            if isinstance(chosen, slice) or len(chosen) > 0:
                try:
                    step(self, chosen)
                except AssertionError as error:
                    raise AssertionError(f"{instruction.text}: {error}") from error
            position += 1
            if position in program.leaders:
                self.at[threads] = position
                return

    def _guarded(self, instruction: Instruction, threads: Threads) -> Threads:
        """Those for which an instruction is not skipped."""
        if instruction.guard is None:
            return threads
        goes = self.registers[instruction.guard][threads] != instruction.negated
        return threads if goes.all() else self.numbers[threads][goes]

    def _choose(self, instruction: Instruction, position: int, threads: Threads) -> None:
        """Where threads go from here."""
        if instruction.name == "ret":
            assert instruction.guard is None
            self.at[threads] = FINISHED
        elif instruction.name == "bra":
            self.at[threads] = position + 1
            target = self.code.program.labels[instruction.operands[0].name]
            self.at[self._guarded(instruction, threads)] = target
        else:
            assert instruction.text == "bar.sync 0", instruction.text
            self.at[threads] = position
            self.waiting[threads] = True

    def _release(self) -> None:
        """Let those go that wait for each other at a barrier: all threads of their programs."""
        waiting = self.waiting.reshape(-1, self.width)
        at = self.at.reshape(-1, self.width)
        assert (waiting.all(1) | ~waiting.any(1)).all(), "a barrier that not all threads reach"
        assert (at == at[:, :1]).all(), "threads that wait at different barriers"
        self.at[self.waiting] += 1
        self.barriers += waiting.any(1)
        self.waiting[:] = False


def run(
    code: Code,
    grid: int,
    warps: int,
    arguments: list[Any],
    tensors: list[tuple[int, Memory]],
    shared: int,
    at_once: int = 64,
) -> Meter:
    """Run all programs, some at once."""
    parameters = code.program.parameters
    assert len(arguments) == len(parameters), "parameters that nobody has set"
    values = {
        name: np.asarray(value).astype(TYPES[type_])[()]  # numbers below 0 as bits
        for (type_, name), value in zip(parameters, arguments, strict=True)
    }
    meter = Meter()
    with np.errstate(all="ignore"):
        for first in range(0, grid, at_once):
            programs = min(at_once, grid - first)
            Grid(code, first, programs, warps, values, tensors, shared, meter).run()
    return meter
