"""What decisions cost is measured; no time is asserted."""

from benchmarks import decisions
from benchmarks.speed import MEMORY


def test_costs_are_ratios():
    found = decisions.costs([1, 3, 16, 16], 1)
    assert set(found) == {"contiguous", "channels last", "upsampled", "masks", "per image"}
    assert all(ratio > 0 for ratio in found.values())


def test_the_table_has_every_crop_and_kind_of_memory():
    costs = {"masks": 1.04, "upsampled": 0.96}
    found = {
        "about": {"machine": "m", "torch": "2", "date": "d"},
        "costs": {name: dict.fromkeys(MEMORY, costs) for name in decisions.SHAPES},
    }
    rows = decisions.table(found).splitlines()
    assert rows[-1] == "| 1 × 150 × 512 × 512 | 1.04 / 1.04 | 0.96 / 0.96 |"
