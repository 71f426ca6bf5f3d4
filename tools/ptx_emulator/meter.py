"""What a launch asks of the memories of a device, as their hardware would serve it.

Global memory is served in sectors of 32 bytes for each warp and instruction, from caches or not;
shared memory by 32 banks, which take as many cycles as one of them has cells to serve.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

SECTOR, BANKS, CELL = 32, 32, 4


class Meter:
    """Sums over all instructions of a launch."""

    def __init__(self) -> None:
        self.executed: Counter[str] = Counter()  # instructions of warps, by name
        self.sectors: Counter[str] = Counter()  # of global memory, by what is done to them
        self.cycles = 0  # of the banks of shared memory
        self.added: Counter[int] = Counter()  # additions to global memory, by address

    def update(self, other: Meter) -> None:
        self.executed.update(other.executed)
        self.sectors.update(other.sectors)
        self.cycles += other.cycles
        self.added.update(other.added)

    def note(self, kind: str, space: str, warps: np.ndarray, addresses: np.ndarray) -> None:
        """What an instruction has "read", "written" or "added", at most 16 bytes for a lane."""
        if space == "shared":
            self.cycles += _cycles(warps, addresses)
            return
        self.sectors[kind] += len(np.unique(warps << 44 | addresses // SECTOR))
        if kind == "added":
            places, times = np.unique(addresses, return_counts=True)
            self.added.update(dict(zip(places.tolist(), times.tolist(), strict=True)))


def _cycles(warps: np.ndarray, addresses: np.ndarray) -> int:
    """Lanes at the same cell are served at once, also where they add a 1."""
    cells = np.unique(warps << 32 | addresses // CELL)
    banks, served = np.unique(cells >> 32 << 5 | cells % BANKS, return_counts=True)
    longest = np.zeros(int(warps.max()) + 1, np.int64)
    np.maximum.at(longest, banks >> 5, served)
    return int(longest.sum())
